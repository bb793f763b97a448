"""Time as the database tells it: near ours, in UTC, comparable with what is stored, and moving within a transaction."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from arm_states import accept_one, row
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from models import clock
from models.clock import clock_timestamp
from models.database import Database
from models.tables import Arm


def moment(session: Session, seconds: float) -> datetime:
    return session.scalars(select(clock.in_seconds(seconds))).one()


def test_now_is_now_in_utc(database: Database) -> None:
    before = datetime.now(UTC)
    with database.read() as session:
        now = session.scalars(select(clock.now())).one()
    assert now.utcoffset() == timedelta(0)
    assert before - timedelta(seconds=1) <= now <= datetime.now(UTC) + timedelta(seconds=1)


@pytest.mark.parametrize("seconds", [0.25, -0.25, 1.0, 90.5, 3_600.0, -86_400.0, 31_536_000.0])
def test_a_moment_is_so_many_seconds_away(database: Database, seconds: float) -> None:
    with database.read() as session:
        before, then, after = (moment(session, offset) for offset in (0, seconds, 0))
    assert before <= then - timedelta(seconds=seconds) <= after


def test_what_is_stored_is_what_is_compared(database: Database) -> None:
    """To the microsecond, also where a database keeps moments as text."""
    with database.write() as session:
        arm_id = accept_one(session)
        for offset in (0.0, -0.000001, 60.0, -60.0):
            session.execute(
                update(Arm).values(not_before=clock.in_seconds(offset)).execution_options(synchronize_session=False)
            )
            stored = row(session, arm_id).not_before
            assert stored is not None
            over = session.scalars(select(Arm.not_before <= clock.now())).one()
            assert over is (offset <= 0)
            for shift, expected in ((-1, False), (0, True), (1, True)):
                other = stored + timedelta(microseconds=shift)
                assert session.scalars(select(Arm.not_before <= other)).one() is expected


def test_time_goes_on_within_a_transaction(database: Database) -> None:
    with database.write() as session:
        begin = moment(session, 0)
        end = time.monotonic() + 10
        while moment(session, 0) - begin < timedelta(milliseconds=5):
            assert time.monotonic() < end


def test_on_postgres_the_offset_of_the_session_changes_nothing(new_postgres_url: str) -> None:
    database = Database(new_postgres_url)
    with database.write() as session:
        session.execute(text("SET LOCAL TIME ZONE 'Asia/Kathmandu'"))
        assert abs(moment(session, 0) - datetime.now(UTC)) < timedelta(seconds=5)
        assert moment(session, 0).utcoffset() == timedelta(0)
    database.close()


def test_on_sqlite_the_hosts_clock_is_the_databases(new_sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(new_sqlite_url)
    with database.read() as session:
        before = datetime.fromtimestamp(time.time(), UTC)
        assert before <= moment(session, 0) <= datetime.fromtimestamp(time.time(), UTC)
        for wrong in (0.0, 951_782_400.5, 4_102_444_799.999999):
            monkeypatch.setattr(time, "time", lambda wrong=wrong: wrong)
            expected = datetime.fromtimestamp(wrong, UTC)
            assert moment(session, 0) == expected
            assert moment(session, 86_400) == expected + timedelta(days=1)
    database.close()


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_on_sqlite_texts_stand_in_the_order_of_their_moments(first: float, second: float) -> None:
    earlier, later = sorted((first, second))
    # One second apart: the clock goes on between the two calls.
    assert clock_timestamp(earlier) < clock_timestamp(later + 1)
    assert len(clock_timestamp(first)) == len("2026-11-23 09:00:00.000000")
