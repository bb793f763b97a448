"""Histories: each change of an arm is told once, in order, with who made it."""

from uuid import uuid4

import pytest
from arm_states import ELSEWHERE, accept, accept_one, history, let_expire, let_wait, row, take, train
from sqlalchemy import delete, select

from models import arms, clock, events, experiments, leases
from models.database import Database
from models.errors import UnknownExperiment
from models.spec import ArmName, Reason, Status
from models.tables import Arm, Experiment

QUEUED, RUNNING = Status.QUEUED, Status.RUNNING


def test_a_long_life_is_told_from_its_beginning_to_its_end(database: Database) -> None:
    with database.write() as session:
        arm_id = accept_one(session)
        experiment_id = row(session, arm_id).experiment_id
        held = take(session, "first")
        train(session, held, 0, 5)
        arms.renew(session, held, 60)
        arms.give_back(session, held)
        held = take(session, "second")
        arms.begin_anew(session, held)
        train(session, held, 0, 10)
        let_expire(session, [arm_id])
        leases.return_expired(session, "reconciler", 3)
        let_wait(session, [arm_id], -1)
        held = take(session, "third", ELSEWHERE)
        leases.return_lost(session, "third", lambda worker: False, "parent", 3)
        let_wait(session, [arm_id], -1)
        take(session, "fourth", ELSEWHERE)
        leases.return_orphans(session, "bnlab up")
        held = take(session, "fifth", ELSEWHERE)
        experiments.cancel(session, experiment_id)
        train(session, held, 0, 5)
        arms.mark_cancelled(session, held)
        told = [
            (one.from_status, one.to_status, one.reason.value, one.fence, one.batches_done, one.actor)
            for _, one in events.read(session, experiment_id)
        ]
    assert told == [
        (None, QUEUED, "submitted", 0, 0, "api"),
        (QUEUED, RUNNING, "claimed", 1, 0, "first"),
        (RUNNING, QUEUED, "worker_stopped", 1, 5, "first"),
        (QUEUED, RUNNING, "claimed", 2, 5, "second"),
        (RUNNING, RUNNING, "restarted", 2, 0, "second"),
        (RUNNING, QUEUED, "lease_expired", 2, 10, "reconciler"),
        (QUEUED, RUNNING, "restarted", 3, 0, "third"),
        (RUNNING, QUEUED, "process_lost", 3, 0, "parent"),
        (QUEUED, RUNNING, "claimed", 4, 0, "fourth"),
        (RUNNING, QUEUED, "service_restarted", 4, 0, "bnlab up"),
        (QUEUED, RUNNING, "claimed", 5, 0, "fifth"),
        (RUNNING, RUNNING, "cancel_requested", 5, 0, "api"),
        (RUNNING, Status.CANCELLED, "cancelled", 5, 5, "fifth"),
    ]


def test_both_arms_are_told_of_in_one_order_and_no_other_experiments(database: Database) -> None:
    with database.write() as session:
        experiment_id = row(session, accept(session)[0]).experiment_id
        accept(session)
        held = [take(session) for _ in range(4)]
        for one in held:
            arms.fail(session, one, "x", "X.")
    with database.read() as session:
        told = events.read(session, experiment_id)
        names = {arm.id: arm.name for arm in session.scalars(select(Arm))}
    assert [one.id for _, one in told] == sorted(one.id for _, one in told)
    assert all(name is names[one.arm_id] for name, one in told)
    assert sorted(name for name, _ in told) == sorted([*ArmName] * 3)
    assert [one.at for _, one in told] == sorted(one.at for _, one in told)


def test_an_event_bears_the_time_of_the_database(database: Database) -> None:
    with database.write() as session:
        accept_one(session)
        before = session.scalars(select(clock.now())).one()
        held = take(session)
        after = session.scalars(select(clock.now())).one()
        assert before <= history(session, held.arm_id)[-1].at <= after


def test_what_was_undone_is_not_told(database: Database) -> None:
    with database.write() as session:
        arm_id = accept_one(session)
    with database.write() as session:
        take(session)
        session.rollback()
    with database.read() as session:
        assert [one.reason for one in history(session, arm_id)] == [Reason.SUBMITTED]


def test_a_cancel_of_a_sweep_of_arms_tells_of_each(database: Database) -> None:
    with database.write() as session:
        arm_ids = [arm_id for _ in range(10) for arm_id in accept(session)]
        experiments.cancel_arms(session, Arm.id.in_(arm_ids))
        for arm_id in arm_ids:
            assert [one.to_status for one in history(session, arm_id)] == [QUEUED, Status.CANCELLED]


def test_no_changes_are_no_events(database: Database) -> None:
    with database.write() as session:
        arm_id = accept_one(session)
        events.note(session, [], "nobody")
        assert len(history(session, arm_id)) == 1


def test_an_unknown_experiment_has_no_history_and_one_without_events_an_empty_one(database: Database) -> None:
    with database.write() as session:
        experiment_id = row(session, accept(session)[0]).experiment_id
        session.execute(delete(Arm))
        assert list(events.read(session, experiment_id)) == []
        session.execute(delete(Experiment))
        session.expire_all()
    for unknown in (experiment_id, uuid4()):
        with pytest.raises(UnknownExperiment) as raised, database.read() as session:
            events.read(session, unknown)
        assert raised.value.details == {"experiment_id": str(unknown)}
