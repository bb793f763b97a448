"""The life of an arm: who may change what, in what order arms are taken, and what a stale fence can do (nothing)."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from arm_states import (
    ELSEWHERE,
    HERE,
    LEASE_S,
    accept,
    accept_one,
    all_of,
    checkpoint,
    checkpointed,
    everything,
    history,
    let_expire,
    let_wait,
    row,
    sampled,
    steps,
    take,
    train,
)
from builders import WITH, network_row
from sqlalchemy import event, select, update
from sqlalchemy.orm import Session

from models import arms, experiments, leases
from models.arms import Claim, Sample
from models.database import Database
from models.errors import ExperimentFinished, FenceLost, PointsDiffer
from models.spec import FINISHED, Reason, Status
from models.tables import Arm, Network

# ------------------------------------------------------------------------------------- what may follow on what

WORKER = "host:1:a/2"


def network(held: Claim) -> list[Network]:
    """Return the trained networks of an arm."""
    return [network_row(held, r) for r in range(held.spec.replicates)]


#: What a worker can do with an arm that it holds.
BY_WORKER: dict[str, Callable[[Session, Claim], object]] = {
    "record": lambda session, held: train(session, held, 10, 20),
    "renew": lambda session, held: arms.renew(session, held, LEASE_S),
    "begin_anew": lambda session, held: arms.begin_anew(session, held),
    "succeed": lambda session, held: arms.succeed(session, held, network(held)),
    "fail": lambda session, held: arms.fail(session, held, "x", "X."),
    "mark_cancelled": lambda session, held: arms.mark_cancelled(session, held),
    "give_back": lambda session, held: arms.give_back(session, held),
}

#: What anybody can do.
BY_OTHERS: dict[str, Callable[[Session], object]] = {
    "claim": lambda session: arms.claim(session, "host:1:b/3", HERE, LEASE_S, "cpu"),
    "return_expired": lambda session: leases.return_expired(session, "r", 3),
    "return_lost": lambda session: leases.return_lost(session, "host:1:a/", lambda worker: False, "r", 3),
    "lives_on": lambda session: leases.return_lost(session, "host:1:a/", lambda worker: True, "r", 3),
    "return_orphans": lambda session: leases.return_orphans(session, "r"),
}

#: The status after each operation on an arm in each state; a dot: nothing whatever changes. `asked`: to be cancelled.
RULES = """
                queued     waiting    running    asked      expired    exp+asked  succeeded  failed     cancelled
claim           running    .          .          .          .          .          .          .          .
cancel          cancelled  cancelled  running    .          running    .          .          .          .
record          .          .          running    running    running    running    .          .          .
renew           .          .          running    running    running    running    .          .          .
begin_anew      .          .          running    running    running    running    .          .          .
succeed         .          .          succeeded  cancelled  succeeded  cancelled  .          .          .
fail            .          .          failed     cancelled  failed     cancelled  .          .          .
mark_cancelled  .          .          cancelled  cancelled  cancelled  cancelled  .          .          .
give_back       .          .          queued     cancelled  queued     cancelled  .          .          .
return_expired  .          .          .          .          queued     cancelled  .          .          .
return_lost     .          .          queued     cancelled  queued     cancelled  .          .          .
lives_on        .          .          .          .          .          .          .          .          .
return_orphans  .          .          queued     cancelled  queued     cancelled  .          .          .
"""
STATES, *LINES = (line.split() for line in RULES.strip().splitlines())
CELLS = [(line[0], state, after) for line in LINES for state, after in zip(STATES, line[1:], strict=True)]


def put_in_state(session: Session, state: str) -> Claim:
    """Accept one arm and bring it into a state; return the claim that its worker has, or once had."""
    arm_id = accept_one(session)
    experiment_id = row(session, arm_id).experiment_id
    held = take(session, WORKER)
    train(session, held, 0, 5)
    train(session, held, 5, 10)
    if state in ("queued", "waiting"):
        arms.give_back(session, held)
        let_wait(session, [arm_id] if state == "waiting" else [], 60)
    if state in ("asked", "exp+asked", "cancelled"):
        experiments.cancel(session, experiment_id)
    if state in ("expired", "exp+asked"):
        let_expire(session, [arm_id])
    if state == "cancelled":
        arms.mark_cancelled(session, held)
    if state == "succeeded":
        arms.succeed(session, held, network(held))
    if state == "failed":
        arms.fail(session, held, "x", "X.")
    return held


def cancel(session: Session, arm_id: UUID) -> None:
    try:
        experiments.cancel(session, row(session, arm_id).experiment_id)
    except ExperimentFinished:
        assert row(session, arm_id).status in {Status.SUCCEEDED, Status.FAILED}


def operate(session: Session, operation: str, held: Claim) -> None:
    """Do it. A worker's operation that changes nothing says so."""
    if operation == "cancel":
        cancel(session, held.arm_id)
    elif operation in BY_OTHERS:
        BY_OTHERS[operation](session)
    else:
        before = everything(session)
        try:
            BY_WORKER[operation](session, held)
        except FenceLost:
            assert everything(session) == before
        else:
            assert everything(session) != before


