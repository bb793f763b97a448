"""The convolutional network outside TensorFlow: the names and shapes of its arrays, its answer in NumPy.

    without batch normalization   a = act(x * K + b)                                   weights, bias
    with, before the activation   a = act(BN(x * K))      weights, gamma, beta, population_mean, population_variance
    with, after the activation    a = BN(act(x * K))      the same
    the output layer, always      x W + b, of all numbers of the last feature maps     weights, bias

The convolutions are `convolution_1`, `convolution_2`, …; x * K is the cross-correlation that every framework calls
convolution, padded as TensorFlow's SAME is. Gamma, beta and the statistics have a number per feature map: a map is
normalized over the images of a batch and all its pixels (Ioffe and Szegedy, 2015, 3.2).

Kernels are [height, width, maps before, maps]. The output layer takes the pixels row by row, of each its maps in turn.
In memory the maps come last here, whatever `data_format` says: that is the training's affair.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from models.arrays import ACTIVATIONS, POPULATION, Array, Arrays, Shapes, scale_and_shift
from models.kind_fields import sides
from models.spec import CLASSES, PIXELS, SIDE, ArmName, ResolvedSpec

#: How arrays start that are not drawn; all others start as 0.
STARTS: Mapping[str, float] = {"gamma": 1.0, "population_variance": 1.0}

#: Numbers that are laid out for a product at a time: a few megabytes stay in a processor's cache.
MOST_LAID_OUT = 500_000

#: Images that are answered at a time, where none depends on another; and rows whose squares are summed at a time.
SOME_IMAGES, SOME_ROWS = 500, 10_000

#: The kernels or weights and what is added, of each layer; and what its values are scaled by and moved by afterwards.
Folded = list[tuple[Array, Array, tuple[Array, Array] | None]]


def layer_names(spec: ResolvedSpec) -> list[str]:
    """Return the layers from input to output."""
    return [f"convolution_{i + 1}" for i in range(len(spec.feature_maps))] + ["output"]


def shapes(spec: ResolvedSpec, arm: ArmName) -> Shapes:
    """Return the name and shape of every array of this arm's network."""
    named: Shapes = {}
    for layer, (inputs, maps) in zip(layer_names(spec), pairwise((1, *spec.feature_maps)), strict=False):
        named[f"{layer}/weights"] = (spec.kernel_size, spec.kernel_size, inputs, maps)
        whats = ("gamma", "beta", *POPULATION) if arm is ArmName.WITH_BATCH_NORM else ("bias",)
        named |= {f"{layer}/{what}": (maps,) for what in whats}
    named["output/weights"] = (sides(spec.strides)[-1] ** 2 * spec.feature_maps[-1], CLASSES)
    named["output/bias"] = (CLASSES,)
    return named


def paddings(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return how many pixels of 0 are put before and after a side, as TensorFlow's SAME puts them."""
    missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return missing // 2, missing - missing // 2


def folded(spec: ResolvedSpec, arrays: Arrays) -> Folded:
    """Return the layers with the population's statistics in them, where that is possible.

    Before the activation, BN(x * K) = x * (K · scale) + shift. After it, they stay as they are: the padding of the next
    layer is not normalized.
    """
    made: Folded = []
    for layer in layer_names(spec):
        weights = arrays[f"{layer}/weights"]
        if f"{layer}/gamma" not in arrays:
            made.append((weights, arrays[f"{layer}/bias"], None))
            continue
        by, moved = scale_and_shift(arrays, layer, spec.batch_norm.epsilon)
        if spec.batch_norm.placement == "before_activation":
            made.append((weights * by, moved, None))
        else:
            made.append((weights, np.zeros_like(moved), (by, moved)))
    return made


def by_population(spec: ResolvedSpec, layers: Folded, images: Array) -> Array:
    """Return the logits [..., images, 10] for images [..., images, 784], by statistics that are known."""
    flat = images.reshape(-1, PIXELS)
    logits = [_by_population(spec, layers, flat[i : i + SOME_IMAGES]) for i in range(0, len(flat), SOME_IMAGES)]
    return np.concatenate(logits).reshape(*images.shape[:-1], CLASSES)


def _by_population(spec: ResolvedSpec, layers: Folded, images: Array) -> Array:
    activate = ACTIVATIONS[spec.activation]
    x = images.reshape(-1, SIDE, SIDE, 1)
    *convolutions, (weights, bias, _) = layers
    for (kernels, added, after), stride in zip(convolutions, spec.strides, strict=True):
        x = activate(convolved(x, kernels, stride) + added)
        if after is not None:
            x = x * after[0] + after[1]
    logits: Array = x.reshape(len(x), -1) @ weights + bias
    return logits


def by_batch(spec: ResolvedSpec, arrays: Arrays, images: Array) -> Array:
    """Return the logits [..., images, 10] for images [..., images, 784], by their own statistics."""
    activate = ACTIVATIONS[spec.activation]
    before = spec.batch_norm.placement == "before_activation"
    x = images.reshape(-1, SIDE, SIDE, 1)
    together = images.shape[:-1]  # [..., images]
    for layer, stride in zip(layer_names(spec), spec.strides, strict=False):
        z = convolved(x, arrays[f"{layer}/weights"], stride)
        z = z if before else activate(z)
        _normalize(arrays, layer, spec.batch_norm.epsilon, z.reshape(*together[:-1], -1, z.shape[-1]))
        x = activate(z) if before else z
    logits: Array = x.reshape(*together, -1) @ arrays["output/weights"] + arrays["output/bias"]
    return logits


def _normalize(arrays: Arrays, layer: str, epsilon: float, z: Array) -> None:
    """Normalize z [..., images · pixels, maps] by its own mean and biased variance, as in training.

    In place, and summed in float64: of all test images it is hundreds of megabytes, and millions of numbers a map.
    """
    z -= z.mean(axis=-2, keepdims=True, dtype=np.float64).astype(np.float32)
    squares = np.zeros((*z.shape[:-2], 1, z.shape[-1]))
    for first in range(0, z.shape[-2], SOME_ROWS):
        part = np.square(z[..., first : first + SOME_ROWS, :])
        squares += part.sum(axis=-2, keepdims=True, dtype=np.float64)
    variance = (squares / z.shape[-2]).astype(np.float32)
    z *= arrays[f"{layer}/gamma"] / np.sqrt(variance + np.float32(epsilon))
    z += arrays[f"{layer}/beta"]


def convolved(x: Array, kernels: Array, stride: int) -> Array:
    """Return x * K with SAME padding: [images, side, side, maps before] in, [images, side / stride, …, maps] out.

    Each place's part of the picture is laid out as a row, for some images at a time, and the rest is one product.
    """
    images, side, _, inputs = x.shape
    kernel, maps = len(kernels), kernels.shape[-1]
    padding = paddings(side, kernel, stride)
    after = -(-side // stride)
    some = max(1, MOST_LAID_OUT // (after**2 * kernel**2 * inputs))
    rows = np.ascontiguousarray(kernels.transpose(2, 0, 1, 3)).reshape(-1, maps)  # as the windows have them
    z = np.empty((images, after, after, maps), np.float32)
    for first in range(0, images, some):
        padded = np.pad(x[first : first + some], ((0, 0), padding, padding, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (1, 2))[:, ::stride, ::stride]
        z[first : first + some] = (windows.reshape(-1, rows.shape[0]) @ rows).reshape(-1, after, after, maps)
    return z
