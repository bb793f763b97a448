"""What an experiment waits for while an arm of it is queued, in words; as long as all is well they begin alike."""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from models import workers
from models.spec import Device, Status
from models.tables import Experiment
from models.workers import Heard


def heard_for(session: Session, experiments: Iterable[Experiment]) -> Heard:
    """Return in which lanes a worker was heard of; if nothing waits, nobody is asked for: none."""
    return workers.heard(session) if any(map(waits, experiments)) else {}


def waits(experiment: Experiment) -> bool:
    """Return whether an arm of it is queued."""
    return any(arm.status is Status.QUEUED for arm in experiment.arms)


def waits_for(device: Device, heard: Heard) -> str:
    """Return what an arm waits for that asks for this device."""
    worker = workers.WORKERS[device]
    if (lacking := workers.lacking(device, heard)) is None:
        return f"a free {worker}"
    return f"a {worker}: {lacking}"
