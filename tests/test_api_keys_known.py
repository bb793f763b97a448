"""The keys that were found lately: no query for each request, and a revoked key ends within seconds."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import anyio
import pytest
from builders import finish
from conftest import TINY_SPEC, wait_until
from fastapi.testclient import TestClient
from keyholders import Holder, holder, keyed_api
from sqlalchemy import event, text
from sqlalchemy.exc import SQLAlchemyError

from api import known_keys
from api.known_keys import KNOWN_FOR_S, KnownKeys
from models import keys
from models.database import Database
from models.keys import Key
from models.scopes import Scope
from models.settings import Settings


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = 1_000.0

    def __call__(self) -> float:
        return self.moment


@pytest.fixture
def keyed(settings: Settings) -> Iterator[TestClient]:
    with keyed_api(settings) as client:
        yield client


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(database: Database, clock: Clock) -> Iterator[KnownKeys]:
    keys = KnownKeys(database, clock)
    yield keys
    keys.close()


def find(known: KnownKeys, key: str) -> Key | None:
    return anyio.run(known.find, key)


def statements(database: Database) -> list[str]:
    """Return the list that grows with each statement the database is sent."""
    sent: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    return sent


def new_key(database: Database, scope: Scope = Scope.READ) -> Holder:
    return holder(TestClient(lambda *_: None), database, scope)  # type: ignore[arg-type]


def test_a_key_that_is_known_needs_no_query(database: Database, known: KnownKeys) -> None:
    one = new_key(database)
    assert find(known, one.key)
    known.close()  # its use is noted
    sent = statements(database)
    for _ in range(10):
        found = find(known, one.key)
        assert found is not None
        assert found.id == one.id
    assert sent == []


def test_a_revoked_key_ends_within_the_time_it_is_known_for(database: Database, known: KnownKeys, clock: Clock) -> None:
    one = new_key(database)
    assert find(known, one.key)
    with database.write() as session:
        keys.revoke(session, one.id)
    clock.moment += KNOWN_FOR_S - 0.1
    assert find(known, one.key)
    clock.moment += 0.2
    assert find(known, one.key) is None
    assert KNOWN_FOR_S <= 10


def test_wrong_keys_are_not_kept_and_malformed_ones_are_not_even_looked_for(
    database: Database, known: KnownKeys
) -> None:
    wrong = f"bnlab_{'A' * 43}"
    assert find(known, wrong) is None
    sent = statements(database)
    assert [find(known, text) for text in ("", "x", f"{wrong}A", wrong.upper(), f" {wrong}")] == [None] * 5
    assert sent == []
    assert find(known, wrong) is None
    assert sent


def test_no_more_than_so_many_are_kept(database: Database, known: KnownKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_keys, "MOST", 2)
    holders = [new_key(database) for _ in range(3)]
    for one in holders:
        assert find(known, one.key)
    known.close()  # their uses are noted
    sent = statements(database)
    assert find(known, holders[2].key)
    assert sent == []
    assert find(known, holders[0].key)
    assert sent


def test_a_prediction_with_a_key_costs_no_query(keyed: TestClient, database: Database) -> None:
    one = holder(keyed, database)
    id = one.post("/experiments", TINY_SPEC.model_dump(mode="json")).json()["id"]
    finish(database, UUID(id))
    body = {"image": [0.0] * 784, "experiment": id}
    assert one.post("/predict", body).status_code == 200
    wait_until(lambda: last_use(database) is not None)
    sent = statements(keyed.app.state.database)  # type: ignore[attr-defined]
    assert one.post("/predict", body).status_code == 200
    assert sent == []


def last_use(database: Database) -> object:
    with database.read() as session:
        return session.execute(text("SELECT last_used_at FROM api_keys")).scalar_one()


@contextmanager
def written_to(database: Database) -> Iterator[None]:
    """Hold what a writer has to wait for."""
    with database.write() as session:
        session.execute(text("UPDATE api_keys SET name = 'held'"))
        yield


def test_a_use_is_noted(database: Database, known: KnownKeys) -> None:
    one = new_key(database)
    assert find(known, one.key)
    wait_until(lambda: last_use(database) is not None)


def test_nobody_waits_until_the_use_of_a_key_is_noted_and_it_is_noted_once(
    database: Database, known: KnownKeys, clock: Clock
) -> None:
    one = new_key(database)
    sent = statements(database)
    with written_to(database):
        begin = time.monotonic()
        for _ in range(30):
            assert find(known, one.key)
            clock.moment += KNOWN_FOR_S
        assert time.monotonic() - begin < 5  # a writer waits for ten seconds and more
    wait_until(lambda: last_use(database) is not None)
    assert len([statement for statement in sent if statement.startswith("UPDATE api_keys SET last_used_at")]) == 1


def test_a_key_is_known_from_before_the_look(database: Database, known: KnownKeys, clock: Clock) -> None:
    one = new_key(database)

    def slow(*_: object) -> None:
        clock.moment += KNOWN_FOR_S - 1

    event.listen(database.engine, "before_cursor_execute", slow, once=True)
    assert find(known, one.key)
    with database.write() as session:
        keys.revoke(session, one.id)
    clock.moment += 1.1
    assert find(known, one.key) is None


def test_a_database_that_takes_no_writes_still_knows_its_keys(new_sqlite_url: str) -> None:
    database = Database(new_sqlite_url)
    one = new_key(database)
    event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only = ON"))
    database.engine.dispose()
    known = KnownKeys(database)
    assert find(known, one.key)
    known.close()
    with database.read() as session:
        assert session.execute(text("SELECT last_used_at FROM api_keys")).scalar_one() is None
    database.close()


def test_all_who_ask_for_one_key_at_one_moment_share_one_look(database: Database, known: KnownKeys) -> None:
    key = new_key(database).key

    async def ask() -> tuple[list[Key | None], list[str]]:
        sent = statements(database)
        first, *others = [asyncio.create_task(known.find(key)) for _ in range(40)]
        await asyncio.sleep(0)
        first.cancel()  # whoever goes away does not take it from the others
        return await asyncio.gather(*others), sent

    found, sent = asyncio.run(ask())
    assert all(each is not None for each in found)
    assert sum("FROM api_keys" in statement for statement in sent) <= 2  # the key, and whether its use is to be noted


def test_a_look_that_fails_fails_for_all_who_wait_and_the_next_one_looks_again(
    database: Database, known: KnownKeys
) -> None:
    key = new_key(database).key

    async def ask() -> list[object]:
        return await asyncio.gather(*(known.find(key) for _ in range(3)), return_exceptions=True)

    def rename(before: str, after: str) -> None:
        with database.write() as session:
            session.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))

    rename("api_keys", "elsewhere")
    assert all(isinstance(each, SQLAlchemyError) for each in asyncio.run(ask()))
    rename("elsewhere", "api_keys")
    assert all(isinstance(each, Key) for each in asyncio.run(ask()))
