"""API keys: shown once, stored nowhere, found by their text until they are revoked or have expired."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text, update

from models import clock, keys
from models.database import Database
from models.errors import InvalidInput
from models.keys import PATTERN
from models.scopes import Scope
from models.tables import ApiKey


def made(database: Database, **how: Any) -> tuple[ApiKey, str]:
    with database.write() as session:
        return keys.create(session, **{"name": "Anna", "scope": Scope.WRITE, **how})


def found(database: Database, key: str) -> keys.Key | None:
    with database.read() as session:
        return keys.find(session, key)


def test_a_new_key_is_found_by_its_text_with_all_it_may(database: Database) -> None:
    for scope in Scope:
        row, key = made(database, scope=scope, requests_per_minute=7, max_active_experiments=3)
        assert found(database, key) == keys.Key(row.id, row.id, "Anna", scope, 7, 3)
    row, key = made(database)
    assert found(database, key) == keys.Key(row.id, row.id, "Anna", Scope.WRITE, None, None)


def test_its_text_is_random_and_is_stored_nowhere(database: Database) -> None:
    texts = [made(database)[1] for _ in range(20)]
    assert len(set(texts)) == 20
    assert all(PATTERN.fullmatch(key) for key in texts)
    with database.read() as session:
        stored = str(session.execute(text("SELECT * FROM api_keys")).all())
    for key in texts:
        assert key[6:12] in stored  # by which its holder knows it again
        assert key[12:] not in stored
        assert re.search(rf"\b{keys.sha256(key)}\b", stored)


def test_nothing_but_the_whole_text_finds_it(database: Database) -> None:
    row, key = made(database)
    wrong = [key[:-1], f"{key}A", key.lower() + "A", f" {key}", "", row.beginning, row.key_sha256, str(row.id), "%"]
    assert [found(database, text) for text in wrong] == [None] * len(wrong)


def test_a_revoked_key_is_not_found_ever_again(database: Database) -> None:
    (row, key), (_, other) = made(database), made(database)
    with database.write() as session:
        assert keys.revoke(session, row.id)
    assert found(database, key) is None
    assert found(database, other) is not None
    with database.write() as session:
        assert not keys.revoke(session, row.id)
        assert not keys.revoke(session, uuid4())


def test_a_key_ends_when_it_expires(database: Database) -> None:
    (_, valid), (gone, expired) = (made(database, expires_in_s=by) for by in (300, -300))
    assert found(database, valid) is not None
    assert found(database, expired) is None
    with database.read() as session:
        assert keys.expired(session) == {gone.id}


def test_its_use_is_noted_at_most_once_a_minute(database: Database) -> None:
    row, _ = made(database)

    def due_then_noted() -> bool:
        with database.write() as session:
            due = keys.use_is_due(session, row.id)
            keys.note_use(session, row.id)
            return due

    assert [due_then_noted() for _ in range(3)] == [True, False, False]
    with database.write() as session:
        (once,) = keys.read_all(session)
        assert once.last_used_at is not None
        assert abs(once.last_used_at - datetime.now(UTC)) < timedelta(minutes=1)
        session.execute(update(ApiKey).values(last_used_at=clock.in_seconds(-61)))
    assert due_then_noted()


def test_a_key_may_be_named_by_its_id_its_beginning_or_itself(database: Database) -> None:
    (row, key), _ = made(database), made(database)
    with database.read() as session:
        for named in (str(row.id), str(row.id).upper(), row.beginning, key):
            assert [each.id for each in keys.named(session, named)] == [row.id]
        for nothing in ("", "b", "bnlab_", "x", str(uuid4())):
            assert keys.named(session, nothing) == []


def test_they_are_listed_the_oldest_first(database: Database) -> None:
    ids = [made(database, name=f"number {number}")[0].id for number in range(5)]
    with database.read() as session:
        assert [row.id for row in keys.read_all(session)] == ids


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"requests_per_minute": 2**31}, "requests_per_minute"),
        ({"max_active_experiments": -1}, "max_active_experiments"),
    ],
)
def test_what_no_key_can_be_is_refused_by_its_name(database: Database, wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        made(database, **wrong)
    assert [error.field for error in raised.value.errors] == [field]
    with database.read() as session:
        assert keys.read_all(session) == []


def test_each_scope_includes_the_ones_before_it() -> None:
    order = [Scope.READ, Scope.WRITE, Scope.ADMIN]
    for i, held in enumerate(order):
        assert [held.includes(needed) for needed in order] == [j <= i for j in range(3)]
