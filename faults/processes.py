"""Real processes: each with its log and in a session of its own, none of which outlives whoever started it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bnlab.children import Child, end_in_order

STOP_GRACE_S = 20.0


class Process(Child):
    """A child as `bnlab up` has them, which others can wait for and do things to."""

    def exit_code(self) -> int | None:
        """Return None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int:
        """Return its exit code; fail, with what it wrote, if it does not end in time."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} has not ended within {timeout_s:g} s:\n{self.said()}") from None

    def wait_until(self, true: Callable[[], bool], timeout_s: float = 60) -> None:
        """Wait, bounded, until something is true that this process is to bring about."""
        end = time.monotonic() + timeout_s
        while not true():
            assert self.exit_code() is None, f"{self.name} has ended with {self.exit_code()}:\n{self.said()}"
            assert time.monotonic() < end, f"{self.name} is not so far after {timeout_s:g} s:\n{self.said()}"
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)


class Processes:
    """The processes of one set-up: whatever happens in the `with` block, none of them outlives it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.all: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_in_order(self.all, STOP_GRACE_S)

    def start(self, name: str, command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Process:
        """Start a process with a bare environment and what is given."""
        log = self._folder / f"{len(self.all)}-{name}.log"
        process = Process(name, command, log, cwd, {**bare_environment(self._folder), **env})
        self.all.append(process)
        return process

    def print_logs(self) -> None:
        """Print what all have written; a test framework shows it for a test that fails."""
        for process in self.all:
            print(f"--- {process.name} ({process.pid}, exit code {process.exit_code()}) ---")
            print(process.said())


def bare_environment(home: Path) -> dict[str, str]:
    """Return the least a process needs; nothing of the user's settings."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}


def parents() -> dict[int, int]:
    """Return the parent of each process that lives; one that has ended and waits to be collected does not."""
    if Path("/proc/self/stat").exists():  # a small Linux has no ps
        lines = [_stat(folder) for folder in Path("/proc").glob("[0-9]*")]
    else:
        listed = subprocess.run(["ps", "-A", "-o", "pid=,stat=,ppid="], capture_output=True, text=True, check=True)
        lines = listed.stdout.splitlines()
    rows = (line.split() for line in lines if line)
    return {int(pid): int(parent) for pid, state, parent in rows if not state.startswith("Z")}


def command_of(pid: int) -> str:
    """Return the command line of a process, empty if it has ended."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    listed = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout


def _stat(folder: Path) -> str:
    try:
        pid, _, rest = (folder / "stat").read_text().partition(" (")
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return ""
    return f"{pid} {' '.join(rest.rpartition(') ')[2].split()[:2])}"


def with_descendants(pid: int) -> set[int]:
    """Return the process and all that it, or one of its own, has started."""
    table, found = parents(), {pid}
    while more := {child for child, parent in table.items() if parent in found} - found:
        found |= more
    return found
