"""The dense network outside TensorFlow: the names and shapes of its arrays, its answer in NumPy.

    without batch normalization   a = act(x W + b)                                     weights, bias
    with, before the activation   a = act(BN(x W))        weights, gamma, beta, population_mean, population_variance
    with, after the activation    a = BN(act(x W))        the same
    the output layer, always      x W + b                                              weights, bias

The hidden layers are `hidden_1`, `hidden_2`, …; gamma, beta and the statistics have a number per unit.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from models.arrays import ACTIVATIONS, POPULATION, Array, Arrays, Shapes, normalized, scale_and_shift
from models.spec import CLASSES, PIXELS, ArmName, ResolvedSpec

#: How arrays start that are not drawn; all others start as 0.
STARTS: Mapping[str, float] = {"gamma": 1.0, "population_variance": 1.0}

#: The weights and the bias of each layer, with the normalization by population statistics in them.
Folded = list[tuple[Array, Array]]


def layer_names(spec: ResolvedSpec) -> list[str]:
    """Return the layers from input to output."""
    return [f"hidden_{i + 1}" for i in range(len(spec.hidden_layers))] + ["output"]


def shapes(spec: ResolvedSpec, arm: ArmName) -> Shapes:
    """Return the name and shape of every array of this arm's network."""
    widths = (PIXELS, *spec.hidden_layers, CLASSES)
    named: Shapes = {}
    for layer, (inputs, units) in zip(layer_names(spec), pairwise(widths), strict=True):
        named[f"{layer}/weights"] = (inputs, units)
        if arm is ArmName.WITH_BATCH_NORM and layer != "output":
            for what in ("gamma", "beta", *POPULATION):
                named[f"{layer}/{what}"] = (units,)
        else:
            named[f"{layer}/bias"] = (units,)
    return named


def folded(spec: ResolvedSpec, arrays: Arrays) -> Folded:
    """Return the layers with the population's statistics in them: each is then one product and one sum.

    Before the activation, BN(x W) = x (W · scale) + shift; after it, scale and shift go into the next layer.
    """
    before = spec.batch_norm.placement == "before_activation"
    epsilon = spec.batch_norm.epsilon
    made: Folded = []
    came: tuple[Array, Array] | None = None  # the scale and shift of what comes in, where they are still to do
    for layer in layer_names(spec):
        weights = arrays[f"{layer}/weights"]
        bias = arrays.get(f"{layer}/bias", np.zeros(weights.shape[1], np.float32))
        if came is not None:
            weights, bias = weights * came[0][:, np.newaxis], bias + came[1] @ weights
        normalization = scale_and_shift(arrays, layer, epsilon) if f"{layer}/gamma" in arrays else None
        if normalization is not None and before:
            weights, bias = weights * normalization[0], normalization[1]
        came = None if before else normalization
        made.append((weights, bias))
    return made


def by_population(spec: ResolvedSpec, layers: Folded, images: Array) -> Array:
    """Return the logits [..., images, 10] for images [..., images, 784], by statistics that are known."""
    activate = ACTIVATIONS[spec.activation]
    x = images
    *hidden, (weights, bias) = layers
    for hidden_weights, hidden_bias in hidden:
        x = activate(_plus(x @ hidden_weights, hidden_bias))
    return _plus(x @ weights, bias)


def _plus(product: Array, bias: Array) -> Array:
    """Return their sum in the place of the product: for one digit, to find another place takes as long as to add."""
    product += bias
    return product


def by_batch(spec: ResolvedSpec, arrays: Arrays, images: Array) -> Array:
    """Return the logits [..., images, 10] for images [..., images, 784], by their own statistics."""
    activate, epsilon = ACTIVATIONS[spec.activation], spec.batch_norm.epsilon
    before = spec.batch_norm.placement == "before_activation"
    x = images
    for layer in layer_names(spec)[:-1]:
        z = x @ arrays[f"{layer}/weights"]  # [..., images, units]
        x = (
            activate(normalized(arrays, layer, epsilon, z))
            if before
            else normalized(arrays, layer, epsilon, activate(z))
        )
    logits: Array = x @ arrays["output/weights"] + arrays["output/bias"]
    return logits
