"""Traces: spans go to the collector that the environment names; without one nothing is loaded and nothing happens."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from collector import Collector
from conftest import LOOPBACK, ROOT, TINY_SPEC, RecordingBells, wait_until
from fastapi.testclient import TestClient
from sqlalchemy import select

from api.app import create_app
from models import tracing
from models.database import Database
from models.settings import Settings
from models.tables import Experiment
from models.tracing import ENDPOINTS, Tracer

#: A caller's own trace, as it says so (W3C).
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
SERVER, CONSUMER = 2, 5


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


@pytest.fixture
def traced(collector: Collector, settings: Settings) -> Iterator[TestClient]:
    """The API with a collector."""
    app = create_app(settings)
    app.state.bells = RecordingBells()
    with TestClient(app, base_url=LOOPBACK, raise_server_exceptions=False) as client:
        yield client
        send(app.state.tracer)


def send(tracer: Tracer) -> None:
    """Let it send now what it would send in a while."""
    assert tracer.provider is not None
    tracer.provider.force_flush()


def traceparents(database: Database) -> list[str | None]:
    with database.read() as session:
        return list(session.scalars(select(Experiment.traceparent)))


# ---------------------------------------------------------------------------------------------- without a collector


def test_without_a_collector_nothing_of_opentelemetry_is_loaded() -> None:
    code = """
import sys
from api.app import create_app
from models.settings import Settings
from models.tracing import Tracer
create_app(Settings(database_url="sqlite://"))
tracer = Tracer("test")
with tracer.span("any", "internal", {}, {}):
    tracer.note({"a": 1})
    assert tracer.traceparent() is None
