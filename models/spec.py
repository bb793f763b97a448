"""The experiment in words and numbers: what may be asked, every bound with its name.

A `Spec` is what somebody sends: every field may be left out. `Spec.resolve` fills what is open, and the
`ResolvedSpec` it returns is complete and frozen; that one is stored, trained and compared.
"""

import json
import secrets
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

PIXELS = 784
CLASSES = 10

MAX_LEARNING_RATE = 100.0
MAX_WEIGHT_SCALE = 100.0
MAX_HIDDEN_LAYERS = 16
MAX_UNITS = 4_096
MAX_WEIGHTS = 25_000_000
MIN_BATCH_SIZE = 2  # the variance of a batch of one is 0: batch normalization would see nothing
MAX_BATCH_SIZE = 1_000
MAX_TRAINING_BATCHES = 1_000_000
MAX_SAMPLES = 10_000
MAX_REPLICATES = 1
MAX_SEED = 2**32 - 1

Activation = Literal["relu", "sigmoid", "tanh"]
DatasetName = Literal["mnist", "mnist-5k"]
Placement = Literal["before_activation", "after_activation"]
Statistics = Literal["population", "batch"]


class ArmName(StrEnum):
    """The two networks of an experiment."""

    WITHOUT_BATCH_NORM = "without_batch_norm"
    WITH_BATCH_NORM = "with_batch_norm"


class Status(StrEnum):
    """How far an arm, or an experiment, has come."""

    QUEUED = "queued"  # accepted, waits for a worker
    RUNNING = "running"  # a worker trains it
    SUCCEEDED = "succeeded"  # trained to the end, diverged or not
    FAILED = "failed"  # could not be trained; the error says why
    CANCELLED = "cancelled"  # stopped on request; its points are kept


FINISHED = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class BatchNormSpec(_Strict):
    """How the arm with batch normalization does it (Ioffe and Szegedy, 2015)."""

    momentum: Annotated[float, AfterValidator(abs)] = Field(  # −0 equals 0, but is another text
        0.99, ge=0, lt=1, description="Share of the old population statistics that one batch leaves in place."
    )
    epsilon: float = Field(0.001, gt=0, le=1, description="Added to the variance before its square root is taken.")
    placement: Placement = Field(
        "before_activation", description="Whether a layer is normalized before or after its activation."
    )
    implementation: Literal["equations"] = Field("equations", description="How the normalization is written.")
    update_population_statistics: bool = Field(
        True, description="false leaves the population statistics as they start: the lesson's warning."
    )


class Spec(_Strict):
    """What to train; every field may be left out."""

    network: Literal["dense"] = Field("dense", description="Kind of network: 784 inputs, hidden layers, 10 outputs.")
    activation: Activation = Field("relu", description="Activation of the hidden layers.")
    learning_rate: float = Field(0.01, gt=0, le=MAX_LEARNING_RATE, description="Step of plain gradient descent.")
    weight_scale: float = Field(
        0.05,
        gt=0,
        le=MAX_WEIGHT_SCALE,
        description="Standard deviation of the starting weights; the lesson calls 0.05 good and 5.0 bad.",
    )
    hidden_layers: tuple[Annotated[int, Field(ge=1, le=MAX_UNITS)], ...] = Field(
        (100, 100, 100), min_length=1, max_length=MAX_HIDDEN_LAYERS, description="Units of each hidden layer."
    )
    batch_size: int = Field(60, ge=MIN_BATCH_SIZE, le=MAX_BATCH_SIZE, description="Images in one training batch.")
    training_batches: int = Field(50_000, ge=1, le=MAX_TRAINING_BATCHES, description="How many batches to train.")
    batches_per_sample: int = Field(
        500, ge=1, le=MAX_TRAINING_BATCHES, description="Batches from one point of the curve to the next."
    )
    replicates: int = Field(1, ge=1, le=MAX_REPLICATES, description="Repeats of the setting with the next seeds.")
    seed: int | None = Field(
        None, ge=0, le=MAX_SEED, description="Seed of starting weights and batch order; null: drawn and recorded."
    )
    dataset: DatasetName | None = Field(None, description="Data set; null: the server's default.")
    batch_norm: BatchNormSpec = Field(default_factory=BatchNormSpec, description="Settings of batch normalization.")
    preset: None = Field(None, description="Named settings; none are defined yet.")

    @model_validator(mode="after")
    def _check_samples(self) -> Self:
        if self.batches_per_sample > self.training_batches:
            raise out_of_bounds(
                "batches_per_sample",
                f"at most training_batches, which is {self.training_batches} (left out, it is 500)",
                self.batches_per_sample,
            )
        if self.training_batches > self.batches_per_sample * MAX_SAMPLES:
            raise out_of_bounds(
                "batches_per_sample",
                f"at least {-(-self.training_batches // MAX_SAMPLES)} for {self.training_batches} training_batches: "
                f"a curve has at most {MAX_SAMPLES} points",
                self.batches_per_sample,
            )
        return self

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        widths = (PIXELS, *self.hidden_layers, CLASSES)
        weights = sum(a * b for a, b in pairwise(widths))
        if weights > MAX_WEIGHTS:
            raise out_of_bounds("hidden_layers", f"layers with at most {MAX_WEIGHTS} weights in all", weights)
        return self

    def resolve(self, default_dataset: DatasetName) -> "ResolvedSpec":
        """Return the complete spec: an open seed is drawn, an open data set is the server's default."""
        return ResolvedSpec(
            **{
                **dict(self),
                "seed": secrets.randbelow(MAX_SEED + 1) if self.seed is None else self.seed,
                "dataset": self.dataset or default_dataset,
            }
        )


class ResolvedSpec(Spec):
    """A complete spec: nothing is open, nothing changes."""

    seed: int = Field(ge=0, le=MAX_SEED)
    dataset: DatasetName

    def canonical_json(self) -> str:
        """Return the spec as JSON with sorted keys and no spaces: equal specs give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def sampled_steps(self) -> range:
        """Return the x values of the curve: after batch i whenever i is a multiple of `batches_per_sample`."""
        return range(0, self.training_batches, self.batches_per_sample)


def out_of_bounds(field: str, allowed: str, received: Any) -> PydanticCustomError:
    """Return the error of a rule between fields, in the form `api/errors.py` reads."""
    return PydanticCustomError(
        "out_of_bounds", "Input should be {allowed}", {"field": field, "allowed": allowed, "received": received}
    )
