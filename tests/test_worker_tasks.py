"""The task, called as Celery calls it, on both databases: from claim to end, and every way it can end otherwise."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from conftest import TINY_SPEC
from sqlalchemy import update

from models import arms, curves, datasets, experiments, networks
from models.database import Database
from models.spec import ArmName, Spec, Status
from models.tables import Arm, Experiment
from worker import process
from worker.tasks import OUT_OF_MEMORY, UNEXPECTED, reason, train_and_end, train_arm, train_held


@pytest.fixture
def worker(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker process, as far as the task can tell: it reads its settings from the environment."""
    monkeypatch.setenv("BNLAB_DATABASE_URL", database_url)
    monkeypatch.setenv("BNLAB_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("BNLAB_MNIST_MIRRORS", '["http://127.0.0.1:9"]')  # nobody listens there
    monkeypatch.setenv("BNLAB_WRITE_INTERVAL_S", "0.000001")
    _forget()
    yield
    process.database().close()
    _forget()


def _forget() -> None:
    process.settings.cache_clear()
    process.stopping.cache_clear()
    process._database.cache_clear()


def submit(database: Database, spec: Spec = TINY_SPEC) -> tuple[UUID, dict[ArmName, UUID]]:
    with database.write() as session:
        resolved = spec.resolve("mnist-5k")
        experiment = experiments.create(session, resolved, datasets.SHA256[resolved.dataset])
        return experiment.id, {arm.name: arm.id for arm in experiment.arms}


def read(database: Database, experiment_id: UUID) -> Experiment:
    with database.read() as session:
        return experiments.read(session, experiment_id)


def test_both_arms_train_to_the_end_and_can_be_asked(database: Database, worker: None) -> None:
    experiment_id, arm_ids = submit(database)
    for arm_id in arm_ids.values():
        train_arm(str(arm_id))
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
    experiment_id, arm_ids = submit(database, spec)
    for arm_id in arm_ids.values():
        train_arm(str(arm_id))
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
    experiment_id, arm_ids = submit(database, spec)
    for arm_id in arm_ids.values():
        train_arm(str(arm_id))
    with database.read() as session:
        without, with_it = (networks.read(session, experiment_id, name, 0).network.arrays for name in ArmName)
    for layer in ("hidden_1", "hidden_2", "output"):
        assert (without[f"{layer}/weights"] == with_it[f"{layer}/weights"]).all()


def test_a_second_bell_for_the_same_arm_does_nothing(database: Database, worker: None) -> None:
    experiment_id, arm_ids = submit(database)
    arm_id = arm_ids[ArmName.WITH_BATCH_NORM]
    train_arm(str(arm_id))
    before = read(database, experiment_id).arms[1]
    train_arm(str(arm_id))
    after = read(database, experiment_id).arms[1]
    assert (after.fence, after.finished_at) == (before.fence, before.finished_at) == (1, before.finished_at)


@pytest.mark.parametrize("message", [None, 7, "", "no id", {"arm": 1}, ["x"], "../../etc", "\x00", str(uuid4())])
def test_a_message_that_names_no_waiting_arm_is_ignored(message: object, worker: None) -> None:
    train_arm(message)


def test_an_arm_without_its_data_fails_with_the_reason_and_leaves_the_other_alone(
    database: Database, worker: None
) -> None:
    experiment_id, arm_ids = submit(database, TINY_SPEC.model_copy(update={"dataset": "mnist"}))
    train_arm(str(arm_ids[ArmName.WITH_BATCH_NORM]))
    without, with_it = read(database, experiment_id).arms
    assert with_it.status is Status.FAILED
    assert with_it.error_code == "dataset_unavailable"
    assert with_it.error_message is not None
    assert "No mirror" in with_it.error_message
    assert without.status is Status.QUEUED


def test_an_arm_whose_spec_this_version_cannot_read_fails_without_a_trace(database: Database, worker: None) -> None:
    experiment_id, arm_ids = submit(database)
    with database.write() as session:
        session.execute(update(Experiment).values(spec={"network": "of the future"}))
    train_arm(str(arm_ids[ArmName.WITH_BATCH_NORM]))
    with database.read() as session:
        arm = session.get_one(Arm, arm_ids[ArmName.WITH_BATCH_NORM])
    assert (arm.status, arm.error_code, arm.error_message) == (Status.FAILED, "unexpected_error", UNEXPECTED)
    assert experiment_id


def test_running_out_of_memory_is_said_in_words() -> None:
    import tensorflow as tf

    assert reason(MemoryError()) == ("out_of_memory", OUT_OF_MEMORY)
    assert reason(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")) == (
        "out_of_memory",
        OUT_OF_MEMORY,
    )
    assert reason(RuntimeError("/secret/path")) == ("unexpected_error", UNEXPECTED)


def test_an_arm_that_is_cancelled_while_it_trains_stops_and_keeps_its_points(database: Database, worker: None) -> None:
    spec = TINY_SPEC.model_copy(update={"training_batches": 1_000_000, "batches_per_sample": 100})
    experiment_id, arm_ids = submit(database, spec)
    with database.write() as session:
        # Asked for before the first chunk ends: the worker learns of it when it writes.
        session.execute(update(Arm).values(cancel_requested=True))
    train_arm(str(arm_ids[ArmName.WITH_BATCH_NORM]))
    arm = read(database, experiment_id).arms[1]
    assert arm.status is Status.CANCELLED
    assert 0 < arm.batches_done < 1_000_000
    with database.read() as session:
        assert [point.step for point in curves.read(session, experiment_id)[ArmName.WITH_BATCH_NORM]][:1] == [0]


def test_a_worker_that_is_told_to_stop_gives_its_arm_back(database: Database, worker: None) -> None:
    spec = TINY_SPEC.model_copy(update={"training_batches": 1_000_000, "batches_per_sample": 100})
    experiment_id, arm_ids = submit(database, spec)
    arm_id = arm_ids[ArmName.WITH_BATCH_NORM]
    process.stopping().set()
    train_arm(str(arm_id))  # does not even begin
    assert read(database, experiment_id).arms[1].fence == 0

    with database.write() as session:
        held = arms.claim(session, arm_id, "test")
    assert held is not None
    train_held(process.database(), held)
    arm = read(database, experiment_id).arms[1]
    assert (arm.status, arm.batches_done) == (Status.QUEUED, 0)


def test_a_worker_that_lost_its_arm_stops_and_changes_nothing(database: Database, worker: None) -> None:
    experiment_id, arm_ids = submit(database)
    with database.write() as session:
        held = arms.claim(session, arm_ids[ArmName.WITH_BATCH_NORM], "first")
    assert held is not None
    with database.write() as session:
        session.execute(update(Arm).where(Arm.id == held.arm_id).values(fence=held.fence + 1))
    train_and_end(process.database(), held)
    arm = read(database, experiment_id).arms[1]
    assert (arm.status, arm.batches_done, arm.networks) == (Status.RUNNING, 0, [])
    with database.read() as session:
        assert curves.read(session, experiment_id)[ArmName.WITH_BATCH_NORM] == []
