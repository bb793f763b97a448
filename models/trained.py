"""A network as its arrays, whatever its kind: how it starts, and how it answers in NumPy once it is trained."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from models.arrays import Array, Arrays, softmax
from models.errors import BatchStatisticsUndefined, FieldError, NetworkDamaged
from models.kinds import KINDS
from models.spec import ArmName, ResolvedSpec, Statistics
from models.streams import weights_generator


def starting_arrays(spec: ResolvedSpec, arm: ArmName, replicate: int) -> Arrays:
    """Return the network before its first batch.

    Weights are drawn from Normal(0, `weight_scale`), a stream for each layer, from (seed, replicate, layer) alone: so
    both arms start from the same ones. The rest starts as its kind has it, mostly as it does nothing: bias 0, gamma 1,
    beta 0, mean 0, variance 1.
    """
    kind = KINDS[spec.network]
    arrays: Arrays = {}
    for name, shape in kind.shapes(spec, arm).items():
        layer, what = name.split("/")
        if what == "weights":
            generator = weights_generator(spec.seed, replicate, kind.layer_names(spec).index(layer))
            arrays[name] = generator.normal(0.0, spec.weight_scale, shape).astype(np.float32)
        else:
            arrays[name] = np.full(shape, kind.STARTS.get(what, 0.0), np.float32)
    return arrays


def weights_sha256(arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 of all weight matrices, from input to output: float32, little-endian, row by row.

    Both arms of an experiment start from the same ones, so this is the same for both; biases, gammas and betas, which
    only one of them has, do not count.
    """
    digest = hashlib.sha256()
    for name, array in arrays.items():
        if name.endswith("/weights"):
            digest.update(array.astype("<f4").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network that answers in NumPy.

    Raises NetworkDamaged when an array is missing, left over, or has another shape or type than its spec says.
    """

    spec: ResolvedSpec
    arm: ArmName
    arrays: Arrays

    def __post_init__(self) -> None:
        expected = KINDS[self.spec.network].shapes(self.spec, self.arm)
        found = {name: array.shape for name, array in self.arrays.items() if array.dtype == np.float32}
        if found != expected or len(self.arrays) != len(expected):
            raise NetworkDamaged

    @property
    def size_bytes(self) -> int:
        """The memory its arrays take, with what is made of them at the first answer."""
        return 2 * sum(array.nbytes for array in self.arrays.values())

    def logits(self, images: Array, statistics: Statistics = "population") -> Array:
        """Return the ten sums before the softmax: [images, 784] with pixels 0…1 in, [images, 10] out.

        Of several batches, [batches, images, 784] in and [batches, images, 10] out, each has statistics of its own.
        Raises BatchStatisticsUndefined for `batch` without batch normalization.
        """
        kind = KINDS[self.spec.network]
        if statistics == "population":
            return kind.by_population(self.spec, self._folded, images)
        if self.arm is ArmName.WITHOUT_BATCH_NORM:
            raise BatchStatisticsUndefined(
                [FieldError("statistics", "population, for an arm without batch normalization", statistics)]
            )
        return kind.by_batch(self.spec, self.arrays, images)

    def probabilities(self, images: Array, statistics: Statistics = "population") -> Array:
        """Return the softmax of the logits, [images, 10]; each row sums to 1."""
        return softmax(self.logits(images, statistics))

    @cached_property
    def _folded(self) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):  # a diverged network is a result, not an error
            return KINDS[self.spec.network].folded(self.spec, self.arrays)
