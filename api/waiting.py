"""What an experiment waits for while an arm of it is queued, in words; as long as all is well they begin alike."""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from models import workers
from models.lanes import Lane, open_to
from models.spec import Device, Status
from models.tables import Experiment

#: What users know a worker by, for each device that a spec may ask for.
WORKERS: dict[Device, str] = {"auto": "worker", "cpu": "worker without a GPU", "gpu": "worker with a GPU"}


def heard_for(session: Session, experiments: Iterable[Experiment]) -> frozenset[Lane]:
    """Return the lanes in which a worker was heard of; if nothing waits, nobody is asked for: none."""
    return workers.lanes(session) if any(map(waits, experiments)) else frozenset()


def waits(experiment: Experiment) -> bool:
    """Return whether an arm of it is queued."""
    return any(arm.status is Status.QUEUED for arm in experiment.arms)


def waits_for(device: Device, heard: frozenset[Lane]) -> str:
    """Return what an arm waits for that asks for this device."""
    worker = WORKERS[device]
    if heard.isdisjoint(open_to(device)):
        return f"a {worker}: none has been heard of for {workers.SILENT_S:.0f} s"
    return f"a free {worker}"
