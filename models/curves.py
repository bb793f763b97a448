"""Queries on curves: every point of both arms, never sampled down."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.arms import Sample
from models.owners import owned
from models.spec import ArmName
from models.tables import Arm, CurvePoint

#: The points of each arm so far, by step.
Curve = dict[ArmName, list[Sample]]


def read(session: Session, experiment_id: UUID, owner: UUID | None = None) -> Curve:
    """Return the points of both arms so far; an arm that has none yet, or is not this owner's, has an empty list."""
    curve: Curve = {name: [] for name in ArmName}
    query = (
        select(Arm.name, CurvePoint.step, CurvePoint.correct, CurvePoint.total)
        .join(CurvePoint, CurvePoint.arm_id == Arm.id)
        .where(Arm.experiment_id == experiment_id, owned(Arm.owner_id, owner))
        .order_by(CurvePoint.step)
    )
    for name, step, correct, total in session.execute(query):
        curve[name].append(Sample(step, tuple(correct), total))
    return curve
