"""The events of an experiment: told at once where it has ended, as it happens where it runs; nothing is lost."""

import asyncio
import sys
import time
from collections.abc import Callable, MutableMapping
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
from builders import (
    LEASE_S,
    WITH,
    cancelled,
    claimed,
    failed,
    fields,
    problem,
    running,
    selects,
    submitted,
    succeeded,
)
from fastapi import FastAPI, routing
from fastapi.testclient import TestClient
from streams import CURVE, INTERVAL_S, PATIENCE_S, STEPS, Got, both, curves, names, parsed, record

from api import events as events_module
from api import feed as feed_module
from api import known_keys
from api.app import create_app
from models import arms, experiments, keys
from models.database import Database
from models.scopes import Scope
from models.settings import Settings

# ------------------------------------------------------------------------------------ an experiment that has ended


def told_of(api: TestClient, experiment: UUID, since: str | None = None) -> list[Got]:
    answer = api.get(f"/experiments/{experiment}/events", headers={} if since is None else {"Last-Event-ID": since})
    assert answer.status_code == 200, answer.text
    return list(parsed(answer.text.splitlines()))


@pytest.mark.parametrize("made", [succeeded, failed, cancelled])
def test_of_what_has_ended_everything_is_told_at_once(
    api: TestClient, database: Database, made: Callable[[Database], UUID]
) -> None:
    experiment = made(database)
    told = told_of(api, experiment)
    whole, curve = (api.get(f"/experiments/{experiment}{what}").json() for what in ("", "/curve"))
    assert (told[0].name, told[0].data) == ("experiment", whole)
    assert (told[-1].name, told[-1].data) == ("end", {"status": whole["status"]})
    assert set(names(told[1:-1])) <= {"points"}
    for got in told[1:-1]:
        arm = got.data["arm"]
        assert got.data == {**curve["arms"][arm], "arm": arm, "restarted": False}
    assert curves(told) == {name: arm["steps"] for name, arm in curve["arms"].items()}


def test_wherever_it_was_cut_exactly_the_rest_comes(api: TestClient, database: Database) -> None:
    experiment = succeeded(database)
    told = told_of(api, experiment)
    for cut in range(1, len(told)):
        rest = told_of(api, experiment, told[cut - 1].id)
        assert rest[0].data == told[0].data
        assert rest[1:] == told[cut:], cut
    for one, other in product([0, *(step + 1 for step in STEPS)], repeat=2):
        rest = told_of(api, experiment, f"1.{one}-1.{other}")
        known = both([step for step in STEPS if step < one], [step for step in STEPS if step < other])
        assert {name: known[name] + steps for name, steps in curves(rest).items()} == both(STEPS)
        assert names(rest)[-1] == "end"


def test_who_has_heard_the_end_is_told_that_nothing_more_comes(api: TestClient, database: Database) -> None:
    experiment = succeeded(database)
    last = told_of(api, experiment)[-1].id
    for _ in range(2):
        answer = api.get(f"/experiments/{experiment}/events", headers={"Last-Event-ID": last})
        assert (answer.status_code, answer.content) == (204, b"")


def test_a_reader_of_an_earlier_generation_gets_all_points_and_is_told_to_forget_his(
    api: TestClient, database: Database
) -> None:
    experiment = submitted(database)
    held = claimed(database, experiment, WITH)
    with database.write() as session:
        arms.begin_anew(session, held)
        arms.record(session, held, LEASE_S, 20, None, CURVE)
        arms.fail(session, held, "test", "It is over.")
    with database.write() as session:
        experiments.cancel(session, experiment)
    told = told_of(api, experiment, "1.0-1.11")
    assert [(got.data["arm"], got.data["restarted"]) for got in told if got.name == "points"] == [(WITH.value, True)]
    assert curves(told) == both([], STEPS)
    assert [got.data["restarted"] for got in told_of(api, experiment) if got.name == "points"] == [False]


WRONG_IDS = [
    "x",
    "1",
    "1.0",
    "1.0-1.0-",
    "1.0-1.0-END",
    "-1.0-1.0",
    "1.0-1.0-1.0",
    "1.1e3-1.0",
    "1." + "9" * 10 + "-1.0",
]


@pytest.mark.parametrize("wrong", WRONG_IDS)
def test_what_is_no_id_of_an_event_is_refused_by_name(api: TestClient, database: Database, wrong: str) -> None:
    answer = api.get(f"/experiments/{succeeded(database)}/events", headers={"Last-Event-ID": wrong})
    assert fields(answer) == ["Last-Event-ID"]


