"""The experiment in words and numbers: what may be asked, every bound with its name.

A `Spec` is what somebody sends: every field may be left out. `Spec.resolve` fills what is open, from the preset if one
is named, and the `ResolvedSpec` it returns is complete and frozen; that one is stored, trained and compared.
"""

import json
import secrets
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from models.kind_fields import (
    CLASSES,
    KIND_FIELDS,
    MAX_KERNEL_SIDE,
    MAX_MULTIPLICATIONS,
    MAX_WEIGHTS,
    PIXELS,
    SIDE,
    NetworkKind,
    Settings,
    foreign,
)
from models.presets import PRESETS

__all__ = ["CLASSES", "PIXELS", "SIDE", "NetworkKind"]

MIN_POSITIVE = 1e-30  # in float32, smaller numbers are nearly 0, or 0
MAX_LEARNING_RATE = 100.0
MAX_WEIGHT_SCALE = 100.0
MAX_HIDDEN_LAYERS = 16
MAX_UNITS = 4_096
MAX_FEATURE_MAPS = 512
MAX_LSTM_UNITS = 512
MIN_BATCH_SIZE = 2  # the variance of a batch of one is 0: batch normalization would see nothing
MAX_BATCH_SIZE = 1_000
MAX_TRAINING_BATCHES = 1_000_000
MAX_SAMPLES = 10_000
MAX_REPLICATES = 64
MAX_TRAINING_BYTES = 2 * 2**30
MAX_SEED = 2**32 - 1

#: Points of a curve, and batches between them, unless asked for otherwise: as the lesson's, long and short.
USUAL_SAMPLES, USUAL_BATCHES_PER_SAMPLE = 40, 500

Device = Literal["auto", "cpu", "gpu"]  # auto: wherever a worker is free first
Activation = Literal["relu", "sigmoid", "tanh", "leaky_relu", "elu", "gelu", "linear"]
Implementation = Literal["equations", "tf_nn", "keras_layer"]
DatasetName = Literal["mnist", "mnist-5k"]
Placement = Literal["before_activation", "after_activation"]
DataFormat = Literal["channels_last", "channels_first"]
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


class Reason(StrEnum):
    """Why something happened to an arm."""

    SUBMITTED = "submitted"
    CLAIMED = "claimed"  # a worker trains it, from its checkpoint if it has one
    RESTARTED = "restarted"  # it begins at batch 0 again: its points came from another set-up
    CANCEL_REQUESTED = "cancel_requested"  # while it runs
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CRASH_LOOP = "crash_loop"  # failed: it has killed its worker too often
    WORKER_STOPPED = "worker_stopped"  # back in the queue: the worker was told to stop
    PROCESS_LOST = "process_lost"  # back in the queue: the process that trained it was killed
    LEASE_EXPIRED = "lease_expired"  # back in the queue: its worker was not heard of
    SERVICE_RESTARTED = "service_restarted"  # back in the queue: everything was killed


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def _not_too_small(number: float) -> float:
    if number < MIN_POSITIVE:
        raise PydanticCustomError("too_small", "Input should be at least {least}", {"least": MIN_POSITIVE})
    return number


#: A number that is more than 0 in float32 too.
Positive = Annotated[float, AfterValidator(_not_too_small)]


class BatchNormSpec(_Strict):
    """How the arm with batch normalization does it (Ioffe and Szegedy, 2015)."""

    momentum: Annotated[float, AfterValidator(abs)] = Field(  # −0 equals 0, but is another text
        0.99, ge=0, lt=1, description="Share of the old population statistics that one batch leaves in place."
    )
    epsilon: Positive = Field(0.001, gt=0, le=1, description="Added to the variance before its square root is taken.")
    placement: Placement = Field(
        "before_activation", description="Whether a layer is normalized before or after its activation."
    )
    implementation: Implementation = Field(
        "equations",
        description="How training writes it: the bare equations, tf.nn.moments with tf.nn.batch_normalization, or "
        "Keras's layer. The result is the same but for rounding.",
    )
    update_population_statistics: bool = Field(
        True, description="false leaves the population statistics as they start: the lesson's warning."
    )


def _known_preset(name: str) -> str:
    if name not in PRESETS:
        raise out_of_bounds("preset", f"one of {', '.join(PRESETS)} (GET /presets describes them)", name)
    return name


#: For forms that are made of the schema: which fields each kind of network has alone, and what it takes for fields that
#: are left out, where that is not their own default.
_KINDS: JsonDict = {kind: {"own": list(has.own), "usual": dict(has.usual)} for kind, has in KIND_FIELDS.items()}


