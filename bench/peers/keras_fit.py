"""The same work as Keras does it: a Sequential model, `fit` up to each evaluation, then `evaluate`."""

from collections.abc import Callable
from typing import Any

from bench.peers.work import EPSILON, MOMENTUM, Work, serve, threads
from worker.tensorflow_setup import prepare_tensorflow


def contestant(work: Work, bn: bool) -> Callable[[], float]:
    """Return the training."""
    prepare_tensorflow(threads())
    import keras

    layers: list[Any] = [keras.layers.Input((work.train_images.shape[1],))]
    for weights in work.weights[:-1]:
        layers.append(keras.layers.Dense(weights.shape[1], use_bias=not bn))
        if bn:
            layers.append(keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON))
        layers.append(keras.layers.ReLU())
    model = keras.Sequential([*layers, keras.layers.Dense(work.weights[-1].shape[1])])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(work.learning_rate), loss, metrics=["accuracy"])
    start = _start(model.get_weights(), work)

    def run() -> float:
        model.set_weights(start)
        accuracy = 0.0
        for chunk in work.chunks:
            images, labels = work.train_images[chunk.ravel()], work.train_labels[chunk.ravel()]
            model.fit(images, labels, batch_size=chunk.shape[1], shuffle=False, verbose=0)
            found = model.evaluate(work.validation_images, work.validation_labels, batch_size=1_000, verbose=0)
            accuracy = float(found[1])
        return accuracy

    return run


def _start(arrays: list[Any], work: Work) -> list[Any]:
    """Return the model's arrays with the weight matrices that all contestants start from."""
    matrices = iter(work.weights)
    return [next(matrices) if array.ndim == 2 else array for array in arrays]


if __name__ == "__main__":
    serve(contestant)
