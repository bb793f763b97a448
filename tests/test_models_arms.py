"""The life of an arm: who may change what, and what a stale fence can do (nothing)."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from conftest import TINY_SPEC

from models import arms, curves, datasets, experiments
from models.arms import Claim, Sample
from models.database import Database
from models.errors import ExperimentFinished, FenceLost, UnknownExperiment
from models.spec import ArmName, Status


def submit(database: Database) -> tuple[UUID, dict[ArmName, UUID]]:
    with database.write() as session:
        experiment = experiments.create(session, TINY_SPEC.resolve("mnist-5k"), datasets.SHA256["mnist-5k"])
        return experiment.id, {arm.name: arm.id for arm in experiment.arms}


def claim(database: Database, arm_id: UUID) -> Claim:
    with database.write() as session:
        held = arms.claim(session, arm_id, "test")
    assert held is not None
    return held


def status(database: Database, experiment_id: UUID) -> Status:
    with database.read() as session:
        return experiments.read(session, experiment_id).status


def test_an_experiment_starts_with_both_arms_queued(database: Database) -> None:
    experiment_id, arm_ids = submit(database)
    with database.read() as session:
        experiment = experiments.read(session, experiment_id)
    assert [arm.name for arm in experiment.arms] == list(ArmName)
    assert {arm.status for arm in experiment.arms} == {Status.QUEUED}
    assert experiment.status is Status.QUEUED
    assert set(arm_ids) == set(ArmName)


def test_a_claim_returns_the_spec_that_was_stored(database: Database) -> None:
    _, arm_ids = submit(database)
    held = claim(database, arm_ids[ArmName.WITH_BATCH_NORM])
    assert held.spec == TINY_SPEC.resolve("mnist-5k")
    assert held.name is ArmName.WITH_BATCH_NORM


def test_an_arm_is_claimed_once_and_only_while_it_waits(database: Database) -> None:
    _, arm_ids = submit(database)
    arm_id = arm_ids[ArmName.WITH_BATCH_NORM]
    claim(database, arm_id)
    with database.write() as session:
        assert arms.claim(session, arm_id, "second") is None
        assert arms.claim(session, uuid4(), "unknown arm") is None


def test_of_many_workers_that_hear_the_same_bell_exactly_one_gets_the_arm(database: Database) -> None:
    _, arm_ids = submit(database)
    arm_id = arm_ids[ArmName.WITHOUT_BATCH_NORM]

    def attempt(number: int) -> Claim | None:
        with database.write() as session:
            return arms.claim(session, arm_id, f"worker {number}")

    with ThreadPoolExecutor(8) as workers:
        claims = [held for held in workers.map(attempt, range(16)) if held is not None]
    assert len(claims) == 1


def test_the_fence_grows_with_each_claim(database: Database) -> None:
    _, arm_ids = submit(database)
    arm_id = arm_ids[ArmName.WITH_BATCH_NORM]
    first = claim(database, arm_id)
    with database.write() as session:
        arms.give_back(session, first)
    second = claim(database, arm_id)
    assert second.fence == first.fence + 1


def test_a_worker_with_an_old_fence_can_write_nothing(database: Database) -> None:
    experiment_id, arm_ids = submit(database)
    arm_id = arm_ids[ArmName.WITH_BATCH_NORM]
    stale = claim(database, arm_id)
    with database.write() as session:
        arms.give_back(session, stale)
    claim(database, arm_id)
    attempts = (
        lambda session: arms.record(session, stale, 5, 1.0, [Sample(0, (1,), 500)]),
        lambda session: arms.succeed(session, stale, []),
        lambda session: arms.fail(session, stale, "x", "x"),
        lambda session: arms.mark_cancelled(session, stale),
        lambda session: arms.give_back(session, stale),
    )
    for attempt in attempts:
        with pytest.raises(FenceLost), database.write() as session:
            attempt(session)
    with database.read() as session:
        arm = experiments.read(session, experiment_id).arms[1]
        assert (arm.status, arm.batches_done) == (Status.RUNNING, 0)
        assert curves.read(session, experiment_id)[ArmName.WITH_BATCH_NORM] == []


def test_points_and_progress_are_written_together_or_not_at_all(database: Database) -> None:
    experiment_id, arm_ids = submit(database)
    held = claim(database, arm_ids[ArmName.WITH_BATCH_NORM])
    with database.write() as session:
        arms.record(session, held, 6, 10.0, [Sample(0, (50,), 500), Sample(5, (60,), 500)])
    with pytest.raises(Exception, match=r"(?i)unique"), database.write() as session:
        arms.record(session, held, 11, 10.0, [Sample(10, (70,), 500), Sample(5, (60,), 500)])
    with database.read() as session:
        points = curves.read(session, experiment_id)[ArmName.WITH_BATCH_NORM]
        assert experiments.read(session, experiment_id).arms[1].batches_done == 6
    assert points == [Sample(0, (50,), 500), Sample(5, (60,), 500)]


def test_cancelling_ends_queued_arms_at_once_and_asks_running_ones(database: Database) -> None:
    experiment_id, arm_ids = submit(database)
    held = claim(database, arm_ids[ArmName.WITH_BATCH_NORM])
    with database.write() as session:
        experiment = experiments.cancel(session, experiment_id)
    assert [arm.status for arm in experiment.arms] == [Status.CANCELLED, Status.RUNNING]
    assert experiment.status is Status.RUNNING
    with database.write() as session:
        assert arms.record(session, held, 3, None, []) is True
        arms.mark_cancelled(session, held)
    assert status(database, experiment_id) is Status.CANCELLED


def test_an_arm_that_was_asked_to_stop_can_no_longer_succeed(database: Database) -> None:
    experiment_id, arm_ids = submit(database)
    held = claim(database, arm_ids[ArmName.WITH_BATCH_NORM])
    with database.write() as session:
        experiments.cancel(session, experiment_id)
    with database.write() as session:
        arms.succeed(session, held, [])
    assert status(database, experiment_id) is Status.CANCELLED


def test_cancelling_twice_changes_nothing_and_a_finished_experiment_refuses(database: Database) -> None:
    experiment_id, arm_ids = submit(database)
    with database.write() as session:
        first = experiments.cancel(session, experiment_id).arms[0].finished_at
    with database.write() as session:
        assert experiments.cancel(session, experiment_id).arms[0].finished_at == first

    done_id, arm_ids = submit(database)
    for arm_id in arm_ids.values():
        held = claim(database, arm_id)
        with database.write() as session:
            arms.succeed(session, held, [])
    with pytest.raises(ExperimentFinished), database.write() as session:
        experiments.cancel(session, done_id)
    with pytest.raises(UnknownExperiment), database.write() as session:
        experiments.cancel(session, uuid4())


def test_a_given_back_arm_starts_from_nothing(database: Database) -> None:
    experiment_id, arm_ids = submit(database)
    held = claim(database, arm_ids[ArmName.WITH_BATCH_NORM])
    with database.write() as session:
        arms.record(session, held, 6, 10.0, [Sample(0, (50,), 500)])
    with database.write() as session:
        arms.give_back(session, held)
    with database.read() as session:
        arm = experiments.read(session, experiment_id).arms[1]
        assert (arm.status, arm.batches_done, arm.started_at) == (Status.QUEUED, 0, None)
        assert curves.read(session, experiment_id)[ArmName.WITH_BATCH_NORM] == []
        assert arm.id in arms.queued(session, limit=10)


def test_a_given_back_arm_whose_cancel_was_asked_for_is_cancelled(database: Database) -> None:
    experiment_id, arm_ids = submit(database)
    held = claim(database, arm_ids[ArmName.WITH_BATCH_NORM])
    with database.write() as session:
        experiments.cancel(session, experiment_id)
    with database.write() as session:
        arms.give_back(session, held)
    assert status(database, experiment_id) is Status.CANCELLED


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (("queued", "queued"), Status.QUEUED),
        (("running", "queued"), Status.RUNNING),
        (("succeeded", "queued"), Status.RUNNING),
        (("failed", "running"), Status.RUNNING),
        (("succeeded", "succeeded"), Status.SUCCEEDED),
        (("succeeded", "failed"), Status.FAILED),
    ],
)
def test_an_experiments_status_follows_from_its_arms(
    database: Database, ends: tuple[str, str], expected: Status
) -> None:
    experiment_id, arm_ids = submit(database)
    for arm_id, end in zip(arm_ids.values(), ends, strict=True):
        if end == "queued":
            continue
        held = claim(database, arm_id)
        with database.write() as session:
            if end == "succeeded":
                arms.succeed(session, held, [])
            elif end == "failed":
                arms.fail(session, held, "out_of_memory", "Too large.")
    assert status(database, experiment_id) is expected
    with database.read() as session:
        found, _ = experiments.page(session, limit=5, status=expected)
        assert [experiment.id for experiment in found] == [experiment_id]
        for other in set(Status) - {expected}:
            assert experiments.page(session, limit=5, status=other) == ([], None)


def test_pages_follow_each_other_without_gap_or_repeat(database: Database) -> None:
    ids = [submit(database)[0] for _ in range(7)]
    seen: list[UUID] = []
    cursor = None
    with database.read() as session:
        while True:
            found, cursor = experiments.page(session, limit=3, after=cursor)
            seen += [experiment.id for experiment in found]
            if cursor is None:
                break
    assert seen == ids[::-1]


def test_after_a_crash_running_arms_return_to_the_queue_and_cancelled_ones_end(database: Database) -> None:
    experiment_id, arm_ids = submit(database)
    cancelled_id, cancelled_arm_ids = submit(database)
    stale = claim(database, arm_ids[ArmName.WITH_BATCH_NORM])
    claim(database, cancelled_arm_ids[ArmName.WITH_BATCH_NORM])
    with database.write() as session:
        arms.record(session, stale, 6, 10.0, [Sample(0, (50,), 500)])
        experiments.cancel(session, cancelled_id)
    with database.write() as session:
        assert arms.return_orphans(session) == 2
    assert status(database, experiment_id) is Status.QUEUED
    assert status(database, cancelled_id) is Status.CANCELLED
    with database.read() as session:
        assert curves.read(session, experiment_id)[ArmName.WITH_BATCH_NORM] == []
    with pytest.raises(FenceLost), database.write() as session:
        arms.record(session, stale, 7, 10.0, [])
    assert claim(database, arm_ids[ArmName.WITH_BATCH_NORM]).fence == stale.fence + 2
    with database.write() as session:
        assert arms.return_orphans(session) == 1


def test_an_arm_is_lost_only_with_the_worker_that_holds_it(database: Database) -> None:
    experiment_id, arm_ids = submit(database)
    held = claim(database, arm_ids[ArmName.WITH_BATCH_NORM])
    with database.write() as session:
        arms.fail_lost(session, held.arm_id, "another")
    assert status(database, experiment_id) is Status.RUNNING
    with database.write() as session:
        arms.fail_lost(session, held.arm_id, "test")
    with database.read() as session:
        arm = experiments.read(session, experiment_id).arms[1]
    assert (arm.status, arm.error_code) == (Status.FAILED, "worker_lost")
    with pytest.raises(FenceLost), database.write() as session:
        arms.record(session, held, 7, 10.0, [])
