"""A data set on the device, as training wants it: bytes, and of the training images only the pixels that carry ink.

A pixel that is 0 in every training image adds nothing to any sum, and its weights get no gradient: they stay what they
were. So the loop leaves them out, 69 of MNIST's 784, and gives the same network. Validation images may
carry ink there, and meet the whole matrix.
"""

import numpy as np
import tensorflow as tf

from models.datasets import Dataset

Tensors = dict[str, tf.Tensor]

#: The one array that has a row per pixel.
FIRST_WEIGHTS = "hidden_1/weights"


class ResidentData:
    """A data set on the device: images as the bytes they are, labels as the gather wants them."""

    def __init__(self, dataset: Dataset) -> None:
        self.validation_total = len(dataset.validation_labels)
        self.train_total = len(dataset.train_labels)
        inked = np.flatnonzero(dataset.train_images.any(axis=0))
        places = np.arange(dataset.train_images.shape[1]) + len(inked)
        places[inked] = np.arange(len(inked))
        self.tensors = (
            tf.constant(dataset.train_images[:, inked]),  # [n, inked] uint8
            tf.constant(dataset.train_labels.astype(np.int32)),
            tf.constant(dataset.validation_images),  # [V, 784] uint8
            tf.constant(dataset.validation_labels.astype(np.int32)),
            tf.constant(inked.astype(np.int32)),  # the pixels, ascending
            tf.constant(places.astype(np.int32)),  # [784], see `with_all_pixels`
        )


def with_inked_pixels(parameters: Tensors, inked: tf.Tensor) -> Tensors:
    """Return the parameters with only those first weights [R, inked, m] that training moves."""
    return {**parameters, FIRST_WEIGHTS: tf.gather(parameters[FIRST_WEIGHTS], inked, axis=1)}


def with_all_pixels(moved: Tensors, before: Tensors, places: tf.Tensor) -> Tensors:
    """Return the moved parameters with all first weights [R, 784, m]: moved where there is ink, else as before.

    `places` says for each pixel where its row stands among the moved ones followed by all as they were.
    """
    rows = tf.concat([moved[FIRST_WEIGHTS], before[FIRST_WEIGHTS]], axis=1)
    return {**moved, FIRST_WEIGHTS: tf.gather(rows, places, axis=1)}
