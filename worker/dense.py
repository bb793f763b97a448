"""The dense network in TensorFlow, all replicates at once.

R replicates, B images, n inputs, m units. The formula and the names of the arrays are in `models/dense.py`.

The first weights alone stand the other way round in the loop, a row per unit [R, m, n], and have the kept pixels only:
the product that is their gradient, a third of all work, takes three quarters of the time then (`bench/NOTES.md`).
"""

import tensorflow as tf

from models.dense import layer_names
from models.spec import ArmName, ResolvedSpec
from worker.tensors import ACTIVATIONS, Normalize, Tensors

BLOCK = 500
INKED_ALONE = True

#: The one array that has a row, here a column, per pixel.
FIRST_WEIGHTS = "hidden_1/weights"


def normalized_units(spec: ResolvedSpec) -> tuple[int, ...]:
    """Return the units of each normalized layer."""
    return spec.hidden_layers


def held(parameters: Tensors, kept: tf.Tensor) -> Tensors:
    """Return the parameters as the loop holds them: the first weights [R, 784, m] as [R, m, kept]."""
    return _by_unit({**parameters, FIRST_WEIGHTS: tf.gather(parameters[FIRST_WEIGHTS], kept, axis=1)})


def released(moved: Tensors, before: Tensors, places: tf.Tensor) -> Tensors:
    """Return the loop's parameters with all first weights [R, 784, m]: moved where there is ink, else as before."""
    rows = tf.concat([_by_unit(moved)[FIRST_WEIGHTS], before[FIRST_WEIGHTS]], axis=1)
    return {**moved, FIRST_WEIGHTS: tf.gather(rows, places, axis=1)}


def _by_unit(arrays: Tensors) -> Tensors:
    return {**arrays, FIRST_WEIGHTS: tf.transpose(arrays[FIRST_WEIGHTS], [0, 2, 1])}


def logits(
    spec: ResolvedSpec,
    arm: ArmName,
    parameters: Tensors,
    population: Tensors,
    images: tf.Tensor,
    normalize: Normalize,
) -> tuple[tf.Tensor, Tensors]:
    """Return the logits [R, B, 10] for images [R, B, n], and the moved population."""
    activate = ACTIVATIONS[spec.activation]
    before = spec.batch_norm.placement == "before_activation"
    moved: Tensors = {}
    x = images
    for layer in layer_names(spec)[:-1]:
        weights = f"{layer}/weights"
        z = tf.matmul(x, parameters[weights], transpose_b=weights == FIRST_WEIGHTS)  # [R, B, m]
        if arm is ArmName.WITHOUT_BATCH_NORM:
            x = activate(z + parameters[f"{layer}/bias"][:, None])
            continue
        x, now = normalize(layer, z if before else activate(z), population)
        x = activate(x) if before else x
        moved |= now
    return tf.matmul(x, parameters["output/weights"]) + parameters["output/bias"][:, None], moved
