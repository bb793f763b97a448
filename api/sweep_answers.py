"""The shapes of the answers about sweeps: as JSON, and the table of experiments as CSV."""

import csv
import io
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from api.answers import ArmAnswer, ExperimentAnswer, Moment, ProgressAnswer
from models.grid import SweepRequest, Values
from models.presets import Published, PublishedArm, PublishedInference
from models.spec import FINISHED, ArmName, Status
from models.sweeps import Summary
from models.tables import Experiment, Sweep
from models.workers import Heard


class ArmDifference(BaseModel):
    """Reproduced mean over the replicates minus published figure."""

    validation_accuracy: float
    test_accuracy: float

    @classmethod
    def of(cls, arm: ArmAnswer, published: PublishedArm | None) -> "ArmDifference | None":
        """Return the difference; None while there is nothing to compare."""
        if published is None or arm.final_validation_accuracy is None or arm.test is None:
            return None
        return cls(
            validation_accuracy=arm.final_validation_accuracy.mean - published.validation_accuracy,
            test_accuracy=arm.test.population.accuracy.mean - published.test_accuracy,
        )


class InferenceDifference(BaseModel):
    """Reproduced mean over the replicates minus published figure, with the statistics of the published run."""

    test_accuracy: float
    single_predictions_accuracy: float

    @classmethod
    def of(cls, arm: ArmAnswer, published: PublishedInference | None) -> "InferenceDifference | None":
        """Return the difference; None while there is nothing to compare."""
        if published is None or arm.test is None:
            return None
        test = arm.test.batch if published.statistics == "batch" else arm.test.population
        if test is None:
            return None
        return cls(
            test_accuracy=test.accuracy.mean - published.test_accuracy,
            single_predictions_accuracy=test.single_predictions.accuracy.mean - published.single_predictions.accuracy,
        )


class DifferenceFromPublished(BaseModel):
    """How far the results are from what the lesson printed."""

    without_batch_norm: ArmDifference | None
    with_batch_norm: ArmDifference | None
    inference: InferenceDifference | None

    @classmethod
    def of(cls, experiment: ExperimentAnswer) -> "DifferenceFromPublished | None":
        """Return the differences; None where the experiment is not what the lesson ran, or has no result yet."""
        published: Published | None = experiment.preset.published if experiment.preset else None
        if published is None or experiment.status is not Status.SUCCEEDED:
            return None
        arms = experiment.arms
        return cls(
            without_batch_norm=ArmDifference.of(arms.without_batch_norm, published.without_batch_norm),
            with_batch_norm=ArmDifference.of(arms.with_batch_norm, published.with_batch_norm),
            inference=InferenceDifference.of(arms.with_batch_norm, published.inference),
        )


class SweepRow(BaseModel):
    """One experiment of a sweep."""

    position: int
    values: Values = Field(description="Its value of each field that varies.")
    experiment: ExperimentAnswer
    difference_from_published: DifferenceFromPublished | None


class SweepSummary(BaseModel):
    """A sweep without its experiments: what was asked for, and how far it is."""

    id: UUID
    status: Status
    counts: dict[Status, int] = Field(description="How many experiments have each status.")
    progress: ProgressAnswer
    base: dict[str, Any]
    grid: dict[str, list[Any]]
    presets: str | list[str] | None
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None

    @classmethod
    def of(cls, sweep: Sweep, summary: Summary) -> "SweepSummary":
        """Return a sweep as users see it in a list."""
        return cls(
            id=sweep.id,
            status=summary.status,
            counts=dict(summary.counts),
            progress=ProgressAnswer.of(summary.batches_done, summary.batches_total),
            created_at=sweep.created_at,
            started_at=summary.started_at,
            finished_at=summary.last_finished_at if summary.status in FINISHED else None,
            **sweep.request,
        )


class SweepAnswer(SweepSummary):
    """A sweep with a row for each of its experiments, in its order."""

    experiments: list[SweepRow]

    @classmethod
    def whole(cls, sweep: Sweep, summary: Summary, experiments: Sequence[Experiment], heard: Heard) -> "SweepAnswer":
        """Return a sweep as users see it; `heard` as for an experiment."""
        combinations = SweepRequest.model_validate(sweep.request).combinations()
        rows = []
        for position, (values, experiment) in enumerate(zip(combinations, experiments, strict=True)):
            answer = ExperimentAnswer.of(experiment, heard)
            difference = DifferenceFromPublished.of(answer)
            rows.append(
                SweepRow(position=position, values=values, experiment=answer, difference_from_published=difference)
            )
        return cls(**dict(SweepSummary.of(sweep, summary)), experiments=rows)


class SweepPage(BaseModel):
    """Some sweeps, newest first."""

    sweeps: list[SweepSummary]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null on the last one.")


def as_csv(sweep: SweepAnswer) -> str:
    """Return the table: a row per experiment, with its setting, both arms, and the published figures beside them."""
    text = io.StringIO()
    rows = [_cells(row) for row in sweep.experiments]
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


#: The columns of a spec; those that a kind of network has not are empty for it.
SETTING = (
    *("preset", "network", "activation", "learning_rate", "weight_scale", "hidden_layers"),
    *("feature_maps", "kernel_size", "strides", "data_format", "units", "batch_size"),
    *("training_batches", "batches_per_sample", "replicates", "seed", "dataset", "device"),
)


def _cells(row: SweepRow) -> dict[str, Any]:
    """Return one line of the table; what is not known, or not to be compared, is empty."""
    experiment = row.experiment
    spec = experiment.spec.model_dump(mode="json")
    cells = {"position": row.position, "experiment": str(experiment.id), "status": experiment.status.value}
    cells |= {name: _cell(spec.get(name)) for name in SETTING}
    cells |= {f"batch_norm.{name}": value for name, value in spec["batch_norm"].items()}
    published = experiment.preset.published if experiment.preset else None
    for name in ArmName:
        arm: ArmAnswer = getattr(experiment.arms, name.value)
        printed: PublishedArm | None = getattr(published, name.value, None)
        spreads = {
            "validation_accuracy": arm.final_validation_accuracy,
            "test_accuracy": arm.test.population.accuracy if arm.test else None,
        }
        for what, spread in spreads.items():
            for number in ("mean", "std", "min", "max"):
                cells[f"{name.value}.{what}.{number}"] = getattr(spread, number, None)
            cells[f"{name.value}.{what}.published"] = getattr(printed, what, None)
        cells[f"{name.value}.learned"] = arm.learned
        cells[f"{name.value}.batches_per_second"] = arm.batches_per_second
    difference = experiment.comparison.final_validation_accuracy if experiment.comparison else None
    interval = difference.confidence_interval_95 if difference else None
    cells["difference.validation_accuracy.mean"] = difference.mean if difference else None
    cells["difference.validation_accuracy.low_95"] = interval.low if interval else None
    cells["difference.validation_accuracy.high_95"] = interval.high if interval else None
    return cells


def _cell(value: Any) -> Any:
    """Return a value of a spec as it stands in a table."""
    return "-".join(map(str, value)) if isinstance(value, list) else value
