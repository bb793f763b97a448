"""Figures of the whole service as Prometheus's series, counted in the database while somebody looks."""

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from models import figures
from models.database import Database
from models.figures import Figures
from models.spec import ArmName, Status

#: However many look, the database counts at most so often.
FRESH_FOR_S = 5.0
#: A database that has not answered by then counts as away.
PATIENCE_S = 3.0


class ServiceFigures(Collector):
    """The figures of the whole service, counted when they are asked for; without a database they are left out."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._counted: Future[Figures] | None = None
        self._asked_at = 0.0

    def collect(self) -> Iterable[Metric]:
        """Return the series."""
        counted = self._newest()
        yield GaugeMetricFamily("bnlab_database_up", "Whether the database answers.", value=counted is not None)
        if counted is not None:
            yield from _families(counted)

    def _newest(self) -> Figures | None:
        """Return the figures, not older than a few seconds; None: the database is away, or lacks its tables."""
        with self._lock:
            if self._counted is None or (self._counted.done() and time.monotonic() - self._asked_at >= FRESH_FOR_S):
                self._counted, self._asked_at = Future(), time.monotonic()
                # A database that hangs must not keep this process from ending.
                threading.Thread(target=self._count, args=(self._counted,), daemon=True, name="figures").start()
            counted = self._counted
        try:
            return counted.result(PATIENCE_S)
        except (SQLAlchemyError, TimeoutError):
            return None

    def _count(self, counted: Future[Figures]) -> None:
        try:
            with self._database.read() as session:
                found = figures.read(session)
        except Exception as error:  # whoever waits for it gets it
            counted.set_exception(error)
        else:
            counted.set_result(found)


def _families(counted: Figures) -> Iterator[Metric]:
    arms = GaugeMetricFamily("bnlab_arms", "Arms by status.", labels=("status",))
    for status in Status:
        arms.add_metric((status.value,), counted.arms.get(status, 0))
    yield arms
    queued = GaugeMetricFamily("bnlab_queued_arms", "Arms that wait, by where they may train.", labels=("device",))
    for device in ("auto", "cpu", "gpu"):
        queued.add_metric((device,), counted.queued_arms.get(device, 0))
    yield queued
    yield GaugeMetricFamily(
        "bnlab_queue_age_seconds", "How long the arm waits that has waited longest.", value=counted.queue_age_s
    )
    workers = GaugeMetricFamily("bnlab_workers", "Workers heard of lately, by device.", labels=("device",))
    for device in ("cpu", "gpu"):
        workers.add_metric((device,), counted.workers.get(device, 0))
    yield workers
    speed = GaugeMetricFamily(
        "bnlab_training_batches_per_second", "Batches of all running arms, per second.", labels=("arm",)
    )
    for name in ArmName:
        speed.add_metric((name.value,), counted.batches_per_second.get(name, 0.0))
    yield speed
