"""The lease's thread and the recorder, on both databases: renewed while it advances, given up when it must be."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import WITH, claimed, submitted
from conftest import wait_until
from sqlalchemy import event, select, update
from sqlalchemy.exc import OperationalError

from models import arms, clock, curves, experiments, leases
from models.arms import Claim, Sample
from models.checkpoints import Checkpoint, TrainingState
from models.database import Database
from models.errors import FenceLost
from models.settings import Settings
from models.spec import Status
from models.tables import Arm, CheckpointPart
from models.trained import starting_arrays
from worker.lease import Lease
from worker.recorder import Recorder
from worker.training import Progress

SECONDS = 1.0


@pytest.fixture
def held(database: Database) -> Claim:
    return claimed(database, submitted(database), WITH)


class Hung:
    """Notes how often it was called."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def row(database: Database, held: Claim) -> Arm:
    with database.read() as session:
        return session.get_one(Arm, held.arm_id)


def over(database: Database, held: Claim) -> bool:
    """Return whether a reconciler would take the arm."""
    with database.read() as session:
        return leases.any_to_return(session, "nobody", lambda _: True)


def test_a_lease_is_renewed_as_long_as_the_training_advances(database: Database, held: Claim) -> None:
    with Lease(database, held, lease_s=SECONDS, hang_limit_s=60, hung=Hung()) as lease:
        end = time.monotonic() + 2.5 * SECONDS
        while time.monotonic() < end:
            lease.advanced()
            assert not over(database, held)
            time.sleep(0.05)
    wait_until(lambda: over(database, held), 10, "the end of the lease")


def test_a_training_that_hangs_is_ended_and_its_lease_not_renewed(database: Database, held: Claim) -> None:
    hung = Hung()
    with Lease(database, held, lease_s=SECONDS, hang_limit_s=0.5, hung=hung):
        wait_until(lambda: hung.times == 1, 10, "the end of the process")
        wait_until(lambda: over(database, held), 10, "the end of the lease")
    assert hung.times == 1


def test_a_cancel_ends_the_arm_within_a_renewal_even_while_a_program_is_compiled(
    database: Database, held: Claim
) -> None:
    with Lease(database, held, lease_s=SECONDS, hang_limit_s=60, hung=Hung()) as lease:
        with database.write() as session:
            experiments.cancel(session, held.experiment_id)
        wait_until(lambda: row(database, held).status is Status.CANCELLED, 10, "the cancel")
        wait_until(lambda: lease.lost, 10, "the word of it")
        assert lease.cancelled
        with pytest.raises(FenceLost):
            lease.advanced()


def test_who_lost_the_arm_learns_of_it(database: Database, held: Claim) -> None:
    with Lease(database, held, lease_s=SECONDS, hang_limit_s=60, hung=Hung()) as lease:
        with database.write() as session:
            session.execute(update(Arm).values(fence=Arm.fence + 1))
        wait_until(lambda: lease.lost, 10, "the word of it")
        assert not lease.cancelled
        with pytest.raises(FenceLost):
            lease.advanced()


def test_a_lease_outlives_a_database_that_is_away_for_a_while(
    database: Database, held: Claim, caplog: pytest.LogCaptureFixture
) -> None:
    with Away(database) as away, Lease(database, held, lease_s=3.0, hang_limit_s=60, hung=Hung()) as lease:
        wait_until(lambda: away.refused >= 1, 10, "a renewal")
        away.back()
        time.sleep(1.5)
        lease.advanced()
        assert not over(database, held)
    assert caplog.messages[0] == "A lease could not be renewed: database or disk is full"


# --------------------------------------------------------------------------------------------------- recorder


class Away:
    """A database that refuses every transaction of this process until it is back."""

    def __init__(self, database: Database) -> None:
        self.refused, self._away, self._engine = 0, True, database.engine
        event.listen(self._engine, "before_cursor_execute", self._refuse)

    def __enter__(self) -> "Away":
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._refuse)

    def back(self) -> None:
        self._away = False

    def _refuse(self, *_: object) -> None:
        if self._away:
            self.refused += 1
            raise OperationalError("the server is away", None, Exception("database or disk is full\nand more"))


def state(held: Claim) -> TrainingState:
    return TrainingState(starting_arrays(held.spec, held.name, 0), None, None)


def chunk(held: Claim, done: int) -> Progress:
    """A chunk that ends with a sample."""
    return Progress(done, 100.0, Sample(done - 1, (done,), 500), None, lambda: Checkpoint(done, [state(held)]))


