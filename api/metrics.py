"""The figures of this process and of the whole service, as Prometheus reads them: at `/metrics`, and on their own port.

What this process counts is its own; what is counted in the database is the same from every API process.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import start_http_server

from api.callers import AdminDep
from api.feed import Feed
from api.service_figures import ServiceFigures
from models.database import Database
from models.settings import Settings
from models.spec import ArmName, Statistics

log = logging.getLogger(__name__)

router = APIRouter()

#: Every name that the exposition has; dashboards and rules are written on them. A histogram stands once, by its name.
NAMES = (
    "bnlab_http_requests_total",
    "bnlab_http_request_seconds",
    "bnlab_predictions_total",
    "bnlab_event_streams",
    "bnlab_database_up",
    "bnlab_arms",
    "bnlab_queued_arms",
    "bnlab_queue_age_seconds",
    "bnlab_workers",
    "bnlab_training_batches_per_second",
)

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What one application counts, in a registry of its own."""

    def __init__(self, database: Database, feed: Feed) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "bnlab_http_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "bnlab_http_request_seconds",
            "Time from a request's head to the end of its answer; of an event stream, to its beginning.",
            ("method", "route"),
            registry=self.registry,
            buckets=BUCKETS_S,
        )
        self._predictions = Counter(
            "bnlab_predictions", "Digits recognised.", ("arm", "statistics"), registry=self.registry
        )
        streams = Gauge("bnlab_event_streams", "Event streams that are open.", registry=self.registry)
        streams.set_function(lambda: feed.streams)
        # Found once, not for each request: that would take longer than to count it.
        self._of_request: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._of_prediction = {
            (arm, statistics): self._predictions.labels(arm.value, statistics)
            for arm in ArmName
            for statistics in get_args(Statistics)
        }
        self.registry.register(ServiceFigures(database))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        series = self._of_request.get((method, route, status))
        if series is None:
            series = self._requests.labels(method, route, str(status)), self._seconds.labels(method, route)
            self._of_request[method, route, status] = series
        requests, took = series
        requests.inc()
        took.observe(seconds)

    def predicted(self, arm: ArmName, statistics: Statistics, count: int) -> None:
        """Count digits that were recognised."""
        self._of_prediction[arm, statistics].inc(count)

    @contextmanager
    def served(self, settings: Settings) -> Iterator[None]:
        """Serve the text on the port of the settings too, without a key: that port is for an inside network."""
        if not settings.metrics_port:
            yield
            return
        try:
            server, thread = start_http_server(settings.metrics_port, settings.metrics_host, self.registry)
        except OSError as error:
            log.warning(
                "No metrics at %s:%d: %s.",
                settings.metrics_host,
                settings.metrics_port,
                error.strerror or error,
                extra={"action": "skip_metrics"},
            )
            yield
            return
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def metrics_of(request: Request) -> Metrics:
    """Return what the application counts; not a dependency, which would take longer than to count."""
    metrics: Metrics = request.app.state.metrics
    return metrics


@router.get("/metrics", include_in_schema=False)
def read_metrics(_: AdminDep, request: Request) -> Response:
    """Answer with every series, in Prometheus's text format; they tell of everybody's experiments."""
    return Response(generate_latest(metrics_of(request).registry), media_type=CONTENT_TYPE_LATEST)
