"""Every kind of network in TensorFlow: properties of batch normalization, and one answer with the network in NumPy."""

from functools import partial
from typing import Any, get_args

import numpy as np
import pytest

from models.arrays import Array, softmax
from models.datasets import Dataset
from models.kinds import KINDS
from models.spec import Activation, ArmName, Implementation, NetworkKind, Placement, ResolvedSpec, Spec
from models.trained import TrainedNetwork, starting_arrays
from worker.tensorflow_setup import prepare_tensorflow

prepare_tensorflow(1)

import tensorflow as tf  # noqa: E402  (after its threads are set)

from worker import forward  # noqa: E402
from worker import kinds as worker_kinds  # noqa: E402

#: One of each kind, small; the pictures of the convolutional one have odd and even sides, and both strides.
SMALL: dict[NetworkKind, dict[str, Any]] = {
    "dense": {"hidden_layers": (20, 15)},
    "convolutional": {"feature_maps": (3, 5, 4), "strides": (2, 1, 2)},
    "recurrent": {"units": 7},
}
#: How far NumPy and TensorFlow may be apart, in probabilities: more products one after the other round more often.
APART: dict[NetworkKind, float] = {"dense": 1e-5, "convolutional": 1e-4, "recurrent": 1e-4}

every_kind = pytest.mark.parametrize("network", list(SMALL))


def resolved(network: NetworkKind, **fields: Any) -> ResolvedSpec:
    asked = {
        "network": network,
        "seed": 3,
        "weight_scale": 0.4,
        "batch_norm": {"momentum": 0.99},
        **SMALL[network],
        **fields,
    }
    return Spec.model_validate(asked).resolve("mnist-5k")


