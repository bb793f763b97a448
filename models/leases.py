"""Arms whose worker is gone: they return to the queue, or end if they have killed their worker too often.

Everything here may be called by any process at any time, and by several at once: who comes second finds no such arm.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, or_, select, true, update
from sqlalchemy.orm import Session

from models import checkpoints, clock, events
from models.arms import MAX_WAIT_S
from models.events import Change
from models.spec import Reason, Status
from models.tables import Arm, Experiment

#: Crashes are counted from the last time that an arm came this share of its batches further.
GOOD_WAY = 0.01

#: A lease from the future is from a clock that jumped; who holds the arm renews it within a second if it lives.
CLOCK_TOLERANCE_S = 2.0

CRASH_LOOP = (
    "This arm has killed the process that trained it {count} times without getting further; perhaps it needs more "
    "memory than its worker has. What points it has are kept."
)


def any_to_return(session: Session, workers: str, lives: Callable[[str], bool]) -> bool:
    """Return whether `return_expired` or `return_lost` would find an arm; it only looks."""
    expired = select(Arm.id).where(Arm.status == Status.RUNNING, _is_over()).limit(1)
    return session.scalars(expired).one_or_none() is not None or bool(_lost(session, workers, lives))


def return_expired(session: Session, actor: str, max_crashes: int) -> int:
    """Take running arms whose lease is over from their workers, and return how many there were."""
    return _return_crashed(session, _is_over(), Reason.LEASE_EXPIRED, actor, max_crashes)


def _is_over() -> ColumnElement[bool]:
    return or_(
        Arm.lease_expires_at.is_(None),
        Arm.lease_expires_at < clock.now(),
        Arm.lease_renewed_at > clock.in_seconds(CLOCK_TOLERANCE_S),  # the clock was wrong then, or is wrong now
    )


def return_lost(session: Session, workers: str, lives: Callable[[str], bool], actor: str, max_crashes: int) -> int:
    """Take running arms from those processes, among the ones whose names begin so, that live no more."""
    lost = _lost(session, workers, lives)
    if not lost:
        return 0
    return _return_crashed(session, Arm.worker.in_(lost), Reason.PROCESS_LOST, actor, max_crashes)


def _lost(session: Session, workers: str, lives: Callable[[str], bool]) -> list[str]:
    running = session.scalars(select(Arm.worker).where(Arm.status == Status.RUNNING, Arm.worker.is_not(None)))
    # Not in SQL: to SQLite's LIKE, upper and lower case are the same.
    return [worker for worker in running if worker and worker.startswith(workers) and not lives(worker)]


def return_orphans(session: Session, actor: str) -> int:
    """Put every running arm back into the queue, and return how many there were; no crash is counted.

    Only right while no worker is alive: after a crash of everything, before the first one starts.
    """
    orphans = _locked(session, true())
    for arm in orphans:
        _return(session, arm, Reason.SERVICE_RESTARTED, actor, {"not_before": None})
    return len(orphans)


def _return_crashed(session: Session, which: ColumnElement[bool], reason: Reason, actor: str, max_crashes: int) -> int:
    arms = _locked(session, which)
    for arm in arms:
        went_on = arm.batches_done - arm.batches_at_crash >= GOOD_WAY * arm.spec["training_batches"]
        count = 1 if went_on else arm.crash_count + 1
        crashed = {
            "crash_count": count,
            "batches_at_crash": arm.batches_done if went_on else arm.batches_at_crash,
            "not_before": clock.in_seconds(min(2.0 ** (count - 1), MAX_WAIT_S)),
        }
        if count >= max_crashes and not went_on and not arm.cancel_requested:
            _fail_crash_loop(session, arm, actor, crashed)
        else:
            _return(session, arm, reason, actor, crashed)
    return len(arms)


def _locked(session: Session, which: ColumnElement[bool]) -> Sequence[Row[Any]]:
    """Return running arms, which nobody else can change before this transaction ends.

    One that somebody writes to just now is left for the next look: a worker that stands still holds up no other arm.
    """
    columns = (
        *(Arm.id, Arm.fence, Arm.batches_done, Arm.batches_at_crash, Arm.crash_count, Arm.cancel_requested),
        Experiment.spec,
    )
    return session.execute(
        select(*columns)
        .join(Experiment, Experiment.id == Arm.experiment_id)
        .where(Arm.status == Status.RUNNING, which)
        .with_for_update(of=Arm, skip_locked=True)
    ).all()


def _return(session: Session, arm: Row[Any], reason: Reason, actor: str, values: dict[str, Any]) -> None:
    """Put one arm back into the queue, or end it if a cancel was asked for."""
    if arm.cancel_requested:
        _change(session, arm, {"status": Status.CANCELLED, "finished_at": clock.now()}, Reason.CANCELLED, actor)
    else:
        _change(session, arm, {"status": Status.QUEUED, **values}, reason, actor)


def _fail_crash_loop(session: Session, arm: Row[Any], actor: str, crashed: dict[str, Any]) -> None:
    failed = {
        **crashed,
        "status": Status.FAILED,
        "finished_at": clock.now(),
        "not_before": None,
        "error_code": "crash_loop",
        "error_message": CRASH_LOOP.format(count=crashed["crash_count"]),
    }
    _change(session, arm, failed, Reason.CRASH_LOOP, actor)


def _change(session: Session, arm: Row[Any], values: dict[str, Any], reason: Reason, actor: str) -> None:
    held_by_nobody = {"lease_renewed_at": None, "lease_expires_at": None, "worker": None, "batches_per_second": None}
    session.execute(
        update(Arm)
        .where(Arm.id == arm.id, Arm.status == Status.RUNNING, Arm.fence == arm.fence)
        .values({**held_by_nobody, **values})
        .returning(Arm.id)
        .execution_options(synchronize_session=False)
    ).one()  # the row is locked since it was read
    if values["status"] is not Status.QUEUED:
        checkpoints.remove(session, arm.id)
    change = Change(arm.id, Status.RUNNING, values["status"], reason, arm.fence, arm.batches_done)
    events.note(session, [change], actor)
