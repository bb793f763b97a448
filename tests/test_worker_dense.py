"""The dense network in TensorFlow: properties of batch normalization, and one answer with the NumPy network."""

from typing import get_args

import numpy as np
import pytest

from models.datasets import Dataset
from models.dense import Array, DenseNetwork, shapes, softmax, starting_arrays
from models.spec import Activation, ArmName, Placement, ResolvedSpec, Spec
from worker.tensorflow_setup import prepare_tensorflow

prepare_tensorflow(1)

import tensorflow as tf  # noqa: E402  (after its threads are set)

from worker import dense  # noqa: E402


def resolved(**fields: object) -> ResolvedSpec:
    return Spec.model_validate({"hidden_layers": (20, 15), "seed": 3, **fields}).resolve("mnist-5k")


def stacked(arrays: dict[str, Array]) -> dict[str, tf.Tensor]:
    return dense.by_unit({name: tf.constant(array[np.newaxis]) for name, array in arrays.items()})


def with_random_everything(spec: ResolvedSpec, arm: ArmName) -> dict[str, Array]:
    """Return arrays in which no parameter has the value that would hide a mistake."""
    generator = np.random.default_rng(0)
    arrays = starting_arrays(spec, arm, 0)
    for name, array in arrays.items():
        if not name.endswith("/weights"):
            low = 0.5 if name.endswith(("/gamma", "/population_variance")) else -0.5
            arrays[name] = generator.uniform(low, 1.5, array.shape).astype(np.float32)
    return arrays


def test_training_and_inference_differ_at_first_and_agree_once_the_population_is_that_batch() -> None:
    spec = resolved()
    images = tf.constant(np.random.default_rng(1).uniform(0, 1, (1, 60, 784)).astype(np.float32))
    parameters = stacked(starting_arrays(spec, ArmName.WITH_BATCH_NORM, 0))
    population = {name: value for name, value in parameters.items() if "/population_" in name}
    training, _ = dense.training_logits(spec, ArmName.WITH_BATCH_NORM, parameters, population, images)

    def inference() -> Array:
        logits: Array = dense.evaluation_logits(spec, ArmName.WITH_BATCH_NORM, parameters, population, images).numpy()
        return logits

    assert np.abs(inference() - training.numpy()).max() > 0.1
    for _ in range(2_000):  # 0.99 ** 2000 is 2e-9
        _, population = dense.training_logits(spec, ArmName.WITH_BATCH_NORM, parameters, population, images)
    np.testing.assert_allclose(inference(), training.numpy(), atol=1e-4)


def test_the_switch_leaves_the_population_as_it_is() -> None:
    images = tf.constant(np.random.default_rng(1).uniform(0, 1, (1, 60, 784)).astype(np.float32))
    for switch in (True, False):
        spec = resolved(batch_norm={"update_population_statistics": switch})
        arrays = stacked(starting_arrays(spec, ArmName.WITH_BATCH_NORM, 0))
        population = {name: value for name, value in arrays.items() if "/population_" in name}
        _, moved = dense.training_logits(spec, ArmName.WITH_BATCH_NORM, arrays, population, images)
        assert set(moved) == set(population)
        for name, value in population.items():
            assert np.array_equal(moved[name], value) is not switch


def test_without_batch_normalization_there_is_no_population() -> None:
    spec = resolved()
    arrays = stacked(starting_arrays(spec, ArmName.WITHOUT_BATCH_NORM, 0))
    images = tf.constant(np.zeros((1, 2, 784), np.float32))
    _, moved = dense.training_logits(spec, ArmName.WITHOUT_BATCH_NORM, arrays, {}, images)
    assert moved == {}


def test_replicates_side_by_side_answer_as_each_alone() -> None:
    spec = resolved()
    images = np.random.default_rng(1).uniform(0, 1, (3, 12, 784)).astype(np.float32)
    alone = [starting_arrays(spec, ArmName.WITH_BATCH_NORM, replicate) for replicate in range(3)]
    together = dense.by_unit({name: tf.constant(np.stack([arrays[name] for arrays in alone])) for name in alone[0]})
    logits, _ = dense.training_logits(spec, ArmName.WITH_BATCH_NORM, together, together, tf.constant(images))
    for replicate, arrays in enumerate(alone):
        tensors, own = stacked(arrays), tf.constant(images[replicate : replicate + 1])
        one, _ = dense.training_logits(spec, ArmName.WITH_BATCH_NORM, tensors, tensors, own)
        np.testing.assert_allclose(logits[replicate], one[0], atol=1e-5)


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("placement", ["before_activation", "after_activation"])
@pytest.mark.parametrize("arm", list(ArmName))
def test_numpy_answers_as_tensorflow_does_with_both_statistics(
    digits: Dataset, arm: ArmName, placement: Placement, activation: Activation
) -> None:
    spec = resolved(activation=activation, batch_norm={"placement": placement})
    arrays = with_random_everything(spec, arm)
    images = digits.test_images.astype(np.float32) / np.float32(255)  # [1000, 784]
    network = DenseNetwork(spec, arm, arrays)
    tensors = stacked(arrays)

    by_population = dense.evaluation_logits(spec, arm, tensors, tensors, tf.constant(images[np.newaxis])).numpy()[0]
    np.testing.assert_allclose(network.probabilities(images), softmax(by_population), atol=1e-5)
    if arm is ArmName.WITH_BATCH_NORM:
        by_batch, _ = dense.training_logits(spec, arm, tensors, tensors, tf.constant(images[np.newaxis]))
        np.testing.assert_allclose(network.probabilities(images, "batch"), softmax(by_batch.numpy()[0]), atol=1e-5)


def test_every_array_of_the_network_is_used() -> None:
    spec = resolved()
    images = tf.constant(np.random.default_rng(1).uniform(0, 1, (1, 5, 784)).astype(np.float32))
    for arm in ArmName:
        arrays = with_random_everything(spec, arm)
        before = dense.evaluation_logits(spec, arm, stacked(arrays), stacked(arrays), images).numpy()
        for name in shapes(spec, arm):
            changed = stacked({**arrays, name: arrays[name] + np.float32(0.5)})
            after = dense.evaluation_logits(spec, arm, changed, changed, images).numpy()
            assert np.abs(after - before).max() > 1e-6, name
