"""Figures of the whole service, counted in one look at the database: what waits, what runs, who trains."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from models import clock, workers
from models.spec import ArmName, Status
from models.tables import Arm, ArmEvent

#: The longest a statement may take (Postgres): the figures are asked for again and again.
PATIENCE = "SET LOCAL statement_timeout = '5s'"


@dataclass(frozen=True)
class Figures:
    """Counts at one moment; what is not a key is 0."""

    arms: dict[Status, int]
    queued_arms: dict[str, int]  # by where they may be trained: auto, cpu, gpu
    queue_age_s: float  # of the queued arm that has waited longest; 0: none waits
    workers: dict[str, int]  # heard of lately and able to train, by what they train on: cpu, gpu
    batches_per_second: dict[ArmName, float]  # of all running arms together


def read(session: Session) -> Figures:
    """Count."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(PATIENCE))
    counted = session.execute(select(Arm.status, Arm.device, func.count()).group_by(Arm.status, Arm.device)).all()
    speeds = select(Arm.name, func.sum(Arm.batches_per_second)).where(Arm.status == Status.RUNNING).group_by(Arm.name)
    return Figures(
        arms={status: sum(count for of, _, count in counted if of is status) for status in Status},
        queued_arms={device: count for status, device, count in counted if status is Status.QUEUED},
        queue_age_s=_queue_age_s(session),
        workers=Counter(worker.device for worker in workers.living(session) if worker.processes),
        batches_per_second={name: float(speed or 0) for name, speed in session.execute(speeds)},
    )


def _queue_age_s(session: Session) -> float:
    """Return how long the arm waits that has waited longest: since it was submitted, or since it came back."""
    queued = Arm.status == Status.QUEUED
    submitted = session.scalars(select(func.min(Arm.created_at)).where(queued, Arm.fence == 0)).one()
    returned = (
        select(func.max(ArmEvent.at).label("at"))
        .join(Arm, Arm.id == ArmEvent.arm_id)
        .where(queued, Arm.fence > 0, ArmEvent.to_status == Status.QUEUED)
        .group_by(Arm.id)
        .subquery()
    )
    came_back = session.scalars(select(func.min(returned.c.at))).one()
    since = min((moment for moment in (submitted, came_back) if moment is not None), default=None)
    now = session.scalars(select(clock.now())).one()
    return max(0.0, (now - since).total_seconds()) if since is not None else 0.0
