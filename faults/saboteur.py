"""Inside a process under test: it dies at named points, believes a wrong clock, finds the disk full.

Nothing of this is in the product. What is to happen stands in a folder of files, so it can change while processes
run: `kill/POINT` kills the first process that passes the point, `clock` is what processes take the time for, `full`
fills the disk under SQLite.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session

from models import arms, experiments, leases, networks, streams

#: Transactions that a process may die in: before their commit, and right after it.
TRANSACTIONS: dict[str, tuple[Any, str]] = {
    "claim": (arms, "claim"),
    "record": (arms, "record"),
    "succeed": (arms, "succeed"),
    "give_back": (arms, "give_back"),
    "create": (experiments, "create"),
    "return": (leases, "_change"),
}
#: Functions at whose beginning it may die: a chunk of batches, the examination.
CALLS: dict[str, tuple[Any, str]] = {"chunk": (streams, "batch_indices"), "examine": (networks, "to_row")}

POINTS = [f"{name}_{when}_commit" for name in TRANSACTIONS for when in ("before", "after")] + list(CALLS)

CLOCK_IS_READ_EVERY_S = 0.2


def install() -> None:
    """Sabotage this process."""
    folder = Path(os.environ["FAULTS_DIR"])
    for name, (module, function) in TRANSACTIONS.items():
        setattr(module, function, _tagging(name, getattr(module, function)))
    for name, (module, function) in CALLS.items():
        setattr(module, function, _passing(folder, name, getattr(module, function)))
    event.listen(Session, "before_commit", lambda session: _pass_commit(folder, session, "before"))
    event.listen(Session, "after_commit", lambda session: _pass_commit(folder, session, "after"))
    event.listen(Engine, "begin", lambda connection: _fill_disk(folder, connection))
    time.time = _wrong_clock(folder, time.time)


def pass_point(folder: Path, name: str) -> None:
    """Die, if this point is armed and no other process was faster."""
    try:
        (folder / "kill" / name).rename(folder / "killed" / f"{name}.{os.getpid()}")
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _tagging(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def tagging(session: Session, *args: Any, **options: Any) -> Any:
        session.info["transaction"] = name
        return function(session, *args, **options)

    return tagging


def _passing(folder: Path, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def passing(*args: Any, **options: Any) -> Any:
        pass_point(folder, name)
        return function(*args, **options)

    return passing


def _pass_commit(folder: Path, session: Session, when: str) -> None:
    if name := session.info.get("transaction"):
        pass_point(folder, f"{name}_{when}_commit")


def _fill_disk(folder: Path, connection: Connection) -> None:
    """Let the database's file grow no more, or again: SQLite itself then says that the disk is full."""
    if connection.dialect.name != "sqlite":
        return
    full = (folder / "full").exists()
    if full != connection.info.get("full", False):
        connection.info["full"] = full
        assert connection.connection.dbapi_connection is not None
        connection.connection.dbapi_connection.execute(f"PRAGMA max_page_count = {1 if full else 2**30}")


def _wrong_clock(folder: Path, right: Callable[[], float]) -> Callable[[], float]:
    """Return a clock that is wrong by what the file says, for the processes it names; "all" is everybody."""
    read_at, wrong_by = 0.0, 0.0

    def wrong() -> float:
        nonlocal read_at, wrong_by
        now = time.monotonic()
        if now - read_at > CLOCK_IS_READ_EVERY_S:
            read_at, found = now, {}
            with suppress(FileNotFoundError, ValueError):  # no file: the clock is right
                found = json.loads((folder / "clock").read_text())
            names = ("all", str(os.getpid()), str(os.getppid()))
            wrong_by = next((found[name] for name in names if name in found), 0.0)
        return right() + wrong_by

    return wrong
