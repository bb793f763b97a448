"""The feed by itself: one look for all who watch, and nothing is missed, whoever comes when."""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from builders import (
    WITH,
    claimed,
    finish,
    selects,
    submitted,
)
from fastapi import Request
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from streams import INTERVAL_S, PATIENCE_S, STEPS, Got, both, curves, has, names, record

from api import feed as feed_module
from api.answers import ExperimentAnswer
from api.callers import Callers
from api.feed import Feed, Told
from api.stream_events import NOTHING, Position
from models import experiments, news
from models.database import Database
from models.errors import TooManyStreams
from models.settings import Settings
from models.tables import Network

# -------------------------------------------------------------------------------------------- the feed by itself


def looked(database: Database, experiment: UUID, since: Position = NOTHING) -> tuple[ExperimentAnswer, Position]:
    """Look as a stream does at its beginning."""
    with database.read() as session:
        answer = ExperimentAnswer.of(experiments.read(session, experiment), {})
        arms = news.read(session, {experiment: since})[experiment]
    return answer, {name: arm.known_after(since[name]) for name, arm in arms.items()}


async def heard(queue: asyncio.Queue[Told], true: Callable[[Got], bool]) -> list[Got]:
    """Return what is told up to the event for which something is true."""
    told: list[Got] = []
    while True:
        further = await asyncio.wait_for(queue.get(), PATIENCE_S)
        assert further is not None, f"it ended after {names(told)}"
        told.append(Got(further.event or "", json.loads(further.raw_data or ""), further.id or ""))
        if true(told[-1]):
            return told


async def ended(queue: asyncio.Queue[Told]) -> list[str]:
    """Return the names of what is told up to the end."""
    told: list[str] = []
    while (further := await asyncio.wait_for(queue.get(), PATIENCE_S)) is not None:
        told.append(further.event or "")
    return told


def test_a_hundred_who_watch_five_experiments_are_one_statement_in_an_interval(database: Database) -> None:
    interval_s, seconds = 0.1, 1.0
    watched = [submitted(database) for _ in range(5)]
    held = [claimed(database, experiment, WITH) for experiment in watched]

    async def watch() -> list[str]:
        feed = Feed(database, interval_s)
        with ExitStack() as opened:
            queues = [(id, opened.enter_context(feed.watch(id))) for id in watched * 20]
            for id, _ in queues:
                feed.begin(*looked(database, id))
            assert feed.streams == 100
            with selects(database) as sent:
                await asyncio.sleep(seconds)
                looks = list(sent)
            for each in held:
                record(database, each, 0, 1)
            for _, queue in queues:
                await heard(queue, has(WITH, STEPS[0]))
        return looks

    looks = asyncio.run(watch())
    assert 0 < len(looks) <= seconds / interval_s + 1
    assert len(set(looks)) == 1


def test_a_changed_status_costs_one_more_look_at_that_experiment_alone(database: Database) -> None:
    watched = [submitted(database) for _ in range(5)]

    async def watch() -> list[str]:
        feed = Feed(database, INTERVAL_S)
        with ExitStack() as opened:
            queues = {id: opened.enter_context(feed.watch(id)) for id in watched}
            for id in watched:
                feed.begin(*looked(database, id))
            claimed(database, watched[2], WITH)
            with selects(database) as sent:
                (got,) = await heard(queues[watched[2]], lambda _: True)
                looks = list(sent)
            assert got.data["arms"][WITH.value]["status"] == "running"
            assert [id for id, queue in queues.items() if not queue.empty()] == []
        return looks

    looks = asyncio.run(watch())
    assert len([look for look in looks if "asked" not in look]) <= 4  # its experiment, arms, networks; workers


def test_of_two_that_come_together_who_looked_first_misses_nothing_also_if_told_second(database: Database) -> None:
    experiment = submitted(database)

    async def watch() -> None:
        feed = Feed(database, INTERVAL_S)
        with feed.watch(experiment) as slow, feed.watch(experiment) as quick:
            first = looked(database, experiment)
            held = claimed(database, experiment, WITH)
            record(database, held, 0, 2)
            second = looked(database, experiment)
            feed.begin(*second)
            feed.begin(*first)
            told = await heard(slow, lambda got: got.name == "experiment")
            assert told[-1].data["arms"][WITH.value]["status"] == "running"
            record(database, held, 2, 3)
            told += await heard(slow, has(WITH, STEPS[2]))
            assert curves(told) == both([], STEPS[:3])
            assert set(curves(await heard(quick, has(WITH, STEPS[2])))[WITH.value]) >= {STEPS[2]}

    asyncio.run(watch())


