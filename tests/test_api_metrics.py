"""The API's metrics: its requests by route, predictions, and the figures of the whole service, with or without it."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from builders import WITH, WITHOUT, cancelled, claimed, failed, problem, submitted, succeeded
from conftest import LOOPBACK, TINY_SPEC, RecordingBells
from fastapi.testclient import TestClient
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from sqlalchemy.orm import Session

from api import service_figures
from api.app import create_app
from api.door import Door
from api.feed import Feed
from api.metrics import NAMES, Metrics
from faults.servers import free_port
from models import arms, clock, figures, keys, workers
from models.database import Database
from models.scopes import Scope
from models.settings import Settings
from models.spec import ArmName, Status
from models.tables import Arm
from models.tracing import Tracer

Sample = tuple[str, tuple[tuple[str, str], ...]]


def samples(text: str) -> dict[Sample, float]:
    """Return every sample by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(text: str, name: str, **labels: str) -> float | None:
    return samples(text).get((name, tuple(sorted(labels.items()))))


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the database count at every look."""
    monkeypatch.setattr(service_figures, "FRESH_FOR_S", 0.0)


def read(database: Database) -> figures.Figures:
    with database.read() as session:
        return figures.read(session)


# --------------------------------------------------------------------------------------------------- requests


def test_requests_are_counted_by_the_template_of_their_route(api: TestClient) -> None:
    for _ in range(3):
        api.get(f"/experiments/{uuid4()}")
    api.get("/experiments/no-id")
    api.get("/experiments")
    text = api.get("/metrics").text
    route = "/experiments/{experiment_id}"
    assert value(text, "bnlab_http_requests_total", method="GET", route=route, status="404") == 3
    assert value(text, "bnlab_http_requests_total", method="GET", route=route, status="422") == 1
    assert value(text, "bnlab_http_requests_total", method="GET", route="/experiments", status="200") == 1
    assert value(text, "bnlab_http_request_seconds_count", method="GET", route=route) == 4
    assert value(text, "bnlab_http_request_seconds_bucket", method="GET", route=route, le="+Inf") == 4


def test_whatever_a_client_makes_up_adds_one_series(api: TestClient) -> None:
    for number in range(20):
        api.get(f"/made-up-{number}")
        api.request(f"VERB{number}", "/made-up")
    found = [labels for (name, labels) in samples(api.get("/metrics").text) if name == "bnlab_http_requests_total"]
    assert {(labels["method"], labels["route"]) for labels in map(dict, found)} == {
        ("GET", "unknown"),
        ("OTHER", "unknown"),
    }


def test_predictions_are_counted_by_arm_and_statistics(api: TestClient, database: Database) -> None:
    experiment = str(succeeded(database))
    api.post("/predict", json={"image": [0.0] * 784, "experiment": experiment})
    api.post("/predict", json={"images": [[0.0] * 784] * 5, "experiment": experiment, "statistics": "batch"})
    api.post("/predict", json={"image": [0.0] * 784, "experiment": str(uuid4())})
    text = api.get("/metrics").text
    assert value(text, "bnlab_predictions_total", arm="with_batch_norm", statistics="population") == 1
    assert value(text, "bnlab_predictions_total", arm="with_batch_norm", statistics="batch") == 5
    assert value(text, "bnlab_predictions_total", arm="without_batch_norm", statistics="population") == 0


STREAM = "/experiments/{experiment_id}/events"


def test_event_streams_are_counted_as_requests_and_while_they_are_open(api: TestClient, database: Database) -> None:
    assert api.get(f"/experiments/{succeeded(database)}/events").status_code == 200
    feed: Feed = api.app.state.feed  # type: ignore[attr-defined]
    with feed.watch(uuid4()):
        text = api.get("/metrics").text
        assert value(text, "bnlab_event_streams") == 1
        assert value(text, "bnlab_http_requests_total", method="GET", route=STREAM, status="200") == 1
    assert value(api.get("/metrics").text, "bnlab_event_streams") == 0


@pytest.mark.parametrize(("route", "longest_s"), [(STREAM, 0.1), ("/experiments", 60)])
def test_a_stream_is_timed_to_its_beginning_and_any_other_request_to_its_end(
    new_sqlite_url: str, route: str, longest_s: float
) -> None:
    async def answer(scope: Any, _receive: Any, send: Any) -> None:
        scope["route"] = SimpleNamespace(path=route)
        await send({"type": "http.response.start", "status": 200})
        await asyncio.sleep(0.3)

    async def nothing(*_: Any) -> Any:
        pass

    database = Database(new_sqlite_url)
    metrics = Metrics(database, Feed(database, 1))
    door = Door(answer, metrics, Tracer("nobody"))
    asyncio.run(door({"type": "http", "method": "GET", "headers": []}, nothing, nothing))
    text = generate_latest(metrics.registry).decode()
    took_s = value(text, "bnlab_http_request_seconds_sum", method="GET", route=route)
    assert took_s is not None
    assert 0.3 * (route != STREAM) <= took_s < longest_s
    database.close()


def test_every_name_is_there_from_the_start_and_no_other(api: TestClient) -> None:
    api.get("/health/live")
    answer = api.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    named = set(re.findall(r"^# TYPE (bnlab_\w+) ", answer.text, re.MULTILINE))
    assert {name for name in named if not name.endswith("_created")} == set(NAMES)


def test_two_applications_in_one_process_count_apart(api: TestClient, settings: Settings) -> None:
    api.get("/health/live")
    with TestClient(create_app(settings), base_url=LOOPBACK) as other:
        text = other.get("/metrics").text
    assert value(text, "bnlab_http_requests_total", method="GET", route="/health/live", status="200") is None


def test_the_metrics_are_for_the_operator_and_not_part_of_the_documented_api(door: TestClient) -> None:
    assert "/metrics" not in door.get("/openapi.json").json()["paths"]


def test_where_keys_are_needed_the_metrics_need_that_of_an_admin(settings: Settings, database: Database) -> None:
    with database.write() as session:
        scopes = (Scope.READ, Scope.WRITE, Scope.ADMIN)
        bearers = [f"Bearer {keys.create(session, scope.value, scope)[1]}" for scope in scopes]
    with TestClient(create_app(settings.model_copy(update={"keys": "required"})), base_url=LOOPBACK) as api:
        problem(api.get("/metrics"), 401, "key_needed")
        answers = [api.get("/metrics", headers={"Authorization": bearer}) for bearer in bearers]
    assert [answer.status_code for answer in answers] == [403, 403, 200]


# ------------------------------------------------------------------------------------ figures of the database


def test_arms_are_counted_by_status_and_the_rest_is_0(database: Database, fresh: None, api: TestClient) -> None:
    text = api.get("/metrics").text
    assert {value(text, "bnlab_arms", status=status.value) for status in Status} == {0}
    assert value(text, "bnlab_queue_age_seconds") == 0
    succeeded(database)
    failed(database)
    cancelled(database)
    claimed(database, submitted(database), WITH)
    text = api.get("/metrics").text
    counted = {status: value(text, "bnlab_arms", status=status.value) for status in Status}
    assert counted == {
        Status.SUCCEEDED: 3,
        Status.FAILED: 1,
        Status.CANCELLED: 2,
        Status.RUNNING: 1,
        Status.QUEUED: 1,
    }
    assert value(text, "bnlab_database_up") == 1


def test_queued_arms_are_counted_by_where_they_may_train(database: Database) -> None:
    submitted(database)
    submitted(database, TINY_SPEC.model_copy(update={"device": "gpu"}))
    submitted(database, TINY_SPEC.model_copy(update={"device": "gpu"}))
    assert read(database).queued_arms == {"auto": 2, "gpu": 4}


def test_the_queue_is_as_old_as_the_arm_that_has_waited_longest(database: Database) -> None:
    _submitted_before(database, 100)
    _submitted_before(database, 5000)
    assert 5000 <= read(database).queue_age_s < 5060


def test_an_arm_that_came_back_has_waited_since_then_and_not_since_it_was_submitted(database: Database) -> None:
    experiment = _submitted_before(database, 5000)
    for arm in (WITHOUT, WITH):
        held = claimed(database, experiment, arm)
        with database.write() as session:
            arms.give_back(session, held)
    assert read(database).queue_age_s < 60


def _submitted_before(database: Database, seconds: float) -> UUID:
    experiment = submitted(database)
    before = clock.in_seconds(-seconds)
    with database.write() as session:
        of_experiment = Arm.experiment_id == experiment
        session.execute(update(Arm).where(of_experiment).values(created_at=before))
    return experiment


def test_a_moment_from_a_clock_that_goes_fast_makes_no_age_below_0(database: Database) -> None:
    _submitted_before(database, -1000)
    assert read(database).queue_age_s == 0


def test_workers_are_counted_that_were_heard_of_lately_and_can_train(database: Database) -> None:
    with database.write() as session:
        workers.beat(session, "one", "cpu", ["a processor"], 1)
        workers.beat(session, "two", "cpu", ["a processor"], 1)
        workers.beat(session, "three", "gpu", [], 0)
    assert read(database).workers == {"cpu": 2}


def test_the_speed_is_that_of_all_running_arms_together(database: Database) -> None:
    for speed in (100.0, 250.0):
        held = claimed(database, submitted(database), WITH)
        with database.write() as session:
            arms.record(session, held, 60.0, 1, speed, [])
    ended = claimed(database, submitted(database), WITH)
    with database.write() as session:
        arms.record(session, ended, 60.0, 1, 1e6, [])
        arms.fail(session, ended, "out_of_memory", "Too large.")
    assert read(database).batches_per_second == {ArmName.WITH_BATCH_NORM: 350.0}


# --------------------------------------------------------------------------------------- away, slow, and often


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.sqlite3", "postgresql+psycopg://u@127.0.0.1:9/db"])
def test_without_a_database_its_figures_are_left_out_and_the_rest_is_there(url: str, tmp_path: Path) -> None:
    app = create_app(Settings(state_dir=tmp_path, database_url=url))
    app.state.bells = RecordingBells()
    with TestClient(app, base_url=LOOPBACK) as api:
        api.get("/health/live")
        text = api.get("/metrics").text
    assert value(text, "bnlab_database_up") == 0
    assert value(text, "bnlab_http_requests_total", method="GET", route="/health/live", status="200") == 1
    assert not [name for name, _ in samples(text) if name in {"bnlab_arms", "bnlab_workers", "bnlab_queued_arms"}]


class HangingDatabase(Database):
    """A database that counts how often it is asked, and does not answer before it is let go."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked, self.let_go = 0, threading.Event()

    @contextmanager
    def read(self) -> Iterator[Session]:
        self.asked += 1
        self.let_go.wait(30)
        with super().read() as session:
            yield session


