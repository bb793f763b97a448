"""The forward pass of any kind of network: the one that trains, by the batch's statistics, and the one that evaluates.

Every array has the replicates as its leading axis: R replicates, B images. A kind of network computes its logits with
a function that normalizes a layer's values; which statistics that takes is decided here, how it is written in
`worker/batch_norm.py`.
"""

import tensorflow as tf

from models.spec import ArmName, ResolvedSpec
from worker.batch_norm import NORMALIZATIONS, Layer, keras_layer
from worker.kinds import KINDS
from worker.tensors import Tensors


def prepare(spec: ResolvedSpec, arm: ArmName) -> None:
    """Make what must be there before a program for these replicates is compiled."""
    if arm is ArmName.WITH_BATCH_NORM and spec.batch_norm.implementation == "keras_layer":
        for units in KINDS[spec.network].normalized_units(spec):
            keras_layer(spec.batch_norm, spec.replicates * units)


def training_logits(
    spec: ResolvedSpec, arm: ArmName, parameters: Tensors, population: Tensors, images: tf.Tensor
) -> tuple[tf.Tensor, Tensors]:
    """Return the logits [R, B, 10] for a training batch [R, B, n], normalized with its own statistics, and the
    population that this batch has moved.

    Without batch normalization there is no population; with `update_population_statistics` off it stays as it is.
    """
    normalization = NORMALIZATIONS[spec.batch_norm.implementation]

    def normalize(layer: str, z: tf.Tensor, population: Tensors) -> tuple[tf.Tensor, Tensors]:
        found = normalization.training(spec.batch_norm, _layer(layer, parameters, population), z)
        mean, variance = _names(layer)
        return found.values, {mean: found.population_mean, variance: found.population_variance}

    logits, moved = KINDS[spec.network].logits(spec, arm, parameters, population, images, normalize)
    return logits, moved if spec.batch_norm.update_population_statistics else population


def evaluation_logits(
    spec: ResolvedSpec, arm: ArmName, parameters: Tensors, population: Tensors, images: tf.Tensor
) -> tf.Tensor:
    """Return the logits [R, B, 10] for images [R, B, n], normalized with the population's statistics."""
    normalization = NORMALIZATIONS[spec.batch_norm.implementation]

    def normalize(layer: str, z: tf.Tensor, population: Tensors) -> tuple[tf.Tensor, Tensors]:
        values = normalization.inference(spec.batch_norm, _layer(layer, parameters, population), z)
        return values, {name: population[name] for name in _names(layer)}

    logits, _ = KINDS[spec.network].logits(spec, arm, parameters, population, images, normalize)
    return logits


def _layer(layer: str, parameters: Tensors, population: Tensors) -> Layer:
    """Return what a layer's normalization has; a layer without beta has 0."""
    gamma = parameters[f"{layer}/gamma"]
    beta = parameters.get(f"{layer}/beta")
    mean, variance = (population[name] for name in _names(layer))
    return Layer(gamma, tf.zeros_like(gamma) if beta is None else beta, mean, variance)


def _names(layer: str) -> tuple[str, str]:
    return f"{layer}/population_mean", f"{layer}/population_variance"
