"""Arms whose worker is gone: which return to the queue, how long they wait there, and which are given up."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from arm_states import (
    LEASE_S,
    TWINS,
    accept,
    accept_one,
    all_of,
    checkpointed,
    everything,
    history,
    let_expire,
    let_wait,
    row,
    steps,
    take,
    train,
)
from builders import network_row
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import arms, clock, experiments, leases
from models.arms import MAX_WAIT_S, Claim
from models.database import Database
from models.errors import FenceLost
from models.spec import Reason, Status

MAX_CRASHES = 3
#: A good way of it are 10 batches.
LONG = TWINS.model_copy(update={"training_batches": 1000, "batches_per_sample": 100})


def lost(session: Session, workers: str, *alive: str) -> int:
    return leases.return_lost(session, workers, lambda worker: worker in alive, "reconciler", MAX_CRASHES)


def expired(session: Session, max_crashes: int = MAX_CRASHES) -> int:
    return leases.return_expired(session, "reconciler", max_crashes)


def crash(session: Session, held: Claim, max_crashes: int = MAX_CRASHES) -> None:
    let_expire(session, [held.arm_id])
    assert expired(session, max_crashes) == 1


def waits_s(session: Session, held: Claim) -> float:
    """Return for how many seconds more an arm is to wait."""
    not_before = row(session, held.arm_id).not_before
    assert not_before is not None
    return (not_before - session.scalars(select(clock.now())).one()).total_seconds()


# ---------------------------------------------------------------------------------------------- which return


def test_only_arms_whose_lease_is_over_return(database: Database) -> None:
    with database.write() as session:
        for _ in range(3):
            accept(session)
        held = [take(session, f"host:1:{number}/2") for number in range(5)]
        gone = [held[1], held[3]]
        let_expire(session, [one.arm_id for one in gone])
        before = {one.arm_id: history(session, one.arm_id) for one in held}
        assert expired(session) == 2
        assert expired(session) == 0
        for one in held:
            arm, news = row(session, one.arm_id), history(session, one.arm_id)[len(before[one.arm_id]) :]
            if one in gone:
                assert (arm.status, arm.worker, arm.lease_expires_at) == (Status.QUEUED, None, None)
                assert [(event.reason, event.actor, event.fence) for event in news] == [
                    (Reason.LEASE_EXPIRED, "reconciler", one.fence)
                ]
            else:
                assert (arm.status, arm.worker, news) == (Status.RUNNING, one.worker, [])


def test_an_arm_that_runs_without_a_lease_returns(database: Database) -> None:
    with database.write() as session:
        accept_one(session)
        held = take(session)
        row(session, held.arm_id).lease_expires_at = None
        session.flush()
        assert expired(session) == 1


def test_a_lease_lasts_as_long_as_it_was_given_and_no_longer(database: Database) -> None:
    with database.write() as session:
        accept_one(session)
        held = arms.claim(session, "w", {}, 0.0, "cpu")
        assert held is not None
        assert expired(session) == 1
        let_wait(session, [held.arm_id], -1)
        again = take(session)
        arms.renew(session, again, 0.0)
        assert expired(session) == 1


def test_a_lease_that_a_wrong_clock_made_long_is_over(database: Database) -> None:
    with database.write() as session:
        accept_one(session)
        held = take(session)
        arm = row(session, held.arm_id)
        arm.lease_renewed_at = datetime.now(UTC) + timedelta(hours=1)
        arm.lease_expires_at = arm.lease_renewed_at + timedelta(seconds=LEASE_S)
        session.flush()
        assert expired(session) == 1


@pytest.mark.parametrize("is_over", [False, True])
def test_whether_an_arm_would_return_can_be_asked_without_a_change(database: Database, is_over: bool) -> None:
    def asked(session: Session, workers: str, *alive: str) -> bool:
        return leases.any_to_return(session, workers, lambda worker: worker in alive)

    with database.write() as session:
        accept_one(session)
        held = take(session, "host:1:a/2")
        let_expire(session, [held.arm_id] if is_over else [])
        before = everything(session)
        assert asked(session, "host:1:a/", "host:1:a/2") is is_over
        assert asked(session, "host:1:b/") is is_over
        assert asked(session, "host:1:a/") is True
        assert everything(session) == before


def test_what_was_trained_stays_when_an_arm_returns(database: Database) -> None:
    with database.write() as session:
        accept_one(session)
        held = take(session)
        train(session, held, 0, 10)
        crash(session, held)
        arm = row(session, held.arm_id)
        assert (arm.batches_done, arm.batches_per_second, arm.generation) == (10, None, 1)
        assert (steps(session, held.arm_id), checkpointed(session, held.arm_id)) == ([0, 5], [10, 10])
        assert history(session, held.arm_id)[-1].batches_done == 10


@pytest.mark.parametrize("how", ["expired", "lost", "orphan"])
def test_an_arm_that_was_asked_to_stop_is_cancelled(database: Database, how: str) -> None:
    calls: dict[str, Callable[[Session], int]] = {
        "expired": lambda session: expired(session, 1),  # even if it would be given up
        "lost": lambda session: lost(session, "host:"),
        "orphan": lambda session: leases.return_orphans(session, "reconciler"),
    }
    with database.write() as session:
        accept_one(session)
        held = take(session)
        train(session, held, 0, 10)
        experiments.cancel(session, held.experiment_id)
        let_expire(session, [held.arm_id])
        assert calls[how](session) == 1
        arm = row(session, held.arm_id)
        assert (arm.status, arm.crash_count, arm.error_code) == (Status.CANCELLED, 0, None)
        assert arm.finished_at is not None
        assert (steps(session, held.arm_id), checkpointed(session, held.arm_id)) == ([0, 5], [])
        assert [event.reason for event in history(session, held.arm_id)][-1] is Reason.CANCELLED


def test_orphans_return_at_once_and_no_crash_is_counted(database: Database) -> None:
    with database.write() as session:
        for _ in range(2):
            accept(session)
        held = [take(session) for _ in range(3)]
        for one in held:
            train(session, one, 0, 10)
        assert leases.return_orphans(session, "up") == 3
        assert leases.return_orphans(session, "up") == 0
        for one in held:
            arm, last = row(session, one.arm_id), history(session, one.arm_id)[-1]
            assert (arm.status, arm.crash_count, arm.batches_at_crash, arm.not_before) == (Status.QUEUED, 0, 0, None)
            assert (arm.batches_done, last.reason, last.actor) == (10, Reason.SERVICE_RESTARTED, "up")
            assert take(session).arm_id == one.arm_id or one is not held[0]


# ------------------------------------------------------------------------------------------- whose process is gone


def test_only_processes_of_this_beginning_that_live_no_more_lose_their_arms(database: Database) -> None:
    names = ("host:12:a/34", "host:12:a/35", "host:12:b/34", "host:1:a/34", "ghost:12:a/34")
    asked: list[str] = []

    def lives(worker: str) -> bool:
        asked.append(worker)
        return worker.endswith("35")

    with database.write() as session:
        for _ in names:
            accept_one(session)
        held = [take(session, name) for name in names]
        assert leases.return_lost(session, "host:12:a/", lives, "reconciler", MAX_CRASHES) == 1
        assert [row(session, one.arm_id).worker for one in held] == [None, *names[1:]]
        last = history(session, held[0].arm_id)[-1]
        assert (last.reason, last.from_status, last.to_status) == (Reason.PROCESS_LOST, Status.RUNNING, Status.QUEUED)
    assert sorted(asked) == ["host:12:a/34", "host:12:a/35"]  # of others nobody here can know


@pytest.mark.parametrize(
    ("workers", "others"),
    [
        ("%", "host:1:a/2"),
        ("ho_t:1:a/", "host:1:a/2"),
        ("ho%:1:a/", "host:1:a/2"),
        ("100%/", "100 of them/2"),
        ("a\\/", "a/2"),
        ("a/b/", "a//b/2"),
        ("Host:1:a/", "host:1:a/2"),
    ],
)
def test_a_name_means_itself_and_no_other(database: Database, workers: str, others: str) -> None:
    with database.write() as session:
        accept_one(session)
        accept_one(session)
        other, own = take(session, others), take(session, f"{workers}7")
        assert lost(session, workers) == 1
        assert row(session, other.arm_id).worker == others
        assert row(session, own.arm_id).status is Status.QUEUED


def test_nobody_is_asked_about_arms_that_nobody_trains(database: Database) -> None:
    with database.write() as session:
        accept(session)
        arms.give_back(session, take(session))
        before = everything(session)
        assert lost(session, "") == 0
        assert everything(session) == before


# -------------------------------------------------------------------------------------------------------- crashes


def test_each_crash_makes_an_arm_wait_twice_as_long_up_to_a_minute(database: Database) -> None:
    with database.write() as session:
        accept_one(session)
        for crashes in range(1, 10):
            held = take(session)
            crash(session, held, max_crashes=1_000)
            expected = min(2 ** (crashes - 1), MAX_WAIT_S)
            assert expected - 1 < waits_s(session, held) <= expected
            assert row(session, held.arm_id).crash_count == crashes
            assert arms.claim(session, "w", {}, LEASE_S, "cpu") is None
            let_wait(session, [held.arm_id], -1)


def test_an_arm_that_kills_its_worker_again_and_again_fails_and_says_so(database: Database) -> None:
    with database.write() as session:
        accept_one(session, LONG)
        for crashes in range(1, MAX_CRASHES + 1):
            held = take(session)
            train(session, held, 0, 9)  # nine batches: no good way
            crash(session, held)
            assert (row(session, held.arm_id).status is Status.FAILED) == (crashes == MAX_CRASHES)
            let_wait(session, [held.arm_id], -1)
        arm, told = row(session, held.arm_id), history(session, held.arm_id)
        assert (arm.error_code, arm.crash_count, arm.worker) == ("crash_loop", MAX_CRASHES, None)
        assert arm.finished_at is not None
        assert "3 times" in (arm.error_message or "")
        assert (steps(session, held.arm_id), checkpointed(session, held.arm_id)) == ([0], [])
        assert (told[-1].reason, told[-1].to_status) == (Reason.CRASH_LOOP, Status.FAILED)
        assert [event.reason for event in told].count(Reason.LEASE_EXPIRED) == MAX_CRASHES - 1


def test_it_fails_too_when_its_process_is_lost_each_time(database: Database) -> None:
    with database.write() as session:
        accept_one(session)
        for _ in range(MAX_CRASHES):
            held = take(session, "host:1:a/2")
            assert lost(session, "host:1:a/") == 1
            let_wait(session, [held.arm_id], -1)
        assert row(session, held.arm_id).error_code == "crash_loop"


def test_an_arm_that_comes_a_good_way_further_each_time_never_fails(database: Database) -> None:
    with database.write() as session:
        accept_one(session, LONG)
        for done in range(10, 200, 10):
            held = take(session)
            train(session, held, done - 10, done)
            crash(session, held, max_crashes=2)
            arm = row(session, held.arm_id)
            assert (arm.status, arm.crash_count, arm.batches_at_crash) == (Status.QUEUED, 1, done)
            assert waits_s(session, held) <= 1
            let_wait(session, [held.arm_id], -1)


def test_small_steps_add_up_to_a_good_way(database: Database) -> None:
    with database.write() as session:
        accept_one(session, LONG)
        counted = []
        for done in (4, 8, 12, 12, 12):
            held = take(session)
            train(session, held, 0, done)
            crash(session, held, max_crashes=1_000)
            counted.append(row(session, held.arm_id).crash_count)
            let_wait(session, [held.arm_id], -1)
    assert counted == [1, 2, 1, 2, 3]


def test_training_the_same_batches_again_is_no_way_further(database: Database) -> None:
    with database.write() as session:
        accept_one(session, LONG)
        for _ in range(MAX_CRASHES):
            held = take(session)
            train(session, held, 0, 500, keep=False)
            crash(session, held)
            let_wait(session, [held.arm_id], -1)
        assert row(session, held.arm_id).error_code == "crash_loop"


def test_what_a_worker_gives_back_is_counted_neither_as_crash_nor_as_success(database: Database) -> None:
    with database.write() as session:
        accept_one(session)
        for _ in range(MAX_CRASHES - 1):
            held = take(session)
            crash(session, held)
            let_wait(session, [held.arm_id], -1)
            arms.give_back(session, take(session))
        assert row(session, held.arm_id).crash_count == MAX_CRASHES - 1
        crash(session, take(session))
        assert row(session, held.arm_id).status is Status.FAILED


# ------------------------------------------------------------------------------------------- at the same moment


def at_once(database: Database, *calls: Callable[[Session], object]) -> list[object]:
    """Run each in a transaction of its own, all begun at the same moment; return what they returned or raised."""
    start = Barrier(len(calls))

    def run(call: Callable[[Session], object]) -> object:
        start.wait(60)
        try:
            with database.write() as session:
                return call(session)
        except FenceLost as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


@pytest.mark.parametrize("reconcile", [expired, lambda session: lost(session, "host:")], ids=["expired", "lost"])
def test_of_several_reconcilers_one_returns_each_arm(database: Database, reconcile: Callable[[Session], int]) -> None:
    with database.write() as session:
        for _ in range(10):
            accept(session)
        held = [take(session) for _ in range(20)]
        let_expire(session, [one.arm_id for one in held])
    returned = [count for count in at_once(database, *[reconcile] * 4) if isinstance(count, int)]
    with database.write() as session:
        returned.append(reconcile(session))  # what one passed by because another one had it
    assert sum(returned) == 20
    with database.read() as session:
        for one in held:
            arm, told = row(session, one.arm_id), history(session, one.arm_id)
            assert (arm.status, arm.crash_count) == (Status.QUEUED, 1)
            assert len(told) == 3


def test_a_finish_and_an_expiry_at_the_same_moment_end_in_exactly_one_of_both(database: Database) -> None:
    ends = set()
    for _ in range(10):
        with database.write() as session:
            accept_one(session)
            held = take(session)
            train(session, held, 0, 20)
            let_expire(session, [held.arm_id])

        def finish(session: Session, held: Claim = held) -> None:
            arms.succeed(session, held, [network_row(held, r) for r in range(2)])

        finished, returned = at_once(database, finish, expired)
        with database.write() as session:
            arm, last = row(session, held.arm_id), history(session, held.arm_id)[-1]
            if finished is None:
                assert (arm.status, last.reason) == (Status.SUCCEEDED, Reason.SUCCEEDED)
                assert (returned, arm.crash_count) == (0, 0)
            else:
                assert isinstance(finished, FenceLost)
                assert (arm.status, last.reason) == (Status.QUEUED, Reason.LEASE_EXPIRED)
                assert returned == 1
            assert len(history(session, held.arm_id)) == 3
            ends.add(arm.status)
            let_wait(session, [held.arm_id], 50)  # or it is the next one to be claimed
    assert ends <= {Status.SUCCEEDED, Status.QUEUED}


def test_a_renewal_in_time_wins_over_a_reconciler_that_saw_the_lease_over(new_postgres_url: str) -> None:
    database = Database(new_postgres_url)
    with database.write() as session:
        accept_one(session)
        held = take(session)
        let_expire(session, [held.arm_id])
    with database.write() as worker:
        arms.renew(worker, held, LEASE_S)  # not yet committed
        with database.write() as reconciler:
            assert expired(reconciler) == 0
    with database.write() as session:
        assert expired(session) == 0
        assert arms.renew(session, held, LEASE_S) is False
    database.close()


def test_a_worker_that_stands_still_in_the_middle_of_a_write_holds_up_no_other_arm(new_postgres_url: str) -> None:
    database = Database(new_postgres_url)
    with database.write() as session:
        accept(session)
        frozen, gone = take(session), take(session)
        let_expire(session, [frozen.arm_id, gone.arm_id])
    with database.write() as standing:
        train(standing, frozen, 0, 5)
        with database.write() as session:
            assert expired(session) == 1
            assert row(session, gone.arm_id).status is Status.QUEUED
    before = all_of(database)
    with database.write() as session:
        assert expired(session) == 0  # it went on, and has its lease anew
    assert all_of(database) == before
    database.close()
