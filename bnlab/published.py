"""The figures of an experiment, each with what the lesson published for the same setting on the same data."""

from dataclasses import dataclass

from bnlab.figures import UNKNOWN, Json, signed


@dataclass(frozen=True)
class Figure:
    """What came out over the replicates, and what was published; None where there is nothing (yet)."""

    reproduced: Json | None
    published: float | None

    @property
    def difference(self) -> str:
        """The mean of what came out, less what was published."""
        if self.reproduced is None or self.published is None:
            return UNKNOWN
        return signed(self.reproduced["mean"] - self.published)


def published(experiment: Json) -> Json | None:
    """Return what the lesson published, if the experiment can be compared with it."""
    figures: Json | None = (experiment["preset"] or {}).get("published")
    return figures


def validation(experiment: Json, arm: str) -> Figure:
    """Return an arm's final validation accuracy."""
    return Figure(
        experiment["arms"][arm]["final_validation_accuracy"], _of_arm(experiment, arm).get("validation_accuracy")
    )


def test(experiment: Json, arm: str, statistics: str) -> Figure:
    """Return an arm's accuracy on the test set; a comparison of the lesson was tested with population statistics."""
    compared = _of_arm(experiment, arm) if statistics == "population" else {}
    inference = _of_inference(experiment, arm, statistics)
    result = _result(experiment, arm, statistics)
    return Figure(result and result["accuracy"], inference.get("test_accuracy", compared.get("test_accuracy")))


def single_predictions(experiment: Json, arm: str, statistics: str) -> Figure:
    """Return an arm's accuracy on test images shown one at a time."""
    result, inference = _result(experiment, arm, statistics), _of_inference(experiment, arm, statistics)
    return Figure(
        result and result["single_predictions"]["accuracy"], (inference.get("single_predictions") or {}).get("accuracy")
    )


def distinct_answers(experiment: Json, arm: str, statistics: str) -> tuple[int | None, int | None]:
    """Return how many different digits were answered to them: here, and in the lesson."""
    result, inference = _result(experiment, arm, statistics), _of_inference(experiment, arm, statistics)
    return (
        result["single_predictions"]["distinct_answers"] if result else None,
        (inference.get("single_predictions") or {}).get("distinct_answers"),
    )


def published_speed(experiment: Json, arm: str) -> float | None:
    """Return the batches per second that the lesson printed for an arm."""
    speed: float | None = _of_arm(experiment, arm).get("batches_per_second")
    return speed


def _result(experiment: Json, arm: str, statistics: str) -> Json | None:
    result: Json | None = (experiment["arms"][arm]["test"] or {}).get(statistics)
    return result


def _of_arm(experiment: Json, arm: str) -> Json:
    return (published(experiment) or {}).get(arm) or {}


def _of_inference(experiment: Json, arm: str, statistics: str) -> Json:
    inference = (published(experiment) or {}).get("inference") or {}
    return inference if arm == "with_batch_norm" and inference.get("statistics") == statistics else {}