class HeldDatabase(Database):
    """A database whose looks wait until they are let go; and that notes on whose behalf it is asked."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked, self.let_go = threading.Event(), threading.Event()
        self.on_behalf_of: list[str] = []

    @contextmanager
    def read(self) -> Iterator[Session]:
        self.on_behalf_of.append(REQUEST.get())
        with super().read() as session:
            yield session
            self.asked.set()
            assert self.let_go.wait(PATIENCE_S)


REQUEST: ContextVar[str] = ContextVar("request", default="nobody")


def test_who_comes_during_a_look_and_knows_less_is_told_by_the_next_one(new_sqlite_url: str) -> None:
    database, slow = Database(new_sqlite_url), HeldDatabase(new_sqlite_url)
    experiment = submitted(database)
    before = looked(database, experiment)
    held = claimed(database, experiment, WITH)
    record(database, held, 0, 2)

    async def watch() -> None:
        feed = Feed(slow, INTERVAL_S)
        with feed.watch(experiment) as quick, feed.watch(experiment) as late:
            REQUEST.set("the first request")
            feed.begin(*looked(database, experiment))
            record(database, held, 2, 3)
            await asyncio.to_thread(slow.asked.wait, PATIENCE_S)
            feed.begin(*before)
            slow.let_go.set()
            for queue in (late, quick):
                told = await heard(queue, has(WITH, STEPS[2]))
                assert curves(told) == both([], STEPS[:3])

    asyncio.run(watch())
    assert set(slow.on_behalf_of) == {"nobody"}
    slow.close()
    database.close()


class AwayDatabase(Database):
    """A database that can be away for a while."""

    away, asked_in_vain = False, 0

    @contextmanager
    def read(self) -> Iterator[Session]:
        if self.away:
            self.asked_in_vain += 1
            raise OperationalError("SELECT 1", {}, Exception("the connection was refused"))
        with super().read() as session:
            yield session


def test_a_database_that_is_away_ends_no_stream_and_is_said_once(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = AwayDatabase(database_url)
    experiment = submitted(database)
    held = claimed(database, experiment, WITH)

    async def watch() -> None:
        feed = Feed(database, 0.02)
        with feed.watch(experiment) as queue:
            feed.begin(*looked(database, experiment))
            database.away = True
            end = time.monotonic() + PATIENCE_S
            while database.asked_in_vain < 3:
                assert time.monotonic() < end
                await asyncio.sleep(0.02)
            record(database, held, 0, 2)
            assert queue.empty()
            database.away = False
            assert curves(await heard(queue, has(WITH, STEPS[1]))) == both([], STEPS[:2])

    asyncio.run(watch())
    database.close()
    (line,) = [line for line in caplog.records if line.name == "api.feed"]
    assert line.getMessage() == "Event streams wait for the database: the connection was refused"


def test_an_experiment_that_cannot_be_read_ends_its_own_streams_and_no_others(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    unreadable, other = submitted(database), submitted(database)

    async def watch() -> None:
        feed = Feed(database, INTERVAL_S)
        with feed.watch(unreadable) as one, feed.watch(other) as two:
            for id in (unreadable, other):
                feed.begin(*looked(database, id))
            finish(database, unreadable)
            with database.write() as session:
                session.execute(update(Network).values(result={"a newer": "shape"}))
            assert "end" not in await ended(one)
            claimed(database, other, WITH)
            await heard(two, lambda got: got.name == "experiment")

    asyncio.run(watch())
    assert f"Experiment {unreadable} cannot be read." in [line.getMessage() for line in caplog.records]


def test_there_are_only_so_many_streams_and_one_that_is_closed_makes_room(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "MOST_STREAMS", 2)
    feed, ids = Feed(database, INTERVAL_S), [uuid4(), uuid4(), uuid4()]
    with feed.watch(ids[0]):
        with feed.watch(ids[1]), suppress(TooManyStreams), feed.watch(ids[2]):
            raise AssertionError("a third one was let in")
        with feed.watch(ids[2]):
            assert feed.streams == 2
    assert feed.streams == 0


def test_no_owner_takes_all_the_room_there_is(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "MOST_OF_ONE_OWNER", 1)
    feed, one, other = Feed(database, INTERVAL_S), uuid4(), uuid4()
    with feed.watch(uuid4(), one):
        with pytest.raises(TooManyStreams), feed.watch(uuid4(), one):
            pass
        with feed.watch(uuid4(), other), feed.watch(uuid4()), feed.watch(uuid4()):
            assert feed.streams == 4
    with feed.watch(uuid4(), one):
        assert feed.streams == 1


def test_a_key_that_cannot_be_asked_for_ends_no_stream(tmp_path: Path) -> None:
    nowhere = Database(f"sqlite:///{tmp_path / 'no' / 'such.sqlite3'}")
    callers = Callers(Settings(state_dir=tmp_path, keys="required"), nowhere)
    held = Request({"type": "http", "headers": [(b"authorization", f"Bearer bnlab_{'A' * 43}".encode())]})
    assert asyncio.run(callers.still_may(held))
    nowhere.close()


def test_a_feed_that_is_closed_lets_all_go_and_who_comes_later_at_once(database: Database) -> None:
    experiment = submitted(database)

    async def watch() -> None:
        feed = Feed(database, INTERVAL_S)
        with feed.watch(experiment) as before:
            feed.begin(*looked(database, experiment))
            feed.close()
            assert await ended(before) == []
            with feed.watch(experiment) as after:
                feed.begin(*looked(database, experiment))
                assert await ended(after) == []

    asyncio.run(watch())


def test_how_many_watch_can_be_asked_by_a_thread_while_they_come_and_go(database: Database) -> None:
    feed, ids, asked = Feed(database, INTERVAL_S), [uuid4() for _ in range(200)], 0
    failures: list[Exception] = []
    over = threading.Event()

    def ask() -> None:
        nonlocal asked
        try:
            while not over.is_set():
                assert 0 <= feed.streams <= len(ids)
                asked += 1
        except Exception as error:
            failures.append(error)

    switch_interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=ask)
    thread.start()
    for _ in range(50):
        with ExitStack() as opened:
            for id in ids:
                opened.enter_context(feed.watch(id))
    over.set()
    thread.join()
    sys.setswitchinterval(switch_interval_s)
    assert failures == []
    assert asked > 0
