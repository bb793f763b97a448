"""The dense network outside TensorFlow: its arrays and their shapes, its starting weights, its answer in NumPy.

Arrays are float32 and named `layer/what`: the hidden layers are `hidden_1`, `hidden_2`, …, the last one is `output`.

    without batch normalization   a = act(x W + b)                                     weights, bias
    with, before the activation   a = act(BN(x W))        weights, gamma, beta, population_mean, population_variance
    with, after the activation    a = BN(act(x W))        the same
    the output layer, always      x W + b                                              weights, bias

    BN(z) = gamma (z − mean) / √(variance + epsilon) + beta        (Ioffe and Szegedy, 2015, algorithms 1 and 2)

With `population` statistics, mean and variance are the moving averages of the training; with `batch`, those of the
images at hand, so the answer for one image depends on the others beside it.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.errors import BatchStatisticsUndefined, FieldError, NetworkDamaged
from models.spec import CLASSES, PIXELS, Activation, ArmName, ResolvedSpec, Statistics
from models.streams import weights_generator

#: Of leaky ReLU below 0; TensorFlow's own default.
LEAKY_RELU_SLOPE = 0.2

#: What the batches' statistics move, not gradient descent.
POPULATION = ("population_mean", "population_variance")

Array = NDArray[np.float32]
Arrays = dict[str, Array]


def layer_names(spec: ResolvedSpec) -> list[str]:
    """Return the layers from input to output."""
    return [f"hidden_{i + 1}" for i in range(len(spec.hidden_layers))] + ["output"]


def shapes(spec: ResolvedSpec, arm: ArmName) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every array of this arm's network."""
    widths = (PIXELS, *spec.hidden_layers, CLASSES)
    named: dict[str, tuple[int, ...]] = {}
    for layer, (inputs, units) in zip(layer_names(spec), pairwise(widths), strict=True):
        named[f"{layer}/weights"] = (inputs, units)
        if arm is ArmName.WITH_BATCH_NORM and layer != "output":
            for what in ("gamma", "beta", *POPULATION):
                named[f"{layer}/{what}"] = (units,)
        else:
            named[f"{layer}/bias"] = (units,)
    return named


def starting_arrays(spec: ResolvedSpec, arm: ArmName, replicate: int) -> Arrays:
    """Return the network before its first batch.

    Weights are drawn from Normal(0, `weight_scale`), a stream for each layer, from (seed, replicate, layer) alone: so
    both arms start from the same ones. The rest starts as it does nothing: bias 0, gamma 1, beta 0, mean 0, variance 1.
    """
    arrays: Arrays = {}
    ones = {"gamma", "population_variance"}
    for name, shape in shapes(spec, arm).items():
        layer, what = name.split("/")
        if what == "weights":
            generator = weights_generator(spec.seed, replicate, layer_names(spec).index(layer))
            arrays[name] = generator.normal(0.0, spec.weight_scale, shape).astype(np.float32)
        else:
            arrays[name] = np.full(shape, what in ones, np.float32)
    return arrays


