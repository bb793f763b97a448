"""What happened to arms: written beside each change, in its transaction, and read as a history."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from models import clock
from models.errors import UnknownExperiment
from models.owners import owned
from models.spec import ArmName, Reason, Status
from models.tables import Arm, ArmEvent, Base, Experiment

#: As a table, not as objects: many rows then go in at once, each with the database's time.
_TABLE = Base.metadata.tables[ArmEvent.__tablename__]


@dataclass(frozen=True)
class Change:
    """One arm's change, as the statement that made it returned it."""

    arm_id: UUID
    before: Status | None
    after: Status
    reason: Reason
    fence: int
    batches_done: int


def note(session: Session, changes: Sequence[Change], actor: str) -> None:
    """Append an event for each change that this transaction has made."""
    rows = [
        {
            "arm_id": change.arm_id,
            "from_status": change.before,
            "to_status": change.after,
            "reason": change.reason,
            "fence": change.fence,
            "batches_done": change.batches_done,
            "actor": actor,
        }
        for change in changes
    ]
    if rows:
        session.connection().execute(insert(_TABLE).values(at=clock.now()), rows)


def read(session: Session, experiment_id: UUID, owner: UUID | None = None) -> Sequence[tuple[ArmName, ArmEvent]]:
    """Return what happened to both arms, the oldest first. Raises UnknownExperiment; so is what is not this owner's."""
    found = session.execute(
        select(Arm.name, ArmEvent)
        .join(ArmEvent, ArmEvent.arm_id == Arm.id)
        .where(Arm.experiment_id == experiment_id, owned(Arm.owner_id, owner))
        .order_by(ArmEvent.id)
    ).all()
    known = select(Experiment.id).where(Experiment.id == experiment_id, owned(Experiment.owner_id, owner))
    if not found and session.scalars(known).one_or_none() is None:
        raise UnknownExperiment(experiment_id=str(experiment_id))
    return [(name, event) for name, event in found]
