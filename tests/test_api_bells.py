"""Bells: sent from a thread of their own, so whatever the broker does, no request and no shutdown waits for it."""

import base64
import json
import logging
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from builders import waiting
from conftest import LOOPBACK, TINY_SPEC, redis_or_skip, wait_until
from fastapi.testclient import TestClient
from redis import Redis, RedisError

from api.app import create_app
from api.bells import MOST, Bells
from faults.servers import free_port
from models.broker import TRAIN_WAITING_ARMS, prepare_folders
from models.database import Database
from models.settings import Settings

#: The queue whose bells are looked at here.
CPU = "cpu"
TINY = TINY_SPEC.model_dump(mode="json")


@pytest.fixture(params=["silent", "closed"])
def dead_broker(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a broker that takes the connection and never answers, or of none at all."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "silent":
            listener.listen(100)
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@contextmanager
def redis(folder: Path, port: int) -> Iterator[tuple[Redis, "subprocess.Popen[bytes]"]]:
    """A Redis of the test's own, which may be frozen."""
    command = [redis_or_skip(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            with Redis(port=port) as client:
                wait_until(lambda: answers(client), 20, "Redis")
                yield client, server
        finally:
            server.send_signal(signal.SIGCONT)
            server.terminate()


def answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


def on(settings: Settings, broker_url: str) -> Settings:
    return settings.model_copy(update={"broker_url": broker_url})


@pytest.fixture
def own_settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path, dataset="mnist-5k")


def messages(client: Redis) -> list[Any]:
    """Return what waits in the queue: the task's name and its arguments."""
    raw: Any = client.lrange(CPU, 0, -1)
    whole = [json.loads(message) for message in raw]
    return [(message["headers"]["task"], json.loads(base64.b64decode(message["body"]))[:2]) for message in whole]


def bell_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "bells"]


def took(action: Any) -> float:
    began = monotonic()
    action()
    return monotonic() - began


# ------------------------------------------------------------------------------------- what is sent


def test_each_waiting_arm_is_one_message_that_carries_nothing(own_settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    with redis(tmp_path, port) as (client, _):
        bells = Bells(on(own_settings, f"redis://127.0.0.1:{port}/0"))
        bells.ring(2, "cpu")
        wait_until(lambda: client.llen(CPU) == 2, 20, "two messages")
        bells.ring(1, "cpu")
        wait_until(lambda: client.llen(CPU) == 3, 20, "one more")
        bells.close()
        assert messages(client) == [(TRAIN_WAITING_ARMS, [[], {}])] * 3


def test_for_very_many_arms_there_are_enough_messages_and_no_more(own_settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    with redis(tmp_path, port) as (client, _):
        bells = Bells(on(own_settings, f"redis://127.0.0.1:{port}/0"))
        bells.ring(2_000, "cpu")
        wait_until(lambda: client.llen(CPU) == MOST, 20, "the messages")
        bells.ring(1, "cpu")
        bells.close()
        assert client.llen(CPU) == MOST


def test_what_was_rung_before_the_end_is_still_sent(own_settings: Settings) -> None:
    prepare_folders(own_settings)
    queue = own_settings.state_dir / "broker" / "queue"
    bells = Bells(own_settings)
    for rung in (3, 5):  # after its end it can be rung again, as a database can be used again that was closed
        bells.ring(rung, "cpu")
        bells.close()
    wait_until(lambda: len(list(queue.iterdir())) == 8, 20, "all messages")


def test_there_is_no_thread_before_the_first_bell_and_none_after_the_end(own_settings: Settings) -> None:
    prepare_folders(own_settings)
    wait_until(lambda: not bell_threads(), 20, "the end of other tests' bells")
    bells = Bells(own_settings)
    bells.close()  # nothing to end
    assert bell_threads() == []
    for _ in range(3):
        bells.ring(1, "cpu")
    (thread,) = bell_threads()
    assert thread.daemon
    bells.close()
    wait_until(lambda: not bell_threads(), 20, "the end of the thread")


# ----------------------------------------------------------------------- what a dead broker cannot do


def test_no_request_waits_for_a_dead_broker(settings: Settings, database: Database, dead_broker: str) -> None:
    with TestClient(create_app(on(settings, dead_broker)), base_url=LOOPBACK, raise_server_exceptions=False) as api:
        times = [took(lambda: api.post("/experiments", json=TINY).raise_for_status()) for _ in range(30)]
        assert sorted(times)[len(times) // 2] < 0.5
        assert max(times) < 2.5  # the machine may be busy; a socket's timeout for each would take 30 s in all
        sweep = {"base": TINY, "grid": {"seed": list(range(20))}}
        assert took(lambda: api.post("/sweeps", json=sweep).raise_for_status()) < 2.5
        assert len(waiting(database)) == 100


def test_no_end_waits_for_a_dead_broker(own_settings: Settings, dead_broker: str) -> None:
    bells = Bells(on(own_settings, dead_broker))
    bells.ring(1_000, "cpu")
    assert took(bells.close) < 2


def test_ringing_returns_at_once_while_the_broker_is_dead(own_settings: Settings, dead_broker: str) -> None:
    bells = Bells(on(own_settings, dead_broker))
    began = monotonic()
    for _ in range(1_000):
        bells.ring(2, "cpu")
    assert monotonic() - began < 1
    bells.close()


def test_a_dead_broker_is_found_out_within_about_two_seconds(own_settings: Settings, dead_broker: str) -> None:
    bells = Bells(on(own_settings, dead_broker))
    assert took(lambda: bells.reachable()) < 3.5
    assert not bells.reachable()


def test_a_dead_broker_is_warned_of_once(
    own_settings: Settings, dead_broker: str, caplog: pytest.LogCaptureFixture
) -> None:
    bells = Bells(on(own_settings, dead_broker))

    def warnings() -> list[str]:
        return [record.message for record in caplog.records if record.levelno >= logging.WARNING]

    with caplog.at_level(logging.WARNING, "api.bells"):
        bells.ring(5, "cpu")
        wait_until(lambda: bool(warnings()), 20, "a warning")
        for _ in range(3):
            bells.ring(5, "cpu")
        bells.close()
    (sentence,) = warnings()
    assert "the workers find waiting arms by themselves" in sentence


def test_a_frozen_broker_that_thaws_gets_bells_again(own_settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    with redis(tmp_path, port) as (client, server):
        bells = Bells(on(own_settings, f"redis://127.0.0.1:{port}/0"))
        bells.ring(1, "cpu")
        wait_until(lambda: client.llen(CPU) == 1, 20, "the first message")
        server.send_signal(signal.SIGSTOP)
        for _ in range(20):
            assert took(lambda: bells.ring(2, "cpu")) < 0.5
        assert not bells.reachable()
        server.send_signal(signal.SIGCONT)
        wait_until(bells.reachable, 20, "its return")
        client.delete(CPU)
        bells.ring(1, "cpu")
        wait_until(lambda: client.llen(CPU) >= 1, 20, "a message after the thaw")
        bells.close()


def test_a_broker_that_comes_late_gets_the_bells_from_then_on(own_settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    bells = Bells(on(own_settings, f"redis://127.0.0.1:{port}/0"))
    bells.ring(1, "cpu")
    with redis(tmp_path, port) as (client, _):
        bells.ring(1, "cpu")
        wait_until(lambda: client.llen(CPU) >= 1, 20, "a message")
        bells.close()
