"""The recurrent network outside TensorFlow: the names and shapes of its arrays, its answer in NumPy.

An LSTM reads the 28 rows of an image one after the other; what it holds after the last one goes to the output layer.
With recurrent batch normalization (Cooijmans et al., 2016, eqs. 6 to 8) for the row x of each step:

    f, i, o, g = BN(h W_h) + BN(x W_x) + b          BN here without beta: b moves them already
    c = σ(f) c + σ(i) act(g)
    h = σ(o) act(BN(c))

and without, the same with no BN. `lstm_input` has W_x and b, `lstm_hidden` W_h, each four times as wide as the LSTM:
forget, input and output gate, and what is new; `lstm_cell` has only what normalizes c. The activation of an LSTM is
tanh, and so it is here unless another one is asked for.

Gamma and beta are the same at every step; each step has statistics of its own, [28, units], because what comes out of
the first rows is distributed otherwise than what comes out of the last. Gamma starts at 0.1, so that the gradient of
tanh does not vanish at the beginning (section 4 there). h and c start as 0.
"""

from collections.abc import Callable, Mapping

import numpy as np

from models.arrays import ACTIVATIONS, POPULATION, Array, Arrays, Shapes, normalized, scale_and_shift
from models.spec import CLASSES, SIDE, ArmName, ResolvedSpec

#: How arrays start that are not drawn; all others start as 0.
STARTS: Mapping[str, float] = {"gamma": 0.1, "population_variance": 1.0}

GATES = 4

#: By what each layer's values are multiplied at each step, and what is added: [28, units] each.
Folded = tuple[Arrays, dict[str, tuple[Array, Array]]]

#: Normalizes a layer's values at a step, [..., images, units] in and out.
Normalize = Callable[[str, Array, int], Array]


def layer_names(_spec: ResolvedSpec) -> list[str]:
    """Return the layers from input to output."""
    return ["lstm_input", "lstm_hidden", "lstm_cell", "output"]


def shapes(spec: ResolvedSpec, arm: ArmName) -> Shapes:
    """Return the name and shape of every array of this arm's network."""
    units = spec.units
    named: Shapes = {
        "lstm_input/weights": (SIDE, GATES * units),
        "lstm_input/bias": (GATES * units,),
        "lstm_hidden/weights": (units, GATES * units),
        "output/weights": (units, CLASSES),
        "output/bias": (CLASSES,),
    }
    if arm is ArmName.WITH_BATCH_NORM:
        for layer, wide in (("lstm_input", GATES * units), ("lstm_hidden", GATES * units), ("lstm_cell", units)):
            named[f"{layer}/gamma"] = (wide,)
            named |= {f"{layer}/{what}": (SIDE, wide) for what in POPULATION}
        named["lstm_cell/beta"] = (units,)
    return named


def folded(spec: ResolvedSpec, arrays: Arrays) -> Folded:
    """Return the arrays, and what the population's statistics come to."""
    layers = [layer for layer in layer_names(spec) if f"{layer}/gamma" in arrays]
    return arrays, {layer: scale_and_shift(arrays, layer, spec.batch_norm.epsilon) for layer in layers}


def by_population(spec: ResolvedSpec, folded: Folded, images: Array) -> Array:
    """Return the logits [..., images, 10] for images [..., images, 784], by statistics that are known."""
    arrays, moved = folded

    def normalize(layer: str, z: Array, step: int) -> Array:
        if layer not in moved:
            return z
        by, shift = moved[layer]
        values: Array = z * by[step] + shift[step]
        return values

    return _logits(spec, arrays, images, normalize)


def by_batch(spec: ResolvedSpec, arrays: Arrays, images: Array) -> Array:
    """Return the logits [..., images, 10] for images [..., images, 784], by their own statistics."""

    def normalize(layer: str, z: Array, _step: int) -> Array:
        return normalized(arrays, layer, spec.batch_norm.epsilon, z)

    return _logits(spec, arrays, images, normalize)


def _logits(spec: ResolvedSpec, arrays: Arrays, images: Array, normalize: Normalize) -> Array:
    activate, sigmoid = ACTIVATIONS[spec.activation], ACTIVATIONS["sigmoid"]
    units = spec.units
    rows = images.reshape(*images.shape[:-1], SIDE, SIDE)
    h = c = np.zeros((*images.shape[:-1], units), np.float32)
    for step in range(SIDE):
        gates = normalize("lstm_input", rows[..., step, :] @ arrays["lstm_input/weights"], step)
        gates = gates + normalize("lstm_hidden", h @ arrays["lstm_hidden/weights"], step) + arrays["lstm_input/bias"]
        shares, new = sigmoid(gates[..., : 3 * units]), activate(gates[..., 3 * units :])
        c = shares[..., :units] * c + shares[..., units : 2 * units] * new
        h = shares[..., 2 * units :] * activate(normalize("lstm_cell", c, step))
    logits: Array = h @ arrays["output/weights"] + arrays["output/bias"]
    return logits
