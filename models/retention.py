"""What may go: experiments that ended long ago, a sweep once all of its own have, keys of requests that are forgotten.

Who removes them takes a few at a time, each few in a transaction of their own. A sweep is dissolved first, in one small
transaction: nobody ever sees a part of it. What waits or runs, and whatever shares a sweep with it, is not found here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from models import clock
from models.experiments import Cursor
from models.idempotency import KEPT_FOR
from models.spec import FINISHED
from models.tables import Arm, CurvePoint, Experiment, IdempotencyKey, Network, Sweep


@dataclass(frozen=True)
class Amount:
    """How much there is of what may go, or has gone."""

    experiments: int = 0
    sweeps: int = 0
    points: int = 0
    networks: int = 0
    networks_bytes: int = 0
    idempotency_keys: int = 0

    def __add__(self, other: Self) -> "Amount":
        return Amount(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def moment(session: Session, seconds_ago: float) -> datetime:
    """Return the moment so long ago, by the database's clock."""
    return session.scalars(select(clock.in_seconds(-seconds_ago))).one()


def ended_before(
    session: Session, before: datetime, count: int, after: Cursor | None = None
) -> tuple[list[UUID], Cursor | None]:
    """Return up to `count` experiments that may go, the oldest first, and the cursor behind them; None: no more."""
    query = select(Experiment.id, Experiment.created_at).where(*_may_go(before))
    if after is not None:
        query = query.where(tuple_(Experiment.created_at, Experiment.id) > after)
    found = session.execute(query.order_by(Experiment.created_at, Experiment.id).limit(count)).all()
    return [row.id for row in found], (found[-1].created_at, found[-1].id) if found else None


def measure(session: Session, experiment_ids: Sequence[UUID]) -> Amount:
    """Return what goes with these experiments."""
    arms = select(Arm.id).where(Arm.experiment_id.in_(experiment_ids))
    points = session.scalars(select(func.count()).where(CurvePoint.arm_id.in_(arms))).one()
    networks, size = session.execute(
        select(func.count(), func.coalesce(func.sum(func.length(Network.arrays)), 0)).where(Network.arm_id.in_(arms))
    ).one()
    return Amount(experiments=len(experiment_ids), points=points, networks=networks, networks_bytes=int(size))


def remove(session: Session, experiment_ids: Sequence[UUID], before: datetime) -> Amount:
    """Remove those of the experiments that may go and are of no sweep, with all that is theirs; return what went.

    Whoever removes them meanwhile is waited for; what it has taken is no part of the answer.
    """
    may_go = select(Experiment.id).where(
        Experiment.id.in_(experiment_ids), Experiment.sweep_id.is_(None), *_may_go(before)
    )
    locked = session.scalars(may_go.order_by(Experiment.created_at, Experiment.id).with_for_update()).all()
    amount = measure(session, locked)
    session.execute(delete(Experiment).where(Experiment.id.in_(locked)).execution_options(synchronize_session=False))
    return amount


def sweeps_that_may_go(session: Session, before: datetime) -> list[UUID]:
    """Return the sweeps all of whose experiments ended before that moment, the oldest first."""
    oldest = select(Sweep.id).where(~_some_lives(Sweep.id, before))
    return list(session.scalars(oldest.order_by(Sweep.created_at, Sweep.id)))


def dissolve(session: Session, sweep_id: UUID, before: datetime) -> int:
    """Remove a sweep that may go, but not its experiments, which are of no sweep then; return how many sweeps."""
    may_go = ~_some_lives(sweep_id, before)
    session.execute(
        update(Experiment)
        .where(Experiment.sweep_id == sweep_id, may_go)
        .values(sweep_id=None, position=None)
        .execution_options(synchronize_session=False)
    )
    empty = ~exists().where(Experiment.sweep_id == sweep_id)
    gone = delete(Sweep).where(Sweep.id == sweep_id, empty).returning(Sweep.id)
    return len(session.execute(gone.execution_options(synchronize_session=False)).all())


def old_idempotency_keys(session: Session) -> int:
    """Return how many idempotency keys are known no more."""
    return session.scalars(select(func.count()).where(_forgotten())).one()


def remove_old_idempotency_keys(session: Session) -> int:
    """Remove the idempotency keys that are known no more; return how many."""
    gone = delete(IdempotencyKey).where(_forgotten()).returning(IdempotencyKey.key)
    return len(session.execute(gone.execution_options(synchronize_session=False)).all())


def _forgotten() -> ColumnElement[bool]:
    return IdempotencyKey.created_at < clock.in_seconds(-KEPT_FOR.total_seconds())


def _may_go(before: datetime) -> tuple[ColumnElement[bool], ...]:
    """Return the guard: it ended before that moment, and so did every experiment of its sweep."""
    return (
        Experiment.created_at < before,
        ~exists().where(Arm.experiment_id == Experiment.id, _lives(before)),
        or_(Experiment.sweep_id.is_(None), ~_some_lives(Experiment.sweep_id, before)),
    )


def _some_lives(sweep_id: Any, before: datetime) -> ColumnElement[bool]:
    """Return whether an experiment of this sweep has not ended before that moment."""
    of_sweep = Experiment.__table__.alias("of_sweep")
    return exists().where(
        of_sweep.c.sweep_id == sweep_id,
        or_(
            of_sweep.c.created_at >= before,
            exists().where(Arm.experiment_id == of_sweep.c.id, _lives(before)),
        ),
    )


def _lives(before: datetime) -> ColumnElement[bool]:
    return or_(Arm.status.not_in(FINISHED), Arm.finished_at.is_(None), Arm.finished_at >= before)
