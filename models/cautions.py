"""What a user should know of a network before trusting its answers: nothing failed, but a number says be careful."""

from dataclasses import dataclass

from models.kind_fields import sides
from models.spec import ArmName, ResolvedSpec, Statistics

#: More than this of their starting values is too much in population statistics.
MAX_SHARE_OF_START = 0.05

#: Of a batch of one with one value for each unit, and of one whose feature maps have pixels to normalize over.
_ONE_VALUE = (
    "These are the statistics of a single image: its variance is 0, so is every normalized value, and the "
    "answer is the same whatever the image shows. Ask for population statistics, or send several images."
)
_OWN_PIXELS = (
    "These are the statistics of a single image: each feature map is normalized by the mean and variance of its own "
    "pixels, not by those of many images as in training, so the answer may differ from what the network learned. Ask "
    "for population statistics, or send several images."
)


@dataclass(frozen=True)
class Caution:
    """A warning: the stable word of a machine, a sentence, and how much of the start is left where that matters."""

    code: str
    message: str
    share_of_start: float | None = None


def share_of_start(spec: ResolvedSpec) -> float:
    """Return how much of the population statistics is still the mean 0 and variance 1 they started from.

    Each batch leaves `momentum` of them in place, so after all batches it is momentum ** training_batches.
    """
    return spec.batch_norm.momentum**spec.training_batches


def of_population(spec: ResolvedSpec) -> list[Caution]:
    """Return why the population statistics of the arm with batch normalization cannot be right, if they cannot."""
    if not spec.batch_norm.update_population_statistics:
        return [
            Caution(
                "population_statistics_not_updated",
                "update_population_statistics is false: the population statistics are still the mean 0 and variance 1 "
                "they started from, which are not the data's: with them the network with batch normalization may fail.",
                1.0,
            )
        ]
    share = share_of_start(spec)
    if share <= MAX_SHARE_OF_START:
        return []
    return [
        Caution(
            "population_statistics_not_converged",
            f"After {spec.training_batches} batches with momentum {spec.batch_norm.momentum:g}, {share:.3g} of the "
            f"population statistics is still the mean 0 and variance 1 they started from (more than "
            f"{MAX_SHARE_OF_START:g}): with them the network with batch normalization may do worse than it could.",
            share,
        )
    ]


def of_prediction(spec: ResolvedSpec, arm: ArmName, statistics: Statistics, images: int) -> list[Caution]:
    """Return what to know of an answer for so many images at once."""
    if arm is ArmName.WITHOUT_BATCH_NORM:
        return []
    if statistics == "population":
        return of_population(spec)
    if images > 1:
        return []
    return [Caution("batch_of_one", _OWN_PIXELS if _has_pixels(spec) else _ONE_VALUE)]


def _has_pixels(spec: ResolvedSpec) -> bool:
    """Return whether even the last feature maps, the smallest, have more than one pixel."""
    return spec.network == "convolutional" and sides(spec.strides)[-1] > 1
