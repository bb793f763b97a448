"""Workers that are heard of: rows that come, are renewed, fall silent and go, on both databases."""

from collections import Counter

from builders import WITH, WITHOUT, claimed, submitted
from sqlalchemy import select, update

from models import clock, workers
from models.database import Database
from models.lanes import Lane
from models.tables import Worker

GPUS = ["NVIDIA H200", "NVIDIA H200"]


def beat(database: Database, name: str = "host:1:a", lane: Lane = "cpu", processes: int = 1) -> None:
    with database.write() as session:
        workers.beat(session, name, lane, ["Some Processor"], processes)


def let_be_silent(database: Database, name: str, seconds: float) -> None:
    """Let a worker have been heard of last so long ago."""
    with database.write() as session:
        session.execute(update(Worker).where(Worker.name == name).values(seen_at=clock.in_seconds(-seconds)))


def living(database: Database) -> list[str]:
    with database.read() as session:
        return [worker.name for worker in workers.living(session)]


def test_a_worker_that_says_something_is_heard_of(database: Database) -> None:
    with database.write() as session:
        workers.beat(session, "host:1:a", "gpu", GPUS, 2)
    with database.read() as session:
        (worker,) = workers.living(session)
        now = session.scalars(select(clock.now())).one()
    assert (worker.name, worker.device, worker.device_names, worker.processes) == ("host:1:a", "gpu", GPUS, 2)
    assert worker.started_at <= worker.seen_at <= now
    assert workers.host(worker) == "host"


def test_each_word_renews_what_is_known_but_not_when_it_started(database: Database) -> None:
    beat(database)
    let_be_silent(database, "host:1:a", 20)
    with database.read() as session:
        (before,) = workers.living(session)
    with database.write() as session:
        workers.beat(session, "host:1:a", "cpu", ["Another Processor"], 0)
    with database.read() as session:
        (after,) = workers.living(session)
    assert after.started_at == before.started_at
    assert after.seen_at > before.seen_at
    assert (after.device_names, after.processes) == (["Another Processor"], 0)


def test_a_worker_without_a_word_for_half_a_minute_counts_as_gone_but_is_known_for_a_day(database: Database) -> None:
    for name, seconds in (("a:1:x", 25), ("b:1:x", 35), ("c:1:x", 86_000), ("d:1:x", 87_000)):
        beat(database, name)
        let_be_silent(database, name, seconds)
    assert living(database) == ["a:1:x"]
    with database.write() as session:
        workers.forget_silent(session)
    with database.read() as session:
        assert [(worker.name, lives) for worker, lives in workers.known(session)] == [
            ("a:1:x", True),
            ("b:1:x", False),
            ("c:1:x", False),
        ]


def test_a_word_from_the_future_is_not_believed_and_the_next_one_corrects_it(database: Database) -> None:
    beat(database)
    let_be_silent(database, "host:1:a", -3_600)
    assert living(database) == []
    beat(database)
    assert living(database) == ["host:1:a"]


def test_a_worker_that_stops_is_forgotten_and_no_other(database: Database) -> None:
    beat(database, "host:1:a")
    beat(database, "host:2:b")
    with database.write() as session:
        workers.gone(session, "host:1:a")
        workers.gone(session, "nobody")
    assert living(database) == ["host:2:b"]


def test_a_lane_counts_as_served_only_by_who_lives_and_takes_arms(database: Database) -> None:
    with database.read() as session:
        assert workers.lanes(session) == frozenset()
    beat(database, "a:1:x", "cpu")
    beat(database, "b:1:x", "gpu", processes=0)
    beat(database, "c:1:x", "gpu")
    let_be_silent(database, "c:1:x", 40)
    with database.read() as session:
        assert workers.lanes(session) == {"cpu"}
    beat(database, "c:1:x", "gpu")
    with database.read() as session:
        assert workers.lanes(session) == {"cpu", "gpu"}


def test_of_a_lane_where_nobody_takes_arms_it_is_known_why(database: Database) -> None:
    useless = ["Some Processor", "none: it has a reason", "none: another"]
    with database.write() as session:
        workers.beat(session, "a:1:x", "gpu", useless, 0)
        workers.beat(session, "b:1:x", "cpu", ["none: it broke", "Some Processor"], 1)
    with database.read() as session:
        assert workers.heard(session) == {"gpu": "it has a reason; another", "cpu": None}
        assert workers.lanes(session) == {"cpu"}
        gpu, cpu = workers.living(session)
        assert (workers.reasons(gpu), workers.reasons(cpu)) == (["it has a reason", "another"], ["it broke"])


def test_the_arms_in_training_are_counted_for_each_worker_over_its_processes(database: Database) -> None:
    first, second = submitted(database), submitted(database)
    claimed(database, first, WITHOUT, worker="host:1:a/11")
    claimed(database, first, WITH, worker="host:1:a/12")
    claimed(database, second, WITH, worker="host:2:b/21")
    with database.read() as session:
        assert workers.arms_in_training(session) == Counter({"host:1:a": 2, "host:2:b": 1})
