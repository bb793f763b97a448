"""Route of workers: which there are, what they train on, and when they were heard of last."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.answers import Moment
from api.callers import ReaderDep
from api.dependencies import DatabaseDep
from api.errors import responses
from models import workers
from models.lanes import Lane
from models.tables import Worker

router = APIRouter(prefix="/workers", tags=["workers"])


class WorkerAnswer(BaseModel):
    """A worker as it was last heard of."""

    name: str
    host: str = Field(description="The machine or container it runs in.")
    device: Lane = Field(description="It takes arms that ask for this device, and those that ask for none (`auto`).")
    device_names: list[str] = Field(description="What each of its processes trains on, or why it takes no arms.")
    processes: int = Field(description="So many arms it can train at once; 0: it takes none.")
    training: int = Field(description="So many arms it trains now.")
    living: bool = Field(description=f"Whether it was heard of in the last {workers.SILENT_S:.0f} s.")
    started_at: Moment
    seen_at: Moment

    @classmethod
    def of(cls, worker: Worker, living: bool, training: int) -> "WorkerAnswer":
        """Return a worker as users see it."""
        return cls(
            name=worker.name,
            host=workers.host(worker),
            device=workers.lane(worker),
            device_names=worker.device_names,
            processes=worker.processes,
            training=training,
            living=living,
            started_at=worker.started_at,
            seen_at=worker.seen_at,
        )


class WorkersAnswer(BaseModel):
    """All workers of the last day, the one that started first in front; one that has stopped is not among them."""

    workers: list[WorkerAnswer]


@router.get("", responses=responses(503))
def read_all(_: ReaderDep, database: DatabaseDep) -> WorkersAnswer:
    """List the workers, those that fell silent in the last day too."""
    with database.read() as session:
        known, training = workers.known(session), workers.arms_in_training(session)
    return WorkersAnswer(workers=[WorkerAnswer.of(worker, lives, training[worker.name]) for worker, lives in known])
