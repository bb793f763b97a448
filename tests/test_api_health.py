"""Health: alive is said without looking at anything, ready only when database, tables and broker are there."""

import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest
from builders import problem
from conftest import LOOPBACK, RecordingBells, wait_until
from fastapi.testclient import TestClient

from api.app import create_app
from api.bells import Bells
from faults.servers import free_port
from models.settings import Settings


class SilentBroker(RecordingBells):
    """A broker that does not answer."""

    def reachable(self) -> bool:
        return False


def missing(settings: Settings, bells: Any = None) -> list[str]:
    """Return what a service with these settings says it lacks; it lives all the same."""
    app = create_app(settings)
    if bells is not None:
        app.state.bells = bells
    with TestClient(app, raise_server_exceptions=False) as api:
        assert (api.get("/health/live").status_code, api.get("/health/live").json()) == (200, {"status": "live"})
        answer = api.get("/health/ready")
        body = problem(answer, 503, "not_ready", ["missing"])
        assert int(answer.headers["Retry-After"]) > 0
        sentences: list[str] = body["missing"]
    assert all(sentence.endswith(".") for sentence in sentences)
    return sentences


class SlowBroker(RecordingBells):
    """A broker that takes its time, and notes how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.answers, self.is_there = Event(), True

    def reachable(self) -> bool:
        self.asked += 1
        self.answers.wait(60)
        return self.is_there


@pytest.fixture
def slow(settings: Settings) -> Iterator[tuple[SlowBroker, TestClient]]:
    app, broker = create_app(settings), SlowBroker()
    app.state.bells = broker
    with TestClient(app, base_url=LOOPBACK, raise_server_exceptions=False) as api:
        yield broker, api


def test_many_probes_of_a_broker_that_hangs_hold_nobody_up(slow: tuple[SlowBroker, TestClient]) -> None:
    broker, api = slow
    with ThreadPoolExecutor(61) as threads:
        probes = [threads.submit(api.get, "/health/ready") for _ in range(60)]
        try:
            wait_until(lambda: broker.asked > 0)
            assert threads.submit(api.get, "/experiments").result(20).status_code == 200
            assert broker.asked == 1
        finally:
            broker.answers.set()
        assert {probe.result().status_code for probe in probes} == {200}


def test_an_answer_is_good_for_a_second_and_no_longer(slow: tuple[SlowBroker, TestClient]) -> None:
    broker, api = slow
    broker.answers.set()
    begin = monotonic()
    while monotonic() - begin < 0.5:
        assert api.get("/health/ready").status_code == 200
    assert broker.asked <= 2
    broker.is_there = False
    wait_until(lambda: api.get("/health/ready").status_code == 503, 20)


def test_a_service_that_lacks_nothing_is_ready(api: TestClient) -> None:
    answer = api.get("/health/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


def test_a_service_with_its_own_broker_is_ready(settings: Settings) -> None:
    with TestClient(create_app(settings)) as api:
        assert api.get("/health/ready").status_code == 200


def test_a_service_on_redis_is_ready(settings: Settings, redis_url: str) -> None:
    with TestClient(create_app(settings.model_copy(update={"broker_url": redis_url}))) as api:
        assert api.get("/health/ready").status_code == 200


def test_a_broker_that_is_silent_is_named(settings: Settings) -> None:
    (sentence,) = missing(settings, SilentBroker())
    assert "BNLAB_BROKER_URL" in sentence


def test_a_broker_that_is_down_is_found_out_soon(settings: Settings) -> None:
    down = settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{free_port()}/0"})
    (sentence,) = missing(down)
    assert "broker" in sentence
    began = monotonic()
    assert not Bells(down).reachable()
    assert monotonic() - began < 1.5


def test_tables_that_are_not_there_are_named_with_the_command_that_makes_them(tmp_path: Path, postgres: str) -> None:
    for url in (f"sqlite:///{tmp_path / 'empty.sqlite3'}", postgres.format("postgres")):
        (sentence,) = missing(Settings(state_dir=tmp_path, database_url=url))
        assert "python -m migrations" in sentence


def test_tables_of_an_older_version_are_not_enough(tmp_path: Path, migrated_sqlite: Path) -> None:
    path = shutil.copy(migrated_sqlite, tmp_path / "old.sqlite3")
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = 'older'")
    connection.close()
    (sentence,) = missing(Settings(state_dir=tmp_path, database_url=f"sqlite:///{path}"))
    assert "python -m migrations" in sentence


@pytest.mark.parametrize("where", ["no server", "no folder", "no database"])
def test_a_database_that_is_not_there_is_named_without_its_address(tmp_path: Path, where: str) -> None:
    (tmp_path / "text.sqlite3").write_text("this is no database, however long one reads it" * 100)
    url = {
        "no server": f"postgresql+psycopg://bnlab:qV7w3TzKd9@127.0.0.1:{free_port()}/bnlab",
        "no folder": f"sqlite:///{tmp_path / 'nowhere' / 'bnlab.sqlite3'}",
        "no database": f"sqlite:///{tmp_path / 'text.sqlite3'}",
    }[where]
    settings = Settings(state_dir=tmp_path, database_url=url)
    (sentence,) = missing(settings)
    assert "BNLAB_DATABASE_URL" in sentence
    assert "qV7w3TzKd9" not in sentence
    assert str(tmp_path) not in sentence


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_a_probe_that_asks_for_the_head_alone_is_told_the_same(path: str, api: TestClient, settings: Settings) -> None:
    assert api.head(path).status_code == 200
    assert list(api.get("/openapi.json").json()["paths"][path]) == ["get"]
    app = create_app(settings)
    app.state.bells = SilentBroker()
    with TestClient(app) as lacking:
        assert lacking.head(path).status_code == (503 if path == "/health/ready" else 200)
