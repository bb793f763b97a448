"""`bnlab up` with small stand-ins for its children: what it starts, what it refuses, and that nothing outlives it."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from bnlab.children import Child, end_in_order, signals_held_back
from bnlab.client import Client
from bnlab.commands import Commands, repository_commands, repository_root
from bnlab.errors import (
    CannotListen,
    ChildEnded,
    NeedsRepository,
    NotReady,
    ServerUnreachable,
    StateFolderTaken,
    StateFolderUnusable,
    StepFailed,
)
from bnlab.lock import StateLock
from bnlab.up import Service, environment, free_port, run, service_of_one_command

ROOT = Path(__file__).parents[1]
PATIENCE_S = 20.0
STOPPING = "Stopping; running arms go back to the queue."

DATASETS = """
import json
print("a line that does not matter")
print(json.dumps({"dataset": "mnist-5k", "sentence": "Data set: a small one."}))
"""

API = """
import http.server, json, os, sys
class Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"status": "ready", "dataset": os.environ["BNLAB_DATASET"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Api).serve_forever()
"""

#: Each holds a lock as long as it lives, so that a test can see its end without asking the process table, and its pid.
ALIVE = """
import fcntl, os, signal, subprocess, sys, time
held = open(sys.argv[1], "w")
fcntl.flock(held, fcntl.LOCK_EX)
held.write(str(os.getpid()))
held.flush()
"""

WORKER = ALIVE + 'print("worker@here ready.", flush=True)\ntime.sleep(600)\n'
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WORKER
PARENT = STUBBORN.replace("print(", f"subprocess.Popen([sys.executable, '-c', {STUBBORN!r}, sys.argv[2]])\nprint(")


def python(program: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", program, *map(str, arguments)]


def stand_ins(folder: Path, worker: str = WORKER, migrations: str = "", api: str = API) -> Callable[..., Commands]:
    """Return a maker of commands; worker n holds the file `alive-n` in the folder."""

    def commands(host: str, port: int, workers: int) -> Commands:
        return Commands(
            datasets=python(DATASETS),
            migrations=python(migrations),
            api=python(api, port),
            workers=[python(worker, folder / f"alive-{n}", folder / f"alive-child-{n}") for n in range(1, workers + 1)],
        )

    return commands


def lives(file: Path) -> bool:
    """Say whether the process that locks the file is there."""
    if not file.exists():
        return False
    with file.open() as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def service(tmp_path: Path, said: list[str]) -> Service:
    return Service(port=0, state_dir=tmp_path, workers=2, say=said.append, commands=stand_ins(tmp_path))


# The commands


def test_the_commands_run_the_repository_with_this_python() -> None:
    commands = repository_commands("0.0.0.0", 8123, 2)
    assert commands.datasets == [sys.executable, "-m", "models.datasets"]
    assert commands.migrations == [sys.executable, "-m", "migrations"]
    assert commands.api == [sys.executable, "-m", "api", "--host", "0.0.0.0", "--port", "8123"]
    first, second = (" ".join(worker[1:]) for worker in commands.workers)
    assert first.startswith("-m celery -A worker.app worker --pool prefork --concurrency 1 --hostname worker-1@%h")
    assert second == first.replace("worker-1", "worker-2")


def test_without_the_repository_up_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(NeedsRepository, match="from its repository"):
        repository_root(tmp_path / "bnlab")
    assert repository_root(ROOT / "bnlab") == ROOT


def test_folders_are_told_to_the_children_as_they_are_seen_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNLAB_DATA_DIR", "digits")
    monkeypatch.setenv("BNLAB_BROKER_URL", "redis://elsewhere")
    told = environment(Path("/state"))
    assert told["BNLAB_STATE_DIR"] == "/state"
    assert told["BNLAB_DATA_DIR"] == str(Path.cwd() / "digits")
    assert told["BNLAB_BROKER_URL"] == "redis://elsewhere"


def test_the_service_of_one_command_needs_no_key_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNLAB_KEYS", "required")
    told = stand_ins(tmp_path, api=API.replace("BNLAB_DATASET", "BNLAB_KEYS"))
    with service_of_one_command(tmp_path, told) as service, Client(service.url) as client:
        assert client.health()["dataset"] == "off"
        assert not service.url.endswith(":8000")


# What it refuses


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_state_folder_that_can_be_none_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / name
    with pytest.raises(StateFolderUnusable, match=r"cannot be used: .*Choose another folder with --state-dir"):
        Service(port=0, state_dir=folder, commands=stand_ins(tmp_path)).__enter__()


def test_a_state_folder_is_taken_once_and_the_second_is_told_where(tmp_path: Path) -> None:
    lock = StateLock(tmp_path)
    with pytest.raises(StateFolderTaken, match=r"another `bnlab up`\. Use"):
        StateLock(tmp_path)
    lock.write("http://127.0.0.1:8123")
    with pytest.raises(StateFolderTaken, match=rf"at http://127.0.0.1:8123 \(process {os.getpid()}\)"):
        StateLock(tmp_path)
    lock.release()
    StateLock(tmp_path).release()


def test_a_taken_port_is_refused_with_the_option_that_helps() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"{port}.*taken.*--port"):
            free_port("127.0.0.1", port)
    assert free_port("127.0.0.1", port) == port


def test_port_0_is_a_free_port() -> None:
    assert free_port("127.0.0.1", 0) > 0


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("::", "http://[::1]:80"),
    ],
)
def test_the_address_is_one_this_machine_reaches(host: str, url: str) -> None:
    assert Service(host, 80).url == url


# The service


def test_the_service_is_ready_inside_the_block_and_gone_after_it(
    service: Service, tmp_path: Path, said: list[str]
) -> None:
    with service:
        with Client(service.url) as client:
            assert client.health() == {"status": "ready", "dataset": "mnist-5k"}
        assert lives(tmp_path / "alive-1")
        assert lives(tmp_path / "alive-2")
        assert json.loads((tmp_path / "up.lock").read_text()) == {"pid": os.getpid(), "url": service.url}
    assert not lives(tmp_path / "alive-1")
    assert not lives(tmp_path / "alive-2")
    with Client(service.url) as client, pytest.raises(ServerUnreachable):
        client.health()
    assert said == ["Data set: a small one.", "Starting the API and 2 workers.", STOPPING]
    assert "worker@here ready." in (tmp_path / "logs/worker-1.log").read_text()


def test_a_second_service_is_refused_the_folder_and_the_first_goes_on(service: Service, tmp_path: Path) -> None:
    second = Service(port=0, state_dir=tmp_path, commands=stand_ins(tmp_path))
    with service:
        with pytest.raises(StateFolderTaken, match=service.url), second:
            pass
        with Client(service.url) as client:
            assert client.health()["status"] == "ready"


def test_a_folder_can_be_used_again_and_old_logs_do_not_count(service: Service, tmp_path: Path) -> None:
    with service:
        pass
    silent = stand_ins(tmp_path, worker=WORKER.replace("ready.", "silent"))
    again = Service(port=0, state_dir=tmp_path, commands=silent, ready_timeout_s=1)
    with pytest.raises(NotReady, match=r"Not ready after 1 s: worker-1; worker-2\."), again:
        pass
    assert not lives(tmp_path / "alive-1")


def test_a_child_that_ends_before_the_service_is_ready_is_named_with_the_end_of_its_log(
    tmp_path: Path,
) -> None:
    broken = stand_ins(tmp_path, worker='print("the cause", flush=True)\nraise SystemExit(3)\n')
    with pytest.raises(ChildEnded) as caught, Service(port=0, state_dir=tmp_path, workers=1, commands=broken):
        pass
    assert "worker-1 ended by itself with exit code 3" in str(caught.value)
    assert str(caught.value).endswith("\n  the cause")


def test_a_failing_upgrade_of_the_database_is_shown(tmp_path: Path) -> None:
    failing = stand_ins(tmp_path, migrations="import sys; sys.exit('no such database')")
    with pytest.raises(StepFailed, match=r"upgrade of the database failed with exit code 1\.\n  no such database"):
        Service(port=0, state_dir=tmp_path, commands=failing).__enter__()
    StateLock(tmp_path).release()


# Ending


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str, str], Child]]:
    children: list[Child] = []

    def start(name: str, program: str) -> Child:
        command = python(program, tmp_path / name, tmp_path / f"{name}-child")
        children.append(Child(name, command, tmp_path / f"{name}.log", ROOT, os.environ))
        wait_for(lambda: "ready." in children[-1].said())
        return children[-1]

    yield start
    for child in children:
        child.kill()


def test_all_are_asked_first_and_the_stubborn_are_killed_with_their_children(
    tmp_path: Path, start: Callable[[str, str], Child]
) -> None:
    polite, stubborn, parent = start("polite", WORKER), start("stubborn", STUBBORN), start("parent", PARENT)
    wait_for(lambda: lives(tmp_path / "parent-child"))
    end_in_order([polite, stubborn, parent], grace_s=0.3)
    assert polite.ending() == "signal SIGTERM"
    assert stubborn.ending() == "signal SIGKILL"
    assert parent.ending() == "signal SIGKILL"
    wait_for(lambda: not lives(tmp_path / "parent-child"))


def test_nobody_waits_longer_than_the_children_need(start: Callable[[str, str], Child]) -> None:
    started = time.monotonic()
    end_in_order([start("polite", WORKER)], grace_s=60)
    assert time.monotonic() - started < PATIENCE_S


def interrupted_birth(born: list[str]) -> None:
    with signals_held_back():
        signal.raise_signal(signal.SIGINT)
        born.append("a child")


def test_a_signal_is_held_back_while_a_child_is_born() -> None:
    born: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_birth(born)
    assert born == ["a child"]


UP = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from test_bnlab_up import stand_ins
from bnlab.up import Service, run
folder = Path({folder!r})
run(Service(port=0, state_dir=folder, commands=stand_ins(folder)), say=lambda line: print(line, flush=True))
"""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`bnlab up` with stand-ins, as a process of its own that is ready."""
    program = UP.format(root=str(ROOT), tests=str(ROOT / "tests"), folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = line_with("bnlab is ready", process.stdout)
        assert f"2 workers, data set mnist-5k, state in {tmp_path}; Ctrl-C stops it." in ready
        yield process
        process.kill()
    wait_for(lambda: not lives(tmp_path / "alive-1"))


def line_with(words: str, lines: IO[str]) -> str:
    return next(line for line in lines if words in line)


def test_where_requests_need_a_key_it_says_how_to_make_one(tmp_path: Path) -> None:
    strict = API.replace("self.send_response(200)", "self.send_response(401 if 'experiments' in self.path else 200)")
    strict = strict.replace("json.dumps({", "json.dumps({'detail': 'no', ")
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "API key" in line:
            raise KeyboardInterrupt

    run(Service("0.0.0.0", port=0, state_dir=tmp_path, say=said.append, commands=stand_ins(tmp_path, api=strict)), say)
    assert (
        f"Requests need an API key; `bnlab keys --state-dir {tmp_path} create NAME --scope admin` makes one" in said[-3]
    )
    assert said[-1] == "bnlab has stopped."


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_ends_everything_in_order(
    up: subprocess.Popen[str], number: signal.Signals, tmp_path: Path
) -> None:
    up.send_signal(number)
    out, _ = up.communicate(timeout=PATIENCE_S)
    assert up.returncode == 0
    assert out == f"{STOPPING}\nbnlab has stopped.\n"
    assert not lives(tmp_path / "alive-1")
    assert not lives(tmp_path / "alive-2")


def test_when_up_itself_is_killed_its_children_end_and_the_folder_is_free(
    up: subprocess.Popen[str], tmp_path: Path
) -> None:
    up.kill()
    up.wait()
    wait_for(lambda: not lives(tmp_path / "alive-1") and not lives(tmp_path / "alive-2"))
    wait_for(lambda: not lives(tmp_path / "up.lock"))


def test_when_up_itself_is_killed_a_child_that_was_started_again_ends_too(
    up: subprocess.Popen[str], tmp_path: Path
) -> None:
    os.kill(int((tmp_path / "alive-1").read_text()), signal.SIGKILL)
    wait_for(lambda: "ready." in (tmp_path / "logs/worker-1.log").read_text().partition("ready.")[2])
    assert lives(tmp_path / "alive-1")
    up.kill()
    up.wait()
    wait_for(lambda: not lives(tmp_path / "alive-1") and not lives(tmp_path / "alive-2"))
