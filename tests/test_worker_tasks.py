"""The task, called as Celery calls it, on both databases: from claim to end, and every way it can end otherwise."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from conftest import TINY_SPEC, wait_until
from sqlalchemy import event, select, text, update
from sqlalchemy.exc import OperationalError

from models import arms, checkpoints, clock, curves, datasets, events, experiments, leases, networks
from models.arms import Claim, Sample
from models.database import Database
from models.spec import ArmName, Reason, Spec, Status
from models.tables import Arm, CheckpointPart, CurvePoint, Experiment
from worker import heartbeat, process
from worker.lease import Lease
from worker.tasks import OUT_OF_MEMORY, UNEXPECTED, reason, train_and_end, train_held, train_waiting_arms

#: Long enough to be stopped in the middle, at whatever moment.
ENDLESS = TINY_SPEC.model_copy(update={"training_batches": 1_000_000, "batches_per_sample": 100})
#: The curve of each arm and the hash of its network.
Undisturbed = dict[ArmName, tuple[list[Sample], str]]

#: Some chunks, each with a point and a checkpoint.
SOME_CHUNKS = TINY_SPEC.model_copy(update={"training_batches": 200, "batches_per_sample": 10})


@pytest.fixture
def worker(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker process, as far as the task can tell: it reads its settings from the environment."""
    monkeypatch.setenv("BNLAB_DATABASE_URL", database_url)
    monkeypatch.setenv("BNLAB_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("BNLAB_MNIST_MIRRORS", '["http://127.0.0.1:9"]')  # nobody listens there
    monkeypatch.setenv("BNLAB_WRITE_INTERVAL_S", "0.000001")
    monkeypatch.setenv("BNLAB_CHECKPOINT_INTERVAL_S", "0.000001")
    monkeypatch.setattr("worker.recorder.CHECKPOINT_SHARE", 0)
    _forget()
    yield
    process.database().close()
    _forget()


def _forget() -> None:
    process.settings.cache_clear()
    process.stopping.cache_clear()
    process._database.cache_clear()


def submit(database: Database, spec: Spec = TINY_SPEC) -> UUID:
    with database.write() as session:
        resolved = spec.resolve("mnist-5k")
        return experiments.create(session, resolved, datasets.SHA256[resolved.dataset]).id


def hold(database: Database) -> Claim:
    """Claim the arm that has waited longest, as a worker process of this machine does."""
    process.prepare()
    with database.write() as session:
        held = arms.claim(session, process.name(), process.fingerprint(), 60.0, "cpu")
    assert held is not None
    return held


def train(held: Claim) -> None:
    """Train a held arm, as the task does; unlike it, raise what happens."""
    with Lease(process.database(), held, 60.0, 60.0, hung=lambda: None) as lease:
        train_held(process.database(), held, lease)


def read(database: Database, experiment_id: UUID) -> Experiment:
    with database.read() as session:
        return experiments.read(session, experiment_id)


def arm_of(database: Database, held: Claim) -> Arm:
    return next(arm for arm in read(database, held.experiment_id).arms if arm.id == held.arm_id)


def reasons(database: Database, held: Claim) -> list[Reason]:
    """Return what happened to an arm, from its submission on."""
    with database.read() as session:
        return [event.reason for _, event in events.read(session, held.experiment_id) if event.arm_id == held.arm_id]


def points(database: Database, held: Claim) -> list[Sample]:
    with database.read() as session:
        return curves.read(session, held.experiment_id)[held.name]


def stop_after(chunks: int) -> Callable[[], bool]:
    """Return a word to stop that comes after so many chunks."""
    asked = iter(range(1_000_000))
    return lambda: next(asked) >= chunks


def test_both_arms_train_to_the_end_and_can_be_asked(database: Database, worker: None) -> None:
    experiment_id = submit(database)
    train_waiting_arms()
    experiment = read(database, experiment_id)
    assert experiment.status is Status.SUCCEEDED
    for arm in experiment.arms:
        assert arm.batches_done == TINY_SPEC.training_batches
        assert arm.batches_per_second is not None
        assert arm.started_at is not None
        assert arm.finished_at is not None
        assert arm.networks[0].result["validation_total"] == 500
        assert (arm.networks[0].result["batch"] is None) == (arm.name is ArmName.WITHOUT_BATCH_NORM)
    with database.read() as session:
        for points in curves.read(session, experiment_id).values():
            assert [point.step for point in points] == [0, 5, 10, 15]
        assert networks.newest_succeeded(session) == experiment_id
        for name in ArmName:
            assert networks.read(session, experiment_id, name, 0).network.spec == TINY_SPEC.resolve("mnist-5k")


def test_all_replicates_of_an_arm_train_in_one_task_and_each_can_be_asked(database: Database, worker: None) -> None:
    spec = TINY_SPEC.model_copy(update={"replicates": 3})
    experiment_id = submit(database, spec)
    train_waiting_arms()
    experiment = read(database, experiment_id)
    assert experiment.status is Status.SUCCEEDED
    hashes = {arm.name: [network.starting_weights_sha256 for network in arm.networks] for arm in experiment.arms}
    assert hashes[ArmName.WITHOUT_BATCH_NORM] == hashes[ArmName.WITH_BATCH_NORM]
    assert len(set(hashes[ArmName.WITH_BATCH_NORM])) == 3
    with database.read() as session:
        for points in curves.read(session, experiment_id).values():
            assert {len(point.correct) for point in points} == {3}
        for name in ArmName:
            asked = [networks.read(session, experiment_id, name, replicate) for replicate in range(3)]
            assert len({stored.arrays_sha256 for stored in asked}) == 3


def test_both_arms_start_from_the_same_weights(database: Database, worker: None) -> None:
    # One batch with a learning rate too small to move a float32 weight leaves the starting weights in place.
    spec = TINY_SPEC.model_copy(update={"learning_rate": 1e-30, "training_batches": 1, "batches_per_sample": 1})
    experiment_id = submit(database, spec)
    train_waiting_arms()
    with database.read() as session:
        without, with_it = (networks.read(session, experiment_id, name, 0).network.arrays for name in ArmName)
    for layer in ("hidden_1", "hidden_2", "output"):
        assert (without[f"{layer}/weights"] == with_it[f"{layer}/weights"]).all()


def test_one_bell_is_enough_for_all_arms_that_wait_and_a_second_one_does_nothing(
    database: Database, worker: None
) -> None:
    ids = [submit(database) for _ in range(2)]
    train_waiting_arms()
    before = [read(database, id) for id in ids]
    assert {experiment.status for experiment in before} == {Status.SUCCEEDED}
    train_waiting_arms()
    after = [read(database, id) for id in ids]
    assert [arm.finished_at for one in after for arm in one.arms] == [
        arm.finished_at for one in before for arm in one.arms
    ]
    assert {arm.fence for experiment in after for arm in experiment.arms} == {1}


def test_arms_are_trained_in_the_order_in_which_they_were_submitted(database: Database, worker: None) -> None:
    ids = [submit(database) for _ in range(3)]
    train_waiting_arms()
    ends = [[arm.finished_at for arm in read(database, id).arms if arm.finished_at] for id in ids]
    assert max(ends[0]) < min(ends[1])
    assert max(ends[1]) < min(ends[2])


@pytest.mark.parametrize("message", [(), (None,), (7, "x"), ({"arm": 1},), ("../../etc", "\x00")])
def test_what_a_message_says_is_of_no_account(message: tuple[object, ...], database: Database, worker: None) -> None:
    experiment_id = submit(database)
    train_waiting_arms(*message, nonsense=1)
    assert read(database, experiment_id).status is Status.SUCCEEDED


def test_an_arm_without_its_data_fails_with_the_reason(database: Database, worker: None) -> None:
    experiment_id = submit(database, TINY_SPEC.model_copy(update={"dataset": "mnist"}))
    train_waiting_arms()
    for arm in read(database, experiment_id).arms:
        assert arm.status is Status.FAILED
        assert arm.error_code == "dataset_unavailable"
        assert "No mirror" in (arm.error_message or "")


def test_an_arm_whose_spec_this_version_cannot_read_fails_without_a_trace(database: Database, worker: None) -> None:
    submit(database)
    with database.write() as session:
        session.execute(update(Experiment).values(spec={"network": "of the future"}))
    held = hold(database)
    train_and_end(process.database(), held)
    with database.read() as session:
        arm = session.get_one(Arm, held.arm_id)
    assert (arm.status, arm.error_code, arm.error_message) == (Status.FAILED, "unexpected_error", UNEXPECTED)


def test_running_out_of_memory_is_said_in_words() -> None:
    import tensorflow as tf

    assert reason(MemoryError()) == ("out_of_memory", OUT_OF_MEMORY)
    assert reason(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")) == (
        "out_of_memory",
        OUT_OF_MEMORY,
    )
    assert reason(RuntimeError("/secret/path")) == ("unexpected_error", UNEXPECTED)


def test_an_arm_that_runs_out_of_memory_is_not_tried_again(
    database: Database, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(process, "resident_data", too_large)
    experiment_id = submit(database)
    train_waiting_arms()
    assert [(arm.error_code, arm.fence) for arm in read(database, experiment_id).arms] == [("out_of_memory", 1)] * 2


def test_an_arm_that_is_cancelled_while_it_trains_stops_and_keeps_its_points(database: Database, worker: None) -> None:
    submit(database, ENDLESS)
    held = hold(database)
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train_and_end, process.database(), held)
        wait_until(lambda: len(points(database, held)) > 2, what="a point")
        with database.write() as session:
            experiments.cancel(session, held.experiment_id)
        training.result(timeout=60)
    arm = arm_of(database, held)
    assert arm.status is Status.CANCELLED
    assert 0 < arm.batches_done < ENDLESS.training_batches
    assert [point.step for point in points(database, held)][:3] == [0, 100, 200]
    with database.read() as session:
        assert session.scalars(select(CheckpointPart.arm_id)).all() == []


# ------------------------------------------------------------------------------- stopping, crashing, going on


@pytest.fixture
def undisturbed(database: Database, worker: None) -> Undisturbed:
    """Both curves and the hashes of both networks, trained without a break; the database is then empty again."""
    experiment_id = submit(database, SOME_CHUNKS)
    train_waiting_arms()
    with database.read() as session:
        curve = curves.read(session, experiment_id)
        hashes = {name: networks.read(session, experiment_id, name, 0).arrays_sha256 for name in ArmName}
    with database.write() as session:
        for table in ("arm_events", "networks", "curve_points", "arms", "experiments"):
            session.execute(text(f"DELETE FROM {table}"))
    return {name: (curve[name], hashes[name]) for name in ArmName}


def check_same(database: Database, held: Claim, undisturbed: Undisturbed) -> None:
    """Check that a succeeded arm has, to the bit, the curve and the network of an undisturbed one."""
    assert arm_of(database, held).status is Status.SUCCEEDED
    curve, sha256 = undisturbed[held.name]
    assert points(database, held) == curve
    with database.read() as session:
        assert networks.read(session, held.experiment_id, held.name, 0).arrays_sha256 == sha256
        assert session.scalars(select(CheckpointPart.arm_id).where(CheckpointPart.arm_id == held.arm_id)).all() == []


def stopped(database: Database, monkeypatch: pytest.MonkeyPatch, chunks: int) -> Claim:
    """Submit an experiment and train one of its arms for some chunks, until the worker is told to stop."""
    submit(database, SOME_CHUNKS)
    held = hold(database)
    with monkeypatch.context() as patched:
        patched.setattr(process, "stops", stop_after(chunks))
        train(held)
    return held


def checkpointed(database: Database, held: Claim) -> list[int]:
    with database.read() as session:
        return sorted(checkpoints._stored(session, held.arm_id))


def crash(database: Database, held: Claim) -> None:
    """Let the arm's process die: its lease ends, and a reconciler finds it."""
    with database.write() as session:
        session.execute(update(Arm).where(Arm.id == held.arm_id).values(lease_expires_at=clock.in_seconds(-1)))
    with database.write() as session:
        assert leases.return_expired(session, "test", max_crashes=3) == 1
        session.execute(update(Arm).where(Arm.id == held.arm_id).values(not_before=None))


def test_a_worker_that_is_told_to_stop_does_not_begin(database: Database, worker: None) -> None:
    experiment_id = submit(database)
    process.stopping().set()
    train_waiting_arms()
    assert {arm.fence for arm in read(database, experiment_id).arms} == {0}


def test_a_stopped_arm_goes_on_from_its_checkpoint_to_the_same_bits(
    database: Database, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = stopped(database, monkeypatch, 5)
    arm = arm_of(database, held)
    assert (arm.status, arm.crash_count, arm.worker) == (Status.QUEUED, 0, None)
    assert 0 < arm.batches_done < SOME_CHUNKS.training_batches
    assert checkpointed(database, held)[-1] == arm.batches_done
    train_waiting_arms()
    check_same(database, held, undisturbed)
    assert reasons(database, held) == ["submitted", "claimed", "worker_stopped", "claimed", "succeeded"]


@pytest.mark.parametrize("times", [1, 3])
def test_a_crashed_arm_goes_on_from_its_checkpoint_to_the_same_bits(
    times: int,
    database: Database,
    undisturbed: Undisturbed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submit(database, SOME_CHUNKS)
    for _ in range(times):
        held = hold(database)
        with monkeypatch.context() as patched:
            patched.setattr(process, "stops", stop_after(4))
            patched.setattr("worker.recorder.Recorder.give_back", lambda *_: None)  # it has no time for that
            train(held)
        crash(database, held)
    written = arm_of(database, held).batches_done
    assert 0 < written < SOME_CHUNKS.training_batches
    train_waiting_arms()
    with database.read() as session:
        ended = [Claim(arm.id, 0, "", arm.experiment_id, arm.name, {}) for arm in session.scalars(select(Arm))]
    for held in ended:
        check_same(database, held, undisturbed)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    database: Database, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = stopped(database, monkeypatch, 8)
    before, last = checkpointed(database, held)
    with database.write() as session:
        session.execute(update(CheckpointPart).where(CheckpointPart.batches_done == last).values(arrays=b"damaged"))
    with database.read() as session:
        found = checkpoints.newest(session, held.arm_id, held.spec, held.name)
    assert found is not None
    assert found.batches_done == before
    train_waiting_arms()
    check_same(database, held, undisturbed)


def test_another_set_up_begins_anew_and_never_mixes_two_in_one_curve(
    database: Database, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = stopped(database, monkeypatch, 5)
    other = {**process.fingerprint(), "threads": 2}
    with database.write() as session:  # as another processor would have trained it
        session.execute(update(Arm).where(Arm.id == held.arm_id).values(fingerprint=other))
        session.execute(update(CurvePoint).values(correct=[0]))
    train_waiting_arms()
    check_same(database, held, undisturbed)
    arm = arm_of(database, held)
    assert (arm.generation, arm.fingerprint) == (2, process.fingerprint())
    assert reasons(database, held) == ["submitted", "claimed", "worker_stopped", "restarted", "succeeded"]


def test_points_that_come_out_differently_the_second_time_make_the_arm_begin_anew(
    database: Database, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = stopped(database, monkeypatch, 5)
    with database.write() as session:
        session.execute(update(CurvePoint).values(correct=[0]))
        checkpoints.remove(session, held.arm_id)
    train_waiting_arms()
    check_same(database, held, undisturbed)
    assert reasons(database, held) == ["submitted", "claimed", "worker_stopped", "claimed", "restarted", "succeeded"]


def test_a_worker_that_lost_its_arm_stops_and_changes_nothing(database: Database, worker: None) -> None:
    submit(database)
    held = hold(database)
    with database.write() as session:
        session.execute(update(Arm).where(Arm.id == held.arm_id).values(fence=held.fence + 1))
    train_and_end(process.database(), held)
    arm = arm_of(database, held)
    assert (arm.status, arm.batches_done, arm.networks) == (Status.RUNNING, 0, [])
    assert points(database, held) == []


def test_what_the_database_said_is_in_the_log(worker: None, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*_: object) -> None:
        said = Exception('the disk is full, says "ada:s3cret@host"\nand more')
        raise OperationalError("a statement", None, said)

    process.prepare()
    event.listen(process.database().engine, "before_cursor_execute", refuse)
    process.stopping().set()
    heartbeat.run(1)
    process.stopping.cache_clear()
    train_waiting_arms()
    said = 'the disk is full, says "***@host"'
    assert f"This worker cannot be heard of: {said}" in caplog.messages
    assert f"Nothing is claimed, the database takes nothing now: {said}" in caplog.messages
