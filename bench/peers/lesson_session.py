"""The same work in the lesson's own way: a graph of TensorFlow 1 and a session that is fed batch by batch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.peers.work import EPSILON, MOMENTUM, Work, serve, threads
from worker.tensorflow_setup import prepare_tensorflow


def contestant(work: Work, bn: bool) -> Callable[[], float]:
    """Return the training."""
    prepare_tensorflow(threads())
    import tensorflow as tf

    v1 = tf.compat.v1
    graph = tf.Graph()
    with graph.as_default():
        images = v1.placeholder(tf.float32, [None, work.train_images.shape[1]])
        labels = v1.placeholder(tf.float32, [None, 10])
        training = v1.placeholder(tf.bool, [])
        x, updates = images, list[Any]()
        for weights in work.weights[:-1]:
            z = tf.matmul(x, v1.Variable(weights))
            x = tf.nn.relu(_normalized(v1, z, training, updates) if bn else z + v1.Variable(np.zeros(z.shape[1], "f")))
        logits = tf.matmul(x, v1.Variable(work.weights[-1])) + v1.Variable(np.zeros(10, "f"))
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        with tf.control_dependencies(updates):
            step = v1.train.GradientDescentOptimizer(work.learning_rate).minimize(loss)
        right = tf.equal(tf.argmax(logits, 1), tf.argmax(labels, 1))
        accuracy = tf.reduce_mean(tf.cast(right, tf.float32))
        initialize = v1.global_variables_initializer()
    one_hot = np.eye(10, dtype=np.float32)
    config = v1.ConfigProto(intra_op_parallelism_threads=threads(), inter_op_parallelism_threads=1)
    session = v1.Session(graph=graph, config=config)
    validation = {images: work.validation_images, labels: one_hot[work.validation_labels], training: False}

    def run() -> float:
        session.run(initialize)
        found = 0.0
        for chunk in work.chunks:
            for batch in chunk:
                fed = {images: work.train_images[batch], labels: one_hot[work.train_labels[batch]], training: True}
                session.run(step, fed)
            found = float(session.run(accuracy, validation))
        return found

    return run


def _normalized(v1: Any, z: Any, training: Any, updates: list[Any]) -> Any:
    """Return z normalized by the batch's statistics or the population's; the population's updates are added."""
    import tensorflow as tf

    units = z.shape[1]
    gamma, beta = v1.Variable(np.ones(units, "f")), v1.Variable(np.zeros(units, "f"))
    mean, variance = (v1.Variable(start(units, "f"), trainable=False) for start in (np.zeros, np.ones))
    found = tf.nn.moments(z, [0])
    for moving, batch in zip((mean, variance), found, strict=True):
        updates.append(v1.assign(moving, moving * MOMENTUM + batch * (1 - MOMENTUM)))
    chosen = [tf.where(training, batch, moving) for moving, batch in zip((mean, variance), found, strict=True)]
    return tf.nn.batch_normalization(z, *chosen, beta, gamma, EPSILON)


if __name__ == "__main__":
    serve(contestant)
