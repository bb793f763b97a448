"""What the kinds of networks have in common in TensorFlow: named tensors, activations, and who normalizes."""

from collections.abc import Callable, Mapping
from typing import Protocol

import tensorflow as tf

from models.arrays import LEAKY_RELU_SLOPE
from models.spec import Activation

Tensors = dict[str, tf.Tensor]

#: The formulas are beside their like in `models/arrays.py`.
ACTIVATIONS: Mapping[Activation, Callable[[tf.Tensor], tf.Tensor]] = {
    "relu": tf.nn.relu,
    "sigmoid": tf.nn.sigmoid,
    "tanh": tf.nn.tanh,
    "leaky_relu": lambda z: tf.nn.leaky_relu(z, LEAKY_RELU_SLOPE),
    "elu": tf.nn.elu,
    "gelu": lambda z: tf.nn.gelu(z, approximate=False),
    "linear": tf.identity,
}


class Normalize(Protocol):
    """Normalizes the values of a layer, of a recurrent network those of one step, by one of the two statistics."""

    def __call__(self, layer: str, z: tf.Tensor, population: Tensors) -> tuple[tf.Tensor, Tensors]:
        """Return the values [R, n, units] normalized over n, and the layer's population [R, units] after this batch.

        At inference the population is what it was.
        """


def held_as_stored(parameters: Tensors, _kept: tf.Tensor) -> Tensors:
    """Return the parameters as they are: of a kind whose loop holds all pixels, and arrays as they are stored."""
    return parameters


def released_as_stored(moved: Tensors, _before: Tensors, _places: tf.Tensor) -> Tensors:
    """Return the parameters as they are, the same way back."""
    return moved
