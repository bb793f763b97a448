"""A data set on the device, as training wants it: the bytes of the pixels, four to a word.

In a dense network a pixel that is 0 in every image adds nothing to any sum, and its weights get no gradient: they stay
what they were. So the loop can leave them out, some 64 of MNIST's 784, and gives the same network. Gathering a batch
word by word instead of byte by byte takes a third of the time (`bench/NOTES.md`).
"""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.datasets import Dataset
from models.spec import NetworkKind
from worker.kinds import KINDS

BYTES_OF_A_WORD = 4
#: Stands for no image; no answer equals it.
NO_LABEL = -1


class ResidentData:
    """A data set on the device for one kind of network: images as the bytes they are, labels as the loop wants them."""

    def __init__(self, dataset: Dataset, network: NetworkKind = "dense") -> None:
        kind = KINDS[network]
        self.validation_total = len(dataset.validation_labels)
        self.train_total = len(dataset.train_labels)
        inked = np.logical_or(dataset.train_images.any(axis=0), dataset.validation_images.any(axis=0))
        kept = _kept(inked | (not kind.INKED_ALONE))
        places = np.arange(dataset.train_images.shape[1]) + len(kept)
        places[kept] = np.arange(len(kept))
        missing = -self.validation_total % kind.BLOCK
        validation_images = np.pad(dataset.validation_images[:, kept], ((0, missing), (0, 0)))
        labels = np.pad(dataset.validation_labels.astype(np.int32), (0, missing), constant_values=NO_LABEL)
        self.tensors = (
            tf.constant(_words(dataset.train_images[:, kept])),  # [n, words] int32
            tf.constant(dataset.train_labels.astype(np.int32)),  # [n]
            tf.constant(_words(validation_images).reshape(-1, kind.BLOCK, len(kept) // BYTES_OF_A_WORD)),
            tf.constant(labels.reshape(-1, kind.BLOCK)),
            tf.constant(kept.astype(np.int32)),  # the pixels, ascending
            tf.constant(places.astype(np.int32)),  # [784], see `worker.kinds.Kind.released`
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
