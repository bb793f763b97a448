"""How many experiments may wait: to the exact number, whoever asks at the same moment."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from arm_states import accept, take
from sqlalchemy import func, select

from models import admission, arms, experiments
from models.database import Database
from models.errors import InvalidInput, QueueFull
from models.tables import Arm, Experiment


def waiting(database: Database) -> int:
    with database.read() as session:
        return session.scalars(select(func.count()).select_from(Experiment)).one()


def admitted(database: Database, count: int, limit: int) -> bool:
    """Let so many experiments in, as a request does, and return whether it was allowed."""
    try:
        with database.write() as session:
            admission.admit(session, count, limit)
            for _ in range(count):
                accept(session)
    except QueueFull:
        return False
    return True


def test_exactly_the_limit_may_wait(database: Database) -> None:
    assert [admitted(database, 1, 3) for _ in range(5)] == [True, True, True, False, False]
    assert waiting(database) == 3


def test_who_is_refused_learns_how_many_wait(database: Database) -> None:
    assert admitted(database, 2, 4)
    with pytest.raises(QueueFull) as raised, database.write() as session:
        admission.admit(session, 3, 4)
    assert raised.value.details == {"queued": 2, "limit": 4}


def test_many_together_come_in_as_a_whole_or_not(database: Database) -> None:
    assert admitted(database, 2, 3)
    assert not admitted(database, 2, 3)
    assert admitted(database, 1, 3)
    assert waiting(database) == 3


def test_more_than_may_ever_wait_are_told_so_and_not_to_come_again(database: Database) -> None:
    with pytest.raises(InvalidInput) as raised:
        admitted(database, 4, 3)
    (error,) = raised.value.errors
    assert (error.allowed, error.received) == (
        "at most 3 experiments at once, which is all that may wait on this server",
        4,
    )


def test_an_experiment_waits_as_long_as_one_of_its_arms_does(database: Database) -> None:
    assert admitted(database, 1, 1)
    with database.write() as session:
        first = take(session)
    assert not admitted(database, 1, 1)
    with database.write() as session:
        take(session)
    assert admitted(database, 1, 1)
    with database.write() as session:  # what comes back is not refused, and counts
        arms.give_back(session, first)
    assert not admitted(database, 1, 2)
    assert admitted(database, 1, 3)


def test_cancelled_ones_make_room(database: Database) -> None:
    assert admitted(database, 2, 2)
    with database.write() as session:
        experiments.cancel(session, session.scalars(select(Arm.experiment_id).limit(1)).one())
    assert admitted(database, 1, 2)
    assert not admitted(database, 1, 2)


def test_what_was_let_in_and_undone_takes_no_place(database: Database) -> None:
    with database.write() as session:
        admission.admit(session, 2, 2)
        accept(session)
        accept(session)
        session.rollback()
    assert admitted(database, 2, 2)


@pytest.mark.parametrize(("count", "limit"), [(1, 5), (1, 11), (3, 10)])
def test_of_many_at_once_exactly_as_many_as_there_are_places_come_in(
    database: Database, count: int, limit: int
) -> None:
    start = Barrier(8)

    def ask(_: int) -> int:
        start.wait(60)
        return sum(admitted(database, count, limit) for _ in range(2))

    with ThreadPoolExecutor(8) as threads:
        came_in = sum(threads.map(ask, range(8)))
    assert came_in == limit // count
    assert waiting(database) == count * came_in