class Spec(_Strict):
    """What to train; every field may be left out."""

    network: NetworkKind = Field(
        "dense",
        description="Kind of network: `dense`, 784 inputs and hidden layers; `convolutional`, feature maps over 28×28 "
        "pixels; `recurrent`, an LSTM over the 28 rows. Each has 10 outputs, fields of its own, and its own usual "
        "values for what is left out.",
        json_schema_extra={"x-kinds": _KINDS},
    )
    activation: Activation = Field("relu", description="Activation of the hidden layers.")
    learning_rate: Positive = Field(0.01, gt=0, le=MAX_LEARNING_RATE, description="Step of plain gradient descent.")
    weight_scale: Positive = Field(
        0.05,
        gt=0,
        le=MAX_WEIGHT_SCALE,
        description="Standard deviation of the starting weights; the lesson calls 0.05 good and 5.0 bad.",
    )
    hidden_layers: tuple[Annotated[int, Field(ge=1, le=MAX_UNITS)], ...] = Field(
        (100, 100, 100), min_length=1, max_length=MAX_HIDDEN_LAYERS, description="Dense: units of each hidden layer."
    )
    feature_maps: tuple[Annotated[int, Field(ge=1, le=MAX_FEATURE_MAPS)], ...] = Field(
        (8, 16, 32, 32, 32, 32),
        min_length=1,
        max_length=MAX_HIDDEN_LAYERS,
        description="Convolutional: feature maps of each layer.",
    )
    kernel_size: int = Field(
        3,
        ge=1,
        le=MAX_KERNEL_SIDE,
        description="Convolutional: side of each kernel, in pixels; the picture is padded for it.",
    )
    strides: tuple[Annotated[int, Field(ge=1, le=SIDE)], ...] = Field(
        (),
        max_length=MAX_HIDDEN_LAYERS,
        description="Convolutional: step from one place of the kernel to the next, for each layer; left out: 2 as long "
        "as the picture is more than twice as large as the kernel, then 1.",
    )
    data_format: DataFormat = Field(
        "channels_last",
        description="Convolutional: how the numbers lie in memory while it trains, and which axis batch normalization "
        "keeps. The result is the same but for rounding.",
    )
    units: int = Field(64, ge=1, le=MAX_LSTM_UNITS, description="Recurrent: units of the LSTM.")
    batch_size: int = Field(60, ge=MIN_BATCH_SIZE, le=MAX_BATCH_SIZE, description="Images in one training batch.")
    training_batches: int = Field(50_000, ge=1, le=MAX_TRAINING_BATCHES, description="How many batches to train.")
    batches_per_sample: int = Field(
        USUAL_BATCHES_PER_SAMPLE,
        ge=1,
        le=MAX_TRAINING_BATCHES,
        description="Batches from one point of the curve to the next; left out beside `training_batches`: so many "
        f"that there are {USUAL_SAMPLES} points, but at most {USUAL_BATCHES_PER_SAMPLE}.",
    )
    replicates: int = Field(
        1, ge=1, le=MAX_REPLICATES, description="Repeats of the setting: replicate r uses seed + r, in both arms."
    )
    seed: int | None = Field(
        None, ge=0, le=MAX_SEED, description="Seed of starting weights and batch order; null: drawn and recorded."
    )
    dataset: DatasetName | None = Field(None, description="Data set; null: the server's default.")
    batch_norm: BatchNormSpec = Field(default_factory=BatchNormSpec, description="Settings of batch normalization.")
    device: Device = Field(
        "auto",
        description="Where to train: `cpu`, `gpu`, which waits for a worker that has one, or `auto`, wherever a worker "
        "is free first.",
    )
    preset: Annotated[str, AfterValidator(_known_preset)] | None = Field(
        None, description="A named setting: it fills what is not given beside it."
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        """Hold the complete spec to the rules between its fields."""
        filled = self.filled()
        _check_kind(filled["network"], _given(self))
        _check_preset(filled["network"], self.preset)
        _check_samples(filled["training_batches"], filled["batches_per_sample"])
        _check_size(filled)
        _check_seeds(filled["seed"], filled["replicates"])
        return self

    @model_serializer(mode="wrap")
    def _without_foreign_fields(self, handler: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def] # noqa: ANN202 - a type would be another schema
        """Return the spec without what belongs to other kinds of networks."""
        others = foreign(self._kind())
        return {name: value for name, value in handler(self).items() if name not in others}

    def filled(self) -> dict[str, Any]:
        """Return every field: as it was given, else as the preset has it, else as is usual for this kind of network."""
        preset = PRESETS[self.preset].settings if self.preset in PRESETS else {}
        given = _given(self)
        kind = KIND_FIELDS[self._kind()]
        filled = {**dict(self), **kind.usual, **preset, **given}
        if {"feature_maps", "kernel_size"} & given.keys() and "strides" not in given:
            filled["strides"] = ()  # a preset's are those of its own layers
        for name in ("hidden_layers", "feature_maps", "strides"):  # presets have them as JSON has
            filled[name] = tuple(filled[name])
        parts = [settings.get("batch_norm", {}) for settings in (kind.usual, preset)]
        filled["batch_norm"] = BatchNormSpec(**{**parts[0], **parts[1], **_given(self.batch_norm)})
        if "training_batches" in given and "batches_per_sample" not in given:
            filled["batches_per_sample"] = min(USUAL_BATCHES_PER_SAMPLE, -(-given["training_batches"] // USUAL_SAMPLES))
        return dict(kind.filled(filled))

    def _kind(self) -> NetworkKind:
        """Return the kind of network: as it was given, else as the preset has it, else the default."""
        if "network" in self.model_fields_set or self.preset not in PRESETS:
            return self.network
        kind: NetworkKind = PRESETS[self.preset].settings.get("network", self.network)
        return kind

    def resolve(self, default_dataset: DatasetName) -> "ResolvedSpec":
        """Return the complete spec: an open seed is drawn, an open data set is the server's default."""
        filled = self.filled()
        if filled["seed"] is None:
            filled["seed"] = secrets.randbelow(MAX_SEED + 2 - filled["replicates"])
        filled["dataset"] = self.dataset or default_dataset
        others = foreign(filled["network"])
        return ResolvedSpec(**{name: value for name, value in filled.items() if name not in others})


class ResolvedSpec(Spec):
    """A complete spec: nothing is open, nothing changes."""

    seed: int = Field(ge=0, le=MAX_SEED)
    dataset: DatasetName
    preset: str | None = None  # where its fields came from; a later version may no longer have it

    def canonical_json(self) -> str:
        """Return the spec as JSON with sorted keys and no spaces: equal specs give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def sampled_steps(self) -> range:
        """Return the x values of the curve: after batch i whenever i is a multiple of `batches_per_sample`."""
        return range(0, self.training_batches, self.batches_per_sample)


def _given(model: BaseModel) -> dict[str, Any]:
    """Return the fields that were given, even if they were given their defaults."""
    return {name: getattr(model, name) for name in model.model_fields_set}


def training_bytes(weights: int, replicates: int) -> int:
    """Return about how much memory the networks of an arm take: each weight four times, as float32.

    While it trains: before and after the batch, and its gradient. At its end: on the device, as arrays, as bytes.
    """
    return 4 * 4 * replicates * weights


def _check_kind(network: NetworkKind, given: Settings) -> None:
    for field, other in foreign(network).items():
        if field in given:
            allowed = f"left out: it belongs to a network that is {other}, and this one is {network}"
            raise out_of_bounds(field, allowed, given[field])


def _check_samples(training_batches: int, batches_per_sample: int) -> None:
    if batches_per_sample > training_batches:
        raise out_of_bounds(
            "batches_per_sample", f"at most training_batches, which is {training_batches}", batches_per_sample
        )
    if training_batches > batches_per_sample * MAX_SAMPLES:
        raise out_of_bounds(
            "batches_per_sample",
            f"at least {-(-training_batches // MAX_SAMPLES)} for {training_batches} training_batches: "
            f"a curve has at most {MAX_SAMPLES} points",
            batches_per_sample,
        )


def _check_preset(network: NetworkKind, preset: str | None) -> None:
    of = PRESETS[preset].settings["network"] if preset in PRESETS else network
    if of != network:
        raise out_of_bounds("preset", f"a preset of a network that is {network}; this one is {of}", preset)


def _check_size(filled: Settings) -> None:
    kind, replicates, batch_size = KIND_FIELDS[filled["network"]], filled["replicates"], filled["batch_size"]
    for wrong in kind.wrong(filled):
        raise out_of_bounds(wrong.field, wrong.allowed, wrong.received)
    size = kind.own[0]  # the field that says how large it is
    weights, multiplications = kind.weights(filled), kind.multiplications(filled)
    if weights > MAX_WEIGHTS:
        raise out_of_bounds(size, f"layers with at most {MAX_WEIGHTS} weights in all", weights)
    if multiplications > MAX_MULTIPLICATIONS:
        raise out_of_bounds(
            size, f"layers with at most {MAX_MULTIPLICATIONS} multiplications an image", multiplications
        )
    needed = training_bytes(weights, replicates)
    if needed > MAX_TRAINING_BYTES:
        raise out_of_bounds(
            "replicates",
            f"at most {MAX_TRAINING_BYTES // training_bytes(weights, 1)} for these {size}: "
            f"{replicates} networks of {weights} weights need {needed} bytes, the limit is {MAX_TRAINING_BYTES}",
            replicates,
        )
    of_image = 4 * kind.values(filled) * replicates  # float32; on a GPU all replicates train side by side
    if batch_size * of_image > MAX_TRAINING_BYTES:
        raise out_of_bounds(
            "batch_size",
            f"at most {MAX_TRAINING_BYTES // of_image} for these {size} and {replicates} replicates: an image takes "
            f"{of_image} bytes while it trains, the limit is {MAX_TRAINING_BYTES}",
            batch_size,
        )


def _check_seeds(seed: int | None, replicates: int) -> None:
    last = MAX_SEED + 1 - replicates
    if seed is not None and seed > last:
        raise out_of_bounds("seed", f"at most {last} for {replicates} replicates, which use it and the next ones", seed)


def out_of_bounds(field: str, allowed: str, received: Any) -> PydanticCustomError:
    """Return the error of a rule between fields, in the form `api/errors.py` reads."""
    return PydanticCustomError(
        "out_of_bounds", "Input should be {allowed}", {"field": field, "allowed": allowed, "received": received}
    )
