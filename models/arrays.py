"""Named arrays of networks, and what all kinds of networks compute with them in NumPy.

Arrays are float32 and named `layer/what`; the last layer is `output`.

    BN(z) = gamma (z − mean) / √(variance + epsilon) + beta        (Ioffe and Szegedy, 2015, algorithms 1 and 2)

With `population` statistics, mean and variance are the moving averages of the training; with `batch`, those of the
images at hand, so the answer for one image depends on the others beside it.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from models.spec import Activation

#: Of leaky ReLU below 0; TensorFlow's own default.
LEAKY_RELU_SLOPE = 0.2

#: What the batches' statistics move, not gradient descent.
POPULATION = ("population_mean", "population_variance")

Array = NDArray[np.float32]
Arrays = dict[str, Array]
Shapes = dict[str, tuple[int, ...]]


def scale_and_shift(arrays: Arrays, layer: str, epsilon: float) -> tuple[Array, Array]:
    """Return by what a layer's values are multiplied, and what is added, by the population's statistics."""
    by = _scale(arrays[f"{layer}/gamma"], arrays[f"{layer}/population_variance"], epsilon)
    return by, arrays.get(f"{layer}/beta", np.float32(0)) - arrays[f"{layer}/population_mean"] * by


def normalized(arrays: Arrays, layer: str, epsilon: float, z: Array) -> Array:
    """Return z [..., values, units] normalized by its own means and biased variances [..., 1, units], as in training.

    A layer without beta is not moved.
    """
    mean, variance = z.mean(axis=-2, keepdims=True), z.var(axis=-2, keepdims=True)
    by = _scale(arrays[f"{layer}/gamma"], variance, epsilon)
    moved: Array = (z - mean) * by + arrays.get(f"{layer}/beta", np.float32(0))
    return moved


def _scale(gamma: Array, variance: Array, epsilon: float) -> Array:
    by: Array = gamma / np.sqrt(variance + np.float32(epsilon))
    return by


def softmax(logits: Array) -> Array:
    """Return exp(logits) / Σ exp(logits) along the last axis, shifted so that nothing overflows."""
    with np.errstate(over="ignore"):  # a difference beyond float32 is −∞, and its share 0
        shares: Array = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares


def _relu(z: Array) -> Array:
    return np.maximum(z, np.float32(0))


def _sigmoid(z: Array) -> Array:
    shares: Array = np.float32(0.5) * (np.float32(1) + np.tanh(np.float32(0.5) * z))  # exp(−z) would overflow
    return shares


def _leaky_relu(z: Array) -> Array:
    bent: Array = np.maximum(z, np.float32(LEAKY_RELU_SLOPE) * z)
    return bent


def _elu(z: Array) -> Array:
    bent: Array = np.where(z > 0, z, np.expm1(np.minimum(z, np.float32(0))))
    return bent


def _gelu(z: Array) -> Array:
    from scipy.special import erf  # NumPy has none; half a second that the other activations need not wait

    weighted: Array = np.float32(0.5) * z * (np.float32(1) + erf(z * np.float32(1 / np.sqrt(2))))
    return weighted


def _linear(z: Array) -> Array:
    return z


ACTIVATIONS: Mapping[Activation, Callable[[Array], Array]] = {
    "relu": _relu,  # max(z, 0)
    "sigmoid": _sigmoid,  # 1 / (1 + exp(−z))
    "tanh": np.tanh,
    "leaky_relu": _leaky_relu,  # max(z, 0.2 z)
    "elu": _elu,  # z, below 0 exp(z) − 1 (Clevert et al., 2015)
    "gelu": _gelu,  # z Φ(z) with the normal distribution's Φ, exact (Hendrycks and Gimpel, 2016)
    "linear": _linear,
}
