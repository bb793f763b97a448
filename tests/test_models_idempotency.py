"""Requests with a key: the same one has one effect and one answer, whenever and however often it comes."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from arm_states import accept
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from models import idempotency
from models.database import Database
from models.errors import KeyReused
from models.idempotency import KEPT_FOR
from models.tables import Experiment, IdempotencyKey

ONE, OTHER = "1" * 64, "2" * 64


def request(database: Database, key: str, sha256: str = ONE) -> bytes:
    """Submit an experiment as the API does, and return the answer."""
    with database.write() as session:
        known = idempotency.answered(session, key, sha256)
        if known is not None:
            return known
        accept(session)
        answer = session.scalars(select(func.count()).select_from(Experiment)).one()
        idempotency.remember(session, key, b"experiment %d" % answer)
        return b"experiment %d" % answer


def submitted(database: Database) -> int:
    with database.read() as session:
        return session.scalars(select(func.count()).select_from(Experiment)).one()


def keys(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.scalars(select(IdempotencyKey.key)))


def age(database: Database, key: str, by: timedelta) -> None:
    with database.write() as session:
        moment = datetime.now(UTC) - by
        session.execute(update(IdempotencyKey).where(IdempotencyKey.key == key).values(created_at=moment))


def test_the_same_request_gets_the_same_answer_and_has_no_second_effect(database: Database) -> None:
    answers = [request(database, key) for key in ("a", "b", "a", "b", "a")]
    assert answers == [b"experiment 1", b"experiment 2", b"experiment 1", b"experiment 2", b"experiment 1"]
    assert submitted(database) == 2


def test_another_request_with_the_same_key_is_refused(database: Database) -> None:
    request(database, "a")
    with pytest.raises(KeyReused) as raised:
        request(database, "a", OTHER)
    assert [error.field for error in raised.value.errors] == ["Idempotency-Key"]
    assert submitted(database) == 1
    assert request(database, "a") == b"experiment 1"


def test_any_key_and_any_answer_come_back_to_the_bit(database: Database) -> None:
    printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255)

    @settings(max_examples=30)
    @given(printable, st.binary(max_size=2_000))
    def holds(key: str, answer: bytes) -> None:
        with database.write() as session:
            assert idempotency.answered(session, key, ONE) is None
            idempotency.remember(session, key, answer)
            assert idempotency.answered(session, key, ONE) == answer
            session.rollback()

    holds()


def test_keys_differ_by_case_and_by_spaces(database: Database) -> None:
    assert len({request(database, key) for key in ("a", "A", "a ", " a", "ａ")}) == 5


def test_what_was_undone_has_not_been(database: Database) -> None:
    with database.write() as session:
        assert idempotency.answered(session, "a", OTHER) is None
        accept(session)
        idempotency.remember(session, "a", b"lost")
        session.rollback()
    assert keys(database) == set()
    assert request(database, "a") == b"experiment 1"


def test_of_many_at_once_one_has_the_effect_and_all_get_its_answer(database: Database) -> None:
    start = Barrier(8)

    def send(_: int) -> list[bytes]:
        start.wait(60)
        return [request(database, key) for key in ("a", "b", "c")]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send, range(8)))
    assert [answers[0]] * 8 == answers
    assert len(set(answers[0])) == 3
    assert submitted(database) == 3


def test_of_two_requests_with_one_key_at_once_one_is_refused(database: Database) -> None:
    for number in range(5):
        start = Barrier(2)

        def send(sha256: str, start: Barrier = start, key: str = f"key {number}") -> bool:
            start.wait(60)
            try:
                request(database, key, sha256)
            except KeyReused:
                return False
            return True

        with ThreadPoolExecutor(2) as threads:
            assert sorted(threads.map(send, (ONE, OTHER))) == [False, True]
    assert submitted(database) == 5


def test_who_waits_for_one_that_is_undone_does_it_instead(new_postgres_url: str) -> None:
    database = Database(new_postgres_url)
    with ThreadPoolExecutor(1) as other:
        with database.write() as session:
            assert idempotency.answered(session, "a", ONE) is None
            waits = other.submit(request, database, "a")
            assert not waits.done()
            session.rollback()
        assert waits.result(60) == b"experiment 1"
    database.close()


def test_a_key_is_known_for_two_days_and_then_forgotten(database: Database) -> None:
    for key in ("young", "old"):
        request(database, key)
    age(database, "young", KEPT_FOR - timedelta(minutes=1))
    age(database, "old", KEPT_FOR + timedelta(minutes=1))
    assert request(database, "young") == b"experiment 1"
    assert keys(database) == {"young"}  # any request forgets what is too old
    assert request(database, "old", OTHER) == b"experiment 3"
    assert timedelta(hours=48) == KEPT_FOR
