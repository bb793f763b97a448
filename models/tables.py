"""The tables: experiments, their sweeps, arms, points and networks; keys, workers; and how constraints are named."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, get_args
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Uuid,
    and_,
    case,
    func,
    literal,
    select,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from models.scopes import Scope
from models.spec import FINISHED, ArmName, Device, Reason, Status


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, on databases that keep time zones and on SQLite, which does not."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a moment without a time zone; store the rest as UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs its time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment with UTC as its time zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _words(enum: type[StrEnum], name: str) -> Enum:
    """Return the column type of an enumeration: its words as text, checked by the database."""
    return Enum(
        enum,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=32,
        values_callable=lambda members: [member.value for member in members],
    )


STATUS = _words(Status, "status")
ARM_NAME = _words(ArmName, "arm_name")
REASON = _words(Reason, "reason")
SCOPE = _words(Scope, "scope")
DEVICE = Enum(*get_args(Device), name="device", native_enum=False, create_constraint=True, length=32)


class Base(DeclarativeBase):
    """The common ground of all tables: key names, and which Python type is which column."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        datetime: UtcDateTime(),
        UUID: Uuid(),
        dict[str, Any]: JSON(),
        list[int]: JSON(),
        list[str]: JSON(),
        bytes: LargeBinary(),
        str: String(),
        Status: STATUS,
        ArmName: ARM_NAME,
        Reason: REASON,
        Scope: SCOPE,
    }


class Arm(Base):
    """One of an experiment's two networks, all replicates together: the unit of queued work.

    `fence` grows by one with each claim; a worker's writes carry the fence it was given and count only while it is
    the current one. Who holds the arm has it until `lease_expires_at`, by the database's clock, and renews that while
    the training advances. A status that is final never changes: the database itself refuses (see the migrations).
    """

    __tablename__ = "arms"
    __table_args__ = (
        Index("uq_arms_experiment_id_name", "experiment_id", "name", unique=True),
        Index("ix_arms_status_device_created_at", "status", "device", "created_at"),
        Index("ix_arms_status_created_at", "status", "created_at", "experiment_id"),
        Index("ix_arms_owner_id_status_created_at", "owner_id", "status", "created_at", "experiment_id"),
        Index("ix_arms_finished_at", "finished_at"),
        Index("ix_arms_owner_id_finished_at", "owner_id", "finished_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    experiment_id: Mapped[UUID] = mapped_column(ForeignKey("experiments.id", ondelete="CASCADE"))
    name: Mapped[ArmName]
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey("api_keys.id"))  # its experiment's
    device: Mapped[str] = mapped_column(DEVICE, default="auto")  # where it may be trained; its spec's
    status: Mapped[Status]
    fence: Mapped[int] = mapped_column(default=0)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    worker: Mapped[str | None]  # the process that holds, or last held, the arm
    lease_renewed_at: Mapped[datetime | None]  # while it runs
    lease_expires_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]  # after a crash it waits for this moment
    crash_count: Mapped[int] = mapped_column(default=0)  # crashes since it last came a good way further
    batches_at_crash: Mapped[int] = mapped_column(default=0)  # how far it was when they began to be counted
    generation: Mapped[int] = mapped_column(default=1)  # how often it has begun at batch 0
    fingerprint: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # worker.fingerprint
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    batches_done: Mapped[int] = mapped_column(default=0)
    batches_per_second: Mapped[float | None]
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None]

    networks: Mapped[list["Network"]] = relationship(order_by="Network.replicate", lazy="raise")
    events: Mapped[list["ArmEvent"]] = relationship(order_by="ArmEvent.id", lazy="raise")


def status_of_experiment(experiment_id: Mapped[UUID]) -> ColumnElement[Status]:
    """Return the one rule that makes an experiment's status from those of its arms, as SQL.

    One look at the arms, by their experiment alone: asked for by status too, SQLite would walk all arms that have it.
    """

    def some_arm(*statuses: Status) -> ColumnElement[bool]:
        return func.count().filter(Arm.status.in_(statuses)) > 0

    def word(status: Status) -> ColumnElement[Status]:
        return literal(status, STATUS)

    rule = case(
        (some_arm(Status.RUNNING), word(Status.RUNNING)),
        (and_(some_arm(Status.QUEUED), some_arm(*FINISHED)), word(Status.RUNNING)),
        (some_arm(Status.QUEUED), word(Status.QUEUED)),
        (some_arm(Status.FAILED), word(Status.FAILED)),
        (some_arm(Status.CANCELLED), word(Status.CANCELLED)),
        else_=word(Status.SUCCEEDED),
    )
    return select(rule).where(Arm.experiment_id == experiment_id).correlate_except(Arm).scalar_subquery()


class ApiKey(Base):
    """A key to the API: the hash of what was shown once, what it may do, and whose it is.

    What is made with a key is its owner's. An owner is known by the id of its first key, so keys can be replaced, and
    given out to others who may do less. A key is never deleted, only revoked.
    """

    __tablename__ = "api_keys"
    __table_args__ = (Index("uq_api_keys_key_sha256", "key_sha256", unique=True),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID]  # the id of the owner's first key
    name: Mapped[str] = mapped_column(String(100))
    key_sha256: Mapped[str] = mapped_column(String(64))
    beginning: Mapped[str] = mapped_column(String(16))  # the first characters, by which its holder knows it again
    scope: Mapped[Scope]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]  # to about a minute
    requests_per_minute: Mapped[int | None]  # None: as the settings have it
    max_active_experiments: Mapped[int | None]  # None: as the settings have it


