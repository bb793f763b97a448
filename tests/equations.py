"""Convolutions and the LSTM by their equations, written out in float64: what the networks are held against."""

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import Arrays
from models.kinds import KINDS
from models.spec import ArmName, ResolvedSpec, Statistics

Exact = NDArray[np.float64]
#: Takes a layer's name, its values and, of a recurrent network, the step; returns them normalized.
Normalize = Callable[[str, Exact, int | None], Exact]


def of_convolutions(spec: ResolvedSpec, arrays: dict[str, Exact], images: Exact, normalize: Normalize) -> Exact:
    x = images.reshape(-1, 28, 28, 1)
    for number, stride in enumerate(spec.strides):
        layer, kernel = f"convolution_{number + 1}", spec.kernel_size
        kernels = arrays[f"{layer}/weights"]
        side = -(-x.shape[1] // stride)
        missing = max((side - 1) * stride + kernel - x.shape[1], 0)
        padding = (missing // 2, missing - missing // 2)
        padded = np.pad(x, ((0, 0), padding, padding, (0, 0)))
        z = np.zeros((len(x), side, side, kernels.shape[-1]))
        for row, column in product(range(side), repeat=2):
            top, left = row * stride, column * stride
            part = padded[:, top : top + kernel, left : left + kernel]
            z[:, row, column] = np.tensordot(part, kernels, 3)
        z = z + arrays.get(f"{layer}/bias", 0)
        if f"{layer}/gamma" not in arrays:
            x = np.tanh(z)
        elif spec.batch_norm.placement == "before_activation":
            x = np.tanh(normalize(layer, z, None))
        else:
            x = normalize(layer, np.tanh(z), None)
    logits: Exact = x.reshape(len(x), -1) @ arrays["output/weights"] + arrays["output/bias"]
    return logits


def of_an_lstm(spec: ResolvedSpec, arrays: dict[str, Exact], images: Exact, normalize: Normalize) -> Exact:
    def sigmoid(z: Exact) -> Exact:
        return 1 / (1 + np.exp(-z))

    def maybe(layer: str, z: Exact, step: int) -> Exact:
        return normalize(layer, z, step) if f"{layer}/gamma" in arrays else z

    h = c = np.zeros((len(images), spec.units))
    for step in range(28):
        row = images[:, 28 * step : 28 * step + 28]
        gates = maybe("lstm_input", row @ arrays["lstm_input/weights"], step)
        gates = gates + maybe("lstm_hidden", h @ arrays["lstm_hidden/weights"], step) + arrays["lstm_input/bias"]
        f, i, o, g = (gates[:, n * spec.units : (n + 1) * spec.units] for n in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(maybe("lstm_cell", c, step))
    logits: Exact = h @ arrays["output/weights"] + arrays["output/bias"]
    return logits


BY_THE_BOOK = {"convolutional": of_convolutions, "recurrent": of_an_lstm}  # dense: tests/test_models_dense.py


def by_the_book(
    spec: ResolvedSpec, arm: ArmName, arrays: Mapping[str, NDArray[Any]], images: NDArray[Any], statistics: Statistics
) -> tuple[Exact, Arrays]:
    """Return the logits, and the statistics of the batch that were met on the way, named as the population's."""
    exact: dict[str, Exact] = {name: array.astype(np.float64) for name, array in arrays.items()}
    met: dict[str, list[Exact]] = {}

    def normalize(layer: str, z: Exact, step: int | None) -> Exact:
        over = tuple(range(z.ndim - 1))  # all but the last axis: a number per unit or per feature map
        found = {"population_mean": z.mean(axis=over), "population_variance": ((z - z.mean(axis=over)) ** 2).mean(over)}
        for what, batch in found.items():
            met.setdefault(f"{layer}/{what}", []).append(batch)
            if statistics == "population":
                stored = exact[f"{layer}/{what}"]
                found[what] = stored if step is None else stored[step]
        scale = exact[f"{layer}/gamma"] / np.sqrt(found["population_variance"] + spec.batch_norm.epsilon)
        normalized: Exact = scale * (z - found["population_mean"]) + exact.get(f"{layer}/beta", 0)
        return normalized

    logits = BY_THE_BOOK[spec.network](spec, exact, images.astype(np.float64), normalize)
    shapes = KINDS[spec.network].shapes(spec, arm)
    return logits, {name: np.array(steps, np.float32).reshape(shapes[name]) for name, steps in met.items()}