def test_every_operation_does_in_every_state_what_the_table_says_and_nothing_else(database: Database) -> None:
    assert {operation for operation, _, _ in CELLS} == {"cancel", *BY_WORKER, *BY_OTHERS}
    for operation, state, after in CELLS:
        with database.write() as session:
            held = put_in_state(session, state)
            before, told = everything(session), list(history(session, held.arm_id))
            status = row(session, held.arm_id).status
            operate(session, operation, held)
            arm, cell = row(session, held.arm_id), f"{operation} of an arm that is {state}"
            news = history(session, held.arm_id)[len(told) :]
            if after == ".":
                assert everything(session) == before, cell
            else:
                assert arm.status == after, cell
                assert everything(session) != before, cell
                changed = arm.status is not status or operation in ("cancel", "begin_anew")
                assert [(one.from_status, one.to_status) for one in news] == [(status, arm.status)] * changed, cell
            is_sound(session, arm)
            session.rollback()


def is_sound(session: Session, arm: Arm) -> None:
    """Check what holds for every arm whatever has happened to it."""
    running, ended = arm.status is Status.RUNNING, arm.status in FINISHED
    assert (arm.lease_renewed_at is not None) == (arm.lease_expires_at is not None) == running
    assert (arm.finished_at is not None) == ended
    assert not (running and arm.worker is None)
    assert not (arm.status is Status.QUEUED and arm.worker)
    assert not (ended and checkpointed(session, arm.id))
    assert len(set(checkpointed(session, arm.id))) <= 2
    told = history(session, arm.id)
    assert [one.from_status for one in told] == [None, *(one.to_status for one in told)][: len(told)]
    assert told[-1].to_status is arm.status
    assert sum(one.to_status in FINISHED for one in told) == ended


# -------------------------------------------------------------------------------------------------- stale fences


@pytest.mark.parametrize("operation", BY_WORKER)
def test_a_worker_with_an_old_fence_changes_nothing_by_anything(database: Database, operation: str) -> None:
    with database.write() as session:
        accept_one(session)
        stale = take(session, WORKER)
        train(session, stale, 0, 5)
        arms.give_back(session, stale)
        current = take(session, WORKER)  # by the same process, even
        train(session, current, 5, 10)
    before = all_of(database)
    with pytest.raises(FenceLost) as lost, database.write() as session:
        BY_WORKER[operation](session, stale)
    assert all_of(database) == before
    assert lost.value.details == {"arm_id": str(stale.arm_id), "fence": stale.fence}
    with database.write() as session:
        BY_WORKER[operation](session, current)


def test_an_arm_that_does_not_exist_is_held_by_nobody(database: Database) -> None:
    held = Claim(UUID(int=7), 1, WORKER, UUID(int=8), WITH, {})
    with pytest.raises(FenceLost), database.write() as session:
        arms.renew(session, held, LEASE_S)


# -------------------------------------------------------------------------------------------------------- claims


def test_an_experiment_starts_with_both_arms_queued_and_told_of(database: Database) -> None:
    with database.write() as session:
        for arm_id in accept(session):
            arm = row(session, arm_id)
            assert (arm.status, arm.fence, arm.generation, arm.crash_count) == (Status.QUEUED, 0, 1, 0)
            assert (arm.worker, arm.fingerprint, arm.not_before) == (None, None, None)
            is_sound(session, arm)


def test_a_claim_is_the_arm_as_it_was_accepted(database: Database) -> None:
    with database.write() as session:
        arm_id = accept_one(session)
        held = take(session, WORKER)
        arm = row(session, arm_id)
    assert (held.arm_id, held.fence, held.worker) == (arm_id, 1, WORKER)
    assert (held.experiment_id, held.name) == (arm.experiment_id, arm.name)
    assert held.spec.replicates == 2
    assert (arm.worker, arm.fence, arm.fingerprint) == (WORKER, 1, HERE)
    assert arm.started_at is not None
    assert arm.lease_expires_at is not None
    assert abs((arm.lease_expires_at - arm.started_at).total_seconds() - LEASE_S) < 60


