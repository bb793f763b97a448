"""Event streams of a real API process while experiments train: in order, whole, resumed, ended, forgotten."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from builders import (
    WITH,
    WITHOUT,
    claimed,
    network_row,
    submitted,
)
from conftest import TINY_SPEC, wait_until
from sqlalchemy import delete
from streams import INTERVAL_S, PATIENCE_S, STEPS, Got, as_documented, both, curves, has, names, parsed, record

from api.stream_events import EVENTS
from bench.server import Server, running_api
from models import arms, experiments, keys
from models.database import Database
from models.scopes import Scope
from models.tables import Experiment

# ---------------------------------------------------------------------------------------------- one that is trained


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A real process that looks often, and has little patience with slow clients."""
    with running_api(folder, event_interval_s=INTERVAL_S, header_timeout_s=1, body_timeout_s=1) as running:
        yield running


@pytest.fixture(scope="module")
def written(server: Server, folder: Path) -> Iterator[Database]:
    """Its database, for who plays the worker."""
    with closing(Database(f"sqlite:///{folder / 'bnlab.sqlite3'}")) as database:
        yield database


@contextmanager
def following(
    server: Server, experiment: UUID, since: str | None = None, key: str | None = None
) -> Iterator[Iterator[Got]]:
    """Follow an experiment; whoever waits for an event in vain fails."""
    headers = {} if since is None else {"Last-Event-ID": since}
    headers |= {} if key is None else {"Authorization": f"Bearer {key}"}
    url = f"{server.url}/experiments/{experiment}/events"
    with httpx.stream("GET", url, headers=headers, timeout=PATIENCE_S, trust_env=False) as answer:
        assert answer.status_code == 200
        yield parsed(answer.iter_lines())


def until(events: Iterator[Got], true: Callable[[Got], bool]) -> list[Got]:
    """Return what comes up to the event for which something is true."""
    told = []
    for got in events:
        told.append(got)
        if true(got):
            return told
    raise AssertionError(f"the stream ended after {names(told)}")


def position(id: str) -> list[tuple[int, ...]]:
    return [tuple(map(int, arm.split("."))) for arm in id.removesuffix("-end").split("-")]


def test_what_happens_is_told_in_order_and_after_the_end_the_server_closes(server: Server, written: Database) -> None:
    experiment = submitted(written)
    with following(server, experiment) as events:
        told = [next(events)]
        assert (told[0].name, told[0].data["status"]) == ("experiment", "queued")
        held = claimed(written, experiment, WITHOUT)
        told += until(events, lambda got: got.name == "experiment")
        assert told[-1].data["arms"][WITHOUT.value]["status"] == "running"
        record(written, held, 0, 2)
        told += until(events, lambda got: got.name == "progress")
        assert names(told[-2:]) == ["points", "progress"]
        assert told[-1].data["progress"] == {"batches_done": 6, "batches_total": 40, "fraction": 6 / 40}
        assert told[-1].data["arms"][WITHOUT.value] == {
            "status": "running",
            "batches_done": 6,
            "batches_per_second": 100.0,
        }
        record(written, held, 2, 4)
        with written.write() as session:
            arms.succeed(session, held, [network_row(held)])
        finish_other(written, experiment)
        told += list(events)
    assert names(told)[-2:] == ["experiment", "end"]
    assert told[-1].data == {"status": "succeeded"}
    assert told[-2].data == httpx.get(f"{server.url}/experiments/{experiment}", trust_env=False).json()
    assert curves(told) == both(STEPS)
    for before, after in pairwise(told):
        assert all(one <= other for one, other in zip(position(before.id), position(after.id), strict=True))
    document = httpx.get(f"{server.url}/openapi.json", trust_env=False).json()
    assert as_documented(document, told) == set(EVENTS)


def finish_other(database: Database, experiment: UUID) -> None:
    held = claimed(database, experiment, WITH)
    record(database, held, 0, 4)
    with database.write() as session:
        arms.succeed(session, held, [network_row(held)])


def test_who_comes_back_in_the_middle_gets_what_he_missed_and_what_comes(server: Server, written: Database) -> None:
    experiment = submitted(written)
    held = claimed(written, experiment, WITH)
    record(written, held, 0, 1)
    with following(server, experiment) as events:
        told = until(events, has(WITH, STEPS[0]))
        record(written, held, 1, 2)
        told += until(events, has(WITH, STEPS[1]))
    record(written, held, 2, 3)  # while nobody follows
    with following(server, experiment, told[-1].id) as events:
        told += until(events, has(WITH, STEPS[2]))
        record(written, held, 3, 4)
        told += until(events, has(WITH, STEPS[3]))
    assert curves(told) == both([], STEPS)


def test_all_who_follow_one_experiment_get_the_same_also_who_comes_late(server: Server, written: Database) -> None:
    experiment = submitted(written)
    held = claimed(written, experiment, WITH)
    with following(server, experiment) as first, following(server, experiment) as second:
        one, other = [next(first)], [next(second)]
        for number in range(3):
            record(written, held, number, number + 1)
            one += until(first, has(WITH, STEPS[number]))
        with following(server, experiment) as third:
            late = until(third, has(WITH, STEPS[2]))
            record(written, held, 3, 4)
            with written.write() as session:
                arms.fail(session, held, "out_of_memory", "Too large.")
                experiments.cancel(session, experiment)
            one, other, late = one + list(first), other + list(second), late + list(third)
    assert one == other
    assert curves(late) == curves(one) == both([], STEPS)
    assert late[-1] == one[-1]
    assert one[-1].data == {"status": "failed"}