def held(spec: ResolvedSpec, arrays: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Return arrays as the training loop holds them, with all pixels."""
    return worker_kinds.KINDS[spec.network].held(arrays, tf.range(784))


def stacked(spec: ResolvedSpec, arrays: dict[str, Array]) -> dict[str, tf.Tensor]:
    return held(spec, {name: tf.constant(array[np.newaxis]) for name, array in arrays.items()})


def population_of(tensors: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if "/population_" in name}


def noise(*shape: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(1).uniform(0, 1, shape).astype(np.float32))


def with_random_everything(spec: ResolvedSpec, arm: ArmName) -> dict[str, Array]:
    """Return arrays in which no parameter has a value that would hide a mistake, and what goes in shows at the end."""
    generator = np.random.default_rng(0)
    arrays = starting_arrays(spec, arm, 0)
    for name, array in arrays.items():
        if name.endswith("/weights"):  # so that the values neither vanish nor burst on their way
            arrays[name] = (array / spec.weight_scale / np.sqrt(np.prod(array.shape[:-1]) / 4)).astype(np.float32)
        else:
            what = name.partition("/")[2]
            start = KINDS[spec.network].STARTS.get(what)  # what starts as 0.1 is not to be ten times as large
            low, high = (-0.5, 1.0) if start is None else (0.5 * start, 1.5 * start)
            arrays[name] = generator.uniform(low, high, array.shape).astype(np.float32)
    return arrays


def test_both_halves_know_the_same_kinds() -> None:
    assert set(KINDS) == set(worker_kinds.KINDS) == set(get_args(NetworkKind)) == set(SMALL)


@every_kind
def test_training_and_inference_differ_at_first_and_agree_once_the_population_is_that_batch(
    network: NetworkKind,
) -> None:
    spec = resolved(network)
    images = noise(1, 30, 784)
    parameters = stacked(spec, with_random_everything(spec, ArmName.WITH_BATCH_NORM))
    population = population_of(parameters)

    def train(population: dict[str, tf.Tensor]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        return forward.training_logits(spec, ArmName.WITH_BATCH_NORM, parameters, population, images)

    def inference() -> Array:
        logits: Array = forward.evaluation_logits(spec, ArmName.WITH_BATCH_NORM, parameters, population, images).numpy()
        return logits

    compiled = tf.function(train)
    training, _ = compiled(population)
    assert np.abs(inference() - training.numpy()).max() > 0.05
    for _ in range(2_000):  # 0.99 ** 2000 is 2e-9
        _, population = compiled(population)
    np.testing.assert_allclose(inference(), training.numpy(), atol=2e-4)


@every_kind
def test_one_batch_moves_the_population_by_its_share(network: NetworkKind) -> None:
    images = noise(1, 30, 784)
    moved = {}
    for momentum in (0.0, 0.75):  # with 0, the population is the batch's statistics
        spec = resolved(network, batch_norm={"momentum": momentum})
        arrays = with_random_everything(spec, ArmName.WITH_BATCH_NORM)
        tensors = stacked(spec, arrays)
        population = population_of(tensors)
        _, moved[momentum] = forward.training_logits(spec, ArmName.WITH_BATCH_NORM, tensors, population, images)
    shapes = KINDS[network].shapes(spec, ArmName.WITH_BATCH_NORM)
    assert set(moved[0.0]) == {name for name in shapes if "/population_" in name}
    for name, batch in moved[0.0].items():
        assert batch.shape == (1, *shapes[name])
        expected = 0.75 * population[name] + 0.25 * batch
        np.testing.assert_allclose(moved[0.75][name], expected, atol=1e-5)


@every_kind
def test_the_switch_leaves_the_population_as_it_is(network: NetworkKind) -> None:
    images = noise(1, 60, 784)
    for switch in (True, False):
        spec = resolved(network, batch_norm={"update_population_statistics": switch})
        arrays = stacked(spec, starting_arrays(spec, ArmName.WITH_BATCH_NORM, 0))
        population = population_of(arrays)
        _, moved = forward.training_logits(spec, ArmName.WITH_BATCH_NORM, arrays, population, images)
        assert set(moved) == set(population)
        for name, value in population.items():
            assert np.array_equal(moved[name], value) is not switch


@every_kind
def test_without_batch_normalization_there_is_no_population(network: NetworkKind) -> None:
    spec = resolved(network)
    arrays = stacked(spec, starting_arrays(spec, ArmName.WITHOUT_BATCH_NORM, 0))
    _, moved = forward.training_logits(spec, ArmName.WITHOUT_BATCH_NORM, arrays, {}, tf.zeros([1, 2, 784]))
    assert moved == {}


@every_kind
def test_replicates_side_by_side_answer_as_each_alone(network: NetworkKind) -> None:
    spec = resolved(network)
    images = noise(3, 12, 784)
    alone = [starting_arrays(spec, ArmName.WITH_BATCH_NORM, replicate) for replicate in range(3)]
    together = held(spec, {name: tf.constant(np.stack([arrays[name] for arrays in alone])) for name in alone[0]})
    logits, _ = forward.training_logits(spec, ArmName.WITH_BATCH_NORM, together, population_of(together), images)
    for replicate, arrays in enumerate(alone):
        tensors, own = stacked(spec, arrays), images[replicate : replicate + 1]
        one, _ = forward.training_logits(spec, ArmName.WITH_BATCH_NORM, tensors, population_of(tensors), own)
        np.testing.assert_allclose(logits[replicate], one[0], atol=1e-5)


def agree(spec: ResolvedSpec, arm: ArmName, digits: Dataset) -> None:
    """Assert that NumPy and TensorFlow give the same answers to 1,000 test images, by both statistics."""
    arrays = with_random_everything(spec, arm)
    images = digits.test_images.astype(np.float32) / np.float32(255)  # [1000, 784]
    network, apart = TrainedNetwork(spec, arm, arrays), APART[spec.network]
    tensors = stacked(spec, arrays)
    batch = tf.constant(images[np.newaxis])

    by_population = forward.evaluation_logits(spec, arm, tensors, population_of(tensors), batch).numpy()[0]
    assert np.ptp(by_population, axis=0).min() > 0.003  # each answer depends on the image, or all would agree anyway
    np.testing.assert_allclose(network.probabilities(images), softmax(by_population), atol=apart)
    if arm is ArmName.WITH_BATCH_NORM:
        train = partial(forward.training_logits, spec, arm)
        if spec.network == "convolutional":
            # as it trains: uncompiled, TensorFlow sums a map's 200,000 numbers one by one in float32: 1e-3 off
            train = tf.function(train, jit_compile=True, autograph=False)
        by_batch, _ = train(tensors, population_of(tensors), batch)
        np.testing.assert_allclose(network.probabilities(images, "batch"), softmax(by_batch.numpy()[0]), atol=apart)


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("placement", ["before_activation", "after_activation"])
@pytest.mark.parametrize("arm", list(ArmName))
@pytest.mark.parametrize("network", ["dense", "convolutional"])
def test_numpy_answers_as_tensorflow_does_with_both_statistics(
    digits: Dataset, network: NetworkKind, arm: ArmName, placement: Placement, activation: Activation
) -> None:
    agree(resolved(network, activation=activation, batch_norm={"placement": placement}), arm, digits)


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("arm", list(ArmName))
def test_numpy_answers_as_tensorflow_does_row_after_row(digits: Dataset, arm: ArmName, activation: Activation) -> None:
    agree(resolved("recurrent", activation=activation), arm, digits)


@pytest.mark.parametrize("kernel_size", [1, 2, 4, 7])
@pytest.mark.parametrize("strides", [(1, 1), (3, 2), (2, 4)])
def test_numpy_answers_as_tensorflow_does_whatever_the_kernel_and_its_strides(
    digits: Dataset, kernel_size: int, strides: tuple[int, ...]
) -> None:
    fields = {"feature_maps": (2, 3), "kernel_size": kernel_size, "strides": strides}
    agree(resolved("convolutional", **fields), ArmName.WITH_BATCH_NORM, digits)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_convolution_is_what_tensorflow_calls_one(kernel_size: int, stride: int) -> None:
    spec = resolved("convolutional", feature_maps=(4, 6), kernel_size=kernel_size, strides=(stride, stride))
    arrays = with_random_everything(spec, ArmName.WITHOUT_BATCH_NORM)
    images = noise(1, 9, 784)
    x = tf.reshape(images, [9, 28, 28, 1])
    for layer in ("convolution_1", "convolution_2"):
        x = tf.nn.relu(tf.nn.conv2d(x, arrays[f"{layer}/weights"], stride, "SAME") + arrays[f"{layer}/bias"])
    theirs = tf.reshape(x, [9, -1]) @ arrays["output/weights"] + arrays["output/bias"]
    tensors = stacked(spec, arrays)
    ours = forward.evaluation_logits(spec, ArmName.WITHOUT_BATCH_NORM, tensors, {}, images)
    np.testing.assert_allclose(ours[0], theirs, atol=1e-3, rtol=1e-4)


def test_an_lstm_is_what_keras_calls_one() -> None:
    spec = resolved("recurrent")
    arrays = with_random_everything(spec, ArmName.WITHOUT_BATCH_NORM)
    images = noise(1, 9, 784)
    layer = tf.keras.layers.LSTM(spec.units, use_bias=True)
    layer.build((None, 28, 28))

    def in_their_order(array: Array) -> Array:
        forget, take, show, new = np.split(array, 4, axis=-1)
        return np.concatenate([take, forget, new, show], axis=-1)

    names = ("lstm_input/weights", "lstm_hidden/weights", "lstm_input/bias")
    layer.set_weights([in_their_order(arrays[name]) for name in names])
    theirs = layer(tf.reshape(images, [9, 28, 28])) @ arrays["output/weights"] + arrays["output/bias"]
    ours = forward.evaluation_logits(spec, ArmName.WITHOUT_BATCH_NORM, stacked(spec, arrays), {}, images)
    np.testing.assert_allclose(ours[0], theirs, atol=1e-5)


@pytest.mark.parametrize("arm", list(ArmName))
@pytest.mark.parametrize("placement", ["before_activation", "after_activation"])
def test_feature_maps_last_and_first_are_one_network(arm: ArmName, placement: Placement) -> None:
    images = noise(2, 16, 784)
    found = []
    for data_format in ("channels_last", "channels_first"):
        spec = resolved("convolutional", data_format=data_format, batch_norm={"placement": placement})
        arrays = with_random_everything(spec, arm)
        tensors = held(spec, {name: tf.constant(np.stack([array, array * 0.9])) for name, array in arrays.items()})
        population = population_of(tensors)
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            logits, moved = forward.training_logits(spec, arm, tensors, population, images)
            loss = tf.reduce_sum(tf.math.log_softmax(logits)[..., 0])
        gradients = tape.gradient(loss, tensors, unconnected_gradients="zero")
        found.append((logits, forward.evaluation_logits(spec, arm, tensors, population, images), moved, gradients))
    for last, first in zip(*found, strict=True):
        for one, other in zip(tf.nest.flatten(last), tf.nest.flatten(first), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4 * max(1, float(np.abs(one).max())))


@every_kind
def test_the_three_implementations_are_one(network: NetworkKind) -> None:
    images = noise(2, 16, 784)
    found = []
    for implementation in get_args(Implementation):
        spec = resolved(network, batch_norm={"implementation": implementation}).model_copy(update={"replicates": 2})
        arrays = with_random_everything(spec, ArmName.WITH_BATCH_NORM)
        tensors = held(spec, {name: tf.constant(np.stack([array, array * 0.9])) for name, array in arrays.items()})
        forward.prepare(spec, ArmName.WITH_BATCH_NORM)
        logits, moved = forward.training_logits(spec, ArmName.WITH_BATCH_NORM, tensors, population_of(tensors), images)
        evaluated = forward.evaluation_logits(spec, ArmName.WITH_BATCH_NORM, tensors, population_of(tensors), images)
        found.append([logits, evaluated, *(moved[name] for name in sorted(moved))])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-4)


@every_kind
def test_every_array_of_the_network_is_used(network: NetworkKind) -> None:
    spec = resolved(network)
    images = noise(1, 5, 784)
    for arm in ArmName:
        arrays = with_random_everything(spec, arm)
        before = forward.evaluation_logits(
            spec, arm, stacked(spec, arrays), population_of(stacked(spec, arrays)), images
        ).numpy()
        for name in KINDS[network].shapes(spec, arm):
            changed = stacked(spec, {**arrays, name: arrays[name] + np.float32(0.5)})
            after = forward.evaluation_logits(spec, arm, changed, population_of(changed), images).numpy()
            assert np.abs(after - before).max() > 1e-6, name
