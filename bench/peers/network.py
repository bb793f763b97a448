"""The network that every server of digits has: weights and biases from a file, ReLU between, softmax at the end."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Layers = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


def read(path: Path) -> Layers:
    """Return the layers that `write` has written."""
    with np.load(path) as file:
        return [(file[f"weights_{layer}"], file[f"bias_{layer}"]) for layer in range(len(file.files) // 2)]


def write(path: Path, layers: Layers) -> None:
    """Write layers, from input to output."""
    named: dict[str, Any] = {}
    for layer, (weights, bias) in enumerate(layers):
        named |= {f"weights_{layer}": weights, f"bias_{layer}": bias}
    np.savez(path, **named)


def probabilities(layers: Layers, image: Any) -> list[float]:
    """Return ten probabilities for 784 numbers, in whatever lists they come."""
    x = np.asarray(image, np.float32).reshape(784)
    for weights, bias in layers[:-1]:
        x = np.maximum(x @ weights + bias, 0)
    logits = x @ layers[-1][0] + layers[-1][1]
    powers = np.exp(logits - logits.max())
    shares: list[float] = (powers / powers.sum()).tolist()
    return shares
