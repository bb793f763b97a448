"""The three ways to write batch normalization: what it is there for holds for each, and they are one function."""

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.arrays import Array
from models.spec import BatchNormSpec, Implementation
from worker.tensorflow_setup import prepare_tensorflow

prepare_tensorflow(1)

import tensorflow as tf  # noqa: E402  (after its threads are set)

from worker.batch_norm import NORMALIZATIONS, Layer  # noqa: E402

WAYS: tuple[Implementation, ...] = get_args(Implementation)
R, B, M = 2, 60, 5

#: Values of two replicates' layers of five units on a batch of 60; far from 0, tf.nn itself loses digits.
values = arrays.arrays(np.float32, (R, B, M), elements=st.floats(-10, 10, width=32))


def layer(**numbers: float) -> Layer:
    """Return a layer whose numbers are those it starts with, or the given ones."""
    start = {"gamma": 1.0, "beta": 0.0, "population_mean": 0.0, "population_variance": 1.0}
    return Layer(**{name: tf.fill([R, M], float(number)) for name, number in {**start, **numbers}.items()})


def random_layer() -> Layer:
    numbers = np.random.default_rng(0).uniform(0.5, 1.5, (4, R, M)).astype(np.float32)
    return Layer(*(tf.constant(array) for array in numbers))


def ordinary_values(seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(3, 2, (R, B, M)).astype(np.float32)


@pytest.mark.parametrize("way", WAYS)
@given(z=values)
@settings(max_examples=30)
def test_in_training_each_unit_has_mean_0_and_variance_1_over_the_batch_before_gamma_and_beta(
    way: Implementation, z: Array
) -> None:
    chosen = BatchNormSpec(epsilon=1e-3)
    normalized = NORMALIZATIONS[way].training(chosen, layer(), tf.constant(z)).values.numpy()
    variance = z.astype(np.float64).var(axis=1)  # [R, M]
    np.testing.assert_allclose(normalized.mean(axis=1), 0, atol=2e-3)
    # epsilon takes its share: a unit that hardly varies is left with less than 1
    np.testing.assert_allclose(normalized.var(axis=1), variance / (variance + 1e-3), atol=5e-3)


@pytest.mark.parametrize("way", WAYS)
def test_gamma_and_beta_are_the_new_standard_deviation_and_mean(way: Implementation) -> None:
    scaled = NORMALIZATIONS[way].training(BatchNormSpec(), layer(gamma=3.0, beta=-2.0), tf.constant(ordinary_values()))
    np.testing.assert_allclose(scaled.values.numpy().mean(axis=1), -2, atol=1e-4)
    np.testing.assert_allclose(scaled.values.numpy().std(axis=1), 3, rtol=1e-3)


@pytest.mark.parametrize("way", WAYS)
def test_the_population_moves_by_one_minus_momentum_towards_the_biased_variance(way: Implementation) -> None:
    z = ordinary_values()
    start = layer(population_mean=10.0, population_variance=20.0)
    moved = NORMALIZATIONS[way].training(BatchNormSpec(momentum=0.9), start, tf.constant(z))
    np.testing.assert_allclose(moved.population_mean, 10 * 0.9 + z.mean(axis=1) * 0.1, rtol=1e-5)
    np.testing.assert_allclose(moved.population_variance, 20 * 0.9 + z.var(axis=1, ddof=0) * 0.1, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_the_population_converges_to_the_statistics_of_the_data(way: Implementation) -> None:
    data, generator = ordinary_values(1)[:, :, :].repeat(10, axis=1), np.random.default_rng(2)
    now = layer()
    for _ in range(800):
        batch = data[:, generator.permutation(data.shape[1])[:B]]
        moved = NORMALIZATIONS[way].training(BatchNormSpec(), now, tf.constant(batch))
        now = Layer(now.gamma, now.beta, moved.population_mean, moved.population_variance)
    np.testing.assert_allclose(now.population_mean, data.mean(axis=1), atol=0.15)
    np.testing.assert_allclose(now.population_variance, data.var(axis=1) * (1 - 1 / B), rtol=0.12)  # biased


@pytest.mark.parametrize("way", WAYS)
def test_at_inference_an_image_is_normalized_by_the_population_whatever_stands_beside_it(way: Implementation) -> None:
    z, inference = ordinary_values(), NORMALIZATIONS[way].inference
    together = inference(BatchNormSpec(), random_layer(), tf.constant(z)).numpy()
    for image in range(3):
        alone = inference(BatchNormSpec(), random_layer(), tf.constant(z[:, image : image + 1])).numpy()
        np.testing.assert_allclose(together[:, image : image + 1], alone, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_replicates_do_not_see_each_other(way: Implementation) -> None:
    z = ordinary_values()
    other = np.concatenate([z[:1], ordinary_values(7)[1:]])
    first, second = (NORMALIZATIONS[way].training(BatchNormSpec(), random_layer(), tf.constant(v)) for v in (z, other))
    np.testing.assert_array_equal(first.values[0], second.values[0])
    np.testing.assert_array_equal(first.population_mean[0], second.population_mean[0])


@pytest.mark.parametrize("way", [way for way in WAYS if way != "equations"])
@given(z=values)
@settings(max_examples=20)
def test_each_way_gives_the_values_gradients_and_population_of_the_equations(way: Implementation, z: Array) -> None:
    z = z + ordinary_values()  # a unit that does not vary at all has gradients of rounding errors only

    def of(name: Implementation) -> list[Any]:
        own, inputs = random_layer(), tf.constant(z)
        with tf.GradientTape() as tape:
            watched = [inputs, own.gamma, own.beta]
            tape.watch(watched)
            trained = NORMALIZATIONS[name].training(BatchNormSpec(), own, inputs)
            loss = tf.reduce_sum(tf.square(trained.values) * tf.cast(tf.range(1, B + 1), tf.float32)[None, :, None])
        answered = NORMALIZATIONS[name].inference(BatchNormSpec(), own, inputs)
        return [
            trained.values,
            trained.population_mean,
            trained.population_variance,
            answered,
            *tape.gradient(loss, watched),
        ]

    for found, expected in zip(of(way), of("equations"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * max(1.0, float(np.abs(expected).max())))
