"""The kinds of networks, and what each of them has to say outside TensorFlow; `worker/kinds.py` has the other half.

A kind is a module with these functions. Which fields of a spec are its own is said in `models/kind_fields.py`.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from models import convolutional, dense, recurrent
from models.arrays import Array, Arrays, Shapes
from models.spec import ArmName, NetworkKind, ResolvedSpec


class Kind(Protocol):
    """A kind of network in NumPy: the names and shapes of its arrays, and its answers."""

    STARTS: Mapping[str, float]  # by what an array is: how it starts, where that is neither drawn nor 0

    def layer_names(self, spec: ResolvedSpec) -> list[str]:
        """Return the layers from input to output; each layer's weights are drawn from a stream of its own."""

    def shapes(self, spec: ResolvedSpec, arm: ArmName) -> Shapes:
        """Return the name and shape of every array of this arm's network; the weights are called `layer/weights`."""

    def folded(self, spec: ResolvedSpec, arrays: Arrays) -> Any:
        """Return what is computed once of arrays that answer by the population's statistics again and again."""

    def by_population(self, spec: ResolvedSpec, folded: Any, images: Array) -> Array:
        """Return the logits [..., images, 10] for images [..., images, 784], by the population's statistics."""

    def by_batch(self, spec: ResolvedSpec, arrays: Arrays, images: Array) -> Array:
        """Return the logits [..., images, 10] for images [..., images, 784], by their own statistics."""


KINDS: Mapping[NetworkKind, Kind] = {"dense": dense, "convolutional": convolutional, "recurrent": recurrent}