def recorder(
    database: Database, held: Claim, lease: Lease, folder: Path, stops: Callable[[], bool] = lambda: False
) -> Recorder:
    """A recorder that writes at every chunk."""
    settings = Settings(state_dir=folder, write_interval_s=1e-6, checkpoint_interval_s=1e-6, lease_s=SECONDS)
    return Recorder(database, held, lease, settings, stops)


def steps(database: Database, held: Claim) -> list[int]:
    with database.read() as session:
        return [sample.step for sample in curves.read(session, held.experiment_id)[held.name]]


def checkpoints_of(database: Database, held: Claim) -> list[int]:
    with database.read() as session:
        found = select(CheckpointPart.batches_done).where(CheckpointPart.arm_id == held.arm_id)
        return sorted(session.scalars(found))


def lease_of(database: Database, held: Claim, lease_s: float = 60.0) -> Lease:
    """A lease whose thread does not run."""
    return Lease(database, held, lease_s, 60.0, Hung())


def test_what_could_not_be_written_is_written_when_the_database_is_back(
    database: Database, held: Claim, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written = recorder(database, held, lease_of(database, held), tmp_path)
    with Away(database) as away:
        assert written.cancelled_at(chunk(held, 1)) is False  # and the training goes on
        assert written.cancelled_at(chunk(held, 6)) is False
        assert away.refused >= 1
        away.back()
        wait_until(lambda: written.cancelled_at(chunk_without_sample(held, 8)) or steps(database, held) != [], 10)
    assert steps(database, held) == [0, 5]
    assert caplog.messages[0] == "The database takes nothing now: database or disk is full"


def chunk_without_sample(held: Claim, done: int) -> Progress:
    return Progress(done, 100.0, None, None, lambda: Checkpoint(done, [state(held)]))


def test_when_the_lease_is_over_the_training_waits_for_the_database(
    database: Database, held: Claim, tmp_path: Path
) -> None:
    lease = lease_of(database, held, lease_s=0.2)
    written = recorder(database, held, lease, tmp_path)
    time.sleep(0.3)
    with Away(database) as away:
        refusals = iter(range(100))
        lease.advanced = lambda: away.back() if next(refusals) == 2 else None  # type: ignore[method-assign]
        begin = time.monotonic()
        assert written.cancelled_at(chunk(held, 1)) is False
        assert time.monotonic() - begin > 1.0  # three tries, half a second apart
    assert steps(database, held) == [0]


def test_a_worker_that_stops_while_the_database_is_away_leaves_the_arm(
    database: Database, held: Claim, tmp_path: Path
) -> None:
    written = recorder(database, held, lease_of(database, held), tmp_path, lambda: True)
    with Away(database), pytest.raises(OperationalError):
        written.cancelled_at(chunk(held, 1))
    assert row(database, held).status is Status.RUNNING


def test_a_checkpoint_never_reaches_beyond_the_points(
    database: Database, held: Claim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.recorder.CHECKPOINT_SHARE", 0)
    written = recorder(database, held, lease_of(database, held), tmp_path)
    for done in (1, 6, 11, 16):
        written.cancelled_at(chunk(held, done))
        assert checkpoints_of(database, held)[-1:] == [done]
        assert steps(database, held) == list(range(0, done, 5))


def test_checkpoints_of_networks_that_take_long_to_write_are_seldom(
    database: Database, held: Claim, tmp_path: Path
) -> None:
    written = recorder(database, held, lease_of(database, held), tmp_path)

    def slow() -> Checkpoint:
        slow_times.append(time.monotonic())
        time.sleep(0.05)
        return Checkpoint(1, [state(held)])

    slow_times: list[float] = []
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        written.cancelled_at(Progress(1, None, None, None, slow))
    assert len(slow_times) == 1  # fifty times as long as it took have not passed


def test_a_given_back_arm_has_its_last_chunk_too(database: Database, held: Claim, tmp_path: Path) -> None:
    written = recorder(database, held, lease_of(database, held), tmp_path, lambda: True)
    written.give_back(chunk(held, 6))
    assert steps(database, held) == [5]
    assert checkpoints_of(database, held) == [6]
    assert row(database, held).status is Status.QUEUED


def test_a_lease_of_an_arm_that_lies_in_the_future_is_a_wrong_clocks(database: Database, held: Claim) -> None:
    with database.write() as session:
        session.execute(
            update(Arm)
            .where(Arm.id == held.arm_id)
            .values(lease_renewed_at=clock.in_seconds(3_600), lease_expires_at=clock.in_seconds(3_615))
        )
    assert over(database, held)
    with database.write() as session:
        assert arms.renew(session, held, 15.0) is False  # who lives sets it right
    assert not over(database, held)
