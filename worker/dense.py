"""The dense network in TensorFlow: the forward pass that trains, all replicates at once, and the one that evaluates.

Every array has the replicates as its leading axis: R replicates, B images, n inputs, m units. The formula and the
names of the arrays are in `models/dense.py`, the ways to normalize in `worker/batch_norm.py`.

The first weights alone stand the other way round, [R, m, n]: the product that is their gradient, a third of all work,
takes three quarters of the time then (`bench/NOTES.md`).
"""

from collections.abc import Callable, Mapping

import tensorflow as tf

from models.dense import LEAKY_RELU_SLOPE, layer_names
from models.spec import Activation, ArmName, ResolvedSpec
from worker.batch_norm import NORMALIZATIONS, Layer, keras_layer

Tensors = dict[str, tf.Tensor]

#: The one array that has a row, here a column, per pixel.
FIRST_WEIGHTS = "hidden_1/weights"

#: The formulas are beside their like in `models/dense.py`.
ACTIVATIONS: Mapping[Activation, Callable[[tf.Tensor], tf.Tensor]] = {
    "relu": tf.nn.relu,
    "sigmoid": tf.nn.sigmoid,
    "tanh": tf.nn.tanh,
    "leaky_relu": lambda z: tf.nn.leaky_relu(z, LEAKY_RELU_SLOPE),
    "elu": tf.nn.elu,
    "gelu": lambda z: tf.nn.gelu(z, approximate=False),
    "linear": tf.identity,
}


def prepare(spec: ResolvedSpec, arm: ArmName) -> None:
    """Make what must be there before a program for these replicates is compiled."""
    if arm is ArmName.WITH_BATCH_NORM and spec.batch_norm.implementation == "keras_layer":
        for units in spec.hidden_layers:
            keras_layer(spec.batch_norm, spec.replicates * units)


def by_unit(arrays: Tensors) -> Tensors:
    """Return arrays [R, …] as they are stored as the functions below take them: the first weights a row per unit."""
    return {**arrays, FIRST_WEIGHTS: tf.transpose(arrays[FIRST_WEIGHTS], [0, 2, 1])}


def training_logits(
    spec: ResolvedSpec, arm: ArmName, parameters: Tensors, population: Tensors, images: tf.Tensor
) -> tuple[tf.Tensor, Tensors]:
    """Return the logits [R, B, 10] for a training batch [R, B, n], normalized with its own statistics, and the
    population that this batch has moved.

    Without batch normalization there is no population; with `update_population_statistics` off it stays as it is.
    """
    moved = dict(population)
    normalization = NORMALIZATIONS[spec.batch_norm.implementation]

    def normalize(layer: str, z: tf.Tensor) -> tf.Tensor:
        normalized = normalization.training(spec.batch_norm, _layer(layer, parameters, population), z)
        if spec.batch_norm.update_population_statistics:
            moved[f"{layer}/population_mean"] = normalized.population_mean
            moved[f"{layer}/population_variance"] = normalized.population_variance
        return normalized.values

    return _logits(spec, arm, parameters, images, normalize), moved


def evaluation_logits(
    spec: ResolvedSpec, arm: ArmName, parameters: Tensors, population: Tensors, images: tf.Tensor
) -> tf.Tensor:
    """Return the logits [R, B, 10] for images [R, B, n], normalized with the population's statistics."""
    normalization = NORMALIZATIONS[spec.batch_norm.implementation]

    def normalize(layer: str, z: tf.Tensor) -> tf.Tensor:
        return normalization.inference(spec.batch_norm, _layer(layer, parameters, population), z)

    return _logits(spec, arm, parameters, images, normalize)


def _layer(layer: str, parameters: Tensors, population: Tensors) -> Layer:
    return Layer(
        parameters[f"{layer}/gamma"],
        parameters[f"{layer}/beta"],
        population[f"{layer}/population_mean"],
        population[f"{layer}/population_variance"],
    )


def _logits(
    spec: ResolvedSpec,
    arm: ArmName,
    parameters: Tensors,
    images: tf.Tensor,
    normalize: Callable[[str, tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    activate = ACTIVATIONS[spec.activation]
    before = spec.batch_norm.placement == "before_activation"
    x = images
    for layer in layer_names(spec)[:-1]:
        weights = f"{layer}/weights"
        z = tf.matmul(x, parameters[weights], transpose_b=weights == FIRST_WEIGHTS)  # [R, B, m]
        if arm is ArmName.WITHOUT_BATCH_NORM:
            x = activate(z + parameters[f"{layer}/bias"][:, None])
        elif before:
            x = activate(normalize(layer, z))
        else:
            x = normalize(layer, activate(z))
    return tf.matmul(x, parameters["output/weights"]) + parameters["output/bias"][:, None]