tracer.close()
heavy = ("opentelemetry.sdk", "opentelemetry.exporter", "google.protobuf", "requests")  # FastAPI has the API alone
print([name for name in sys.modules if name.startswith(heavy)])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ENDPOINTS)
def test_either_of_opentelemetrys_variables_names_a_collector(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not tracing.asked_for()
    monkeypatch.setenv(name, "")
    assert not tracing.asked_for()
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert tracing.asked_for()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not tracing.asked_for()


def test_an_experiment_submitted_without_a_collector_continues_no_trace(api: TestClient, database: Database) -> None:
    body = TINY_SPEC.model_dump(mode="json")
    assert api.post("/experiments", json=body, headers={"traceparent": TRACEPARENT}).status_code == 202
    assert traceparents(database) == [None]


# ------------------------------------------------------------------------------------------------- the API's spans


def test_a_request_is_a_span_of_its_callers_trace_by_route_and_status(traced: TestClient, collector: Collector) -> None:
    traced.get("/experiments/no-id", headers={"traceparent": TRACEPARENT, "X-Request-ID": "r-1"})
    traced.get("/health/live")
    send(traced.app.state.tracer)  # type: ignore[attr-defined]
    continued, new = collector.spans
    assert (continued.trace_id, continued.parent_id) == (TRACE, SPAN)
    assert (continued.service, continued.kind, continued.failed) == ("bnlab-api", SERVER, False)
    assert continued.name == "GET /experiments/{experiment_id}"
    assert continued.attributes["http.request.method"] == "GET"
    assert continued.attributes["http.route"] == "/experiments/{experiment_id}"
    assert continued.attributes["http.response.status_code"] == 422
    assert continued.attributes["bnlab.request_id"] == "r-1"
    assert new.name == "GET /health/live"
    assert new.trace_id != TRACE
    assert new.parent_id == ""


def test_what_stands_in_a_query_is_in_no_span(traced: TestClient, collector: Collector) -> None:
    key = "bnlab_Zq8vN4hQ8sLw2Zx7Tb9"
    for path in (f"/experiments?api_key={key}", f"/workers?{key}", f"/nothing?limit=2&api_key={key}"):
        traced.get(path)
    tracer: Tracer = traced.app.state.tracer  # type: ignore[attr-defined]
    addresses = {"url.full": f"http://h/a?k={key}", "http.target": f"/a?{key}", "http.url": "http://h/a"}
    with tracer.span("asks elsewhere", "internal", {}, addresses):
        pass
    send(tracer)
    assert len(collector.spans) == 4
    assert key not in repr(collector.spans)
    (listed,) = collector.named("GET /experiments")
    assert (listed.attributes["http.route"], listed.attributes["url.path"]) == ("/experiments", "/experiments")
    (elsewhere,) = collector.named("asks elsewhere")
    assert elsewhere.attributes == {"url.full": "http://h/a", "http.target": "/a", "http.url": "http://h/a"}


def test_the_sampler_that_the_environment_names_still_decides(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    tracer = Tracer("test")
    with tracer.span("any", "internal", {}, {}):
        pass
    tracer.close()
    assert collector.spans == []


@pytest.mark.parametrize("header", ["", "nonsense", "00-0-0-01", "ff" * 100, "ä"])
def test_a_header_that_is_no_trace_begins_a_new_one(traced: TestClient, collector: Collector, header: str) -> None:
    assert traced.get("/health/live", headers={b"traceparent": header.encode()}).status_code == 200
    send(traced.app.state.tracer)  # type: ignore[attr-defined]
    assert collector.spans[0].parent_id == ""


def test_an_error_nobody_expected_is_a_failed_span(traced: TestClient, collector: Collector) -> None:
    traced.app.state.networks = None  # type: ignore[attr-defined]
    experiment = traced.post("/experiments", json={}).json()["id"]
    assert traced.post("/predict", json={"image": [0.0] * 784, "experiment": experiment}).status_code == 500
    send(traced.app.state.tracer)  # type: ignore[attr-defined]
    (span,) = collector.named("POST /predict")
    assert span.failed
    assert span.attributes["http.response.status_code"] == 500


def test_an_accepted_experiment_keeps_the_span_that_accepted_it(
    traced: TestClient, collector: Collector, database: Database
) -> None:
    traced.post("/experiments", json={}, headers={"traceparent": TRACEPARENT})
    send(traced.app.state.tracer)  # type: ignore[attr-defined]
    (span,) = collector.named("POST /experiments")
    assert span.trace_id == TRACE
    assert traceparents(database) == [f"00-{TRACE}-{span.span_id}-01"]


def test_what_has_not_been_sent_is_sent_at_the_end(collector: Collector, settings: Settings) -> None:
    with TestClient(create_app(settings), base_url=LOOPBACK) as api:
        api.get("/health/live")
    wait_until(lambda: bool(collector.named("GET /health/live")), 10)


# -------------------------------------------------------------------------------------------------- the tracer itself


def test_a_span_has_the_parent_that_is_given_and_can_be_continued(collector: Collector) -> None:
    tracer = Tracer("test")
    with tracer.span("outer", "consumer", {"traceparent": TRACEPARENT}, {"a": 1}):
        tracer.note({"b": True}, error=True)
        outer = tracer.traceparent()
        with tracer.span("inner", "internal", {"traceparent": outer or ""}, {}):
            pass
    assert tracer.traceparent() is None
    send(tracer)
    inner, ended = collector.spans
    assert (ended.name, ended.kind, ended.failed) == ("outer", CONSUMER, True)
    assert ended.attributes == {"a": 1, "b": True}
    assert (inner.trace_id, inner.parent_id) == (TRACE, ended.span_id)
    assert outer == f"00-{TRACE}-{ended.span_id}-01"
    tracer.close()


def test_an_exception_ends_its_span_as_failed_and_goes_on(collector: Collector) -> None:
    tracer = Tracer("test")
    with pytest.raises(ValueError, match="told"), tracer.span("any", "internal", {}, {}):
        raise ValueError("told")
    tracer.close()
    (span,) = collector.spans
    assert span.failed


def test_a_collector_that_is_away_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    tracer = Tracer("test")
    begin = time.monotonic()
    for _ in range(100):
        with tracer.span("any", "internal", {}, {}):
            pass
    assert time.monotonic() - begin < 2
    tracer.close()
    assert time.monotonic() - begin < 10


def test_a_variable_that_cannot_be_meant_costs_the_traces_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    tracer = Tracer("test")
    assert not tracer.on
    assert "No traces are sent: " in caplog.text
    with tracer.span("any", "internal", {}, {}):
        pass
    tracer.close()