def test_what_is_refused_is_refused_before_the_stream_begins(
    api: TestClient, database: Database, door: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = running(database)
    problem(api.get(f"/experiments/{uuid4()}/events"), 404, "unknown_experiment", ["experiment_id"])
    assert fields(api.get("/experiments/no-id/events")) == ["experiment_id"]
    assert fields(api.get(f"/experiments/{experiment}/events?since=1")) == ["since"]
    problem(door.get(f"/experiments/{experiment}/events"), 503, "database_unavailable")
    monkeypatch.setattr(feed_module, "MOST_STREAMS", 0)
    answer = api.get(f"/experiments/{experiment}/events")
    problem(answer, 503, "too_many_streams")
    assert int(answer.headers["Retry-After"]) > 0


def test_its_headers_keep_every_cache_and_proxy_from_holding_it_back(api: TestClient, database: Database) -> None:
    headers = api.get(f"/experiments/{succeeded(database)}/events").headers
    assert headers["Content-Type"].partition(";")[0] == "text/event-stream"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["X-Request-ID"]


def test_it_begins_with_how_soon_to_come_back(api: TestClient, database: Database) -> None:
    text = api.get(f"/experiments/{succeeded(database)}/events").text
    assert text.partition("\n\n")[0].splitlines()[-1] == "retry: 1000"


# ------------------------------------------------------------------------------ the application without a server


class Reader:
    """A client of the application itself, which hangs up when it has as many pieces as it wants, or is told to."""

    def __init__(self, count: int = sys.maxsize) -> None:
        self.pieces: list[bytes] = []
        self.enough = asyncio.Event()
        self._count = count

    async def ask(self, app: FastAPI, path: str, **headers: str) -> None:
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "server": ("127.0.0.1", 80)}
        sent = [(name.encode(), value.encode()) for name, value in {"host": "127.0.0.1", **headers}.items()]
        scope |= {"headers": sent, "client": ("127.0.0.1", 1), "http_version": "1.1"}
        await asyncio.wait_for(app(scope, self._receive, self._send), PATIENCE_S)

    async def _receive(self) -> MutableMapping[str, Any]:
        await self.enough.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message.get("body"):
            self.pieces.append(message["body"])
        if len(self.pieces) == self._count:
            self.enough.set()


def test_a_stream_with_nothing_to_tell_shows_that_it_lives(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vars(routing)["_PING_INTERVAL"] == 15  # what is promised
    monkeypatch.setattr(routing, "_PING_INTERVAL", 0.05)
    app, experiment = create_app(settings), submitted(database)

    async def read() -> list[bytes]:
        reader = Reader(3)
        await reader.ask(app, f"/experiments/{experiment}/events")
        return reader.pieces[:3]

    first, *others = asyncio.run(read())
    assert first.startswith(b"event: experiment\n")
    assert others == [b": ping\n\n"] * 2
    assert app.state.feed.streams == 0
    app.state.database.close()


def test_many_streams_of_one_key_do_not_all_look_it_up(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_keys, "KNOWN_FOR_S", 1.0)
    monkeypatch.setattr(events_module, "CHECK_INTERVAL_S", 0.8)
    streams, known_to_end = 40, 2
    changed = {"keys": "required", "event_interval_s": INTERVAL_S}
    app, experiment = create_app(settings.model_copy(update=changed)), submitted(database)
    held = claimed(database, experiment, WITH)
    with database.write() as session:
        _, key = keys.create(session, "a key", Scope.ADMIN)

    async def read() -> list[str]:
        readers = [Reader() for _ in range(streams)]
        bearer = {"authorization": f"Bearer {key}"}
        asked = [asyncio.create_task(each.ask(app, f"/experiments/{experiment}/events", **bearer)) for each in readers]
        end = time.monotonic() + PATIENCE_S
        while not all(each.pieces for each in readers):
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        with selects(app.state.database) as sent:
            for number in range(12):  # each of these events wakes all of them at once
                record(database, held, 0, 1 + number % 2)
                await asyncio.sleep(known_to_end / 10)
        assert not [task for task in asked if task.done()]
        for each in readers:
            each.enough.set()
        await asyncio.gather(*asked)
        return [statement for statement in sent if "FROM api_keys" in statement]

    looks = len(asyncio.run(read()))
    print(f"{streams} streams of one key, known to end {known_to_end} times: {looks} looks at it")
    assert 0 < looks < streams / 2  # all who ask at one moment share one look
    app.state.callers.close()
    app.state.database.close()