def test_a_database_that_hangs_is_away_soon_and_is_not_asked_again_meanwhile(
    new_sqlite_url: str, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_figures, "PATIENCE_S", 0.05)
    database = HangingDatabase(new_sqlite_url)
    collector = service_figures.ServiceFigures(database)
    begin = time.monotonic()
    for _ in range(3):
        (up,) = collector.collect()
        assert up.samples[0].value == 0
    assert time.monotonic() - begin < 10
    assert database.asked == 1
    monkeypatch.setattr(service_figures, "PATIENCE_S", 30.0)
    database.let_go.set()
    assert {family.name for family in collector.collect()} > {"bnlab_database_up"}
    database.close()


def test_however_many_look_the_database_counts_once_in_a_while(api: TestClient, database: Database) -> None:
    api.get("/metrics")
    submitted(database)
    assert value(api.get("/metrics").text, "bnlab_arms", status="queued") == 0  # what was counted a moment ago


# -------------------------------------------------------------------------------------------------- the port


def test_on_a_port_of_its_own_the_same_is_to_be_had_without_a_key(new_sqlite_url: str, tmp_path: Path) -> None:
    port = free_port()
    settings = Settings(state_dir=tmp_path, database_url=new_sqlite_url, keys="required", metrics_port=port)
    with TestClient(create_app(settings), base_url=LOOPBACK) as api:
        api.get("/health/live")
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    assert value(text, "bnlab_http_requests_total", method="GET", route="/health/live", status="200") == 1
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)


def test_a_port_that_is_taken_is_said_and_keeps_nobody_from_the_api(
    new_sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(state_dir=tmp_path, database_url=new_sqlite_url, metrics_port=port)
        with TestClient(create_app(settings), base_url=LOOPBACK) as api:
            assert api.get("/health/live").status_code == 200
    (line,) = [line for line in caplog.records if line.getMessage().startswith(f"No metrics at 127.0.0.1:{port}")]
    assert vars(line)["action"] == "skip_metrics"
