"""Real workers with two processes each, on a SQLite file and the file broker: what they take, say and leave behind."""

import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from arm_states import accept
from conftest import ROOT, TINY_SPEC
from sqlalchemy import select

from bnlab.commands import repository_commands
from faults.processes import Process, Processes
from models import workers
from models.database import Database
from models.spec import Status
from models.tables import Arm, Worker

#: Long enough to be looked at, however slow the machine is.
ENDLESS = TINY_SPEC.model_copy(update={"training_batches": 1_000_000, "batches_per_sample": 1_000})


@pytest.fixture
def sqlite(new_sqlite_url: str) -> Iterator[Database]:
    opened = Database(new_sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started
        started.print_logs()


def start(processes: Processes, folder: Path, url: str, device: str) -> Process:
    """Start a worker with two processes."""
    (command,) = repository_commands("127.0.0.1", 0, 1).workers
    command[command.index("--concurrency") + 1] = "2"
    assert command[0] == sys.executable
    told = {
        **{"BNLAB_STATE_DIR": str(folder / "state"), "BNLAB_DATABASE_URL": url, "BNLAB_DATASET": "mnist-5k"},
        **{"BNLAB_DEVICE": device, "BNLAB_BELL_INTERVAL_S": "0.5", "BNLAB_WRITE_INTERVAL_S": "0.1"},
        "CUDA_VISIBLE_DEVICES": "-1",  # whatever this machine has
    }
    return processes.start("worker", command, ROOT, told)


def heard(database: Database) -> Sequence[Worker]:
    with database.read() as session:
        return workers.living(session)


def stop(worker: Process, database: Database) -> None:
    """Tell it to stop: it does so in good order, and its row goes."""
    worker.send(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert heard(database) == []


def test_two_processes_of_one_worker_train_both_arms_at_once(
    processes: Processes, sqlite: Database, new_sqlite_url: str, tmp_path: Path
) -> None:
    with sqlite.write() as session:
        accept(session, ENDLESS)
    worker = start(processes, tmp_path, new_sqlite_url, "cpu")

    def holders() -> list[str]:
        with sqlite.read() as session:
            running = select(Arm.worker).where(Arm.status == Status.RUNNING, Arm.batches_done > 0)
            return [holder for holder in session.scalars(running) if holder]

    worker.wait_until(lambda: len(holders()) == 2, 120)
    assert len(set(holders())) == 2
    worker.wait_until(lambda: [len(row.device_names) for row in heard(sqlite)] == [2])
    (row,) = heard(sqlite)
    assert (row.device, row.processes) == ("cpu", 2)
    with sqlite.read() as session:
        assert workers.arms_in_training(session) == {row.name: 2}
    stop(worker, sqlite)
    with sqlite.read() as session:
        assert set(session.scalars(select(Arm.status))) == {Status.QUEUED}  # they were given back


def test_a_gpu_worker_whose_tensorflow_has_none_stays_says_so_and_takes_nothing(
    processes: Processes, sqlite: Database, new_sqlite_url: str, tmp_path: Path
) -> None:
    with sqlite.write() as session:
        accept(session, TINY_SPEC)
        accept(session, TINY_SPEC.model_copy(update={"device": "gpu"}))
    worker = start(processes, tmp_path, new_sqlite_url, "gpu")
    worker.wait_until(lambda: any(len(row.device_names) == 2 for row in heard(sqlite)), 120)
    (row,) = heard(sqlite)
    assert row.device_names == ["none: TensorFlow finds no GPU"] * 2
    assert (row.device, row.processes) == ("gpu", 0)
    worker.wait_until(lambda: "Only 0 of 2 processes of this worker take arms" in worker.said())
    assert worker.said().count("This process takes no arms") == 2  # each once: none was started again
    with sqlite.read() as session:
        assert set(session.scalars(select(Arm.fence))) == {0}
    stop(worker, sqlite)
