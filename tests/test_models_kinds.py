"""Every kind of network in NumPy: the shapes of its arrays, its start, and its answer with both kinds of statistics."""

from typing import Any, get_args

import numpy as np
import pytest
from builders import WITH, WITHOUT
from equations import by_the_book
from hypothesis import assume, given
from hypothesis import strategies as st

from models.arrays import Array, Arrays
from models.errors import BatchStatisticsUndefined, NetworkDamaged
from models.kind_fields import KIND_FIELDS, sides
from models.kinds import KINDS
from models.spec import ArmName, NetworkKind, Placement, ResolvedSpec, Spec, Statistics
from models.trained import TrainedNetwork, starting_arrays, weights_sha256

SMALL: dict[NetworkKind, dict[str, Any]] = {
    "dense": {"hidden_layers": (12, 9)},
    "convolutional": {"feature_maps": (3, 4), "strides": (2, 3)},
    "recurrent": {"units": 6},
}
PLACEMENTS: dict[NetworkKind, tuple[Placement, ...]] = {
    "dense": ("before_activation", "after_activation"),
    "convolutional": ("before_activation", "after_activation"),
    "recurrent": ("before_activation",),
}
EVERY_PLACEMENT = [(network, placement) for network, placements in PLACEMENTS.items() for placement in placements]

every_kind = pytest.mark.parametrize("network", list(SMALL))
every_placement = pytest.mark.parametrize(("network", "placement"), EVERY_PLACEMENT)


def small(network: NetworkKind, placement: Placement = "before_activation", **fields: Any) -> ResolvedSpec:
    asked = {"network": network, "activation": "tanh", "seed": 3, **SMALL[network], **fields}
    return Spec.model_validate({**asked, "batch_norm": {"placement": placement}}).resolve("mnist-5k")


def some_images(count: int) -> Array:
    return np.random.default_rng(5).random((count, 784)).astype(np.float32)


def some_arrays(spec: ResolvedSpec, arm: ArmName) -> Arrays:
    """Return arrays in which nothing is 0 or 1 by chance, with weights that make the sums neither vanish nor burst."""
    generator = np.random.default_rng(7)
    kind = KINDS[spec.network]
    arrays: Arrays = {}
    for name, shape in kind.shapes(spec, arm).items():
        start = kind.STARTS.get(name.partition("/")[2], 0.0)
        scale = 2 / np.sqrt(np.prod(shape[:-1])) if name.endswith("/weights") else 0.3
        values = generator.normal(0, scale, shape)
        arrays[name] = (start * (0.5 + np.abs(values)) if start else values).astype(np.float32)
    return arrays


@pytest.mark.parametrize(("network", "placement"), [each for each in EVERY_PLACEMENT if each[0] != "dense"])
@pytest.mark.parametrize(
    ("arm", "statistics"), [(WITHOUT, "population"), (WITH, "population"), (WITH, "batch")], ids=str
)
def test_the_answer_is_that_of_the_equations(
    network: NetworkKind, placement: Placement, arm: ArmName, statistics: Statistics
) -> None:
    spec = small(network, placement)
    trained = TrainedNetwork(spec, arm, some_arrays(spec, arm))
    images = some_images(20)
    expected, _ = by_the_book(spec, trained.arm, trained.arrays, images, statistics)
    logits = trained.logits(images, statistics)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-4)
    assert expected.std(axis=0).min() > 1e-3  # the images are told apart, so equal answers say something


@pytest.mark.parametrize(("network", "placement"), [each for each in EVERY_PLACEMENT if each[0] != "dense"])
def test_both_statistics_agree_when_the_population_is_the_batch(network: NetworkKind, placement: Placement) -> None:
    spec = small(network, placement)
    images = some_images(50)
    trained = TrainedNetwork(spec, WITH, some_arrays(spec, WITH))
    _, met = by_the_book(spec, trained.arm, trained.arrays, images, "batch")
    assert set(met) == {name for name in trained.arrays if "/population_" in name}
    agreeing = TrainedNetwork(spec, WITH, trained.arrays | met)
    by_batch = trained.logits(images, "batch")
    np.testing.assert_allclose(agreeing.logits(images, "population"), by_batch, atol=2e-4)
    assert np.abs(trained.logits(images, "population") - by_batch).max() > 0.01


# ------------------------------------------------------------------------------------------------ what all kinds keep


def test_every_kind_of_a_spec_is_one() -> None:
    assert set(KINDS) == set(KIND_FIELDS) == set(get_args(NetworkKind)) == set(SMALL)


@every_kind
def test_both_arms_start_from_the_same_weights_and_other_seeds_from_others(network: NetworkKind) -> None:
    spec = small(network)
    hashes = {weights_sha256(starting_arrays(spec, arm, 0)) for arm in ArmName}
    others = {weights_sha256(starting_arrays(spec, WITH, replicate)) for replicate in range(1, 20)}
    assert len(hashes) == 1
    assert len(others - hashes) == 19


@every_kind
@pytest.mark.parametrize("arm", ArmName)
def test_weights_are_drawn_with_their_scale_and_the_rest_starts_as_its_kind_says(
    network: NetworkKind, arm: ArmName
) -> None:
    starts = {"gamma": 0.1 if network == "recurrent" else 1.0, "population_variance": 1.0}
    for name, array in starting_arrays(small(network, weight_scale=5.0), arm, 0).items():
        assert array.dtype == np.float32
        what = name.partition("/")[2]
        if what == "weights":
            assert abs(array.std() / 5.0 - 1) < 4 / np.sqrt(2 * array.size)
            assert abs(array.mean() / 5.0) < 4 / np.sqrt(array.size)
        else:
            assert (array == np.float32(starts.get(what, 0.0))).all(), name


