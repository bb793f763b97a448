"""The keys that were found lately: no query for each request, and a revoked key ends within seconds."""

from collections.abc import Iterator
from uuid import UUID

import anyio
import pytest
from builders import finish
from conftest import TINY_SPEC
from fastapi.testclient import TestClient
from keyholders import Holder, holder, keyed_api
from sqlalchemy import event, text

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


def find(known: KnownKeys, key: str) -> Key | None:
    return anyio.run(known.find, key)


def statements(database: Database) -> list[str]:
    """Return the list that grows with each statement the database is sent."""
    sent: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    return sent


def new_key(database: Database, scope: Scope = Scope.READ) -> Holder:
    return holder(TestClient(lambda *_: None), database, scope)  # type: ignore[arg-type]


def test_a_key_that_is_known_needs_no_query(database: Database) -> None:
    one, known = new_key(database), KnownKeys(database)
    assert find(known, one.key)
    sent = statements(database)
    for _ in range(10):
        found = find(known, one.key)
        assert found is not None
        assert found.id == one.id
    assert sent == []


def test_a_revoked_key_ends_within_the_time_it_is_known_for(database: Database) -> None:
    clock = Clock()
    one, known = new_key(database), KnownKeys(database, clock)
    assert find(known, one.key)
    with database.write() as session:
        keys.revoke(session, one.id)
    clock.moment += KNOWN_FOR_S - 0.1
    assert find(known, one.key)
    clock.moment += 0.2
    assert find(known, one.key) is None
    assert KNOWN_FOR_S <= 10


def test_wrong_keys_are_not_kept_and_malformed_ones_are_not_even_looked_for(database: Database) -> None:
    known = KnownKeys(database)
    wrong = f"bnlab_{'A' * 43}"
    assert find(known, wrong) is None
    sent = statements(database)
    assert [find(known, text) for text in ("", "x", f"{wrong}A", wrong.upper(), f" {wrong}")] == [None] * 5
    assert sent == []
    assert find(known, wrong) is None
    assert sent


def test_no_more_than_so_many_are_kept(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_keys, "MOST", 2)
    known = KnownKeys(database)
    holders = [new_key(database) for _ in range(3)]
    for one in holders:
        assert find(known, one.key)
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
    sent = statements(keyed.app.state.database)  # type: ignore[attr-defined]
    assert one.post("/predict", body).status_code == 200
    assert sent == []


def test_a_database_that_takes_no_writes_still_knows_its_keys(new_sqlite_url: str) -> None:
    database = Database(new_sqlite_url)
    one = new_key(database)
    event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only = ON"))
    database.engine.dispose()
    assert find(KnownKeys(database), one.key)
    with database.read() as session:
        assert session.execute(text("SELECT last_used_at FROM api_keys")).scalar_one() is None
    database.close()
