"""Queries on experiments: accept one, read one, page through all, cancel one.

With an `owner`, only what is its own is found; without one, everybody's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Row, Select, and_, case, delete, select, tuple_, update
from sqlalchemy.orm import Session, aliased, selectinload

from models import clock, events
from models.errors import ExperimentFinished, UnknownExperiment
from models.events import Change
from models.owners import owned
from models.spec import ArmName, Reason, ResolvedSpec, Status
from models.tables import Arm, CheckpointPart, Experiment, status_of_experiment

#: Who submits and cancels, in the history of an arm.
SUBMITTER = "api"

#: Where a page begins: after the experiment created at this moment with this id.
Cursor = tuple[datetime, UUID]


@dataclass(frozen=True)
class Origin:
    """The request that submits: its id in the logs, and the trace (W3C) that the training continues; None: unknown."""

    request_id: str | None = None
    traceparent: str | None = None


NO_REQUEST = Origin()


def create(
    session: Session,
    spec: ResolvedSpec,
    dataset_sha256: str,
    owner: UUID | None = None,
    origin: Origin = NO_REQUEST,
) -> Experiment:
    """Insert an experiment with both arms queued, and return it. The bell is rung after the commit."""
    experiment = queued(spec, dataset_sha256, datetime.now(UTC), owner=owner, origin=origin)
    insert(session, [experiment])
    return read(session, experiment.id)


def queued(
    spec: ResolvedSpec,
    dataset_sha256: str,
    now: datetime,
    sweep_id: UUID | None = None,
    position: int | None = None,
    owner: UUID | None = None,
    origin: Origin = NO_REQUEST,
) -> Experiment:
    """Return a new experiment with both arms queued, not yet inserted."""
    experiment = Experiment(
        id=uuid4(),
        owner_id=owner,
        created_at=now,
        spec=spec.model_dump(mode="json"),
        dataset_sha256=dataset_sha256,
        sweep_id=sweep_id,
        position=position,
        request_id=origin.request_id,
        traceparent=origin.traceparent,
    )
    experiment.arms = [
        Arm(id=uuid4(), name=name, owner_id=owner, device=spec.device, status=Status.QUEUED, created_at=now)
        for name in ArmName
    ]
    return experiment


def insert(session: Session, queued: Sequence[Experiment]) -> None:
    """Insert new experiments, and the beginning of each arm's history."""
    session.add_all(queued)
    session.flush()
    submitted = [arm.id for experiment in queued for arm in experiment.arms]
    events.note(session, [Change(id, None, Status.QUEUED, Reason.SUBMITTED, 0, 0) for id in submitted], SUBMITTER)


def read(session: Session, experiment_id: UUID, owner: UUID | None = None) -> Experiment:
    """Return the experiment with its arms and their networks' results (not their arrays). Raises UnknownExperiment."""
    query = whole().where(Experiment.id == experiment_id, owned(Experiment.owner_id, owner))
    query = query.execution_options(populate_existing=True)
    experiment = session.scalars(query).one_or_none()
    if experiment is None:
        raise UnknownExperiment(experiment_id=str(experiment_id))
    return experiment


def page(
    session: Session,
    limit: int,
    after: Cursor | None = None,
    status: Status | None = None,
    owner: UUID | None = None,
) -> tuple[list[Experiment], Cursor | None]:
    """Return up to `limit` experiments, newest first, and the cursor of the next page, None at the end."""
    if status is None:
        query = whole().where(owned(Experiment.owner_id, owner)).limit(limit + 1)
        if after is not None:
            query = query.where(tuple_(Experiment.created_at, Experiment.id) < after)
    else:
        of_status = _of_status(status, limit + 1, after, owner).subquery()
        query = whole().join(of_status, Experiment.id == of_status.c.experiment_id)
    found = list(session.scalars(query.order_by(Experiment.created_at.desc(), Experiment.id.desc())))
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], (last.created_at, last.id)


def _of_status(status: Status, limit: int, after: Cursor | None, owner: UUID | None) -> Select[datetime, UUID]:
    """Return the query for the newest experiments of a status.

    It looks for arms that have it, along an index by status and moment, for an arm is as old as its experiment: among
    many experiments it finds the few that failed without a look at the others. An experiment may run while one arm
    waits and the other one has ended.
    """
    arm = aliased(Arm)
    told_by = (Status.RUNNING, Status.QUEUED) if status is Status.RUNNING else (status,)
    query = (
        select(arm.created_at, arm.experiment_id)
        .where(arm.status.in_(told_by), status_of_experiment(arm.experiment_id) == status, owned(arm.owner_id, owner))
        .distinct()  # both arms may tell
        .order_by(arm.created_at.desc(), arm.experiment_id.desc())
        .limit(limit)
    )
    return query if after is None else query.where(tuple_(arm.created_at, arm.experiment_id) < after)


def cancel(session: Session, experiment_id: UUID, owner: UUID | None = None) -> Experiment:
    """Cancel the queued arms at once and ask the workers of the running ones to stop.

    Cancelling a cancelled experiment changes nothing. Raises UnknownExperiment, and ExperimentFinished if it
    succeeded or failed before.
    """
    stopped = cancel_arms(session, and_(Arm.experiment_id == experiment_id, owned(Arm.owner_id, owner)))
    experiment = read(session, experiment_id, owner)
    if not stopped and experiment.status is not Status.CANCELLED:
        raise ExperimentFinished(experiment_status=experiment.status.value)
    return experiment


def cancel_arms(session: Session, which: ColumnElement[bool]) -> bool:
    """Cancel those of the arms that wait and ask the workers of those that run to stop.

    Return whether there were any, or some that were asked before and still run.
    """
    waits = Arm.status == Status.QUEUED
    # One statement: an arm cannot slip from one status to the other between two.
    stopped = session.execute(
        update(Arm)
        .where(which, Arm.status.in_((Status.QUEUED, Status.RUNNING)), Arm.cancel_requested.is_(False))
        .values(
            cancel_requested=True,
            status=case((waits, Status.CANCELLED), else_=Arm.status),
            finished_at=case((waits, clock.now()), else_=Arm.finished_at),
        )
        .returning(Arm.id, Arm.status, Arm.fence, Arm.batches_done)
        .execution_options(synchronize_session=False)
    ).all()
    ended = [arm.id for arm in stopped if arm.status is Status.CANCELLED]
    session.execute(delete(CheckpointPart).where(CheckpointPart.arm_id.in_(ended)))
    events.note(session, [_change(arm) for arm in stopped], SUBMITTER)
    still_running = select(Arm.id).where(which, Arm.status == Status.RUNNING).limit(1)
    return bool(stopped) or session.scalars(still_running).one_or_none() is not None


def _change(arm: Row[UUID, Status, int, int]) -> Change:
    if arm.status is Status.CANCELLED:
        return Change(arm.id, Status.QUEUED, Status.CANCELLED, Reason.CANCELLED, arm.fence, arm.batches_done)
    return Change(arm.id, Status.RUNNING, Status.RUNNING, Reason.CANCEL_REQUESTED, arm.fence, arm.batches_done)


def whole() -> Select[Experiment]:
    """Return the query for experiments with their arms and their networks' results (not their arrays)."""
    return select(Experiment).options(selectinload(Experiment.arms).selectinload(Arm.networks))
