"""Where the time of the smallest arm goes: the functions that a worker calls for it, each with a clock around it."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from bench.report import print_table
from models import networks

EXPERIMENTS = 100


class Clock:
    """How long, and how often, what it is put around has taken."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    def put_around(self, owner: Any, name: str, part: str) -> None:
        """Measure a function of a module, or a method, from now on."""
        inner: Callable[..., Any] = getattr(owner, name)

        def measured(*args: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return inner(*args, **options)
            finally:
                self.seconds[part] += time.perf_counter() - begin
                self.calls[part] += 1

        setattr(owner, name, measured)


def measure(submit: Callable[[int], None]) -> None:
    """Train what `submit` submits in this process, as a worker does, on the settings of the environment."""
    from worker import process, tasks

    process.prepare()
    submit(2)
    tasks.train_waiting_arms()  # compiles
    clock = Clock()
    _put_around_parts(clock)
    submit(EXPERIMENTS)
    begin = time.perf_counter()
    tasks.train_waiting_arms()
    whole, arms = time.perf_counter() - begin, 2 * EXPERIMENTS
    rows = [_row(part, seconds, whole, arms, clock.calls[part]) for part, seconds in clock.seconds.items()]
    rows.append(
        _row("all else: making statements, reading rows, logs", whole - sum(clock.seconds.values()), whole, arms)
    )
    rows.append(_row("an arm", whole, whole, arms))
    print_table(f"The parts of {arms} such arms in one process", ("", "times", "ms an arm", "share"), rows)
    process.database().close()


def _put_around_parts(clock: Clock) -> None:
    from worker import lease, process, tasks, training

    dialect = process.database().engine.dialect
    for name, part in (
        ("do_execute", "statements"),
        ("do_executemany", "statements"),
        ("do_commit", "commits, to the disk"),
        ("do_rollback", "ends of looks"),
        ("do_ping", "whether the connection still stands"),
    ):
        clock.put_around(dialect, name, part)
    clock.put_around(training, "starting_arrays", "starting weights")
    clock.put_around(training, "_advance", "the compiled program: training and counting")
    clock.put_around(tasks, "examine", "examination")
    clock.put_around(networks, "to_row", "network to bytes, with its hash")
    for name in ("__enter__", "__exit__"):
        clock.put_around(lease.Lease, name, "thread of the lease")


def _row(part: str, seconds: float, whole: float, arms: int, calls: int | None = None) -> tuple[str, str, str, str]:
    times = "" if calls is None else f"{calls / arms:.1f}"
    return part, times, f"{seconds / arms * 1_000:.2f}", f"{seconds / whole:.0%}"
