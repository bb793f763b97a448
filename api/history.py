"""Route of the history: everything that happened to an experiment's arms."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.answers import Moment
from api.callers import ReaderDep
from api.dependencies import DatabaseDep
from api.errors import responses
from models import events
from models.spec import ArmName, Reason, Status
from models.tables import ArmEvent

router = APIRouter(prefix="/experiments", tags=["history"])

REASONS = {
    Reason.SUBMITTED: "the experiment was accepted",
    Reason.CLAIMED: "a worker trains it, from its checkpoint if it has one",
    Reason.RESTARTED: "it begins at batch 0 again: its points came from another set-up",
    Reason.CANCEL_REQUESTED: "somebody cancelled it while it ran",
    Reason.CANCELLED: "it ended on request",
    Reason.SUCCEEDED: "it was trained to its end",
    Reason.FAILED: "it could not be trained; the experiment's `error` says why",
    Reason.CRASH_LOOP: "it failed: it has killed its worker too often",
    Reason.WORKER_STOPPED: "back in the queue: its worker was told to stop",
    Reason.PROCESS_LOST: "back in the queue: the process that trained it was killed",
    Reason.LEASE_EXPIRED: "back in the queue: its worker was not heard of",
    Reason.SERVICE_RESTARTED: "back in the queue: everything was killed",
}
MEANINGS = "\n".join(f"- `{reason}`: {meaning}" for reason, meaning in REASONS.items())


class EventAnswer(BaseModel):
    """Something that happened to an arm."""

    model_config = ConfigDict(populate_by_name=True)

    arm: ArmName
    at: Moment
    from_: Annotated[Status | None, Field(alias="from", description="null: it was submitted.")]
    to: Status
    reason: Annotated[Reason, Field(description=f"Why:\n\n{MEANINGS}")]
    fence: int = Field(description="How many times it had been claimed.")
    batches_done: int
    actor: str = Field(description="Who did it: `api`, or the name of a worker's process.")

    @classmethod
    def of(cls, arm: ArmName, event: ArmEvent) -> "EventAnswer":
        """Return an event as users see it."""
        return cls(
            arm=arm,
            at=event.at,
            from_=event.from_status,
            to=event.to_status,
            reason=event.reason,
            fence=event.fence,
            batches_done=event.batches_done,
            actor=event.actor,
        )


class HistoryAnswer(BaseModel):
    """What happened to both arms, the oldest first."""

    experiment_id: UUID
    events: list[EventAnswer]


@router.get("/{experiment_id}/history", responses=responses(404, 503))
def read(experiment_id: UUID, caller: ReaderDep, database: DatabaseDep) -> HistoryAnswer:
    """Read what happened to both arms, the oldest first: who claimed them, when, and why they ended or came back."""
    with database.read() as session:
        found = events.read(session, experiment_id, caller.sees)
    return HistoryAnswer(experiment_id=experiment_id, events=[EventAnswer.of(arm, event) for arm, event in found])
