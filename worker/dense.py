"""The dense network in TensorFlow: the forward pass that trains, all replicates at once, and the one that evaluates.

Every array has the replicates as its leading axis: R replicates, B images, n inputs, m units. The formula and the
names of the arrays are in `models/dense.py`; the numbers of the equations are those of Ioffe and Szegedy (2015).
"""

from collections.abc import Callable, Mapping

import tensorflow as tf

from models.dense import layer_names
from models.spec import Activation, ArmName, ResolvedSpec

Tensors = dict[str, tf.Tensor]

ACTIVATIONS: Mapping[Activation, Callable[[tf.Tensor], tf.Tensor]] = {
    "relu": tf.nn.relu,
    "sigmoid": tf.nn.sigmoid,
    "tanh": tf.nn.tanh,
}


def training_logits(
    spec: ResolvedSpec, arm: ArmName, parameters: Tensors, images: tf.Tensor
) -> tuple[tf.Tensor, Tensors]:
    """Return the logits [R, B, 10] for a training batch [R, B, 784], and the statistics of that batch.

    The statistics are named as the population's that they will move, each [R, m]; without batch normalization there
    are none.
    """
    batch: Tensors = {}

    def normalize(layer: str, z: tf.Tensor) -> tf.Tensor:
        mean = tf.reduce_mean(z, axis=1)  # eq. 1 of algorithm 1, [R, m]
        variance = tf.reduce_mean(tf.square(z - mean[:, None]), axis=1)  # eq. 2, biased, [R, m]
        batch[f"{layer}/population_mean"], batch[f"{layer}/population_variance"] = mean, variance
        return _scale_and_shift(spec, parameters, layer, z, mean, variance)

    return _logits(spec, arm, parameters, images, normalize), batch


def evaluation_logits(
    spec: ResolvedSpec, arm: ArmName, parameters: Tensors, population: Tensors, images: tf.Tensor
) -> tf.Tensor:
    """Return the logits [R, B, 10] for images [R, B, 784], normalized with the population's statistics."""

    def normalize(layer: str, z: tf.Tensor) -> tf.Tensor:
        mean, variance = population[f"{layer}/population_mean"], population[f"{layer}/population_variance"]
        return _scale_and_shift(spec, parameters, layer, z, mean, variance)

    return _logits(spec, arm, parameters, images, normalize)


def moved_population(spec: ResolvedSpec, population: Tensors, batch: Tensors) -> Tensors:
    """Return the population statistics after one batch: population · momentum + batch · (1 − momentum)."""
    if not spec.batch_norm.update_population_statistics:
        return population
    keep = spec.batch_norm.momentum
    return {name: population[name] * keep + batch[name] * (1.0 - keep) for name in population}


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
        z = tf.matmul(x, parameters[f"{layer}/weights"])  # [R, B, m]
        if arm is ArmName.WITHOUT_BATCH_NORM:
            x = activate(z + parameters[f"{layer}/bias"][:, None])
        elif before:
            x = activate(normalize(layer, z))
        else:
            x = normalize(layer, activate(z))
    return tf.matmul(x, parameters["output/weights"]) + parameters["output/bias"][:, None]


def _scale_and_shift(
    spec: ResolvedSpec, parameters: Tensors, layer: str, z: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
) -> tf.Tensor:
    """Return gamma (z − mean) / √(variance + epsilon) + beta: eqs. 3 and 4, [R, B, m]."""
    scale = parameters[f"{layer}/gamma"] * tf.math.rsqrt(variance + spec.batch_norm.epsilon)  # [R, m]
    return (z - mean[:, None]) * scale[:, None] + parameters[f"{layer}/beta"][:, None]
