"""Every random choice of a training, as a function of (seed, replicate, …) alone: nothing is drawn in passing.

Replicate r of seed s uses the seed s + r. From it, each purpose has streams of its own (NumPy's Philox, a counter
based generator), so starting weights and batch order never disturb each other, and any step can be asked for at once.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_WEIGHTS, _BATCHES = 0, 1


def _generator(seed: int, replicate: int, purpose: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed + replicate, purpose, number))))


def weights_generator(seed: int, replicate: int, layer: int) -> np.random.Generator:
    """Return the stream of one layer's starting weights; layers count from 0 at the input."""
    return _generator(seed, replicate, _WEIGHTS, layer)


@lru_cache(maxsize=256)
def _permutation(seed: int, replicate: int, epoch: int, images: int) -> NDArray[np.int32]:
    return _generator(seed, replicate, _BATCHES, epoch).permutation(images).astype(np.int32)


def batch_indices(seed: int, replicate: int, first: int, count: int, batch_size: int, images: int) -> NDArray[np.int32]:
    """Return which training images the batches `first` … `first + count − 1` hold, [count, batch_size].

    The batches are cut one after another from an endless stream of permutations of all images, one per epoch; a batch
    may end one epoch and begin the next.
    """
    begin, end = first * batch_size, (first + count) * batch_size  # positions in the stream
    epochs = range(begin // images, (end - 1) // images + 1)
    stream = np.concatenate([_permutation(seed, replicate, epoch, images) for epoch in epochs])
    offset = begin - epochs.start * images
    return stream[offset : offset + end - begin].reshape(count, batch_size)
