"""The kinds of networks, and what each of them has to say in TensorFlow; `models/kinds.py` has the other half."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import tensorflow as tf

from models.spec import ArmName, NetworkKind, ResolvedSpec
from worker import convolutional, dense, recurrent
from worker.tensors import Normalize, Tensors


class Kind(Protocol):
    """A kind of network that trains: its forward pass, and what of its arrays the training loop holds how."""

    #: So many validation images are evaluated at a time: their numbers should stay in a core's cache.
    BLOCK: int
    #: Whether pixels without ink may be left out: they add nothing, and their weights stay as they are.
    INKED_ALONE: bool

    def normalized_units(self, spec: ResolvedSpec) -> Iterable[int]:
        """Return over how many units, or feature maps, the normalizations go."""

    def logits(
        self,
        spec: ResolvedSpec,
        arm: ArmName,
        parameters: Tensors,
        population: Tensors,
        images: tf.Tensor,
        normalize: Normalize,
    ) -> tuple[tf.Tensor, Tensors]:
        """Return the logits [R, B, 10] for images [R, B, pixels], parameters as the loop holds them.

        And the population as `normalize` has moved it.
        """

    def held(self, parameters: Tensors, kept: tf.Tensor) -> Tensors:
        """Return the parameters as the loop holds them; of the pixels, those that are kept."""

    def released(self, moved: Tensors, before: Tensors, places: tf.Tensor) -> Tensors:
        """Return the loop's parameters as they are stored.

        `places` says for each pixel where its row stands among the moved ones followed by all as they were before.
        """


KINDS: Mapping[NetworkKind, Kind] = {"dense": dense, "convolutional": convolutional, "recurrent": recurrent}