class Worker(Base):
    """A worker as it was last heard of; a row goes when its worker stops, or long after it fell silent."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)  # worker.process.worker
    device: Mapped[str] = mapped_column(DEVICE)  # cpu or gpu: which arms it takes
    device_names: Mapped[list[str]]  # what its processes train on, once they know
    processes: Mapped[int]  # so many arms train at once
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class Sweep(Base):
    """Experiments that were submitted together: what was asked for, as it was sent. Its status follows from theirs."""

    __tablename__ = "sweeps"
    __table_args__ = (
        Index("ix_sweeps_created_at_id", "created_at", "id"),
        Index("ix_sweeps_owner_id_created_at_id", "owner_id", "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey("api_keys.id"))  # None: made while keys were off
    created_at: Mapped[datetime]
    request: Mapped[dict[str, Any]]  # models.grid.SweepRequest as JSON


class Experiment(Base):
    """One submitted spec. Its status is not stored: it follows from its arms."""

    __tablename__ = "experiments"
    __table_args__ = (
        Index("ix_experiments_created_at_id", "created_at", "id"),
        Index("ix_experiments_owner_id_created_at_id", "owner_id", "created_at", "id"),
        Index("uq_experiments_sweep_id_position", "sweep_id", "position", unique=True),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey("api_keys.id"))  # None: made while keys were off
    created_at: Mapped[datetime]
    spec: Mapped[dict[str, Any]]  # ResolvedSpec as JSON
    dataset_sha256: Mapped[str] = mapped_column(String(64))
    sweep_id: Mapped[UUID | None] = mapped_column(ForeignKey("sweeps.id", ondelete="CASCADE"))
    position: Mapped[int | None]  # in its sweep, from 0
    request_id: Mapped[str | None] = mapped_column(String(64))  # of the request that submitted it, as the logs have it
    traceparent: Mapped[str | None] = mapped_column(String(64))  # of the trace that its training continues (W3C)
    status: Mapped[Status] = column_property(status_of_experiment(id))

    arms: Mapped[list["Arm"]] = relationship(order_by=Arm.name.desc(), lazy="raise")


class ArmEvent(Base):
    """Something that happened to an arm: one row for each change, none is ever altered."""

    __tablename__ = "arm_events"
    __table_args__ = (Index("ix_arm_events_arm_id_id", "arm_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    arm_id: Mapped[UUID] = mapped_column(ForeignKey("arms.id", ondelete="CASCADE"))
    at: Mapped[datetime]
    from_status: Mapped[Status | None] = mapped_column(_words(Status, "from_status"))  # None: it was submitted
    to_status: Mapped[Status] = mapped_column(_words(Status, "to_status"))
    reason: Mapped[Reason]
    fence: Mapped[int]
    batches_done: Mapped[int]
    actor: Mapped[str]


class CurvePoint(Base):
    """Validation accuracy of all replicates of an arm after batch `step`, as integers: correct of total."""

    __tablename__ = "curve_points"

    arm_id: Mapped[UUID] = mapped_column(ForeignKey("arms.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    correct: Mapped[list[int]]  # one count per replicate
    total: Mapped[int]


class CheckpointPart(Base):
    """One replicate of a running arm after `batches_done` batches, from which its training can go on."""

    __tablename__ = "checkpoints"

    arm_id: Mapped[UUID] = mapped_column(ForeignKey("arms.id", ondelete="CASCADE"), primary_key=True)
    batches_done: Mapped[int] = mapped_column(primary_key=True)
    replicate: Mapped[int] = mapped_column(primary_key=True)
    arrays_sha256: Mapped[str] = mapped_column(String(64))
    arrays: Mapped[bytes] = mapped_column(deferred=True)


class IdempotencyKey(Base):
    """A request that was sent with a key, and what it was answered: sent again, it gets the same answer."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)

    owner: Mapped[str] = mapped_column(String(36), primary_key=True)  # the id of an API key; "": keys are off
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    answer: Mapped[bytes]


class Network(Base):
    """A trained arm of one replicate: its arrays as safetensors bytes, and how it did at the end."""

    __tablename__ = "networks"

    arm_id: Mapped[UUID] = mapped_column(ForeignKey("arms.id", ondelete="CASCADE"), primary_key=True)
    replicate: Mapped[int] = mapped_column(primary_key=True)
    arrays_sha256: Mapped[str] = mapped_column(String(64))
    starting_weights_sha256: Mapped[str | None] = mapped_column(String(64))  # None: trained before it was recorded
    reached_90_percent_after: Mapped[int | None]  # batches, by the evaluated ones
    diverged_at: Mapped[int | None]  # first batch whose loss was not a finite number
    result: Mapped[dict[str, Any]]  # models.results.NetworkResult as JSON
    arrays: Mapped[bytes] = mapped_column(deferred=True)  # the last: SQLite reads them to come to what is behind them