def test_arms_are_claimed_in_the_order_in_which_they_wait_each_once(database: Database) -> None:
    with database.write() as session:
        for _ in range(5):
            accept(session)
        waiting = list(session.scalars(select(Arm.id).order_by(Arm.created_at, Arm.id)))
    for expected in waiting:
        with database.write() as session:
            assert arms.any_waits(session, "cpu")
            assert take(session).arm_id == expected
    with database.write() as session:
        assert not arms.any_waits(session, "cpu")
        assert arms.claim(session, WORKER, HERE, LEASE_S, "cpu") is None


def test_an_arm_that_is_given_back_stands_where_it_stood(database: Database) -> None:
    with database.write() as session:
        accept_one(session)
        accept_one(session)
        first = take(session)
        arms.give_back(session, first)
        again = take(session)
    assert (again.arm_id, again.fence) == (first.arm_id, first.fence + 1)


def test_of_many_workers_each_arm_is_claimed_by_exactly_one(database: Database) -> None:
    with database.write() as session:
        waiting = {arm_id for _ in range(10) for arm_id in accept(session)}

    def work(number: int) -> list[UUID]:
        claimed = []
        for _ in range(len(waiting)):
            with database.write() as session:
                held = arms.claim(session, f"host:{number}:x/1", HERE, LEASE_S, "cpu")
            claimed += [held.arm_id] if held else []
        return claimed

    with ThreadPoolExecutor(8) as workers:
        claimed = [arm_id for each in workers.map(work, range(8)) for arm_id in each]
    assert sorted(claimed) == sorted(waiting)
    with database.read() as session:
        for arm_id in waiting:
            assert [one.reason for one in history(session, arm_id)] == [Reason.SUBMITTED, Reason.CLAIMED]
            assert row(session, arm_id).fence == 1


def test_a_claim_does_not_wait_for_another_that_is_not_yet_committed(new_postgres_url: str) -> None:
    database = Database(new_postgres_url)
    with database.write() as session:
        accept(session)
    with database.write() as first, database.write() as second:
        assert take(first).arm_id != take(second).arm_id
    database.close()


def test_an_arm_that_is_to_wait_is_not_claimed_until_then(database: Database) -> None:
    with database.write() as session:
        first, second = accept_one(session), accept_one(session)
        let_wait(session, [first], 50)
        assert take(session).arm_id == second
        assert not arms.any_waits(session, "cpu")
        assert arms.claim(session, WORKER, HERE, LEASE_S, "cpu") is None
        let_wait(session, [first], -0.001)
        assert arms.any_waits(session, "cpu")
        assert take(session).arm_id == first
        assert row(session, first).not_before is None


def test_an_arm_that_a_wrong_clock_told_to_wait_for_long_is_claimed(database: Database) -> None:
    with database.write() as session:
        arm_id = accept_one(session)
        let_wait(session, [arm_id], 3600)  # longer than any arm is told to wait
        assert arms.any_waits(session, "cpu")
        assert take(session).arm_id == arm_id


def test_an_arm_that_was_asked_to_stop_while_it_ran_is_never_claimed_again(database: Database) -> None:
    with database.write() as session:
        held = put_in_state(session, "asked")
        arms.give_back(session, held)
        assert arms.claim(session, WORKER, HERE, LEASE_S, "cpu") is None


def test_the_time_it_started_is_that_of_the_first_claim(database: Database) -> None:
    with database.write() as session:
        arm_id = accept_one(session)
        held = take(session)
        started = row(session, arm_id).started_at
        arms.give_back(session, held)
        take(session)
        assert row(session, arm_id).started_at == started


# -------------------------------------------------------------------------------------------------- fingerprints


def test_the_same_set_up_goes_on_with_points_and_checkpoints(database: Database) -> None:
    with database.write() as session:
        arm_id = put_in_state(session, "queued").arm_id
    before = all_of(database)
    with database.write() as session:
        take(session, fingerprint={**HERE})
    after = all_of(database)
    assert {name: after[name] for name in ("curve_points", "checkpoints")} == {
        name: before[name] for name in ("curve_points", "checkpoints")
    }
    with database.read() as session:
        arm, last = row(session, arm_id), history(session, arm_id)[-1]
        assert (arm.generation, arm.batches_done) == (1, 10)
        assert (last.reason, last.batches_done, last.fence) == (Reason.CLAIMED, 10, 2)


