"""Queries of a worker on its arm: claim it, write to it under its fence, end it or give it back.

Each change is one guarded UPDATE, with the event that tells of it in the same transaction; what lets go of an arm
returns the status it has then. What happens to an arm whose worker is gone stands in `models/leases.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, Subquery, delete, func, insert, or_, select, union_all, update
from sqlalchemy.orm import Session

from models import checkpoints, clock, events
from models.checkpoints import Checkpoint
from models.errors import FenceLost, PointsDiffer
from models.events import Change
from models.lanes import Lane, taken_by
from models.spec import ArmName, Device, Reason, ResolvedSpec, Status
from models.tables import Arm, ArmEvent, CurvePoint, Experiment, Network

#: An arm that crashed waits before it is tried again: 1 s, 2 s, 4 s …, at most so long.
MAX_WAIT_S = 60.0

#: What set-up trains: versions, threads, device, processor. Equal ones give equal bits.
Fingerprint = dict[str, Any]


def device_name(fingerprint: Fingerprint) -> str | None:
    """Return the name of what trains or trained: of the GPU, or of the processor where there was none."""
    device, processor = fingerprint.get("device"), fingerprint.get("processor")
    return processor or device if device == "CPU" else device


@dataclass(frozen=True)
class Claim:
    """A worker's right to an arm: as long as the fence is the current one, and only so long."""

    arm_id: UUID
    fence: int
    worker: str
    experiment_id: UUID
    name: ArmName
    stored_spec: dict[str, Any]
    request_id: str | None = None  # of the request that submitted it
    traceparent: str | None = None  # of the trace that its training continues (W3C)
    batches_done: int = 0  # of its newest checkpoint

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


def waits() -> ColumnElement[bool]:
    """Return whether an arm may be claimed now, as SQL."""
    due = or_(
        Arm.not_before.is_(None),
        Arm.not_before <= clock.now(),
        Arm.not_before > clock.in_seconds(2 * MAX_WAIT_S),  # nobody writes that: the clock was wrong then
    )
    return (Arm.status == Status.QUEUED) & due


def any_waits(session: Session, lane: Lane) -> bool:
    """Return whether an arm may be claimed now by a worker of this lane."""
    return bool(_devices_that_wait(session, lane))


def neglected(session: Session, lane: Lane, seconds: float) -> UUID | None:
    """Return an arm that now heads a queue of this lane, and could have been claimed at any time since then."""
    then = clock.in_seconds(-seconds)
    heads = _heads(lane)
    came_later = select(ArmEvent.id).where(ArmEvent.arm_id == Arm.id, ArmEvent.at > then).exists()
    query = select(Arm.id).where(
        Arm.id.in_(select(heads.c.id)), or_(Arm.not_before.is_(None), Arm.not_before < then), ~came_later
    )
    return session.scalars(query.limit(1)).one_or_none()


def claim(session: Session, worker: str, fingerprint: Fingerprint, lease_s: float, lane: Lane) -> Claim | None:
    """Take the arm that has waited longest among those of this lane, or return None: none waits.

    It goes on from its newest checkpoint. An arm that was begun with another fingerprint begins again: its points and
    checkpoints go, in this transaction.
    """
    found = _longest_waiting(session, lane)
    if found is None:
        return None
    arm, spec, request_id, traceparent = found
    restarts = arm.fingerprint is not None and arm.fingerprint != fingerprint
    if restarts:
        _forget_training(session, arm.id)
    done = checkpoints.newest_batches(session, arm.id) if arm.fence > 0 else 0  # never held: it has none
    fence = session.execute(
        update(Arm)
        .where(Arm.id == arm.id, Arm.status == Status.QUEUED)
        .values(
            status=Status.RUNNING,
            fence=Arm.fence + 1,
            worker=worker,
            not_before=None,
            started_at=func.coalesce(Arm.started_at, clock.now()),
            batches_done=done,
            fingerprint=fingerprint,
            **_leased(lease_s),
        )
        .returning(Arm.fence)
        .execution_options(synchronize_session=False)
    ).scalar_one()  # the row is locked since it was read
    reason = Reason.RESTARTED if restarts else Reason.CLAIMED
    events.note(session, [Change(arm.id, Status.QUEUED, Status.RUNNING, reason, fence, done)], worker)
    return Claim(arm.id, fence, worker, arm.experiment_id, arm.name, spec, request_id, traceparent, done)


