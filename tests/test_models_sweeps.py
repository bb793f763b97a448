"""Sweeps in the database: all experiments or none, a status that follows from theirs, one cancel for all of them."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
from builders import WITH, WITHOUT, claimed, finish, submitted, swept
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import arms, datasets, experiments, sweeps
from models.database import Database
from models.errors import SweepFinished, UnknownSweep
from models.experiments import Cursor
from models.grid import SweepRequest
from models.spec import FINISHED, ArmName, ResolvedSpec, Spec, Status
from models.sweeps import Summary
from models.tables import Arm, Experiment, Sweep

Json = dict[str, Any]
#: Three experiments of 10, 20 and 30 batches.
THREE = SweepRequest(base={"hidden_layers": [8], "seed": 1}, grid={"training_batches": [10, 20, 30]})


def seeds(count: int) -> SweepRequest:
    return SweepRequest(base={"training_batches": 20, "hidden_layers": [8]}, grid={"seed": list(range(count))})


def summary(database: Database, sweep_id: UUID) -> Summary:
    with database.read() as session:
        return sweeps.read(session, sweep_id)[1]


def counted(database: Database) -> tuple[int, ...]:
    """Return how many sweeps, experiments and arms there are."""
    with database.read() as session:
        return tuple(
            session.scalars(select(func.count()).select_from(table)).one() for table in (Sweep, Experiment, Arm)
        )


def rule(statuses: Iterable[Status]) -> Status:
    """Return the status that follows from those of the parts, written down once more."""
    present = set(statuses)
    if len(present) == 1:
        return present.pop()
    if Status.RUNNING in present or Status.QUEUED in present:
        return Status.RUNNING
    return Status.FAILED if Status.FAILED in present else Status.CANCELLED


# ---------------------------------------------------------------------------------------------------- create


def test_a_new_sweep_has_its_experiments_in_its_order_all_queued(database: Database) -> None:
    sweep_id, ids = swept(database, THREE)
    with database.read() as session:
        sweep, how_far = sweeps.read(session, sweep_id)
        found = sweeps.experiments_of(session, sweep_id)
    assert SweepRequest.model_validate(sweep.request) == THREE
    assert abs(sweep.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert [experiment.id for experiment in found] == ids
    assert [experiment.position for experiment in found] == [0, 1, 2]
    assert [experiment.spec["training_batches"] for experiment in found] == [10, 20, 30]
    for experiment in found:
        assert (experiment.sweep_id, experiment.status) == (sweep_id, Status.QUEUED)
        assert [arm.name for arm in experiment.arms] == list(ArmName)
    assert how_far == Summary({status: 3 * (status is Status.QUEUED) for status in Status}, 0, 120, None, None)
    assert how_far.status is Status.QUEUED


def test_the_arms_wait_in_the_order_of_the_sweep(database: Database) -> None:
    before = submitted(database)
    sweep_id, ids = swept(database, seeds(30))
    after = submitted(database)
    claimed_of = []
    with database.write() as session:
        while held := arms.claim(session, "test", {}, lease_s=60, lane="cpu"):
            claimed_of.append(held.experiment_id)
    assert claimed_of == [id for id in (before, *ids, after) for _ in ArmName]
    assert sweep_id


def test_of_a_sweep_that_cannot_be_stored_whole_nothing_is_stored(database: Database) -> None:
    swept(database, THREE)
    before = counted(database)
    good = [(spec.resolve("mnist-5k"), "0" * 64) for spec in seeds(50).specs()]
    bad: Any = (good[0][0], None)  # an experiment has the SHA-256 of its data set
    with pytest.raises(IntegrityError), database.write() as session:
        sweeps.create(session, seeds(50), [*good, bad])
    assert counted(database) == before == (1, 3, 6)


def test_of_a_sweep_whose_transaction_fails_later_nothing_is_stored(database: Database) -> None:
    specs = [(spec.resolve("mnist-5k"), "0" * 64) for spec in THREE.specs()]

    def create_and_fail(session: Session) -> None:
        sweeps.create(session, THREE, specs)
        raise RuntimeError

    with pytest.raises(RuntimeError), database.write() as session:
        create_and_fail(session)
    assert counted(database) == (0, 0, 0)


def test_a_position_is_taken_once(database: Database) -> None:
    sweep_id, _ = swept(database, THREE)
    second = experiments.queued(THREE.specs()[0].resolve("mnist-5k"), "0" * 64, datetime.now(UTC), sweep_id, 2)
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(second)


def test_a_thousand_experiments_are_accepted_in_a_few_statements(database: Database) -> None:
    request = seeds(1_000)
    specs = [(spec.resolve("mnist-5k"), datasets.SHA256["mnist-5k"]) for spec in request.specs()]
    statements: list[str] = []
    with database.write() as session:
        event.listen(session.get_bind(), "before_cursor_execute", lambda *given: statements.append(given[2]))
        sweep_id = sweeps.create(session, request, specs)
    assert len(statements) < 50
    assert summary(database, sweep_id).counts[Status.QUEUED] == 1_000
    with database.read() as session:
        found = sweeps.experiments_of(session, sweep_id)
    assert [experiment.spec["seed"] for experiment in found] == list(range(1_000))


def test_some_experiments_can_be_read_by_their_position(database: Database) -> None:
    sweep_id, ids = swept(database, seeds(7))
    swept(database, THREE)
    with database.read() as session:
        for first, count, expected in ((0, 3, ids[:3]), (5, 3, ids[5:]), (7, 3, []), (2, None, ids[2:])):
            found = sweeps.experiments_of(session, sweep_id, first, count)
            assert [experiment.id for experiment in found] == expected


# ----------------------------------------------------------------------------------------------------- status


@given(st.lists(st.tuples(st.sampled_from(Status), st.sampled_from(Status)), min_size=1, max_size=6))
def test_a_sweeps_status_is_that_of_one_experiment_with_all_of_its_arms(pairs: list[tuple[Status, Status]]) -> None:
    each = [rule(pair) for pair in pairs]
    whole = Summary({status: each.count(status) for status in Status}, 0, 1, None, None)
    assert whole.status is rule(status for pair in pairs for status in pair)


def put(session: Session, ids: list[UUID], pairs: Iterable[tuple[Status, Status]]) -> None:
    """Put the arms of these experiments into these statuses, past all rules."""
    for experiment_id, pair in zip(ids, pairs, strict=True):
        for arm, status in zip(ArmName, pair, strict=True):
            session.execute(
                update(Arm).where(Arm.experiment_id == experiment_id, Arm.name == arm).values(status=status)
            )


def test_an_experiments_status_follows_from_every_pair_of_arms(database: Database) -> None:
    pairs = list(product(Status, Status))
    sweep_id, ids = swept(database, seeds(len(pairs)))
    with database.write() as session:
        put(session, ids, pairs)
        session.expire_all()
        found = sweeps.experiments_of(session, sweep_id)
        assert [experiment.status for experiment in found] == [rule(pair) for pair in pairs]
        for status in Status:
            listed, _ = experiments.page(session, 100, status=status)
            assert {one.id for one in listed} == {one.id for one in found if rule(pairs[one.position or 0]) is status}


def test_on_sqlite_a_status_is_found_without_a_walk_over_all_arms_that_have_it(new_sqlite_url: str) -> None:
    opened = Database(new_sqlite_url)
    asked = (
        select(Experiment.status).select_from(Experiment).compile(opened.engine, compile_kwargs={"literal_binds": True})
    )
    with opened.read() as session:
        plan = " ".join(str(step) for step in session.execute(text(f"EXPLAIN QUERY PLAN {asked}")))
    opened.close()
    assert "uq_arms_experiment_id_name (experiment_id=?)" in plan
    assert "ix_arms_status" not in plan


def test_the_counts_are_those_of_the_experiments_in_every_mixture(database: Database) -> None:
    sweep_id, ids = swept(database, seeds(4))
    other_id, _ = swept(database, THREE)

    @settings(max_examples=40)
    @given(st.lists(st.tuples(st.sampled_from(Status), st.sampled_from(Status)), min_size=4, max_size=4))
    def holds(pairs: list[tuple[Status, Status]]) -> None:
        with database.write() as session:
            put(session, ids, pairs)
            _, found = sweeps.read(session, sweep_id)
            _, other = sweeps.read(session, other_id)
            session.rollback()
        each = [rule(pair) for pair in pairs]
        assert found.counts == {status: each.count(status) for status in Status}
        assert found.status is rule(status for pair in pairs for status in pair)
        assert other.status is Status.QUEUED

    holds()


def test_progress_is_the_sum_over_all_arms_and_the_times_are_the_first_and_the_last(database: Database) -> None:
    sweep_id, ids = swept(database, THREE)
    submitted(database)
    finish(database, ids[0])
    held = claimed(database, ids[2], WITH)
    with database.write() as session:
        arms.record(session, held, 60, 7, None, [])
    found = summary(database, sweep_id)
    assert (found.batches_done, found.batches_total) == (2 * 10 + 7, 2 * (10 + 20 + 30))
    assert (type(found.batches_done), type(found.batches_total)) == (int, int)  # Postgres sums into decimals
    with database.read() as session:
        all_arms = [arm for experiment in sweeps.experiments_of(session, sweep_id) for arm in experiment.arms]
    assert found.started_at == min(arm.started_at for arm in all_arms if arm.started_at)
    assert found.last_finished_at == max(arm.finished_at for arm in all_arms if arm.finished_at)
    assert found.status is Status.RUNNING
    assert found.counts == {
        Status.QUEUED: 1,
        Status.RUNNING: 1,
        Status.SUCCEEDED: 1,
        Status.FAILED: 0,
        Status.CANCELLED: 0,
    }


# ----------------------------------------------------------------------------------------------- read, cancel


def test_an_unknown_sweep_is_unknown(database: Database) -> None:
    unknown = uuid4()
    swept(database, THREE)
    with pytest.raises(UnknownSweep) as raised, database.read() as session:
        sweeps.read(session, unknown)
    assert raised.value.details == {"sweep_id": str(unknown)}
    with pytest.raises(UnknownSweep), database.write() as session:
        sweeps.cancel(session, unknown)


def test_pages_follow_each_other_newest_first_each_with_its_own_numbers(database: Database) -> None:
    ids = [swept(database, seeds(count))[0] for count in (1, 2, 3, 4, 5)]
    seen: list[tuple[UUID, int]] = []
    cursor: Cursor | None = None
    with database.read() as session:
        for length in (2, 2, 1):
            found, cursor = sweeps.page(session, 2, cursor)
            assert len(found) == length
            seen += [(sweep.id, how_far.counts[Status.QUEUED]) for sweep, how_far in found]
        assert cursor is None
        assert sweeps.page(session, 5)[1] is None
    assert seen == [(ids[i], i + 1) for i in (4, 3, 2, 1, 0)]


def test_without_sweeps_the_page_is_empty(database: Database) -> None:
    submitted(database)
    with database.read() as session:
        assert sweeps.page(session, 20) == ([], None)


def cancel(database: Database, sweep_id: UUID) -> None:
    with database.write() as session:
        sweeps.cancel(session, sweep_id)


def test_a_queued_sweep_is_cancelled_whole_and_again_without_effect(database: Database) -> None:
    sweep_id, _ = swept(database, THREE)
    other_id, _ = swept(database, THREE)
    alone = submitted(database)
    cancel(database, sweep_id)
    first = summary(database, sweep_id)
    assert first.counts[Status.CANCELLED] == 3
    assert first.status is Status.CANCELLED
    cancel(database, sweep_id)
    assert summary(database, sweep_id) == first
    assert summary(database, other_id).status is Status.QUEUED
    with database.read() as session:
        assert experiments.read(session, alone).status is Status.QUEUED


def test_what_has_ended_stays_what_runs_is_asked_what_waits_ends(database: Database) -> None:
    sweep_id, ids = swept(database, THREE)
    finish(database, ids[0])
    held = claimed(database, ids[1], WITHOUT)
    cancel(database, sweep_id)
    with database.read() as session:
        found = sweeps.experiments_of(session, sweep_id)
    assert [[arm.status for arm in experiment.arms] for experiment in found] == [
        [Status.SUCCEEDED, Status.SUCCEEDED],
        [Status.RUNNING, Status.CANCELLED],
        [Status.CANCELLED, Status.CANCELLED],
    ]
    cancel(database, sweep_id)  # still on its way: asked once more
    assert summary(database, sweep_id).status is Status.RUNNING
    with database.write() as session:
        assert arms.record(session, held, 60, 1, None, []) is True
        arms.mark_cancelled(session, held)
    done = summary(database, sweep_id)
    assert (done.status, done.counts[Status.SUCCEEDED], done.counts[Status.CANCELLED]) == (Status.CANCELLED, 1, 2)
    cancel(database, sweep_id)
    assert summary(database, sweep_id) == done


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED])
def test_a_sweep_that_ended_otherwise_cannot_be_cancelled(database: Database, status: Status) -> None:
    sweep_id, ids = swept(database, seeds(2))
    if status is Status.FAILED:
        held = claimed(database, ids[0], WITH)
        with database.write() as session:
            arms.fail(session, held, "out_of_memory", "Too large.")
        held = claimed(database, ids[0], WITHOUT)
        with database.write() as session:
            arms.succeed(session, held, [])
    else:
        finish(database, ids[0])
    finish(database, ids[1])
    with pytest.raises(SweepFinished) as raised:
        cancel(database, sweep_id)
    assert raised.value.details == {"sweep_status": status.value}
    assert summary(database, sweep_id).status is status


def test_an_experiment_of_a_sweep_can_be_cancelled_alone(database: Database) -> None:
    sweep_id, ids = swept(database, THREE)
    with database.write() as session:
        experiments.cancel(session, ids[1])
    found = summary(database, sweep_id)
    assert (found.counts[Status.CANCELLED], found.counts[Status.QUEUED]) == (1, 2)
    assert found.status is Status.RUNNING


def test_an_experiments_sweep_is_known_and_one_submitted_alone_has_none(database: Database) -> None:
    sweep_id, ids = swept(database, THREE)
    alone_id = submitted(database)
    with database.read() as session:
        last, alone = (experiments.read(session, one) for one in (ids[2], alone_id))
    assert (last.sweep_id, last.position) == (sweep_id, 2)
    assert (alone.sweep_id, alone.position) == (None, None)


def test_the_specs_of_a_sweep_are_stored_resolved(database: Database) -> None:
    sweep_id, _ = swept(database, SweepRequest(grid={"seed": [None, 5]}))
    with database.read() as session:
        drawn, given_ = (
            ResolvedSpec.model_validate(experiment.spec, strict=False)
            for experiment in sweeps.experiments_of(session, sweep_id)
        )
    assert given_ == Spec(seed=5).resolve("mnist-5k")
    assert drawn.dataset == "mnist-5k"


def test_the_ends_of_a_sweep_are_the_ends_of_its_experiments() -> None:
    for status in Status:
        whole = Summary({other: int(other is status) for other in Status}, 0, 1, None, None)
        assert whole.status is status
        assert (whole.status in FINISHED) == (status in FINISHED)
