"""The same work in JAX: one jitted `lax.scan` over the batches up to each evaluation, everything on the device."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from bench.peers.work import EPSILON, MOMENTUM, Work, serve

State = list[dict[str, Any]]


def contestant(work: Work, bn: bool) -> Callable[[], float]:
    """Return the training."""
    images, labels = jnp.asarray(work.train_images), jnp.asarray(work.train_labels)
    validation = jnp.asarray(work.validation_images), jnp.asarray(work.validation_labels)

    def forward(layers: State, x: Any, training: bool) -> tuple[Any, State]:
        moved: State = []
        for layer in layers[:-1]:
            z, new = x @ layer["weights"], {}
            if bn:
                mean, variance = (z.mean(0), z.var(0)) if training else (layer["mean"], layer["variance"])
                z = (z - mean) * lax.rsqrt(variance + EPSILON) * layer["gamma"] + layer["beta"]
                new = {
                    "mean": layer["mean"] * MOMENTUM + mean * (1 - MOMENTUM),
                    "variance": layer["variance"] * MOMENTUM + variance * (1 - MOMENTUM),
                }
            else:
                z = z + layer["bias"]
            moved.append(new)
            x = jax.nn.relu(z)
        return x @ layers[-1]["weights"] + layers[-1]["bias"], [*moved, {}]

    def loss(layers: State, x: Any, y: Any) -> tuple[Any, State]:
        logits, moved = forward(layers, x, training=True)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean(), moved

    def step(layers: State, batch: Any) -> tuple[State, None]:
        gradients, moved = jax.grad(loss, has_aux=True)(layers, images[batch], labels[batch])
        stepped = jax.tree.map(lambda value, slope: value - work.learning_rate * slope, layers, gradients)
        return [{**layer, **population} for layer, population in zip(stepped, moved, strict=True)], None

    train = jax.jit(lambda layers, batches: lax.scan(step, layers, batches)[0])
    evaluate = jax.jit(
        lambda layers: (forward(layers, validation[0], training=False)[0].argmax(1) == validation[1]).mean()
    )

    def run() -> float:
        layers, accuracy = _start(work, bn), 0.0
        for chunk in work.chunks:
            layers = train(layers, jnp.asarray(chunk))
            accuracy = float(evaluate(layers))
        return accuracy

    return run


def _start(work: Work, bn: bool) -> State:
    layers: State = []
    for number, weights in enumerate(work.weights):
        units = weights.shape[1]
        hidden = number < len(work.weights) - 1
        zeros, ones = jnp.zeros(units), jnp.ones(units)
        own = {"gamma": ones, "beta": zeros, "mean": zeros, "variance": ones} if bn and hidden else {"bias": zeros}
        layers.append({"weights": jnp.asarray(weights), **own})
    return layers


if __name__ == "__main__":
    serve(contestant)