def test_another_set_up_begins_again(database: Database) -> None:
    with database.write() as session:
        arm_id = put_in_state(session, "queued").arm_id
    with database.write() as session:
        take(session, fingerprint=ELSEWHERE)
    with database.read() as session:
        arm, last = row(session, arm_id), history(session, arm_id)[-1]
        assert (steps(session, arm_id), checkpointed(session, arm_id)) == ([], [])
        assert (arm.generation, arm.batches_done, arm.batches_at_crash) == (2, 0, 0)
        assert arm.fingerprint == ELSEWHERE
        assert (last.from_status, last.to_status) == (Status.QUEUED, Status.RUNNING)
        assert (last.reason, last.batches_done, last.fence) == (Reason.RESTARTED, 0, 2)


def test_another_set_up_takes_the_points_of_no_other_arm(database: Database) -> None:
    with database.write() as session:
        accept(session)
        first, second = take(session), take(session)
        for held in (first, second):
            train(session, held, 0, 10)
        arms.give_back(session, first)
        take(session, fingerprint=ELSEWHERE)
        assert (steps(session, first.arm_id), checkpointed(session, first.arm_id)) == ([], [])
        assert (steps(session, second.arm_id), checkpointed(session, second.arm_id)) == ([0, 5], [10, 10])


def test_begun_anew_an_arm_has_nothing_and_is_still_held(database: Database) -> None:
    with database.write() as session:
        held = put_in_state(session, "running")
        arms.begin_anew(session, held)
        assert (steps(session, held.arm_id), checkpointed(session, held.arm_id)) == ([], [])
        arm, last = row(session, held.arm_id), history(session, held.arm_id)[-1]
        assert (arm.generation, arm.batches_done, arm.fence, arm.status) == (2, 0, held.fence, Status.RUNNING)
        assert (last.reason, last.from_status, last.to_status) == (Reason.RESTARTED, Status.RUNNING, Status.RUNNING)
        train(session, held, 0, 20)
        assert steps(session, held.arm_id) == [0, 5, 10, 15]


# ------------------------------------------------------------------------------------- together or not at all


class Broken(Exception):
    """The connection, as far as a test is concerned."""


@contextmanager
def breaking(database: Database, at: int) -> Iterator[list[str]]:
    """Let the statement of this number, from 0, fail before it is sent; the commit is the last one."""
    sent: list[str] = []

    def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)
        if len(sent) > at:
            raise Broken

    def before_commit(_connection: Any) -> None:
        before(None, None, "COMMIT")

    event.listen(database.engine, "before_cursor_execute", before)
    event.listen(database.engine, "commit", before_commit)
    try:
        yield sent
    finally:
        event.remove(database.engine, "before_cursor_execute", before)
        event.remove(database.engine, "commit", before_commit)


def broken_at_every_statement(database: Database, change: Callable[[Session], object]) -> list[str]:
    """Let a change fail at each of its statements, then succeed: a failure leaves nothing. Return the statements."""
    before = all_of(database)
    for at in count():
        with breaking(database, at) as sent:
            try:
                with database.write() as session:
                    change(session)
            except Broken:
                pass
            else:
                return sent
        assert len(sent) == at + 1
        assert all_of(database) == before
    raise AssertionError


def test_points_progress_and_checkpoint_are_written_together_or_not_at_all(database: Database) -> None:
    with database.write() as session:
        held = put_in_state(session, "running")
    sent = broken_at_every_statement(database, lambda session: train(session, held, 10, 20))
    assert [statement.split()[0] for statement in sent[-3:]] == ["INSERT", "INSERT", "COMMIT"]
    assert len(sent) >= 7
    with database.read() as session:
        assert row(session, held.arm_id).batches_done == 20
        assert steps(session, held.arm_id) == [0, 5, 10, 15]
        assert checkpointed(session, held.arm_id) == [10, 10, 20, 20]


@pytest.mark.parametrize("operation", [name for name in BY_WORKER if name != "record"])
def test_each_operation_of_a_worker_is_done_whole_or_not_at_all(database: Database, operation: str) -> None:
    with database.write() as session:
        held = put_in_state(session, "running")
    broken_at_every_statement(database, lambda session: BY_WORKER[operation](session, held))
    with database.read() as session:
        is_sound(session, row(session, held.arm_id))