def test_an_arm_that_begins_again_is_told_as_such(server: Server, written: Database) -> None:
    experiment = submitted(written)
    held = claimed(written, experiment, WITH)
    record(written, held, 0, 3)
    with following(server, experiment) as events:
        told = until(events, has(WITH, STEPS[2]))
        with written.write() as session:
            arms.begin_anew(session, held)
        told += until(events, lambda got: got.name == "points")
        assert (told[-1].data["restarted"], told[-1].data["steps"], curves(told)) == (True, [], both([]))
        record(written, held, 0, 2)
        told += until(events, has(WITH, STEPS[1]))
    assert curves(told) == both([], STEPS[:2])


def test_a_cancel_ends_it(server: Server, written: Database) -> None:
    experiment = submitted(written)
    with following(server, experiment) as events:
        next(events)
        httpx.post(f"{server.url}/experiments/{experiment}/cancel", trust_env=False)
        told = list(events)
    assert names(told) == ["experiment", "end"]
    assert told[-1].data == {"status": "cancelled"}


def test_an_experiment_that_is_removed_ends_its_streams_without_an_end(server: Server, written: Database) -> None:
    experiment = submitted(written)
    with following(server, experiment) as events:
        next(events)
        with written.write() as session:
            session.execute(delete(Experiment).where(Experiment.id == experiment))
        assert list(events) == []


def test_an_id_from_the_future_keeps_no_point_from_anybody(server: Server, written: Database) -> None:
    experiment = submitted(written)
    held = claimed(written, experiment, WITH)
    record(written, held, 0, 2)
    with following(server, experiment, "1.999999999-1.999999999") as first:
        next(first)
        with following(server, experiment) as second:
            told = until(second, has(WITH, STEPS[1]))
            record(written, held, 2, 4)
            told += until(second, has(WITH, STEPS[3]))
            assert curves(told) == both([], STEPS[:4])
        until(first, has(WITH, STEPS[3]))


def test_who_waits_for_events_is_no_slow_client(server: Server, written: Database) -> None:
    experiment = submitted(written)
    with following(server, experiment) as events:
        next(events)
        time.sleep(2.5)  # longer than a client has for a head, a body or a part of an answer
        claimed(written, experiment, WITH)
        assert next(events).name == "experiment"


def open_streams(server: Server) -> float:
    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("bnlab_event_streams "))


def test_clients_that_vanish_are_forgotten_and_the_gauge_says_so(server: Server, written: Database) -> None:
    wait_until(lambda: open_streams(server) == 0, what="the end of earlier streams")
    waiting = [submitted(written) for _ in range(2)]
    with ExitStack() as opened:
        streams = [opened.enter_context(following(server, experiment)) for experiment in waiting * 5]
        assert {next(events).name for events in streams} == {"experiment"}
        assert open_streams(server) == 10
    wait_until(lambda: open_streams(server) == 0, PATIENCE_S, "the end of streams whose clients are gone")
    assert "Traceback" not in server.process.said()


def test_ctrl_c_ends_a_server_with_open_streams_in_order(tmp_path: Path) -> None:
    with running_api(tmp_path) as server, ExitStack() as opened:
        with closing(Database(f"sqlite:///{tmp_path / 'bnlab.sqlite3'}")) as database:
            waiting = [submitted(database) for _ in range(4)]
        streams = [opened.enter_context(following(server, experiment)) for experiment in waiting * 5]
        for events in streams:
            next(events)
        begin = time.monotonic()
        server.process.send(signal.SIGINT)
        assert server.process.wait(3 + PATIENCE_S) == 0
        print(f"20 open streams, from Ctrl-C to the end: {time.monotonic() - begin:.1f} s")
        assert [list(events) for events in streams] == [[]] * 20
        assert "Traceback" not in server.process.said()
        assert "graceful shutdown exceeded" not in server.process.said()


def test_a_revoked_key_ends_its_streams_within_seconds_and_no_others(tmp_path: Path) -> None:
    with (
        running_api(tmp_path, keys="required") as server,
        closing(Database(f"sqlite:///{tmp_path / 'bnlab.sqlite3'}")) as database,
    ):
        with database.write() as session:
            row, key = keys.create(session, "a key", Scope.READ)
            _, other = keys.create(session, "another", Scope.ADMIN)
        with database.write() as session:
            experiment = experiments.create(session, TINY_SPEC.resolve("mnist-5k"), "0" * 64, row.owner_id).id
        with following(server, experiment, key=key) as events, following(server, experiment, key=other) as others:
            next(events)
            next(others)
            with database.write() as session:
                assert keys.revoke(session, row.id)
            begin = time.monotonic()
            assert list(events) == []
            assert time.monotonic() - begin < 5 + 1 + 1.5, "known for 5 s, asked for every second"
            with database.write() as session:
                experiments.cancel(session, experiment)
            assert names(list(others)) == ["experiment", "end"]