@every_kind
@pytest.mark.parametrize("arm", ArmName)
def test_the_weights_of_the_arrays_are_those_that_are_counted(network: NetworkKind, arm: ArmName) -> None:
    spec = small(network)
    shapes = KINDS[network].shapes(spec, arm)
    counted = sum(int(np.prod(shape)) for name, shape in shapes.items() if name.endswith("/weights"))
    assert KIND_FIELDS[network].weights(dict(spec)) == counted
    assert KIND_FIELDS[network].multiplications(dict(spec)) >= counted


@every_placement
def test_several_batches_have_statistics_of_their_own(network: NetworkKind, placement: Placement) -> None:
    spec = small(network, placement)
    trained = TrainedNetwork(spec, WITH, some_arrays(spec, WITH))
    batches = some_images(24).reshape(4, 6, 784)
    for statistics in get_args(Statistics):
        together = trained.logits(batches, statistics)
        for batch, logits in zip(batches, together, strict=True):
            np.testing.assert_allclose(trained.logits(batch, statistics), logits, atol=1e-5)
    whole = trained.logits(batches.reshape(24, 784), "batch").reshape(4, 6, 10)
    assert np.abs(whole - trained.logits(batches, "batch")).max() > 0.01


@every_kind
@pytest.mark.parametrize("arm", ArmName)
def test_with_population_statistics_no_image_depends_on_the_others(network: NetworkKind, arm: ArmName) -> None:
    spec = small(network)
    trained = TrainedNetwork(spec, arm, some_arrays(spec, arm))
    images = some_images(10)
    together = trained.logits(images)
    singly = np.concatenate([trained.logits(image[np.newaxis]) for image in images])
    np.testing.assert_allclose(singly, together, atol=1e-5)


@pytest.mark.parametrize("network", ["dense", "recurrent"])
def test_a_batch_of_one_gets_the_same_answer_whatever_the_image(network: NetworkKind) -> None:
    spec = small(network)
    trained = TrainedNetwork(spec, WITH, some_arrays(spec, WITH))
    assert len({trained.logits(image[np.newaxis], "batch").tobytes() for image in some_images(20)}) == 1


def test_of_a_batch_of_one_convolutions_have_the_statistics_of_its_pixels() -> None:
    spec = small("convolutional")
    trained = TrainedNetwork(spec, WITH, some_arrays(spec, WITH))
    assert len({trained.logits(image[np.newaxis], "batch").tobytes() for image in some_images(20)}) == 20


@every_kind
def test_the_arm_without_batch_norm_has_no_batch_statistics(network: NetworkKind) -> None:
    spec = small(network)
    trained = TrainedNetwork(spec, WITHOUT, starting_arrays(spec, WITHOUT, 0))
    with pytest.raises(BatchStatisticsUndefined):
        trained.logits(some_images(1), "batch")


@every_kind
@pytest.mark.parametrize("arm", ArmName)
def test_arrays_that_are_missing_left_over_or_of_another_shape_are_no_network(
    network: NetworkKind, arm: ArmName
) -> None:
    spec = small(network)
    arrays = starting_arrays(spec, arm, 0)
    damaged: list[dict[str, Any]] = [{**arrays, "hidden_9/weights": np.zeros((1, 1), np.float32)}]
    for name, array in arrays.items():
        damaged.append({other: array for other, array in arrays.items() if other != name})
        damaged.append({**arrays, name: array[..., :-1]})
        damaged.append({**arrays, name: array.astype(np.float64)})
    for wrong in damaged:
        with pytest.raises(NetworkDamaged):
            TrainedNetwork(spec, arm, wrong)


# ----------------------------------------------------------------------------------------- shapes, per map and step


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), min_size=1, max_size=5),
    st.integers(1, 3),
    st.sampled_from(ArmName),
)
def test_a_convolution_has_statistics_per_feature_map_and_its_pixels_go_to_the_output(
    layers: list[tuple[int, int]], kernel_size: int, arm: ArmName
) -> None:
    maps, strides = zip(*layers, strict=True)
    fits = (max(kernel_size, stride) <= side for side, stride in zip(sides(strides), strides, strict=False))
    assume(all(fits))  # else refused: tests/test_models_spec.py
    spec = small("convolutional", feature_maps=maps, strides=strides, kernel_size=kernel_size)
    shapes = KINDS["convolutional"].shapes(spec, arm)
    before = (1, *maps)
    for number, count in enumerate(maps):
        own = {name.partition("/")[2]: shape for name, shape in shapes.items() if f"convolution_{number + 1}/" in name}
        assert own.pop("weights") == (kernel_size, kernel_size, before[number], count)
        per_map = ("gamma", "beta", "population_mean", "population_variance") if arm is WITH else ("bias",)
        assert own == {what: (count,) for what in per_map}
    side = 28
    for stride in strides:
        side = -(-side // stride)
    assert shapes["output/weights"] == (side * side * maps[-1], 10)
    assert TrainedNetwork(spec, arm, starting_arrays(spec, arm, 0)).logits(some_images(2)).shape == (2, 10)


@given(st.integers(1, 40))
def test_an_lstm_has_statistics_per_step_and_unit_and_gamma_for_all_steps(units: int) -> None:
    shapes = KINDS["recurrent"].shapes(small("recurrent", units=units), WITH)
    for layer, wide in (("lstm_input", 4 * units), ("lstm_hidden", 4 * units), ("lstm_cell", units)):
        assert shapes[f"{layer}/gamma"] == (wide,)
        assert shapes[f"{layer}/population_mean"] == shapes[f"{layer}/population_variance"] == (28, wide)
    assert [name for name in shapes if name.endswith("/beta")] == ["lstm_cell/beta"]