@pytest.mark.parametrize("fingerprint", [HERE, ELSEWHERE], ids=["same", "another"])
def test_a_claim_is_done_whole_or_not_at_all(database: Database, fingerprint: dict[str, Any]) -> None:
    with database.write() as session:
        arm_id = put_in_state(session, "queued").arm_id
    broken_at_every_statement(database, lambda session: take(session, fingerprint=fingerprint))
    with database.read() as session:
        assert row(session, arm_id).fence == 2


@pytest.mark.parametrize("operation", ["return_expired", "return_lost", "return_orphans"])
def test_several_arms_return_all_or_none(database: Database, operation: str) -> None:
    with database.write() as session:
        held = [put_in_state(session, state) for state in ("expired", "exp+asked", "expired")]
    broken_at_every_statement(database, BY_OTHERS[operation])
    with database.read() as session:
        assert [row(session, one.arm_id).status for one in held] == [Status.QUEUED, Status.CANCELLED, Status.QUEUED]


def test_a_cancel_is_done_whole_or_not_at_all(database: Database) -> None:
    with database.write() as session:
        held = put_in_state(session, "queued")
    broken_at_every_statement(database, lambda session: cancel(session, held.arm_id))
    with database.read() as session:
        assert row(session, held.arm_id).status is Status.CANCELLED


def test_a_write_whose_outcome_was_not_known_changes_nothing_the_second_time(database: Database) -> None:
    with database.write() as session:
        held = put_in_state(session, "running")
        train(session, held, 10, 20)
    lease = ("lease_renewed_at", "lease_expires_at")
    before = all_of(database, *lease)
    for _ in range(2):
        with database.write() as session:
            train(session, held, 10, 20)
        assert all_of(database, *lease) == before


def test_batches_that_are_trained_again_add_only_the_points_that_are_not_there(database: Database) -> None:
    with database.write() as session:
        held = put_in_state(session, "running")  # ten batches
        train(session, held, 3, 8)
        assert row(session, held.arm_id).batches_done == 8
        assert steps(session, held.arm_id) == [0, 5]
        train(session, held, 0, 20)
        assert steps(session, held.arm_id) == [0, 5, 10, 15]


DIFFERENT: dict[str, Callable[[Sample], Sample]] = {
    "correct": lambda sample: Sample(sample.step, (sample.correct[0], sample.correct[1] + 1), sample.total),
    "total": lambda sample: Sample(sample.step, sample.correct, sample.total + 1),
    "replicates": lambda sample: Sample(sample.step, sample.correct[:1], sample.total),
}


@pytest.mark.parametrize("difference", DIFFERENT)
def test_a_point_that_differs_is_reported_and_nothing_is_written(database: Database, difference: str) -> None:
    with database.write() as session:
        held = put_in_state(session, "running")
    before = all_of(database)
    whole = sampled(held.spec, 0, 20)
    differing: Sequence[Sample] = [whole[0], DIFFERENT[difference](whole[1]), *whole[2:]]
    with pytest.raises(PointsDiffer) as raised, database.write() as session:
        arms.record(session, held, LEASE_S, 20, 1.0, differing, checkpoint(held.spec, held.name, 20))
    assert raised.value.details == {"arm_id": str(held.arm_id), "steps": [5]}
    assert all_of(database) == before


def test_a_write_without_points_renews_the_lease_and_says_how_far_it_is(database: Database) -> None:
    with database.write() as session:
        held = put_in_state(session, "expired")
        assert arms.record(session, held, LEASE_S, 12, None, []) is False
        arm = row(session, held.arm_id)
        assert (arm.batches_done, arm.batches_per_second) == (12, None)
        assert leases.return_expired(session, "r", 3) == 0


# ----------------------------------------------------------------------------------------------- ends and cancels


def test_networks_are_kept_only_of_an_arm_that_succeeded(database: Database) -> None:
    with database.write() as session:
        done, asked = put_in_state(session, "running"), put_in_state(session, "asked")
        arms.succeed(session, done, network(done))
        arms.succeed(session, asked, network(asked))
    with database.read() as session:
        found = set(session.scalars(select(Network.arm_id)))
    assert found == {done.arm_id}