def _longest_waiting(session: Session, lane: Lane) -> Row[Arm, dict[str, Any], str | None, str | None] | None:
    """Return the arm that has waited longest, locked, with its spec and where it comes from.

    None if none waits, or others are taking what there is.
    """
    for device in _devices_that_wait(session, lane):
        # Workers that look at one moment each see another arm; SQLite lets one look at a time.
        found = session.execute(_longest_waiting_for(device)).one_or_none()
        if found is not None:
            return found
    return None


@cache
def _longest_waiting_for(device: Device) -> Select[Arm, dict[str, Any], str | None, str | None]:
    return (
        select(Arm, Experiment.spec, Experiment.request_id, Experiment.traceparent)
        .join(Experiment, Experiment.id == Arm.experiment_id)
        .where(waits(), Arm.device == device)
        .order_by(Arm.created_at, Arm.id)
        .limit(1)
        .with_for_update(of=Arm, skip_locked=True)
    )


def _devices_that_wait(session: Session, lane: Lane) -> Sequence[str]:
    """Return which of the devices that this lane takes have an arm waiting, the one with the oldest arm first."""
    heads = _heads(lane)
    return session.scalars(select(heads.c.device).order_by(heads.c.created_at, heads.c.id)).all()


@cache  # built once: to build it takes longer than to ask it
def _heads(lane: Lane) -> Subquery:
    """Return, for each device that this lane takes, the arm that has waited longest.

    One look at the head of each: however many arms wait for the other lane, the index never passes them.
    """
    heads = [
        select(Arm.device, Arm.created_at, Arm.id)
        .where(waits(), Arm.device == device)
        .order_by(Arm.created_at, Arm.id)
        .limit(1)
        .subquery()
        for device in taken_by(lane)
    ]
    return union_all(*(select(head) for head in heads)).subquery()


def renew(session: Session, held: Claim, lease_s: float) -> bool:
    """Renew the lease and return whether a cancel was asked for. Raises FenceLost."""
    return _change(session, held, _leased(lease_s)).cancel_requested


def record(
    session: Session,
    held: Claim,
    lease_s: float,
    batches_done: int,
    batches_per_second: float | None,
    samples: Sequence[Sample],
    checkpoint: Checkpoint | None = None,
) -> bool:
    """Write progress, new points and the checkpoint together; return whether a cancel was asked for.

    A point that is there already, because its batches were trained again after a crash, is compared and kept: raises
    PointsDiffer if they differ. Raises FenceLost, and writes nothing, when the arm is no longer held with this fence.
    """
    progress = {
        "batches_done": batches_done,
        "batches_per_second": batches_per_second,
        **_leased(lease_s),
    }
    asked = _change(session, held, progress).cancel_requested
    _add_points(session, held.arm_id, samples)
    if checkpoint is not None:
        checkpoints.write(session, held.arm_id, checkpoint)
    return asked


def begin_anew(session: Session, held: Claim) -> None:
    """Let a held arm begin at batch 0 again: its points and checkpoints go."""
    _change(session, held, {"batches_done": 0})
    _forget_training(session, held.arm_id)
    _note(session, held, Status.RUNNING, Reason.RESTARTED, batches_done=0)


def succeed(session: Session, held: Claim, networks: Sequence[Network]) -> Status:
    """End the arm with its trained networks; if a cancel came first, it is cancelled and they are kept from it."""
    status = _end_unless_cancelled(session, held, Status.SUCCEEDED, Reason.SUCCEEDED)
    if status is Status.SUCCEEDED:
        session.add_all(networks)
        session.flush()
    return status


def mark_cancelled(session: Session, held: Claim) -> Status:
    """End the arm as cancelled; its points stay."""
    changed = _change(session, held, _ended(Status.CANCELLED))
    return _let_go(session, held, Status.CANCELLED, Reason.CANCELLED, changed)


def fail(session: Session, held: Claim, code: str, message: str) -> Status:
    """End the arm as failed, with a reason a user understands, or as cancelled if that was asked for; points stay."""
    why = {"error_code": code, "error_message": message}
    return _end_unless_cancelled(session, held, Status.FAILED, Reason.FAILED, why)


