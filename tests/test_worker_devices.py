"""What a worker trains on: chosen from lists of GPUs that are only told; a real one is asked for where there is one."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, TINY_SPEC, USED
from hypothesis import given
from hypothesis import strategies as st

from models import datasets, experiments, workers
from models.database import Database
from models.lanes import LANES, open_to, taken_by
from models.spec import Device, Status
from worker import heartbeat, process, reconciler
from worker.devices import CPU, Devices, chosen, disagreement, installed, visible
from worker.slots import MOST_PROCESSES, WIDTH, Slots
from worker.tasks import train_waiting_arms

DEVICES: tuple[Device, ...] = ("auto", "cpu", "gpu")


def unasked() -> bool:
    raise AssertionError("TensorFlow was asked, which takes seconds")


# ------------------------------------------------------------------------------------------- what is visible


@pytest.mark.parametrize(
    ("count", "variable", "shown"),
    [
        (0, None, ()),
        (2, None, ("0", "1")),
        (2, "", ()),
        (2, "-1", ()),
        (4, "2,0", ("2", "0")),
        (4, " 1 , 3 ", ("1", "3")),
        (4, "1,-1,2", ("1",)),
        (2, "0,5,1", ("0",)),
        (2, "GPU-0a1b,GPU-2c3d", ("GPU-0a1b", "GPU-2c3d")),
        (1, "MIG-GPU-0a1b/1/0", ("MIG-GPU-0a1b/1/0",)),
        (0, "0", ()),
    ],
)
def test_the_variable_of_cuda_shows_gpus_up_to_the_first_that_is_none(
    count: int, variable: str | None, shown: tuple[str, ...]
) -> None:
    assert visible(count, variable) == shown


@given(st.integers(0, 16), st.none() | st.text("0123456789,- G", max_size=20))
def test_no_more_gpus_are_shown_than_are_named_and_none_twice(count: int, variable: str | None) -> None:
    shown = visible(count, variable)
    assert len(set(shown)) == len(shown)
    numbers = [int(name) for name in shown if name.isdigit()]
    assert all(0 <= number < count for number in numbers)
    assert variable is None or set(shown) <= {name.strip() for name in variable.split(",")}


def test_the_gpus_of_a_machine_are_counted_by_their_devices(tmp_path: Path) -> None:
    assert installed(tmp_path) == 0
    for name in ("nvidia0", "nvidia11", "nvidiactl", "nvidia-uvm", "nvidia-modeset", "null"):
        (tmp_path / name).touch()
    assert installed(tmp_path) == 2


# -------------------------------------------------------------------------------------------- what is chosen


def test_a_worker_told_cpu_takes_no_gpu_and_hides_all() -> None:
    devices = chosen("cpu", ("0", "1"), unasked)
    assert devices == Devices("cpu")
    assert [devices.of_process(index) for index in range(3)] == ["-1"] * 3


def test_a_worker_told_nothing_takes_the_gpus_if_tensorflow_can_use_them() -> None:
    assert chosen("auto", ("0",), lambda: True) == Devices("gpu", ("0",))
    assert chosen("auto", ("0",), lambda: False) == Devices("cpu")
    assert chosen("auto", (), unasked) == Devices("cpu")


def test_a_worker_told_gpu_is_a_gpu_worker_even_where_none_is_seen() -> None:
    assert chosen("gpu", ("0",), unasked) == Devices("gpu", ("0",))
    blind = chosen("gpu", (), unasked)
    assert (blind.lane, blind.of_process(0)) == ("gpu", None)


@given(st.lists(st.text("0123456789", min_size=1, max_size=3), min_size=1, max_size=8, unique=True))
def test_as_many_processes_as_gpus_have_one_each_and_more_share_them_evenly(gpus: list[str]) -> None:
    devices = Devices("gpu", tuple(gpus))
    assert [devices.of_process(index) for index in range(len(gpus))] == gpus
    twice = [devices.of_process(index) for index in range(2 * len(gpus))]
    assert all(twice.count(gpu) == 2 for gpu in gpus)


def test_what_tensorflow_finds_must_be_what_the_lane_says() -> None:
    assert disagreement("cpu", CPU) is None
    assert disagreement("gpu", "Some GPU") is None
    assert disagreement("gpu", CPU) == "TensorFlow finds no GPU"
    assert "was to be hidden" in (disagreement("cpu", "Some GPU") or "")


def test_a_lane_is_open_to_just_the_devices_that_its_workers_take() -> None:
    for device in DEVICES:
        assert {lane for lane in LANES if device in taken_by(lane)} == set(open_to(device))
    assert open_to("auto") == LANES


# ------------------------------------------------------------------------- what processes tell their parent


@given(
    st.lists(st.sampled_from(["unknown", "names", "useless"]), max_size=8),
    st.text(min_size=1, max_size=2 * WIDTH).filter(lambda text: "\0" not in text and not text.startswith("none: ")),
)
def test_who_takes_no_arms_is_not_counted_and_who_has_said_nothing_is(said: list[str], name: str) -> None:
    slots = Slots()
    for index, what in enumerate(said):
        if what == "names":
            slots.trains_on(index, name)
        elif what == "useless":
            slots.takes_nothing(index, "TensorFlow finds no GPU")
    crew = slots.crew(len(said))
    assert crew.able == len(said) - said.count("useless")
    assert len(crew.device_names) == len(said) - said.count("unknown")


def test_what_a_child_says_its_parent_reads_and_its_successor_says_it_anew() -> None:
    slots = Slots()
    for name in ("Some GPU", "Another GPU"):
        child = os.fork()
        if not child:
            slots.trains_on(1, name)
            os._exit(0)
        os.waitpid(child, 0)
        assert list(slots.crew(2).device_names) == [name]
    slots.trains_on(MOST_PROCESSES, "of a process too many")  # is nothing to crash for


# --------------------------------------------------------------------------- a worker whose GPU is not there


@pytest.fixture
def blind(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker that is told to train on a GPU, on a machine whose TensorFlow has none."""
    monkeypatch.setenv("BNLAB_DATABASE_URL", database_url)
    monkeypatch.setenv("BNLAB_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("BNLAB_DEVICE", "gpu")
    caches = (process.settings, process.stopping, process.devices, process.slots, process._database)
    for cached in caches:
        cached.cache_clear()
    process.prepare()
    if process.fingerprint()["device"] != CPU:  # since an earlier test: one process keeps what it has found
        USED["a worker without a GPU"] = "NOT TESTED in one process: TensorFlow has a GPU here"
        pytest.skip("TensorFlow has a GPU here")
    yield
    process.database().close()
    for cached in caches:
        cached.cache_clear()


def test_a_gpu_worker_without_a_gpu_claims_nothing_and_says_so(
    database: Database, blind: None, caplog: pytest.LogCaptureFixture
) -> None:
    with database.write() as session:
        spec = TINY_SPEC.model_copy(update={"device": "gpu"}).resolve("mnist-5k")
        experiment_id = experiments.create(session, spec, datasets.SHA256[spec.dataset]).id
    train_waiting_arms()
    heartbeat.beat(1)
    with database.read() as session:
        arms = experiments.read(session, experiment_id).arms
        (row,) = workers.living(session)
        assert workers.lanes(session) == frozenset()
    assert {(arm.status, arm.fence) for arm in arms} == {(Status.QUEUED, 0)}
    assert (row.device, row.device_names, row.processes) == ("gpu", ["none: TensorFlow finds no GPU"], 0)
    assert reconciler.idle(1) == 0  # so it does not ring for itself
    with caplog.at_level(logging.ERROR, "worker.heartbeat"):
        assert heartbeat.complain(1)
    (complaint,) = [record.getMessage() for record in caplog.records]
    assert complaint == "Only 0 of 1 processes of this worker take arms: none: TensorFlow finds no GPU."


# ------------------------------------------------------------------------------------- what a real GPU shows


def test_on_a_real_gpu_each_process_sees_the_one_it_is_given() -> None:
    """Only a machine with a GPU can show it; elsewhere this is skipped, aloud."""
    if not installed():
        USED["GPU"] = "NOT TESTED: this machine has none"
        pytest.skip("this machine has no GPU")
    code = (
        "from worker import process; process.prepare(); import tensorflow as tf; "
        "print(process.devices().lane, len(tf.config.list_physical_devices('GPU')), process.fingerprint()['device'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**environment, "BNLAB_DEVICE": "gpu"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    lane, count, name = done.stdout.strip().split(" ", 2)
    if count == "0":
        USED["GPU"] = "NOT TESTED: this machine has one, but TensorFlow is one without GPUs"
        pytest.skip("TensorFlow cannot use the GPU of this machine")
    USED["GPU"] = name
    assert (lane, count) == ("gpu", "1")
    assert name != CPU
