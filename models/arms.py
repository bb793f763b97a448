"""Queries on arms: every legal change of status, each one guarded UPDATE, each write of a worker with its fence."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import case, delete, insert, select, update
from sqlalchemy.orm import Session

from models.errors import FenceLost
from models.spec import ArmName, ResolvedSpec, Status
from models.tables import Arm, CurvePoint, Experiment, Network


@dataclass(frozen=True)
class Claim:
    """A worker's right to an arm: as long as the fence is the current one, and only so long."""

    arm_id: UUID
    fence: int
    experiment_id: UUID
    name: ArmName
    stored_spec: dict[str, Any]

    @cached_property
    def spec(self) -> ResolvedSpec:
        """The spec. Raises pydantic's ValidationError if this version cannot read it."""
        return ResolvedSpec.model_validate(self.stored_spec, strict=False)


@dataclass(frozen=True)
class Sample:
    """Validation accuracy after batch `step`: how many of `total` images each replicate has right."""

    step: int
    correct: tuple[int, ...]  # one per replicate
    total: int


def claim(session: Session, arm_id: UUID, worker: str) -> Claim | None:
    """Take a queued arm for this worker, or return None: it is taken, finished or unknown."""
    taken = session.execute(
        update(Arm)
        .where(Arm.id == arm_id, Arm.status == Status.QUEUED)
        .values(
            status=Status.RUNNING,
            fence=Arm.fence + 1,
            worker=worker,
            started_at=datetime.now(UTC),
            batches_done=0,
        )
        .returning(Arm.fence, Arm.experiment_id, Arm.name)
    ).one_or_none()
    if taken is None:
        return None
    stored = session.scalars(select(Experiment.spec).where(Experiment.id == taken.experiment_id)).one()
    return Claim(arm_id, taken.fence, taken.experiment_id, taken.name, stored)


def record(
    session: Session, held: Claim, batches_done: int, batches_per_second: float | None, samples: Sequence[Sample]
) -> bool:
    """Write progress and new points together; return whether a cancel was asked for.

    Raises FenceLost, and writes nothing, when the arm is no longer held with this fence.
    """
    asked = _change(session, held, {"batches_done": batches_done, "batches_per_second": batches_per_second})
    if samples:
        rows = [
            {"arm_id": held.arm_id, "step": sample.step, "correct": list(sample.correct), "total": sample.total}
            for sample in samples
        ]
        session.execute(insert(CurvePoint), rows)
    return asked


def succeed(session: Session, held: Claim, networks: Sequence[Network]) -> None:
    """End the arm with its trained networks; if a cancel came first, it is cancelled and they are kept from it."""
    if _change(session, held, {"finished_at": datetime.now(UTC)}):
        _change(session, held, {"status": Status.CANCELLED})
        return
    session.add_all(networks)
    session.flush()
    _change(session, held, {"status": Status.SUCCEEDED})


def mark_cancelled(session: Session, held: Claim) -> None:
    """End the arm as cancelled; its points stay."""
    _change(session, held, {"status": Status.CANCELLED, "finished_at": datetime.now(UTC)})


def fail(session: Session, held: Claim, code: str, message: str) -> None:
    """End the arm as failed, with a reason a user understands; its points stay."""
    _change(
        session,
        held,
        {
            "status": Status.FAILED,
            "finished_at": datetime.now(UTC),
            "error_code": code,
            "error_message": message,
        },
    )


def give_back(session: Session, held: Claim) -> None:
    """Put the arm back into the queue as if it had not begun, because this worker stops."""
    asked = _change(session, held, {"batches_done": 0, "batches_per_second": None, "started_at": None})
    if asked:
        _change(session, held, {"status": Status.CANCELLED, "finished_at": datetime.now(UTC)})
        return
    session.execute(delete(CurvePoint).where(CurvePoint.arm_id == held.arm_id))
    _change(session, held, {"status": Status.QUEUED, "worker": None})


def fail_lost(session: Session, arm_id: UUID, worker: str) -> None:
    """End an arm as failed if this worker still holds it: its process was killed while it trained."""
    session.execute(
        update(Arm)
        .where(Arm.id == arm_id, Arm.status == Status.RUNNING, Arm.worker == worker)
        .values(
            status=Status.FAILED,
            fence=Arm.fence + 1,
            finished_at=datetime.now(UTC),
            error_code="worker_lost",
            error_message="The process that trained this arm was killed, perhaps for want of memory; submit it again.",
        )
    )


def return_orphans(session: Session) -> int:
    """Put every running arm back into the queue, as if it had not begun, and return how many there were.

    Only right while no worker is alive: after a crash, before the first one starts. The fence grows, so that one that
    lives all the same can write nothing.
    """
    orphans = list(session.scalars(select(Arm.id).where(Arm.status == Status.RUNNING)))
    cancelled = Arm.cancel_requested
    session.execute(
        update(Arm)
        .where(Arm.id.in_(orphans))
        .values(
            status=case((cancelled, Status.CANCELLED), else_=Status.QUEUED),
            finished_at=case((cancelled, datetime.now(UTC)), else_=None),
            fence=Arm.fence + 1,
            worker=None,
            started_at=None,
            batches_done=0,
            batches_per_second=None,
        )
    )
    session.execute(delete(CurvePoint).where(CurvePoint.arm_id.in_(orphans)))
    return len(orphans)


def queued(session: Session, limit: int) -> list[UUID]:
    """Return the arms that have waited longest."""
    return list(
        session.scalars(select(Arm.id).where(Arm.status == Status.QUEUED).order_by(Arm.created_at, Arm.id).limit(limit))
    )


def _change(session: Session, held: Claim, values: dict[str, Any]) -> bool:
    """Change a held arm and return whether a cancel was asked for; the fence guards every write of a worker."""
    asked = session.execute(
        update(Arm)
        .where(Arm.id == held.arm_id, Arm.status == Status.RUNNING, Arm.fence == held.fence)
        .values(**values)
        .returning(Arm.cancel_requested)
    ).scalar_one_or_none()
    if asked is None:
        raise FenceLost(arm_id=str(held.arm_id), fence=held.fence)
    return asked
