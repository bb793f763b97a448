"""A data set on the device, as training wants it: the bytes of the pixels that carry ink, four to a word.

A pixel that is 0 in every image adds nothing to any sum, and its weights get no gradient: they stay what they were. So
the loop leaves them out, some 64 of MNIST's 784, and gives the same network. Gathering a batch word by word instead of
byte by byte takes a third of the time (`bench/NOTES.md`).

The loop holds the first weights the other way round, a row per unit and of the pixels only those that are here.
"""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.datasets import Dataset
from worker.dense import FIRST_WEIGHTS, Tensors, by_unit

BYTES_OF_A_WORD = 4
#: So many validation images are evaluated at a time: their numbers stay in a core's cache.
BLOCK = 500
#: Stands for no image; no answer equals it.
NO_LABEL = -1


class ResidentData:
    """A data set on the device: images as the bytes they are, labels as the loop wants them."""

    def __init__(self, dataset: Dataset) -> None:
        self.validation_total = len(dataset.validation_labels)
        self.train_total = len(dataset.train_labels)
        kept = _kept(np.logical_or(dataset.train_images.any(axis=0), dataset.validation_images.any(axis=0)))
        places = np.arange(dataset.train_images.shape[1]) + len(kept)
        places[kept] = np.arange(len(kept))
        missing = -self.validation_total % BLOCK
        validation_images = np.pad(dataset.validation_images[:, kept], ((0, missing), (0, 0)))
        labels = np.pad(dataset.validation_labels.astype(np.int32), (0, missing), constant_values=NO_LABEL)
        self.tensors = (
            tf.constant(_words(dataset.train_images[:, kept])),  # [n, words] int32
            tf.constant(dataset.train_labels.astype(np.int32)),  # [n]
            tf.constant(_words(validation_images).reshape(-1, BLOCK, len(kept) // BYTES_OF_A_WORD)),
            tf.constant(labels.reshape(-1, BLOCK)),
            tf.constant(kept.astype(np.int32)),  # the pixels, ascending
            tf.constant(places.astype(np.int32)),  # [784], see `with_all_pixels`
        )


def _kept(inked: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the pixels with ink, ascending, and as many of the others as fill the last word."""
    kept = inked.copy()
    kept[np.flatnonzero(~inked)[: -int(inked.sum()) % BYTES_OF_A_WORD]] = True
    return np.flatnonzero(kept)


def _words(images: NDArray[np.uint8]) -> NDArray[np.int32]:
    return np.ascontiguousarray(images).view(np.int32)


def pixels(words: tf.Tensor) -> tf.Tensor:
    """Return words [..., w] of bytes 0…255 as numbers 0…1, [..., 4 w]."""
    *before, count = words.shape
    images = tf.reshape(tf.bitcast(words, tf.uint8), [*before, count * BYTES_OF_A_WORD])
    return tf.cast(images, tf.float32) * (1.0 / 255.0)


def with_kept_pixels(parameters: Tensors, kept: tf.Tensor) -> Tensors:
    """Return the parameters as the loop holds them: the first weights [R, 784, m] as [R, m, kept]."""
    return by_unit({**parameters, FIRST_WEIGHTS: tf.gather(parameters[FIRST_WEIGHTS], kept, axis=1)})


def with_all_pixels(moved: Tensors, before: Tensors, places: tf.Tensor) -> Tensors:
    """Return the loop's parameters with all first weights [R, 784, m]: moved where there is ink, else as before.

    `places` says for each pixel where its row stands among the moved ones followed by all as they were.
    """
    rows = tf.concat([by_unit(moved)[FIRST_WEIGHTS], before[FIRST_WEIGHTS]], axis=1)
    return {**moved, FIRST_WEIGHTS: tf.gather(rows, places, axis=1)}
