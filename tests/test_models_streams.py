"""Batch order and starting weights: functions of (seed, replicate, step) and (seed, replicate, layer) alone."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.spec import MAX_SEED
from models.streams import batch_indices, weights_generator

SEEDS = st.integers(0, MAX_SEED)
REPLICATES = st.integers(0, 20)
SIZES = st.tuples(st.integers(1, 12), st.integers(1, 30))  # of a batch, of the data set


@given(SEEDS, REPLICATES, SIZES, st.integers(0, 60), st.integers(1, 20))
def test_any_window_is_the_slice_of_the_whole_stream(
    seed: int, replicate: int, sizes: tuple[int, int], first: int, count: int
) -> None:
    batch_size, images = sizes
    whole = batch_indices(seed, replicate, 0, first + count, batch_size, images)
    window = batch_indices(seed, replicate, first, count, batch_size, images)
    assert window.shape == (count, batch_size)
    assert window.dtype == np.int32
    np.testing.assert_array_equal(window, whole[first:])


@given(SEEDS, REPLICATES, SIZES)
def test_each_epoch_is_a_permutation_of_all_images(seed: int, replicate: int, sizes: tuple[int, int]) -> None:
    batch_size, images = sizes
    epochs = batch_indices(seed, replicate, 0, images, batch_size, images).reshape(batch_size, images)
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(images))


@given(SEEDS, SIZES)
def test_the_stream_does_not_depend_on_how_it_is_cut(seed: int, sizes: tuple[int, int]) -> None:
    batch_size, images = sizes
    cut = batch_indices(seed, 0, 0, images, batch_size, images).ravel()
    np.testing.assert_array_equal(cut, batch_indices(seed, 0, 0, 1, batch_size * images, images).ravel())


def test_a_batch_may_end_one_epoch_and_begin_the_next() -> None:
    third = batch_indices(1, 0, 2, 1, 4, 10)[0]
    first_epoch, second_epoch = batch_indices(1, 0, 0, 2, 10, 10)
    assert third.tolist() == [*first_epoch[8:], *second_epoch[:2]]


@given(st.integers(0, 2**16), REPLICATES, st.integers(0, 50))
def test_a_replicate_is_the_setting_with_the_next_seed(seed: int, replicate: int, first: int) -> None:
    np.testing.assert_array_equal(
        batch_indices(seed, replicate, first, 3, 7, 50), batch_indices(seed + replicate, 0, first, 3, 7, 50)
    )
    a, b = weights_generator(seed, replicate, 1), weights_generator(seed + replicate, 0, 1)
    np.testing.assert_array_equal(a.normal(size=5), b.normal(size=5))


@given(st.lists(SEEDS, min_size=2, max_size=5, unique=True))
def test_different_seeds_give_different_orders_and_weights(seeds: list[int]) -> None:
    orders = {batch_indices(seed, 0, 0, 1, 100, 100).tobytes() for seed in seeds}
    weights = {weights_generator(seed, 0, 0).normal(size=10).tobytes() for seed in seeds}
    assert len(orders) == len(weights) == len(seeds)


@given(SEEDS)
def test_each_epoch_has_an_order_of_its_own(seed: int) -> None:
    epochs = batch_indices(seed, 0, 0, 5, 100, 100)
    assert all((a != b).any() for a, b in pairwise(epochs))


@given(SEEDS)
def test_each_layer_has_a_stream_of_its_own(seed: int) -> None:
    layers = {weights_generator(seed, 0, layer).normal(size=10).tobytes() for layer in range(5)}
    assert len(layers) == 5


@given(SEEDS)
def test_drawing_weights_never_draws_from_the_batches(seed: int) -> None:
    order = batch_indices(seed, 0, 0, 3, 100, 100)
    for number in range(3):  # layer and epoch of the same number
        assert weights_generator(seed, 0, number).permutation(100).tolist() != order[number].tolist()


def test_the_order_of_a_seed_never_changes() -> None:
    # Whoever changes these numbers changes the result of every recorded seed.
    assert batch_indices(1, 0, 0, 3, 4, 10).tolist() == [[7, 0, 5, 1], [3, 8, 4, 9], [2, 6, 6, 8]]
    weights = weights_generator(1, 0, 0).normal(size=3)
    np.testing.assert_allclose(weights, [0.561455211185646, -0.9619375618162148, 0.025380113609183755], rtol=1e-12)