@pytest.mark.parametrize("operation", ["succeed", "fail", "mark_cancelled"])
def test_the_points_of_an_arm_that_has_ended_stay_and_its_checkpoints_go(database: Database, operation: str) -> None:
    with database.write() as session:
        held = put_in_state(session, "running")
        BY_WORKER[operation](session, held)
        assert (steps(session, held.arm_id), checkpointed(session, held.arm_id)) == ([0, 5], [])
        last = history(session, held.arm_id)[-1]
        assert (last.batches_done, last.fence, last.actor) == (10, held.fence, WORKER)
        assert last.reason.value == last.to_status.value  # cancelled, failed or succeeded


def test_an_arm_that_fails_says_why(database: Database) -> None:
    with database.write() as session:
        held = put_in_state(session, "running")
        arms.fail(session, held, "out_of_memory", "Too large.")
        arm = row(session, held.arm_id)
        assert (arm.error_code, arm.error_message) == ("out_of_memory", "Too large.")


def test_a_given_back_arm_keeps_what_it_has_and_counts_no_crash(database: Database) -> None:
    with database.write() as session:
        held = put_in_state(session, "running")
        arms.give_back(session, held)
        arm = row(session, held.arm_id)
        assert (arm.status, arm.batches_done, arm.batches_per_second) == (Status.QUEUED, 10, None)
        assert (arm.crash_count, arm.not_before, arm.generation) == (0, None, 1)
        assert (steps(session, held.arm_id), checkpointed(session, held.arm_id)) == ([0, 5], [5, 5, 10, 10])
        assert history(session, held.arm_id)[-1].reason is Reason.WORKER_STOPPED


def test_a_worker_hears_of_a_cancel_with_its_next_write_or_renewal(database: Database) -> None:
    with database.write() as session:
        held = put_in_state(session, "running")
        assert arms.renew(session, held, LEASE_S) is False
        assert train(session, held, 10, 11) is False
        cancel(session, held.arm_id)
        assert arms.renew(session, held, LEASE_S) is True
        assert train(session, held, 11, 12) is True


def test_cancelling_again_changes_nothing(database: Database) -> None:
    for state in ("queued", "running"):
        with database.write() as session:
            held = put_in_state(session, state)
            cancel(session, held.arm_id)
        before = all_of(database)
        with database.write() as session:
            cancel(session, held.arm_id)
        assert all_of(database) == before


def test_a_cancel_and_an_end_at_the_same_moment_leave_one_end(database: Database) -> None:
    for _ in range(5):
        with database.write() as session:
            held = put_in_state(session, "running")

        def end(held: Claim = held) -> None:
            with database.write() as session:
                arms.succeed(session, held, network(held))

        def ask(held: Claim = held) -> None:
            with database.write() as session:
                cancel(session, held.arm_id)

        with ThreadPoolExecutor(2) as both:
            for one in (both.submit(end), both.submit(ask)):
                one.result(60)
        with database.read() as session:
            is_sound(session, row(session, held.arm_id))
            assert row(session, held.arm_id).status in FINISHED


# ------------------------------------------------------------------------------------- what follows from the arms


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (("queued", "queued"), Status.QUEUED),
        (("running", "queued"), Status.RUNNING),
        (("succeeded", "queued"), Status.RUNNING),
        (("failed", "running"), Status.RUNNING),
        (("succeeded", "succeeded"), Status.SUCCEEDED),
        (("succeeded", "failed"), Status.FAILED),
        (("cancelled", "failed"), Status.FAILED),
        (("cancelled", "succeeded"), Status.CANCELLED),
    ],
)
def test_an_experiments_status_follows_from_its_arms(
    database: Database, ends: tuple[str, str], expected: Status
) -> None:
    with database.write() as session:
        both = accept(session)
        experiment_id = row(session, both[0]).experiment_id
        for arm_id, end in zip(both, ends, strict=True):
            session.execute(update(Arm).where(Arm.id == arm_id).values(status=Status(end)))
    with database.read() as session:
        assert experiments.read(session, experiment_id).status is expected
        found, _ = experiments.page(session, limit=5, status=expected)
        assert [experiment.id for experiment in found] == [experiment_id]
        for other in set(Status) - {expected}:
            assert experiments.page(session, limit=5, status=other) == ([], None)


def test_pages_follow_each_other_without_gap_or_repeat(database: Database) -> None:
    ids = []
    for _ in range(7):
        with database.write() as session:
            ids.append(row(session, accept(session)[0]).experiment_id)
    seen: list[UUID] = []
    cursor = None
    with database.read() as session:
        while True:
            found, cursor = experiments.page(session, limit=3, after=cursor)
            seen += [experiment.id for experiment in found]
            if cursor is None:
                break
    assert seen == ids[::-1]
