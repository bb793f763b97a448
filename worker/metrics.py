"""What a worker counts: its processes count for themselves, their parent shows the sums, as Prometheus reads them.

The counters lie in memory that all of them share. Each process writes to a row of its own, so none ever waits for
another: a lock would stay locked for ever when its holder is killed.
"""

import logging
import os
import time
from collections.abc import Iterable
from enum import IntEnum
from functools import cache
from multiprocessing.sharedctypes import RawArray
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import start_http_server
from prometheus_client.registry import Collector

from models.settings import Settings
from models.spec import ArmName, Status
from worker.slots import MOST_PROCESSES

log = logging.getLogger(__name__)

#: Every name that the exposition has; dashboards and rules are written on them.
NAMES = (
    "bnlab_worker_batches_total",
    "bnlab_worker_arms_ended_total",
    "bnlab_worker_training_seconds_total",
    "bnlab_worker_lease_expiries_total",
    "bnlab_worker_processes_lost_total",
)

#: The parent's row, and those of its processes.
ROWS = 1 + MOST_PROCESSES


class Count(IntEnum):
    """The columns of a row."""

    BATCHES_WITHOUT_BATCH_NORM = 0
    BATCHES_WITH_BATCH_NORM = 1
    ARMS_SUCCEEDED = 2
    ARMS_FAILED = 3
    ARMS_CANCELLED = 4
    TRAINING_SECONDS = 5
    LEASE_EXPIRIES = 6
    PROCESSES_LOST = 7


BATCHES = {
    ArmName.WITHOUT_BATCH_NORM: Count.BATCHES_WITHOUT_BATCH_NORM,
    ArmName.WITH_BATCH_NORM: Count.BATCHES_WITH_BATCH_NORM,
}
ENDED = {
    Status.SUCCEEDED: Count.ARMS_SUCCEEDED,
    Status.FAILED: Count.ARMS_FAILED,
    Status.CANCELLED: Count.ARMS_CANCELLED,
}


class Counters(Collector):
    """The counters of one worker; made before the fork."""

    def __init__(self) -> None:
        self._values = RawArray("d", ROWS * len(Count))
        self._row = 0

    def of_process(self, index: int) -> None:
        """Let the process of this number count in its own row; who comes after a killed one goes on there."""
        self._row = 1 + index % (ROWS - 1)

    def add(self, count: Count, amount: float = 1.0) -> None:
        """Count; only one thread of a process may count the same."""
        self._values[self._row * len(Count) + count] += amount

    def total(self, count: Count) -> float:
        """Return what all processes have counted."""
        return float(sum(self._values[count :: len(Count)]))

    def collect(self) -> Iterable[Metric]:
        """Return the series."""
        batches = CounterMetricFamily("bnlab_worker_batches", "Batches trained.", labels=("arm",))
        for name, count in BATCHES.items():
            batches.add_metric((name.value,), self.total(count))
        how = "Arms that processes of this worker have ended, by how: not those that crash too often, or never began."
        ended = CounterMetricFamily("bnlab_worker_arms_ended", how, labels=("status",))
        for status, count in ENDED.items():
            ended.add_metric((status.value,), self.total(count))
        yield batches
        yield ended
        for what, text, count in (
            ("training_seconds", "Seconds spent on arms, of all processes together.", Count.TRAINING_SECONDS),
            ("lease_expiries", "Arms taken back, from any worker, because their lease was over.", Count.LEASE_EXPIRIES),
            ("processes_lost", "Arms taken back from killed processes of this worker.", Count.PROCESSES_LOST),
        ):
            yield CounterMetricFamily(f"bnlab_worker_{what}", text, value=self.total(count))


class Training:
    """Counts the training of one arm while it goes on."""

    def __init__(self, counters: Counters, name: ArmName, batches_done: int) -> None:
        self._counters, self._batches = counters, BATCHES[name]
        self._done, self._counted_at = batches_done, time.monotonic()

    def advanced(self, batches_done: int) -> None:
        """Count the batches and the time since the last call."""
        now = time.monotonic()
        self._counters.add(self._batches, batches_done - self._done)
        self._counters.add(Count.TRAINING_SECONDS, now - self._counted_at)
        self._done, self._counted_at = batches_done, now


@cache
def counters() -> Counters:
    """Return the counters of this worker; the parent asks first, before it forks."""
    return Counters()


def serve(settings: Settings) -> WSGIServer | None:
    """Serve the text on the port of the settings, from this process, the parent: it is the one that lives."""
    if not settings.metrics_port:
        return None
    registry = CollectorRegistry()
    registry.register(counters())
    try:
        server, _ = start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as error:  # another worker of this host has it
        log.warning("No metrics at %s:%d: %s.", settings.metrics_host, settings.metrics_port, error.strerror or error)
        return None
    os.register_at_fork(after_in_child=server.server_close)  # a process forked later must not keep the port
    return server
