"""`bnlab up`, end to end: one command, a SQLite file, the file broker, an API and two workers; nothing is replaced."""

import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import USED
from stack import (
    ENDLESS,
    LONG,
    ROOT,
    SHORT,
    arms_of,
    check_arms_side_by_side,
    check_curves,
    check_picture,
    check_predictions,
    digits,
    finished,
    submitted,
    wait_for_points,
)
from stack_up import READY, TOLD, Up

from bnlab.client import Client
from bnlab.errors import BnlabError
from faults.processes import bare_environment, command_of, parents, with_descendants
from models.database import Database


def children(pid: int) -> list[int]:
    return [child for child, parent in parents().items() if parent == pid]


def answers(client: Client) -> bool:
    try:
        return bool(client.health())
    except BnlabError:
        return False


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("embedded")) as service:
        service.start_up()
        USED["end to end, embedded"] = f"`bnlab up`: SQLite {sqlite3.sqlite_version}, file broker"
        yield service


@pytest.fixture(scope="module")
def database(up: Up) -> Iterator[Database]:
    opened = Database(f"sqlite:///{up.state_dir / 'bnlab.sqlite3'}")
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def logs_of_a_failure(up: Up) -> Iterator[None]:
    yield
    up.print_logs()


@pytest.fixture(scope="module")
def short(up: Up) -> dict[str, Any]:
    """An experiment as it ended."""
    with up.client as client:
        return finished(client, submitted(client, SHORT))


@pytest.fixture(scope="module")
def undisturbed(up: Up) -> dict[str, Any]:
    """A longer experiment as it ends when nothing happens to it, with its curve."""
    with up.client as client:
        experiment = finished(client, submitted(client, LONG))
        return {**experiment, "curve": client.curve(experiment["id"])["arms"]}


@pytest.fixture(scope="module")
def interrupted(up: Up, short: dict[str, Any], undisturbed: dict[str, Any]) -> dict[str, Any]:
    """What Ctrl-C did while both arms of an experiment were being trained; the service has been started again."""
    with up.client as client:
        id = submitted(client, LONG)
        wait_for_points(client, id, 2)
    processes, begin = with_descendants(up.running.pid), time.monotonic()
    os.killpg(up.running.pid, signal.SIGINT)  # as a terminal does
    code = up.running.wait(30)
    seconds, left = time.monotonic() - begin, processes & parents().keys()
    said = up.running.said()
    up.start_up()
    return {"id": id, "processes": processes, "code": code, "seconds": seconds, "left": left, "said": said}


def test_one_line_says_where_the_service_is_once_it_is_ready(up: Up) -> None:
    assert len(READY.findall(up.running.said())) == 1
    with up.client as client:
        assert client.health()["status"] == "ready"


def test_an_experiment_trains_both_networks_and_shows_both_curves(up: Up, short: dict[str, Any]) -> None:
    with up.client as client:
        check_curves(client, short, SHORT)


def test_a_trained_network_reads_digits_with_the_right_statistics_only(up: Up, short: dict[str, Any]) -> None:
    with up.client as client:
        check_predictions(client, short["id"])
        check_picture(client, short["id"])


def test_two_workers_train_both_arms_at_the_same_time(up: Up, database: Database, undisturbed: dict[str, Any]) -> None:
    with up.client as client:
        check_curves(client, undisturbed, LONG)
    check_arms_side_by_side(database, undisturbed["id"])


def test_cancelling_a_long_experiment_ends_it_in_seconds_and_keeps_its_points(up: Up) -> None:
    with up.client as client:
        id = submitted(client, ENDLESS)
        wait_for_points(client, id, 2)
        client.cancel(id)
        assert finished(client, id, timeout_s=5)["status"] == "cancelled"
        assert all(len(arm["steps"]) >= 2 for arm in client.curve(id)["arms"].values())


def test_both_workers_are_heard_of_and_say_what_they_train_on(up: Up, short: dict[str, Any]) -> None:
    trained_on = {arm["device"] for arm in short["arms"].values()}
    with up.client as client:
        up.running.wait_until(lambda: all(worker["device_names"] for worker in client.workers()["workers"]))
        workers = client.workers()["workers"]
    assert [(worker["device"], worker["processes"], worker["living"]) for worker in workers] == [("cpu", 1, True)] * 2
    assert {name for worker in workers for name in worker["device_names"]} == trained_on


def test_an_experiment_for_a_gpu_waits_says_for_what_and_can_be_cancelled(up: Up) -> None:
    with up.client as client:
        id = submitted(client, {**SHORT, "device": "gpu"})
        assert finished(client, submitted(client, SHORT))["status"] == "succeeded"  # others pass it by
        waiting = client.experiment(id)
        assert waiting["status"] == "queued"
        assert waiting["waits_for"] == "a worker with a GPU: none has been heard of for 30 s"
        cancelled = client.cancel(id)
    assert (cancelled["status"], cancelled["waits_for"]) == ("cancelled", None)


