"""Queries on sweeps: create all experiments of one in one transaction, read one, page through all, cancel one.

With an `owner`, only what is its own is found; without one, everybody's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, Select, func, select, tuple_
from sqlalchemy.orm import Session

from models import experiments
from models.errors import SweepFinished, UnknownSweep
from models.experiments import NO_REQUEST, Cursor, Origin
from models.grid import SweepRequest
from models.owners import owned
from models.spec import FINISHED, ArmName, ResolvedSpec, Status
from models.tables import Arm, Experiment, Sweep


@dataclass(frozen=True)
class Summary:
    """How far a sweep is: how many of its experiments have each status, and the batches of all of them."""

    counts: Mapping[Status, int]
    batches_done: int
    batches_total: int
    started_at: datetime | None
    last_finished_at: datetime | None

    @property
    def status(self) -> Status:
        """The sweep's status: it follows from its experiments' as theirs does from their arms'."""
        present = {status for status, count in self.counts.items() if count}
        if Status.RUNNING in present or (Status.QUEUED in present and present & FINISHED):
            return Status.RUNNING
        order = (Status.QUEUED, Status.FAILED, Status.CANCELLED, Status.SUCCEEDED)
        return next(status for status in order if status in present)


def create(
    session: Session,
    request: SweepRequest,
    specs: Sequence[tuple[ResolvedSpec, str]],
    owner: UUID | None = None,
    origin: Origin = NO_REQUEST,
) -> UUID:
    """Insert a sweep with its experiments, each a spec and its data set's SHA-256, and return its id.

    They are created a microsecond apart, so lists and queues keep their order. The bell is rung after the commit.
    """
    now = datetime.now(UTC)
    sweep = Sweep(id=uuid4(), owner_id=owner, created_at=now, request=request.model_dump(mode="json"))
    session.add(sweep)
    session.flush()
    created = [
        experiments.queued(
            spec, dataset_sha256, now + position * timedelta(microseconds=1), sweep.id, position, owner, origin
        )
        for position, (spec, dataset_sha256) in enumerate(specs)
    ]
    experiments.insert(session, created)
    return sweep.id


def read(session: Session, sweep_id: UUID, owner: UUID | None = None) -> tuple[Sweep, Summary]:
    """Return a sweep and how far it is. Raises UnknownSweep."""
    query = select(Sweep).where(Sweep.id == sweep_id, owned(Sweep.owner_id, owner))
    sweep = session.scalars(query).one_or_none()
    if sweep is None:
        raise UnknownSweep(sweep_id=str(sweep_id))
    return sweep, _summaries(session, [sweep_id])[sweep_id]


def experiments_of(session: Session, sweep_id: UUID, first: int = 0, count: int | None = None) -> list[Experiment]:
    """Return a sweep's experiments in its order, with their arms and results; some of them, or all from the first."""
    query = experiments.whole().where(Experiment.sweep_id == sweep_id, Experiment.position >= first)
    if count is not None:
        query = query.where(Experiment.position < first + count)
    as_they_stand = query.order_by(Experiment.position).execution_options(populate_existing=True)
    return list(session.scalars(as_they_stand))


def page(
    session: Session, limit: int, after: Cursor | None = None, owner: UUID | None = None
) -> tuple[list[tuple[Sweep, Summary]], Cursor | None]:
    """Return up to `limit` sweeps, newest first, and the cursor of the next page, None at the end."""
    query = select(Sweep).where(owned(Sweep.owner_id, owner))
    query = query.order_by(Sweep.created_at.desc(), Sweep.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(tuple_(Sweep.created_at, Sweep.id) < after)
    found = list(session.scalars(query))
    shown = found[:limit]
    summaries = _summaries(session, [sweep.id for sweep in shown])
    following = (shown[-1].created_at, shown[-1].id) if len(found) > limit else None
    return [(sweep, summaries[sweep.id]) for sweep in shown], following


def cancel(session: Session, sweep_id: UUID, owner: UUID | None = None) -> None:
    """Cancel all of a sweep's experiments that have not ended.

    Cancelling a cancelled sweep changes nothing. Raises UnknownSweep, and SweepFinished if it had ended otherwise.
    """
    of_sweep = select(Experiment.id).where(Experiment.sweep_id == sweep_id, owned(Experiment.owner_id, owner))
    stopped = experiments.cancel_arms(session, Arm.experiment_id.in_(of_sweep))
    _, summary = read(session, sweep_id, owner)
    if not stopped and summary.status is not Status.CANCELLED:
        raise SweepFinished(sweep_status=summary.status.value)


def _summaries(session: Session, sweep_ids: Sequence[UUID]) -> dict[UUID, Summary]:
    rows = session.execute(_counted(sweep_ids)).all()
    return {sweep_id: _summary([row for row in rows if row.sweep_id == sweep_id]) for sweep_id in sweep_ids}


def _summary(rows: Sequence[Row[Any]]) -> Summary:
    """Return one sweep's, of its rows: one for each status that its experiments have."""
    return Summary(
        counts={status: sum(row.experiments for row in rows if row.status == status) for status in Status},
        batches_done=int(sum(row.done for row in rows)),  # of big integers Postgres makes a decimal sum
        batches_total=sum(row.batches for row in rows) * len(ArmName),
        started_at=min((row.started for row in rows if row.started), default=None),
        last_finished_at=max((row.finished for row in rows if row.finished), default=None),
    )


def _counted(sweep_ids: Sequence[UUID]) -> Select[Any]:
    """Return the query for a row for each of these sweeps and each status that experiments of it have."""
    each = _experiments(sweep_ids).subquery()
    return select(
        each.c.sweep_id,
        each.c.status,
        func.count().label("experiments"),
        func.sum(each.c.done).label("done"),
        func.sum(each.c.batches).label("batches"),
        func.min(each.c.started).label("started"),
        func.max(each.c.finished).label("finished"),
    ).group_by(each.c.sweep_id, each.c.status)


def _experiments(sweep_ids: Sequence[UUID]) -> Select[Any]:
    """Return the query for a row for each experiment of these sweeps, with the sums over its arms."""
    arms = (
        select(
            Arm.experiment_id,
            func.sum(Arm.batches_done).label("done"),
            func.min(Arm.started_at).label("started"),
            func.max(Arm.finished_at).label("finished"),
        )
        .join(Experiment, Experiment.id == Arm.experiment_id)
        .where(Experiment.sweep_id.in_(sweep_ids))
        .group_by(Arm.experiment_id)
        .subquery()
    )
    return (
        select(
            Experiment.sweep_id,
            Experiment.status.label("status"),
            Experiment.spec["training_batches"].as_integer().label("batches"),
            *(arms.c.done, arms.c.started, arms.c.finished),
        )
        .join(arms, arms.c.experiment_id == Experiment.id)
        .where(Experiment.sweep_id.in_(sweep_ids))
    )
