"""Child processes of `bnlab up`: each with its log and a process group of its own, ended in order and then by force."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POLL_INTERVAL_S = 0.05


class Child:
    """A running process whose output goes to its log.

    Its group is its own: the terminal's Ctrl-C does not reach it, and its own children can be ended with it.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, cwd: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self._command, self._cwd, self._env = command, cwd, env
        self._group_gone = False
        with log.open("ab") as out:
            self._log_start = out.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=env,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def again(self) -> "Child":
        """Start the same command once more, with the same log."""
        return Child(self.name, self._command, self.log, self._cwd, self._env)

    def ending(self) -> str | None:
        """Return how it ended, in words, or None while it runs."""
        code = self._process.poll()
        return None if code is None else ending_in_words(code)

    def said(self) -> str:
        """Return what it has written since it was started."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def ask_to_end(self) -> None:
        """Send SIGTERM to the process alone: it ends its own children as it sees fit."""
        self._process.terminate()  # does nothing to a process that has ended

    def leaves_somebody(self) -> bool:
        """Say whether it or a process of its group is still there."""
        self._group_gone = self._group_gone or not group_lives(self.pid)
        return not self._group_gone

    def kill(self) -> None:
        """Kill what is left of it, its own children included, and wait for its end; nothing happens the second time."""
        if self.leaves_somebody():
            kill_group(self.pid)
        self._process.wait()
        self._group_gone = True  # from now on its number may be somebody else's


def end_in_order(children: Sequence[Child], grace_s: float) -> None:
    """Ask all to end, wait up to `grace_s`, then kill what is left; an interruption shortens the wait."""
    try:
        for child in children:
            child.ask_to_end()
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and any(child.ending() is None for child in children):
            time.sleep(POLL_INTERVAL_S)
    finally:
        for child in children:
            child.kill()


def kill_group(pid: int) -> None:
    """Kill the process and its children, as one group; nothing happens if there are none."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted, when only zombies are left
        os.killpg(pid, signal.SIGKILL)


def group_lives(pid: int) -> bool:
    """Say whether a process of the group is there; its number is nobody else's as long as one is."""
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):  # macOS: not permitted, when only zombies are left
        return False
    return True


def ending_in_words(code: int) -> str:
    """Return an exit status of subprocess as a person would say it."""
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Hold back Ctrl-C, SIGTERM and SIGHUP for a moment: no child is born between two lines and then forgotten."""
    if threading.current_thread() is not threading.main_thread():  # no signal interrupts the other threads
        yield
        return
    arrived: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)

    handlers = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])


@contextmanager
def stop_signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, by KeyboardInterrupt; what is ignored stays ignored."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    handlers = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
