"""The shapes of the answers; in an answer nothing is optional, what is not known yet is null."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field, PlainSerializer

from api.presets import ChosenPreset
from api.spreads import Difference, Spread
from api.waiting import waits, waits_for
from models import cautions
from models.arms import Sample, device_name
from models.cautions import Caution
from models.curves import Curve
from models.results import NetworkResult, TestResult
from models.spec import CLASSES, FINISHED, ArmName, ResolvedSpec, Status
from models.tables import Arm, Experiment
from models.workers import Heard

#: A network that is right more often than this has learned; one that guesses is right in a tenth.
LEARNED = 0.2

Moment = Annotated[
    datetime,
    PlainSerializer(lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), return_type=str, when_used="json"),
]


class SinglePredictionsAnswer(BaseModel):
    """Test images shown one at a time."""

    count: int
    accuracy: Spread
    distinct_answers: int = Field(description="How many different digits were answered; the most of any replicate.")
    answer_counts: list[list[int]] = Field(description="How often each digit 0 … 9 was answered, per replicate.")


class TestAnswer(BaseModel):
    """The examination with one kind of statistics."""

    accuracy: Spread
    single_predictions: SinglePredictionsAnswer

    @classmethod
    def of(cls, results: Sequence[TestResult]) -> "TestAnswer":
        """Return the examination of all replicates."""
        singles = [result.single_predictions for result in results]
        return cls(
            accuracy=Spread.of([result.correct / result.total for result in results]),
            single_predictions=SinglePredictionsAnswer(
                count=len(singles[0].answers),
                accuracy=Spread.of([single.correct / len(single.answers) for single in singles]),
                distinct_answers=max(len(set(single.answers)) for single in singles),
                answer_counts=[[single.answers.count(digit) for digit in range(CLASSES)] for single in singles],
            ),
        )


class TestsAnswer(BaseModel):
    """Both kinds of statistics; without batch normalization there are no batch statistics: null."""

    population: TestAnswer
    batch: TestAnswer | None

    @classmethod
    def of(cls, results: Sequence[NetworkResult]) -> "TestsAnswer":
        """Return both examinations of all replicates."""
        batch = [result.batch for result in results if result.batch is not None]
        return cls(
            population=TestAnswer.of([result.population for result in results]),
            batch=TestAnswer.of(batch) if batch else None,
        )


class ArmAnswer(BaseModel):
    """One of the two networks."""

    status: Status
    batches_done: int
    batches_per_second: float | None = Field(
        description="Each of these batches trains all replicates: times `replicates` for those of one."
    )
    final_validation_accuracy: Spread | None
    learned: int | None = Field(description=f"How many replicates learned at all: final accuracy above {LEARNED}.")
    reached_90_percent_after: list[int | None] | None = Field(
        description="Per replicate, the batches after which an accuracy of 0.9 was first measured; null if never."
    )
    test: TestsAnswer | None
    diverged_at: int | None = Field(description="First batch whose loss was not finite, in any replicate; else null.")
    diverged_replicates: list[int] = Field(description="The replicates whose numbers left the range of float32.")
    starting_weights_sha256: list[str | None] | None = Field(
        description="Per replicate, of the weights it started from: both arms have the same."
    )
    device: str | None = Field(
        description="The name of what trains or trained it: of a GPU, else of the processor; null before."
    )
    fingerprint: dict[str, Any] | None = Field(
        description="What trained it: versions, threads, device, processor; null until a worker has claimed it."
    )
    generation: int = Field(
        description="How often it has begun at batch 0; more than 1 after it moved to another set-up."
    )

    @classmethod
    def of(cls, arm: Arm) -> "ArmAnswer":
        """Return an arm with its networks' results."""
        networks = arm.networks
        results = [NetworkResult.model_validate(network.result) for network in networks]
        final = [result.validation_correct / result.validation_total for result in results]
        diverged = {network.replicate: network.diverged_at for network in networks if network.diverged_at is not None}
        return cls(
            status=arm.status,
            batches_done=arm.batches_done,
            batches_per_second=arm.batches_per_second,
            final_validation_accuracy=Spread.of(final) if final else None,
            learned=sum(accuracy > LEARNED for accuracy in final) if final else None,
            reached_90_percent_after=[network.reached_90_percent_after for network in networks] or None,
            test=TestsAnswer.of(results) if results else None,
            diverged_at=min(diverged.values(), default=None),
            diverged_replicates=list(diverged),
            starting_weights_sha256=[network.starting_weights_sha256 for network in networks] or None,
            device=device_name(arm.fingerprint or {}),
            fingerprint=arm.fingerprint,
            generation=arm.generation,
        )


class Arms(BaseModel):
    """Both networks."""

    without_batch_norm: ArmAnswer
    with_batch_norm: ArmAnswer


