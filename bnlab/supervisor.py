"""Starts a child of `bnlab up` again when it has ended by itself: after a pause, which grows while it keeps ending."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from bnlab.children import Child, signals_held_back
from bnlab.guard import Guard

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
STEADY_S = 10.0  # who has lived this long has got over what ended it before
GROUP_GRACE_S = 5.0  # the process that trains needs a second or two to give its arm back when its parent is gone
STOP_PATIENCE_S = 5.0
POLL_INTERVAL_S = 0.1

Say = Callable[[str], object]


class Backoff:
    """The pauses before one child is started again: each twice the last, from the beginning after a steady time."""

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S

    def pause_s(self, lived_s: float) -> float:
        """Return how long to wait, now that the child has ended after this long."""
        pause_s = FIRST_PAUSE_S if lived_s >= STEADY_S else self._next_s
        self._next_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return pause_s


class Supervisor:
    """Watches each child from a thread of its own, until `stop`; a child's successor takes its place in the list."""

    def __init__(self, children: list[Child], guard: Guard, say: Say) -> None:
        self._children, self._guard, self._say = children, guard, say
        self._stopping = threading.Event()
        self._births = threading.Lock()
        self._saying = threading.Lock()
        self._failure: Exception | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(place,), daemon=True, name=f"supervisor of {child.name}")
            for place, child in enumerate(children)
        ]

    def start(self) -> None:
        """Begin to watch."""
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Raise what has ended a thread that should watch."""
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        """Let no child be born any more; one that was is in the list."""
        with signals_held_back():  # a second Ctrl-C must not come between a birth and the list
            with self._births:
                self._stopping.set()
        deadline = time.monotonic() + STOP_PATIENCE_S
        for thread in self._threads:
            if thread.is_alive():  # not so if Ctrl-C came before it was started
                thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, place: int) -> None:
        try:
            self._keep_running(place)
        except Exception as error:  # `check` raises it where it is seen
            self._failure = error

    def _keep_running(self, place: int) -> None:
        backoff, started = Backoff(), time.monotonic()
        while not self._stopping.wait(POLL_INTERVAL_S):
            if ending := self._children[place].ending():
                self._replace(place, ending, backoff.pause_s(time.monotonic() - started))
                started = time.monotonic()

    def _replace(self, place: int, ending: str, pause_s: float) -> None:
        child, due = self._children[place], time.monotonic() + pause_s
        others = ", once the processes it left have ended" if child.leaves_somebody() else ""
        self._tell(
            f"The process {child.name} ended by itself with {ending}; it is started again in {pause_s:g} s{others}. "
            f"Its log: {child.log}"
        )
        self._end_group(child)
        if not self._stopping.wait(max(0.0, due - time.monotonic())):
            self._start_again(place, child)

    def _end_group(self, child: Child) -> None:
        """Give the processes that a child has left some time to end by themselves, then kill them."""
        deadline = time.monotonic() + GROUP_GRACE_S
        while child.leaves_somebody() and time.monotonic() < deadline:
            if self._stopping.wait(POLL_INTERVAL_S):
                return  # whoever stops us ends them
        child.kill()
        self._guard.forget(child.pid)

    def _start_again(self, place: int, child: Child) -> None:
        try:
            with self._births:
                if self._stopping.is_set():
                    return
                self._children[place] = successor = child.again()
                self._guard.watch(successor.pid)
        except OSError as error:  # no memory, no room for the log: the next look finds the child ended as before
            self._tell(f"{child.name} cannot be started: {error}.")
        else:
            self._tell(f"{child.name} runs again.")

    def _tell(self, sentence: str) -> None:
        with self._saying, suppress(OSError):  # there may be no terminal any more to say it to
            self._say(sentence)
