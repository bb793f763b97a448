"""How long an arm stands still whose process is killed: from SIGKILL to its next point, nothing else happening."""

import random
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import func, select

from faults.processes import with_descendants
from faults.service import ServiceUnderTest, kill
from faults.work import LONG
from models.tables import Arm, CurvePoint

PATIENCE_S = 90.0
#: An arm must come a good way on before it is killed again, or it fails as one that always kills its worker.
REST_BATCHES = 15_000

#: What a process that trains writes into its log when it has imported TensorFlow.
TENSORFLOW_READY = re.compile(r"TensorFlow is ready after ([0-9.]+) s")


@dataclass
class Recovery:
    """Seconds from SIGKILL to the next point, and those that TensorFlow's start took in each of these recoveries."""

    of_process: list[float] = field(default_factory=list)
    of_worker: list[float] = field(default_factory=list)
    tensorflow_start: list[float] = field(default_factory=list)

    @property
    def all(self) -> list[float]:
        """Every recovery."""
        return self.of_process + self.of_worker


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def measure(service: ServiceUnderTest, chance: random.Random, times: int) -> Recovery:
    """Train one long experiment, kill each kind so often, and measure."""
    found = Recovery()
    with service.client as client:
        id = str(client.submit(**LONG)["id"])
        _wait(lambda: min(_points(service, id).values(), default=0) > 3)
        starts_before = len(TENSORFLOW_READY.findall(service.logs()))
        for number in range(2 * times):
            whole_worker = number % 2 == 1
            seconds = _recover(service, id, chance, whole_worker)
            (found.of_worker if whole_worker else found.of_process).append(seconds)
        starts = TENSORFLOW_READY.findall(service.logs())
        found.tensorflow_start += map(float, starts[starts_before:])
        client.cancel(id)
        client.wait(id, timeout_s=30)
    return found


def _recover(service: ServiceUnderTest, id: str, chance: random.Random, whole_worker: bool) -> float:
    _wait(lambda: len(service.holders()) == 2)
    arm, pid = chance.choice(sorted(service.holders().items()))
    before, begin = _points(service, id)[arm], time.monotonic()
    if whole_worker:
        worker = next(parent for parent in service.workers() if pid in with_descendants(parent))
        kill(worker)
    kill(pid)
    _wait(lambda: _points(service, id)[arm] > before)
    seconds = time.monotonic() - begin
    _wait(lambda: _points(service, id)[arm] > before + REST_BATCHES)
    return seconds


def _points(service: ServiceUnderTest, id: str) -> dict[str, int]:
    """Return how far the points of each arm of an experiment reach."""
    last = (
        select(Arm.id, func.coalesce(func.max(CurvePoint.step), -1))
        .outerjoin(CurvePoint, CurvePoint.arm_id == Arm.id)
        .where(Arm.experiment_id == UUID(id))
        .group_by(Arm.id)
    )
    with service.database.read() as session:
        return {str(arm): step for arm, step in session.execute(last)}


def _wait(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, f"it did not happen within {PATIENCE_S:g} s"
        time.sleep(0.02)


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values) if values else float("nan")
