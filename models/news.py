"""What is new of the experiments that are watched: of all of them by one statement, however many there are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Integer, Uuid, and_, case, column, select, values
from sqlalchemy.orm import Session

from models.arms import Sample
from models.spec import ArmName, Status
from models.tables import ARM_NAME, Arm, CurvePoint


@dataclass(frozen=True, order=True)
class Known:
    """How much of an arm's curve somebody knows: in this generation, each point before this step. Less is less."""

    generation: int
    before: int


@dataclass(frozen=True)
class ArmNews:
    """An arm as it stands, and the points of its curve that were not known."""

    status: Status
    generation: int
    batches_done: int
    batches_per_second: float | None
    samples: list[Sample] = field(default_factory=list)

    def known_after(self, known: Known) -> Known:
        """Return how much of the curve is known by who knew that much and now these points."""
        if self.samples:
            return Known(self.generation, self.samples[-1].step + 1)
        return known if known.generation == self.generation else Known(self.generation, 0)


#: What is new of an experiment.
News = dict[ArmName, ArmNews]


def read(session: Session, known: Mapping[UUID, Mapping[ArmName, Known]]) -> dict[UUID, News]:
    """Return both arms of these experiments, each with the points that are not known, by step.

    Of an arm that is in another generation by now, all of its points are new. An experiment that is gone is left out.
    """
    rows = [(id, name, arm.generation, arm.before) for id, arms in known.items() for name, arm in arms.items()]
    asked = (
        values(
            column("experiment_id", Uuid()),
            column("name", ARM_NAME),
            column("generation", Integer),
            column("before", Integer),
            name="asked",
        )
        .data(rows)
        .cte()
    )
    first_unknown = case((Arm.generation == asked.c.generation, asked.c.before), else_=0).label("first_unknown")
    watched = (
        select(
            Arm.id,
            Arm.experiment_id,
            Arm.name,
            Arm.status,
            Arm.generation,
            Arm.batches_done,
            Arm.batches_per_second,
            first_unknown,
        )
        .join(asked, and_(Arm.experiment_id == asked.c.experiment_id, Arm.name == asked.c.name))
        .cte()
        .prefix_with("MATERIALIZED", dialect="postgresql")  # else it would pass every point of each curve
    )
    query = (
        select(watched, CurvePoint.step, CurvePoint.correct, CurvePoint.total)
        .outerjoin(CurvePoint, and_(CurvePoint.arm_id == watched.c.id, CurvePoint.step >= watched.c.first_unknown))
        .order_by(CurvePoint.step)
    )
    found: dict[UUID, News] = {}
    for _, id, name, status, generation, done, speed, _, step, correct, total in session.execute(query):
        arm = found.setdefault(id, {}).setdefault(name, ArmNews(status, generation, done, speed))
        if step is not None:
            arm.samples.append(Sample(step, tuple(correct), total))
    return found
