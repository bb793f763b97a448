"""A worker's counters: its processes share them, none can lock them, and the parent shows the sums."""

import dataclasses
import os
import re
import signal
import socket
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import httpx
import pytest
from conftest import TINY_SPEC
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from faults.servers import free_port
from models import arms, clock, datasets, experiments
from models.arms import Claim
from models.database import Database
from models.settings import Settings
from models.spec import ArmName, DatasetName, Spec
from models.tables import Arm
from worker import metrics, process, reconciler
from worker.metrics import NAMES, ROWS, Count, Counters, Training
from worker.tasks import train_and_end

FORK = get_context("fork")


def exposed(counters: Counters) -> str:
    registry = CollectorRegistry()
    registry.register(counters)
    return generate_latest(registry).decode()


def in_a_process(index: int, does: object, *arguments: object) -> int | None:
    """Run something in a forked process, as the processes that train are; return its exit code."""
    process = FORK.Process(target=does, args=(index, *arguments))  # type: ignore[arg-type]
    process.start()
    process.join(60)
    return process.exitcode


def test_every_name_is_there_from_the_start_and_no_other() -> None:
    text = exposed(Counters())
    assert set(re.findall(r"^# TYPE (\w+) counter$", text, re.MULTILINE)) == set(NAMES)
    values = [sample.value for family in text_string_to_metric_families(text) for sample in family.samples]
    assert len(values) == len(Count)
    assert set(values) == {0}


@given(st.lists(st.tuples(st.integers(0, ROWS * 2), st.sampled_from(Count), st.integers(0, 1000))))
def test_the_parent_shows_the_sum_of_what_all_have_counted(added: list[tuple[int, Count, int]]) -> None:
    counters = Counters()
    for index, count, amount in added:
        counters.of_process(index)
        counters.add(count, amount)
    for count in Count:
        assert counters.total(count) == sum(amount for _, of, amount in added if of is count)


def _count_and_end(index: int, counters: Counters, killed: bool) -> None:
    counters.of_process(index)
    counters.add(Count.ARMS_SUCCEEDED, 2)
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_process_counted_stays_when_it_is_killed_and_another_goes_on_from_there() -> None:
    counters = Counters()
    assert in_a_process(0, _count_and_end, counters, True) == -signal.SIGKILL
    assert in_a_process(0, _count_and_end, counters, False) == 0
    assert in_a_process(1, _count_and_end, counters, False) == 0
    counters.add(Count.LEASE_EXPIRIES)
    assert counters.total(Count.ARMS_SUCCEEDED) == 6
    assert 'bnlab_worker_arms_ended_total{status="succeeded"} 6.0\n' in exposed(counters)
    assert "bnlab_worker_lease_expiries_total 1.0\n" in exposed(counters)


def test_a_training_is_counted_while_it_goes_on() -> None:
    counters = Counters()
    training = Training(counters, ArmName.WITH_BATCH_NORM, batches_done=100)
    training.advanced(100)
    for done in (150, 400):
        training.advanced(done)
    assert counters.total(Count.BATCHES_WITH_BATCH_NORM) == 300
    assert counters.total(Count.BATCHES_WITHOUT_BATCH_NORM) == 0
    assert 0 < counters.total(Count.TRAINING_SECONDS) < 60


@pytest.fixture
def fresh_counters() -> Iterator[Counters]:
    metrics.counters.cache_clear()
    yield metrics.counters()
    metrics.counters.cache_clear()