class Comparison(BaseModel):
    """With batch normalization minus without."""

    final_validation_accuracy: Difference
    test_accuracy: Difference = Field(description="With population statistics.")

    @classmethod
    def of(cls, arms: Arms) -> "Comparison | None":
        """Return the comparison of both arms; None until both have succeeded."""
        with_, without = arms.with_batch_norm, arms.without_batch_norm
        if not (with_.final_validation_accuracy and without.final_validation_accuracy and with_.test and without.test):
            return None
        return cls(
            final_validation_accuracy=Difference.between(
                with_.final_validation_accuracy, without.final_validation_accuracy
            ),
            test_accuracy=Difference.between(with_.test.population.accuracy, without.test.population.accuracy),
        )


class ProgressAnswer(BaseModel):
    """How far both arms are together; of a sweep, all arms."""

    batches_done: int
    batches_total: int
    fraction: float

    @classmethod
    def of(cls, done: int, total: int) -> "ProgressAnswer":
        """Return how far so many batches are."""
        return cls(batches_done=done, batches_total=total, fraction=done / total)


class ArmError(BaseModel):
    """Why an arm failed."""

    arm: ArmName
    code: str
    message: str


class ExperimentAnswer(BaseModel):
    """An experiment: its complete spec, how far it is, and what came out."""

    id: UUID
    status: Status
    spec: ResolvedSpec
    preset: ChosenPreset | None = Field(description="The preset the spec came from, and what was overridden.")
    sweep_id: UUID | None = Field(description="The sweep it belongs to.")
    dataset_sha256: str
    waits_for: str | None = Field(
        description="While an arm is queued, what for: it begins with `a free worker` if there are workers that may "
        "take it, else it says that none has been heard of, or why it takes none."
    )
    progress: ProgressAnswer
    arms: Arms
    comparison: Comparison | None = Field(description="null until both arms have succeeded.")
    warnings: list[Caution] = Field(description="What to know before trusting the result; often nothing.")
    error: ArmError | None
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None

    @classmethod
    def of(cls, experiment: Experiment, heard: Heard) -> "ExperimentAnswer":
        """Return an experiment as users see it; `heard` says which workers live (`api.waiting.heard_for`)."""
        spec = ResolvedSpec.model_validate(experiment.spec, strict=False)
        arms = experiment.arms
        answers = Arms(**{arm.name.value: ArmAnswer.of(arm) for arm in arms})
        done, total = sum(arm.batches_done for arm in arms), spec.training_batches * len(arms)
        started = [arm.started_at for arm in arms if arm.started_at is not None]
        finished = [arm.finished_at for arm in arms if arm.finished_at is not None]
        failed = next((arm for arm in arms if arm.status is Status.FAILED), None)
        return cls(
            id=experiment.id,
            status=experiment.status,
            spec=spec,
            preset=ChosenPreset.of(experiment.spec),
            sweep_id=experiment.sweep_id,
            dataset_sha256=experiment.dataset_sha256,
            waits_for=waits_for(spec.device, heard) if waits(experiment) else None,
            progress=ProgressAnswer.of(done, total),
            arms=answers,
            comparison=Comparison.of(answers),
            warnings=cautions.of_population(spec),
            error=None
            if failed is None
            else ArmError(arm=failed.name, code=failed.error_code or "", message=failed.error_message or ""),
            created_at=experiment.created_at,
            started_at=min(started, default=None),
            finished_at=max(finished, default=None) if experiment.status in FINISHED else None,
        )


class ExperimentPage(BaseModel):
    """Some experiments, newest first."""

    experiments: list[ExperimentAnswer]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null on the last one.")


class ArmCurve(BaseModel):
    """Validation accuracy at each sampled step: over the replicates, and of each."""

    steps: list[int]
    mean: list[float]
    min: list[float]
    max: list[float]
    std: list[float]
    replicates: list[list[float]]

    @classmethod
    def of(cls, samples: Sequence[Sample], replicates: int) -> "ArmCurve":
        """Return the points as columns; `replicates` empty lists while there are none."""
        spreads = [Spread.of([right / sample.total for right in sample.correct]) for sample in samples]
        return cls(
            steps=[sample.step for sample in samples],
            mean=[spread.mean for spread in spreads],
            min=[spread.min for spread in spreads],
            max=[spread.max for spread in spreads],
            std=[spread.std for spread in spreads],
            replicates=[[spread.replicates[r] for spread in spreads] for r in range(replicates)],
        )


class ArmCurves(BaseModel):
    """The curves of both networks."""

    without_batch_norm: ArmCurve
    with_batch_norm: ArmCurve


class CurveAnswer(BaseModel):
    """The accuracy curves of an experiment, every point; while it trains, the points so far."""

    experiment_id: UUID
    metric: str
    arms: ArmCurves

    @classmethod
    def of(cls, experiment_id: UUID, curve: Curve, replicates: int) -> "CurveAnswer":
        """Return both curves."""
        arms = ArmCurves(**{name.value: ArmCurve.of(samples, replicates) for name, samples in curve.items()})
        return cls(experiment_id=experiment_id, metric="validation_accuracy", arms=arms)