def weights_sha256(arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 of all weight matrices, from input to output: float32, little-endian, row by row.

    Both arms of an experiment start from the same ones, so this is the same for both; biases, gammas and betas, which
    only one of them has, do not count.
    """
    digest = hashlib.sha256()
    for name, array in arrays.items():
        if name.endswith("/weights"):
            digest.update(array.astype("<f4").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class DenseNetwork:
    """A trained dense network that answers in NumPy.

    Raises NetworkDamaged when an array is missing, left over, or has another shape or type than its spec says.
    """

    spec: ResolvedSpec
    arm: ArmName
    arrays: Arrays

    def __post_init__(self) -> None:
        expected = shapes(self.spec, self.arm)
        found = {name: array.shape for name, array in self.arrays.items() if array.dtype == np.float32}
        if found != expected or len(self.arrays) != len(expected):
            raise NetworkDamaged

    @property
    def size_bytes(self) -> int:
        """The memory its arrays take, with what is made of them at the first answer."""
        return 2 * sum(array.nbytes for array in self.arrays.values())

    def logits(self, images: Array, statistics: Statistics = "population") -> Array:
        """Return the ten sums before the softmax: [images, 784] with pixels 0…1 in, [images, 10] out.

        Of several batches, [batches, images, 784] in and [batches, images, 10] out, each has statistics of its own.
        Raises BatchStatisticsUndefined for `batch` without batch normalization.
        """
        if statistics == "batch" and self.arm is ArmName.WITHOUT_BATCH_NORM:
            raise BatchStatisticsUndefined(
                [FieldError("statistics", "population, for an arm without batch normalization", statistics)]
            )
        if statistics == "population":
            return self._by_population(images)
        activate = ACTIVATIONS[self.spec.activation]
        before = self.spec.batch_norm.placement == "before_activation"
        x = images
        for layer in layer_names(self.spec)[:-1]:
            z = x @ self.arrays[f"{layer}/weights"]  # [images, units]
            x = activate(self._by_batch(layer, z)) if before else self._by_batch(layer, activate(z))
        logits: Array = x @ self.arrays["output/weights"] + self.arrays["output/bias"]
        return logits

    def probabilities(self, images: Array, statistics: Statistics = "population") -> Array:
        """Return the softmax of the logits, [images, 10]; each row sums to 1."""
        return softmax(self.logits(images, statistics))

    def _by_batch(self, layer: str, z: Array) -> Array:
        """Return z normalized by its own mean and biased variance, as in training."""
        mean, variance = z.mean(axis=-2, keepdims=True), z.var(axis=-2, keepdims=True)  # [1, units]
        normalized: Array = (z - mean) * self._scale(layer, variance) + self.arrays[f"{layer}/beta"]
        return normalized

    def _by_population(self, x: Array) -> Array:
        """Return the logits by statistics that are known: each layer is then one product and one sum."""
        activate = ACTIVATIONS[self.spec.activation]
        *hidden, (weights, bias) = self._products_and_sums
        for hidden_weights, hidden_bias in hidden:
            x = activate(x @ hidden_weights + hidden_bias)
        logits: Array = x @ weights + bias
        return logits

    @cached_property
    def _products_and_sums(self) -> list[tuple[Array, Array]]:
        """The weights and bias of each layer, with the normalization by population statistics in them.

        Before the activation, BN(x W) = x (W · scale) + shift; after it, scale and shift go into the next layer.
        """
        before = self.spec.batch_norm.placement == "before_activation"
        made: list[tuple[Array, Array]] = []
        with np.errstate(over="ignore", invalid="ignore"):  # a diverged network is a result, not an error
            came: tuple[Array, Array] | None = None  # the scale and shift of what comes in, where they are still to do
            for layer in layer_names(self.spec):
                weights = self.arrays[f"{layer}/weights"]
                bias = self.arrays.get(f"{layer}/bias", np.zeros(weights.shape[1], np.float32))
                if came is not None:
                    weights, bias = weights * came[0][:, np.newaxis], bias + came[1] @ weights
                normalization = self._normalization(layer) if f"{layer}/gamma" in self.arrays else None
                if normalization is not None and before:
                    weights, bias = weights * normalization[0], normalization[1]
                came = None if before else normalization
                made.append((weights, bias))
        return made

    def _normalization(self, layer: str) -> tuple[Array, Array]:
        """Return by what a layer's values are multiplied, and what is added: [units] each, by the population."""
        scale = self._scale(layer, self.arrays[f"{layer}/population_variance"])
        return scale, self.arrays[f"{layer}/beta"] - self.arrays[f"{layer}/population_mean"] * scale

    def _scale(self, layer: str, variance: Array) -> Array:
        scale: Array = self.arrays[f"{layer}/gamma"] / np.sqrt(variance + np.float32(self.spec.batch_norm.epsilon))
        return scale


def softmax(logits: Array) -> Array:
    """Return exp(logits) / Σ exp(logits) along the last axis, shifted so that nothing overflows."""
    with np.errstate(over="ignore"):  # a difference beyond float32 is −∞, and its share 0
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Array = powers / powers.sum(axis=-1, keepdims=True)
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