@pytest.fixture
def worker(new_sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A worker process, as far as its task can tell; what is asked of it goes into this database."""
    monkeypatch.setenv("BNLAB_DATABASE_URL", new_sqlite_url)
    monkeypatch.setenv("BNLAB_STATE_DIR", str(tmp_path))
    _forget()
    yield process.database()
    process.database().close()
    _forget()


def _forget() -> None:
    for kept in (process.settings, process.stopping, process._database):
        kept.cache_clear()


def hold(database: Database, spec: Spec = TINY_SPEC) -> Claim:
    """Submit an experiment and claim its first arm."""
    process.prepare()
    with database.write() as session:
        experiments.create(session, spec.resolve("mnist-5k"), datasets.SHA256["mnist-5k"])
        held = arms.claim(session, process.name(), process.fingerprint(), 60.0, "cpu")
    assert held is not None
    return held


def test_an_arm_that_succeeds_is_counted_with_its_batches_and_its_time(
    worker: Database, fresh_counters: Counters
) -> None:
    held = hold(worker)
    train_and_end(worker, held)
    assert fresh_counters.total(metrics.BATCHES[held.name]) == TINY_SPEC.training_batches
    assert fresh_counters.total(Count.ARMS_SUCCEEDED) == 1
    assert fresh_counters.total(Count.TRAINING_SECONDS) > 0


def test_an_arm_that_fails_is_counted(
    worker: Database, fresh_counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = hold(worker)

    def broken(name: DatasetName) -> None:
        raise MemoryError

    monkeypatch.setattr(process, "resident_data", broken)
    train_and_end(worker, held)
    assert fresh_counters.total(Count.ARMS_FAILED) == 1
    assert fresh_counters.total(Count.ARMS_SUCCEEDED) == 0


def test_an_arm_that_is_cancelled_while_it_trains_is_counted(worker: Database, fresh_counters: Counters) -> None:
    held = hold(worker)
    with worker.write() as session:
        experiments.cancel(session, held.experiment_id)
    train_and_end(worker, held)
    assert fresh_counters.total(Count.ARMS_CANCELLED) == 1
    assert fresh_counters.total(Count.ARMS_SUCCEEDED) == 0


def test_an_arm_that_is_given_back_is_not_counted_as_ended(worker: Database, fresh_counters: Counters) -> None:
    held = hold(worker)
    process.stopping().set()
    train_and_end(worker, held)
    assert sum(fresh_counters.total(count) for count in metrics.ENDED.values()) == 0
    assert fresh_counters.total(metrics.BATCHES[held.name]) > 0


def test_an_arm_that_is_no_longer_held_is_not_counted_as_ended(worker: Database, fresh_counters: Counters) -> None:
    held = hold(worker)
    train_and_end(worker, dataclasses.replace(held, fence=held.fence + 1))
    assert sum(fresh_counters.total(count) for count in metrics.ENDED.values()) == 0


def test_arms_taken_back_are_counted_by_why(worker: Database, fresh_counters: Counters) -> None:
    hold(worker)  # by this process, which lives
    lost, expired = hold(worker), hold(worker)
    dead = FORK.Process(target=int)
    dead.start()
    dead.join()
    with worker.write() as session:
        of_dead = {"worker": f"{process.worker()}/{dead.pid}"}
        session.execute(update(Arm).where(Arm.id == lost.arm_id).values(of_dead))
        over = {"worker": "another:1:x/2", "lease_expires_at": clock.in_seconds(-1)}
        session.execute(update(Arm).where(Arm.id == expired.arm_id).values(over))
    reconciler.return_arms()
    assert fresh_counters.total(Count.PROCESSES_LOST) == 1
    assert fresh_counters.total(Count.LEASE_EXPIRIES) == 1


@pytest.fixture
def server(fresh_counters: Counters) -> Iterator[WSGIServer]:
    server = metrics.serve(Settings(metrics_port=free_port()))
    assert server is not None
    yield server
    server.shutdown()
    server.server_close()


def test_the_port_shows_what_is_counted_now(fresh_counters: Counters, server: WSGIServer) -> None:
    fresh_counters.add(Count.PROCESSES_LOST)
    text = httpx.get(f"http://127.0.0.1:{server.server_port}/metrics", trust_env=False).text
    assert "bnlab_worker_processes_lost_total 1.0\n" in text


def _end_with_1_if_it_listens(_index: int, server: WSGIServer) -> None:
    os._exit(server.fileno() != -1)


def test_a_process_that_is_forked_later_does_not_keep_the_port(server: WSGIServer) -> None:
    assert in_a_process(0, _end_with_1_if_it_listens, server) == 0
    assert server.fileno() != -1


def test_without_a_port_nothing_is_served() -> None:
    assert metrics.serve(Settings()) is None


def test_a_port_that_is_taken_is_said_and_keeps_nobody_from_training(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        metrics.serve(Settings(metrics_port=taken.getsockname()[1]))
    assert "No metrics at 127.0.0.1" in caplog.text
