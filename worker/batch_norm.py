"""Batch normalization written in three ways, as the lesson does: the bare equations, tf.nn, and Keras's layer.

Each takes the values z of a layer [R, B, m] (replicates, images, units) and gamma, beta and the population's mean and
variance, each [R, m]. In training it returns the normalized values and the moved population, at inference the values
only. The formulas are those of Ioffe and Szegedy (2015): algorithm 1 in training, algorithm 2 at inference.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import tensorflow as tf

from models.spec import BatchNormSpec, Implementation


@dataclass(frozen=True)
class Layer:
    """What one layer's normalization has: its two parameters and its population statistics, each [R, m]."""

    gamma: tf.Tensor
    beta: tf.Tensor
    population_mean: tf.Tensor
    population_variance: tf.Tensor


@dataclass(frozen=True)
class Normalized:
    """The normalized values [R, B, m], and the population after this batch, each [R, m]."""

    values: tf.Tensor
    population_mean: tf.Tensor
    population_variance: tf.Tensor


@dataclass(frozen=True)
class Normalization:
    """One way to write it."""

    training: Callable[[BatchNormSpec, Layer, tf.Tensor], Normalized]
    inference: Callable[[BatchNormSpec, Layer, tf.Tensor], tf.Tensor]


def _from_moments(
    moments: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    normalized: Callable[[BatchNormSpec, Layer, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor],
) -> Normalization:
    """Return the way that takes a batch's mean and variance, each [R, m], from z and normalizes z with them."""

    def training(settings: BatchNormSpec, layer: Layer, z: tf.Tensor) -> Normalized:
        mean, variance = moments(z)
        return Normalized(
            normalized(settings, layer, z, mean, variance),
            _moved(settings, layer.population_mean, mean),
            _moved(settings, layer.population_variance, variance),
        )

    def inference(settings: BatchNormSpec, layer: Layer, z: tf.Tensor) -> tf.Tensor:
        return normalized(settings, layer, z, layer.population_mean, layer.population_variance)

    return Normalization(training, inference)


def _moved(settings: BatchNormSpec, population: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """Return population · momentum + batch · (1 − momentum)."""
    return population * settings.momentum + batch * (1.0 - settings.momentum)


def _mean_and_variance(z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return eqs. 1 and 2 of algorithm 1, the variance biased, each [R, m].

    The mean in the variance is a constant for the gradient: its share of it, the sum of all z − mean, is 0.
    """
    mean = tf.reduce_mean(z, axis=1)
    return mean, tf.reduce_mean(tf.square(z - tf.stop_gradient(mean)[:, None]), axis=1)


def _scaled_and_shifted(
    settings: BatchNormSpec, layer: Layer, z: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
) -> tf.Tensor:
    """Return gamma (z − mean) / √(variance + epsilon) + beta, eqs. 3 and 4, as one product and one sum: [R, B, m]."""
    scale = tf.math.rsqrt(variance + settings.epsilon) * layer.gamma  # [R, m]
    return z * scale[:, None] + (layer.beta - mean * scale)[:, None]


def _tf_nn(settings: BatchNormSpec, layer: Layer, z: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
    return tf.nn.batch_normalization(
        z, mean[:, None], variance[:, None], layer.beta[:, None], layer.gamma[:, None], settings.epsilon
    )


def _keras_layer_in_training(settings: BatchNormSpec, layer: Layer, z: tf.Tensor) -> Normalized:
    values, (mean, variance) = _keras_layer(settings, layer, z, training=True)
    shape = tf.shape(layer.gamma)
    return Normalized(values, tf.reshape(mean, shape), tf.reshape(variance, shape))


def _keras_layer_at_inference(settings: BatchNormSpec, layer: Layer, z: tf.Tensor) -> tf.Tensor:
    values, _ = _keras_layer(settings, layer, z, training=False)
    return values


@cache
def keras_layer(settings: BatchNormSpec, features: int) -> Any:
    """Return Keras's layer for so many features, with variables of its own that are only a form to fill.

    TensorFlow allows no variables to be made inside a program: who compiles one asks for its layers before.
    """
    layer = tf.keras.layers.BatchNormalization(momentum=settings.momentum, epsilon=settings.epsilon)
    layer.build((None, features))
    return layer


def _keras_layer(settings: BatchNormSpec, layer: Layer, z: tf.Tensor, training: bool) -> tuple[tf.Tensor, Any]:
    """Return the layer's values [R, B, m] and its moving statistics, each [R m].

    Keras normalizes the last axis over all others, so the units of all replicates stand side by side as features. Our
    arrays take the place of the layer's own variables for the call.
    """
    replicates, images, units = z.shape
    features = tf.reshape(tf.transpose(z, [1, 0, 2]), [images, replicates * units])
    values, moving = keras_layer(settings, replicates * units).stateless_call(
        [tf.reshape(layer.gamma, [-1]), tf.reshape(layer.beta, [-1])],
        [tf.reshape(layer.population_mean, [-1]), tf.reshape(layer.population_variance, [-1])],
        features,
        training=training,
    )
    return tf.transpose(tf.reshape(values, [images, replicates, units]), [1, 0, 2]), moving


NORMALIZATIONS: Mapping[Implementation, Normalization] = {
    "equations": _from_moments(_mean_and_variance, _scaled_and_shifted),
    "tf_nn": _from_moments(partial(tf.nn.moments, axes=[1]), _tf_nn),
    "keras_layer": Normalization(_keras_layer_in_training, _keras_layer_at_inference),
}
