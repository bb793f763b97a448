"""Ends the children of `bnlab up` when `bnlab up` itself was killed and could not.

The guard is a process of its own that reads a pipe whose other end only `bnlab up` holds: a line for each child it has
started, and one for each of which nothing is left. The end of the pipe, however it came, says that `bnlab up` is gone.
This works on systems without Linux's parent-death signal, and it reaches the children of a worker too.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Set
from contextlib import suppress
from pathlib import Path

from bnlab.children import kill_group

GRACE_S = 10.0
POLL_INTERVAL_S = 0.1
DISMISSED = "dismissed"
FORGET = "forget "


class Guard:
    """The side of `bnlab up`: starts the guard and tells it of each child."""

    def __init__(self, lock_fd: int) -> None:
        # The guard holds the state folder's lock too, so that nobody takes the folder over from children still ending.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bnlab.guard"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parent.parent,
            pass_fds=(lock_fd,),
            start_new_session=True,
        )
        self.pid = self._process.pid

    def watch(self, pid: int) -> None:
        """Tell of a child that was started."""
        self._tell(str(pid))

    def forget(self, pid: int) -> None:
        """Tell that nothing is left of a child: its number may soon be somebody else's."""
        self._tell(f"{FORGET}{pid}")

    def dismiss(self) -> None:
        """Tell that all children have ended in order."""
        self._tell(DISMISSED)

    def close(self) -> None:
        """Close the pipe and wait for the guard's end; if it was not dismissed, it ends the children first."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # somebody killed the guard; `bnlab up` still ends its children itself
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()


def main(lines: Iterable[str]) -> None:
    """Read until `bnlab up` is gone, then end what it has left."""
    watched: set[int] = set()
    for line in lines:
        if line.strip() == DISMISSED:
            return
        if line.startswith(FORGET):
            watched.discard(int(line.removeprefix(FORGET)))
        else:
            watched.add(int(line))
    end_all(watched, GRACE_S)


def end_all(pids: Set[int], grace_s: float) -> None:
    """Ask the processes to end, wait up to `grace_s`, then kill them and the children they left."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and any(_lives(pid) for pid in pids):
        time.sleep(POLL_INTERVAL_S)
    for pid in pids:
        kill_group(pid)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main(sys.stdin)