def give_back(session: Session, held: Claim) -> Status:
    """Put the arm back into the queue, because this worker stops; the next one goes on from its checkpoint."""
    if _cancel_requested(session, held):
        return mark_cancelled(session, held)
    back = {"status": Status.QUEUED, "worker": None, "batches_per_second": None, **_leased(None)}
    changed = _change(session, held, back)
    _note(session, held, Status.QUEUED, Reason.WORKER_STOPPED, batches_done=changed.batches_done)
    return Status.QUEUED


def _cancel_requested(session: Session, held: Claim) -> bool:
    """Return whether a cancel was asked for; from here to the commit nobody else can ask. Raises FenceLost."""
    return _change(session, held, {"fence": Arm.fence}).cancel_requested


@dataclass(frozen=True)
class _Changed:
    batches_done: int
    cancel_requested: bool


def _change(session: Session, held: Claim, values: dict[str, Any]) -> _Changed:
    """Change a held arm; the fence guards every write of a worker. Raises FenceLost."""
    changed = _changed(session, held, values)
    if changed is None:
        raise FenceLost(arm_id=str(held.arm_id), fence=held.fence)
    return changed


def _changed(session: Session, held: Claim, values: dict[str, Any], *which: ColumnElement[bool]) -> _Changed | None:
    """Change a held arm, if it is such a one, and return what it is then; None: it is not, or held no more."""
    row = session.execute(
        update(Arm)
        .where(*_held(held), *which)
        .values(values)
        .returning(Arm.batches_done, Arm.cancel_requested)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return None if row is None else _Changed(row.batches_done, row.cancel_requested)


def _leased(lease_s: float | None) -> dict[str, Any]:
    """Return the columns of a lease that begins now, or of none."""
    if lease_s is None:
        return {"lease_renewed_at": None, "lease_expires_at": None}
    return {"lease_renewed_at": clock.now(), "lease_expires_at": clock.in_seconds(lease_s)}


def _held(held: Claim) -> tuple[ColumnElement[bool], ...]:
    """Return the guard of every write of a worker."""
    return Arm.id == held.arm_id, Arm.status == Status.RUNNING, Arm.fence == held.fence


def _end_unless_cancelled(
    session: Session, held: Claim, status: Status, reason: Reason, values: dict[str, Any] | None = None
) -> Status:
    changed = _changed(session, held, {**_ended(status), **(values or {})}, Arm.cancel_requested.is_(False))
    if changed is None:
        return mark_cancelled(session, held)
    return _let_go(session, held, status, reason, changed)


def _ended(status: Status) -> dict[str, Any]:
    """Return the columns of an arm that ends now."""
    return {"status": status, "finished_at": clock.now(), **_leased(None)}


def _let_go(session: Session, held: Claim, status: Status, reason: Reason, changed: _Changed) -> Status:
    """Return the status in which an arm has just ended; what only its training needed goes, its history is told."""
    checkpoints.remove(session, held.arm_id)
    _note(session, held, status, reason, batches_done=changed.batches_done)
    return status


def _note(session: Session, held: Claim, after: Status, reason: Reason, *, batches_done: int) -> None:
    change = Change(held.arm_id, Status.RUNNING, after, reason, held.fence, batches_done)
    events.note(session, [change], held.worker)


def _forget_training(session: Session, arm_id: UUID) -> None:
    session.execute(delete(CurvePoint).where(CurvePoint.arm_id == arm_id))
    checkpoints.remove(session, arm_id)
    session.execute(
        update(Arm)
        .where(Arm.id == arm_id)
        .values(generation=Arm.generation + 1, batches_done=0)
        .execution_options(synchronize_session=False)
    )


def _add_points(session: Session, arm_id: UUID, samples: Sequence[Sample]) -> None:
    """Insert the points that are not there yet. Raises PointsDiffer."""
    if not samples:
        return
    there = session.execute(
        select(CurvePoint.step, CurvePoint.correct, CurvePoint.total).where(
            CurvePoint.arm_id == arm_id, CurvePoint.step.between(samples[0].step, samples[-1].step)
        )
    )
    known = {step: Sample(step, tuple(correct), total) for step, correct, total in there}
    differing = [sample.step for sample in samples if known.get(sample.step, sample) != sample]
    if differing:
        raise PointsDiffer(arm_id=str(arm_id), steps=differing)
    rows = [
        {"arm_id": arm_id, "step": sample.step, "correct": list(sample.correct), "total": sample.total}
        for sample in samples
        if sample.step not in known
    ]
    if rows:
        session.execute(insert(CurvePoint), rows)
