"""Queries on workers: each says every few seconds that it lives, and who looks sees which were heard of lately.

All times are the database's own: a worker whose clock is wrong is heard of all the same.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from models import clock
from models.lanes import Lane, open_to
from models.spec import Device, Status
from models.tables import Arm, Worker

#: A worker says so often that it lives; after so long without a word it counts as gone; then its row goes too.
BEAT_S, SILENT_S, FORGET_S = 5.0, 30.0, 86_400.0

#: In the place of what it trains on, a process that takes no arms says this, and why.
USELESS = "none: "

#: Lanes in which a worker was heard of lately; None: somebody there takes arms; else why nobody does.
Heard = Mapping[Lane, str | None]

#: What people know a worker by, for each device that a spec may ask for.
WORKERS: Mapping[Device, str] = {"auto": "worker", "cpu": "worker without a GPU", "gpu": "worker with a GPU"}

IN_ORDER = (Worker.started_at, Worker.name)


def beat(session: Session, name: str, lane: Lane, device_names: Sequence[str], processes: int) -> None:
    """Note that this worker lives, what its processes train on, and how many of them take arms."""
    found = {"device": lane, "device_names": list(device_names), "processes": processes, "seen_at": clock.now()}
    heard_of_before = session.scalars(
        update(Worker)
        .where(Worker.name == name)
        .values(found)
        .returning(Worker.name)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if heard_of_before is None:  # nobody else writes this name
        session.add(Worker(name=name, started_at=clock.now(), **found))


def gone(session: Session, name: str) -> None:
    """Forget a worker that stops."""
    session.execute(delete(Worker).where(Worker.name == name).execution_options(synchronize_session=False))


def forget_silent(session: Session) -> None:
    """Forget the workers that have not been heard of for a day."""
    silent = Worker.seen_at < clock.in_seconds(-FORGET_S)
    session.execute(delete(Worker).where(silent).execution_options(synchronize_session=False))


def living(session: Session) -> Sequence[Worker]:
    """Return the workers that were heard of lately, the one that started first in front."""
    return session.scalars(select(Worker).where(_heard_of()).order_by(*IN_ORDER)).all()


def known(session: Session) -> Sequence[tuple[Worker, bool]]:
    """Return all workers of the last day, each with whether it was heard of lately."""
    rows = session.execute(select(Worker, _heard_of()).order_by(*IN_ORDER))
    return [(worker, bool(lives)) for worker, lives in rows]


def lanes(session: Session) -> frozenset[Lane]:
    """Return the lanes in which there is somebody, heard of lately, who takes arms."""
    return frozenset(lane for lane, why_not in heard(session).items() if why_not is None)


def heard(session: Session) -> Heard:
    """Return the lanes in which somebody was heard of lately, each with why nobody there takes arms."""
    found: dict[Lane, str | None] = {}
    for worker in sorted(living(session), key=lambda worker: worker.processes):  # one that takes arms comes last
        found[lane(worker)] = None if worker.processes else "; ".join(reasons(worker)) or "its log says why"
    return found


def lacking(device: Device, heard: Heard) -> str | None:
    """Return in words why nobody takes arms that ask for this device; None: somebody does."""
    found = [heard[lane] for lane in open_to(device) if lane in heard]
    if None in found:
        return None
    if not found:
        return f"none has been heard of for {SILENT_S:.0f} s"
    return f"one is here, but it takes no arms ({found[0]})"


def reasons(worker: Worker) -> list[str]:
    """Return why processes of a worker take no arms, each reason once."""
    said = (name.removeprefix(USELESS) for name in worker.device_names if name.startswith(USELESS))
    return list(dict.fromkeys(said))


def arms_in_training(session: Session) -> Counter[str]:
    """Return how many arms each worker trains now, by its name."""
    holders = session.scalars(select(Arm.worker).where(Arm.status == Status.RUNNING, Arm.worker.is_not(None)))
    return Counter(holder.rpartition("/")[0] for holder in holders if holder)


def lane(worker: Worker) -> Lane:
    """Return which arms a worker takes."""
    return "gpu" if worker.device == "gpu" else "cpu"


def host(worker: Worker) -> str:
    """Return the machine or container a worker runs in: its name begins with it."""
    return worker.name.rsplit(":", 2)[0]


def _heard_of() -> ColumnElement[bool]:
    # A row from the future is from a clock that jumped: its worker corrects it within seconds if it lives.
    return Worker.seen_at.between(clock.in_seconds(-SILENT_S), clock.in_seconds(SILENT_S))
