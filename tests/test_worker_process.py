"""The word to stop: every process of a worker sees it, and none that is killed can keep the others from it."""

import time
from multiprocessing import get_context

from worker.process import Stop

FORK = get_context("fork")
KILLS = 20


def _look_for_ever(stop: Stop) -> None:
    while not stop.is_set():
        pass


def test_a_forked_process_sees_the_word_and_ends() -> None:
    stop = Stop()
    child = FORK.Process(target=_look_for_ever, args=(stop,))
    child.start()
    assert not stop.wait(0.01)
    stop.set()
    child.join(30)
    assert child.exitcode == 0
    assert stop.wait(0)


def test_processes_that_are_killed_while_they_look_leave_nothing_locked() -> None:
    stop = Stop()
    for _ in range(KILLS):
        child = FORK.Process(target=_look_for_ever, args=(stop,))
        child.start()
        time.sleep(0.02)
        child.kill()
        child.join(30)
        assert not stop.is_set()
    stop.set()
    assert stop.is_set()