def test_a_file_that_is_no_message_does_not_kill_a_worker(up: Up) -> None:
    queue = up.state_dir / "broker" / "queue"
    for number, content in enumerate((b"no JSON", b"{}", b"null", b"\x80\x04\x95")):
        (queue / f"{number}_garbage.cpu.msg").write_bytes(content)
    with up.client as client:
        assert finished(client, submitted(client, SHORT), timeout_s=30)["status"] == "succeeded"
    assert not list(queue.glob("*_garbage.cpu.msg"))
    assert up.running.exit_code() is None


def test_a_second_service_on_the_same_folder_is_refused_in_plain_words(up: Up, tmp_path: Path) -> None:
    environment = {**bare_environment(tmp_path), **TOLD}
    second = subprocess.run(up.command(), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert f"The state folder {up.state_dir} is in use by another `bnlab up` at {up.url}" in second.stderr
    assert "Traceback" not in second.stderr
    with up.client as client:
        assert client.health()["status"] == "ready"


def test_ctrl_c_ends_the_api_and_the_workers_and_leaves_no_process(interrupted: dict[str, Any]) -> None:
    assert len(interrupted["processes"]) >= 7  # itself, its guard, the API, two workers and the process of each
    assert interrupted["left"] == set()
    assert interrupted["seconds"] < 15
    assert interrupted["code"] == 0
    assert interrupted["said"].endswith("Stopping; running arms go back to the queue.\nbnlab has stopped.\n")


def test_workers_that_stopped_are_forgotten_at_once(up: Up, interrupted: dict[str, Any]) -> None:
    with up.client as client:
        workers = {worker["name"].split(":")[1] for worker in client.workers()["workers"]}
    assert not workers & {str(pid) for pid in interrupted["processes"]}


def test_after_a_restart_the_experiments_are_there_and_their_networks_predict(
    up: Up, interrupted: dict[str, Any], short: dict[str, Any]
) -> None:
    with up.client as client:
        listed = [experiment["id"] for experiment in client.all_experiments()]
        assert {short["id"], interrupted["id"]} <= set(listed)
        shown = digits(client, 1)[0]
        answer = client.predict(shown["image"], experiment=short["id"])
    assert answer["digit"] == shown["label"]


def test_arms_that_ctrl_c_interrupted_are_finished_after_the_restart(
    up: Up, interrupted: dict[str, Any], undisturbed: dict[str, Any]
) -> None:
    with up.client as client:
        assert finished(client, interrupted["id"])["status"] == "succeeded"
        assert client.curve(interrupted["id"])["arms"] == undisturbed["curve"]


def test_an_arm_whose_process_is_killed_goes_on_from_its_checkpoint_to_the_same_bits(
    up: Up, database: Database, undisturbed: dict[str, Any]
) -> None:
    with up.client as client:
        id = submitted(client, LONG)
        wait_for_points(client, id, 2)
        holder = arms_of(database, id)["with_batch_norm"].worker
        assert holder is not None
        os.kill(int(holder.rpartition("/")[2]), signal.SIGKILL)
        assert finished(client, id)["status"] == "succeeded"
        assert client.curve(id)["arms"] == undisturbed["curve"]
        reasons = [event["reason"] for event in client.history(id)["events"] if event["arm"] == "with_batch_norm"]
    assert reasons == ["submitted", "claimed", "process_lost", "claimed", "succeeded"]


def test_a_killed_worker_is_started_again_and_its_arm_finished(up: Up, undisturbed: dict[str, Any]) -> None:
    with up.client as client:
        id = submitted(client, LONG)
        wait_for_points(client, id, 2)
        worker = next(pid for pid in children(up.running.pid) if "celery" in command_of(pid))
        for pid in with_descendants(worker):
            os.kill(pid, signal.SIGKILL)
        assert finished(client, id)["status"] == "succeeded"
        assert client.curve(id)["arms"] == undisturbed["curve"]
    assert re.search(
        r"The process worker-\d ended by itself with signal SIGKILL; it is started again", up.running.said()
    )
    up.running.wait_until(lambda: "runs again." in up.running.said())


def test_a_killed_api_is_started_again_at_the_same_address(up: Up) -> None:
    os.kill(next(pid for pid in children(up.running.pid) if "-m api" in command_of(pid)), signal.SIGKILL)
    with up.client as client:
        up.running.wait_until(lambda: "api runs again." in up.running.said())
        up.running.wait_until(lambda: answers(client))


def test_what_a_crash_of_everything_left_running_is_finished_after_the_restart(
    up: Up, undisturbed: dict[str, Any]
) -> None:
    with up.client as client:
        id = submitted(client, LONG)
        wait_for_points(client, id, 2)
    for pid in with_descendants(up.running.pid):  # as a power cut does, in the middle of whatever is written
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    up.running.wait(30)
    up.start_up()
    assert "2 unfinished arms of the last run are back in the queue." in up.running.said()
    with up.client as client:
        assert finished(client, id)["status"] == "succeeded"
        assert client.curve(id)["arms"] == undisturbed["curve"]
