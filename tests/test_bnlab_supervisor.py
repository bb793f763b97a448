"""What `bnlab up` does when a child has ended by itself: it comes back, and stopping still leaves nobody."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_bnlab_up import PARENT, ROOT, STOPPING, WORKER, lives, python, stand_ins, wait_for

from bnlab import guard
from bnlab.children import Child
from bnlab.client import Client
from bnlab.errors import BnlabError
from bnlab.guard import Guard
from bnlab.supervisor import LONGEST_PAUSE_S, STEADY_S, Backoff, Supervisor
from bnlab.up import Service

#: Ready and alive the first time it is started, broken every other time.
FRAGILE = "import os, sys\nif os.path.exists(sys.argv[1]): sys.exit(3)\n" + WORKER

#: Waits for its parent's end and then needs a second more, to give something back.
GIVER = """
import os, sys, time
while os.getppid() == int(sys.argv[2]): time.sleep(0.05)
time.sleep(1)
open(sys.argv[1], "w")
"""

#: Has such a child, and says at its start what has been given back.
GENEROUS = WORKER.replace(
    "print(",
    f"""print("given back:", os.path.exists(sys.argv[2]), flush=True)
subprocess.Popen([sys.executable, "-c", {GIVER!r}, sys.argv[2], str(os.getpid())])
print(""",
)

#: Its child ignores every request to end; there is one only the first time.
LEAVING = PARENT.replace("subprocess.Popen(", "os.path.exists(sys.argv[2]) or subprocess.Popen(")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def serve(tmp_path: Path, said: list[str]) -> Callable[[str], Service]:
    """Return a maker of services with one worker of a kind."""

    def serve(worker: str = WORKER) -> Service:
        commands = stand_ins(tmp_path, worker=worker)
        return Service(port=0, state_dir=tmp_path, workers=1, say=said.append, commands=commands)

    return serve


def kill(child: Child) -> int:
    os.kill(child.pid, signal.SIGKILL)
    return child.pid


# It comes back


def test_a_killed_worker_comes_back_and_both_are_said(
    serve: Callable[[], Service], said: list[str], tmp_path: Path
) -> None:
    with serve() as service:
        api, killed = service.children[0].pid, kill(service.children[1])
        wait_for(lambda: said[-1] == "worker-1 runs again.")
        assert said[-2] == (
            "The process worker-1 ended by itself with signal SIGKILL; it is started again in 0.5 s. "
            f"Its log: {tmp_path / 'logs/worker-1.log'}"
        )
        wait_for(lambda: lives(tmp_path / "alive-1"))
        assert [child.name for child in service.children] == ["api", "worker-1"]
        assert service.children[0].pid == api
        assert service.children[1].pid != killed
    assert said[-1] == STOPPING
    assert not lives(tmp_path / "alive-1")


def test_its_end_is_noticed_at_once(serve: Callable[[], Service], said: list[str]) -> None:
    with serve() as service:
        kill(service.children[1])
        killed_at = time.monotonic()
        wait_for(lambda: "SIGKILL" in said[-1])
        assert time.monotonic() - killed_at < 0.5  # it promises 0.2 s; this machine may be busy


def answers(client: Client) -> bool:
    try:
        client.health()
    except BnlabError:
        return False
    return True


def test_a_killed_api_comes_back_at_the_same_address(serve: Callable[[], Service], said: list[str]) -> None:
    with serve() as service, Client(service.url) as client:
        kill(service.children[0])
        wait_for(lambda: said[-1] == "api runs again.")
        wait_for(lambda: answers(client))


def test_both_come_back_when_both_were_killed(serve: Callable[[], Service], said: list[str]) -> None:
    with serve() as service:
        kill(service.children[0])
        kill(service.children[1])
        wait_for(lambda: {"api runs again.", "worker-1 runs again."} <= set(said))


def test_what_a_killed_worker_left_has_time_to_end_by_itself(serve: Callable[[str], Service], said: list[str]) -> None:
    with serve(GENEROUS) as service:
        kill(service.children[1])
        wait_for(lambda: said[-1] == "worker-1 runs again.")
        assert "; it is started again in 0.5 s, once the processes it left have ended. Its log: " in said[-2]
        log = service.children[1].log
        wait_for(lambda: log.read_text().count("ready.") == 2)
        given = [line for line in log.read_text().splitlines() if line.startswith("given back")]
        assert given == ["given back: False", "given back: True"]


def test_what_a_killed_worker_left_is_killed_if_it_does_not_end(
    serve: Callable[[str], Service], said: list[str], tmp_path: Path
) -> None:
    with serve(LEAVING) as service:
        wait_for(lambda: lives(tmp_path / "alive-child-1"))
        kill(service.children[1])
        wait_for(lambda: said[-1] == "worker-1 runs again.")
        assert not lives(tmp_path / "alive-child-1")


# The pauses


def test_the_pauses_double_up_to_half_a_minute() -> None:
    backoff = Backoff()
    assert [backoff.pause_s(lived_s=0.1) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_after_a_steady_time_the_pauses_begin_anew() -> None:
    backoff = Backoff()
    lived = [0.1, 0.1, STEADY_S - 1, STEADY_S, 0.1]
    assert [backoff.pause_s(lived_s) for lived_s in lived] == [0.5, 1, 2, 0.5, 1]


def test_a_child_that_ends_again_and_again_is_started_after_longer_and_longer_pauses(
    serve: Callable[[str], Service], said: list[str]
) -> None:
    with serve(FRAGILE) as service:
        kill(service.children[1])
        wait_for(lambda: "in 2 s" in said[-1])
    endings = [line.split("; ")[1].split(" s.")[0] for line in said if "ended by itself" in line]
    assert endings == [f"it is started again in {pause}" for pause in ("0.5", "1", "2")]
    assert said.count("worker-1 runs again.") == 2


# Stopping


def test_stopping_during_a_pause_is_prompt_and_nobody_is_started_after_it(
    serve: Callable[[str], Service], said: list[str], tmp_path: Path
) -> None:
    with serve(FRAGILE) as service:
        kill(service.children[1])
        wait_for(lambda: "in 4 s" in said[-1])
        begin = time.monotonic()
    assert time.monotonic() - begin < 3
    before = (said[:], (tmp_path / "logs/worker-1.log").read_text())
    time.sleep(4)
    assert (said, (tmp_path / "logs/worker-1.log").read_text()) == before
    assert said[-1] == STOPPING


def test_stopping_does_not_wait_for_what_a_killed_worker_left(
    serve: Callable[[str], Service], said: list[str], tmp_path: Path
) -> None:
    with serve(LEAVING) as service:
        wait_for(lambda: lives(tmp_path / "alive-child-1"))
        kill(service.children[1])
        wait_for(lambda: "SIGKILL" in said[-1])
        begin = time.monotonic()
    assert time.monotonic() - begin < 4
    wait_for(lambda: not lives(tmp_path / "alive-child-1"))
    assert "worker-1 runs again." not in said


# What keeps it from its work


class Told(Guard):
    """A guard that only keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def _tell(self, line: str) -> None:
        self.lines.append(line)


@contextmanager
def supervised(folder: Path, told: Told, say: Callable[[str], object]) -> Iterator[list[Child]]:
    """Give one child in a list, under supervision."""
    folder.mkdir()
    children = [Child("worker-1", python(WORKER, folder.parent / "alive"), folder / "log", ROOT, os.environ)]
    supervisor = Supervisor(children, told, say)
    supervisor.start()
    try:
        yield children
    finally:
        supervisor.stop()
        children[0].kill()


def test_the_guard_forgets_a_child_that_ended_and_learns_of_its_successor(tmp_path: Path, said: list[str]) -> None:
    told = Told()
    with supervised(tmp_path / "logs", told, said.append) as children:
        killed = kill(children[0])
        wait_for(lambda: "worker-1 runs again." in said)
        assert told.lines == [f"forget {killed}", str(children[0].pid)]


def test_a_guard_does_not_touch_what_it_was_told_to_forget(tmp_path: Path) -> None:
    child = Child("worker", python(WORKER, tmp_path / "alive"), tmp_path / "log", ROOT, os.environ)
    try:
        guard.main([f"{child.pid}\n", f"forget {child.pid}\n"])
        assert child.ending() is None
    finally:
        child.kill()


def test_a_child_that_cannot_be_started_is_tried_again(tmp_path: Path, said: list[str]) -> None:
    logs, away = tmp_path / "logs", tmp_path / "away"
    with supervised(logs, Told(), said.append) as children:
        logs.rename(away)
        killed = kill(children[0])
        wait_for(lambda: any(line.startswith("worker-1 cannot be started: ") for line in said))
        away.rename(logs)
        wait_for(lambda: "worker-1 runs again." in said)
        assert children[0].pid != killed


def test_a_terminal_that_is_gone_keeps_nobody_from_being_started_again(tmp_path: Path) -> None:
    def into_nothing(_line: str) -> None:
        raise BrokenPipeError

    with supervised(tmp_path / "logs", Told(), into_nothing) as children:
        killed = kill(children[0])
        wait_for(lambda: children[0].pid != killed)


def refusing(line: str) -> None:
    if "ended by itself" in line:
        raise ArithmeticError(line)


def kill_and_watch(service: Service) -> None:
    kill(service.children[1])
    service.watch()


def test_an_error_of_the_supervision_itself_ends_the_watch_and_leaves_nobody(tmp_path: Path) -> None:
    service = Service(port=0, state_dir=tmp_path, workers=1, say=refusing, commands=stand_ins(tmp_path))
    with pytest.raises(ArithmeticError, match="worker-1"), service:
        kill_and_watch(service)
    assert not lives(tmp_path / "alive-1")


def test_a_killed_child_is_killed_once_only(tmp_path: Path) -> None:
    child = Child("short", [sys.executable, "-c", ""], tmp_path / "log", ROOT, os.environ)
    child.kill()
    assert not child.leaves_somebody()
    child.kill()
