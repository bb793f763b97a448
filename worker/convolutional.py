"""The convolutional network in TensorFlow, all replicates at once.

R replicates, B images, C feature maps before and m after a convolution, P pixels of a map. The formula and the names
of the arrays are in `models/convolutional.py`.

A convolution lays each place's part of the picture out as a row and is one product then. XLA's own convolution takes
ten times as long on a CPU with pictures of this size, and knows no replicates (`bench/NOTES.md`).
"""

import tensorflow as tf

from models.convolutional import layer_names, paddings
from models.spec import SIDE, ArmName, ResolvedSpec
from worker.tensors import ACTIVATIONS, Normalize, Tensors, held_as_stored, released_as_stored

BLOCK = 50
INKED_ALONE = False
held, released = held_as_stored, released_as_stored


def normalized_units(spec: ResolvedSpec) -> tuple[int, ...]:
    """Return the feature maps of each normalized layer."""
    return spec.feature_maps


def logits(
    spec: ResolvedSpec,
    arm: ArmName,
    parameters: Tensors,
    population: Tensors,
    images: tf.Tensor,
    normalize: Normalize,
) -> tuple[tf.Tensor, Tensors]:
    """Return the logits [R, B, 10] for images [R, B, 784], and the moved population."""
    activate, last = ACTIVATIONS[spec.activation], spec.data_format == "channels_last"
    before = spec.batch_norm.placement == "before_activation"
    convolve = _with_maps_last if last else _with_maps_first
    replicates, count, _ = images.shape
    moved: Tensors = {}
    x = tf.reshape(images, [replicates, count, *([SIDE, SIDE, 1] if last else [1, SIDE, SIDE])])
    for layer, stride in zip(layer_names(spec), spec.strides, strict=False):
        z = convolve(x, parameters[f"{layer}/weights"], stride)  # [R, B, side, side, m] or [R, B, m, side, side]
        if arm is ArmName.WITHOUT_BATCH_NORM:
            bias = parameters[f"{layer}/bias"]
            x = activate(z + (bias[:, None, None, None] if last else bias[:, None, :, None, None]))
            continue
        by_map = _by_map(z if before else activate(z), last)
        normalized, now = normalize(layer, by_map, population)
        x = _as_pictures(normalized, z.shape, last)
        x = activate(x) if before else x
        moved |= now
    if not last:
        x = tf.transpose(x, [0, 1, 3, 4, 2])  # the output layer has its weights in one order
    flat = tf.reshape(x, [replicates, count, -1])
    return tf.matmul(flat, parameters["output/weights"]) + parameters["output/bias"][:, None], moved


def _by_map(z: tf.Tensor, last: bool) -> tf.Tensor:
    """Return feature maps with all that is normalized together in one axis: [R, B P, m]."""
    maps_last = z if last else tf.transpose(z, [0, 1, 3, 4, 2])
    return tf.reshape(maps_last, [z.shape[0], -1, maps_last.shape[-1]])


def _as_pictures(by_map: tf.Tensor, shape: tf.TensorShape, last: bool) -> tf.Tensor:
    """Return them in the shape that they had."""
    if last:
        return tf.reshape(by_map, shape)
    replicates, count, maps, side, _ = shape
    return tf.transpose(tf.reshape(by_map, [replicates, count, side, side, maps]), [0, 1, 4, 2, 3])


def _with_maps_last(x: tf.Tensor, kernels: tf.Tensor, stride: int) -> tf.Tensor:
    """Return the convolution of [R, B, side, side, C] with kernels [R, k, k, C, m]."""
    replicates, count, side, _, _ = x.shape
    _, kernel, _, inputs, maps = kernels.shape
    padding = paddings(side, kernel, stride)
    padded = tf.pad(x, [[0, 0], [0, 0], padding, padding, [0, 0]])
    parts = [padded[:, :, rows, columns] for rows, columns in _places(side, kernel, stride)]
    laid_out = tf.concat(parts, axis=-1)  # [R, B, after, after, k k C]
    after = laid_out.shape[2]
    z = tf.matmul(
        tf.reshape(laid_out, [replicates, -1, kernel**2 * inputs]),
        tf.reshape(kernels, [replicates, kernel**2 * inputs, maps]),
    )
    return tf.reshape(z, [replicates, count, after, after, maps])


def _with_maps_first(x: tf.Tensor, kernels: tf.Tensor, stride: int) -> tf.Tensor:
    """Return the convolution of [R, B, C, side, side] with kernels [R, k, k, C, m]."""
    replicates, count, _, side, _ = x.shape
    _, kernel, _, inputs, maps = kernels.shape
    padding = paddings(side, kernel, stride)
    padded = tf.pad(x, [[0, 0], [0, 0], [0, 0], padding, padding])
    parts = [padded[:, :, :, rows, columns] for rows, columns in _places(side, kernel, stride)]
    laid_out = tf.concat(parts, axis=2)  # [R, B, k k C, after, after]
    after = laid_out.shape[-1]
    z = tf.einsum(
        "rkm,rbkp->rbmp",
        tf.reshape(kernels, [replicates, kernel**2 * inputs, maps]),
        tf.reshape(laid_out, [replicates, count, kernel**2 * inputs, after**2]),
    )
    return tf.reshape(z, [replicates, count, maps, after, after])


def _places(side: int, kernel: int, stride: int) -> list[tuple[slice, slice]]:
    """Return for each number of a kernel, row by row, which pixels of a padded picture it meets."""
    reach = (-(-side // stride) - 1) * stride + 1
    along = [slice(first, first + reach, stride) for first in range(kernel)]
    return [(rows, columns) for rows in along for columns in along]
