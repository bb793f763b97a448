"""`python -m ops.prune --older-than 30d` removes experiments that ended long ago, with all that belongs to them.

What waits or runs is never touched, and a sweep only once all of its experiments have ended that long ago. A few
experiments go at a time, so nobody waits long; stopped half-way, it can be run again. Exit codes: 0 done; 1 not done;
2 the command line is wrong; 130 Ctrl-C.
"""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import typer

from models import retention
from models.database import Database
from models.retention import Amount
from models.settings import read_settings
from ops.database import CannotUse, opened
from ops.finding import in_bytes
from ops.times import seconds

AT_ONCE = 10  # experiments in one transaction: with their networks some megabytes
#: On SQLite there is one writer: so long a pause lets each of the others find its turn.
PAUSE_S = 0.1

ROOM_ON_SQLITE = (
    "The file keeps its size and fills its free room first. To make it smaller, stop the service and run VACUUM, as "
    "docs/operations.md says."
)
ROOM_ON_POSTGRES = (
    "Autovacuum frees the room for new rows in a while; docs/operations.md says how to make files smaller."
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def prune(
    older_than: Annotated[
        str,
        typer.Option(metavar="TIME", help="What ended longer ago than this goes: 12h, 30d, 8w.", show_default=False),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove experiments that ended long ago: their curves, networks and histories go with them, for ever."""
    age_s = seconds(older_than)
    if not (dry_run or yes or sys.stdin.isatty()):
        raise typer.BadParameter("Nobody can be asked here: give --yes to remove, or --dry-run to look.")
    with _plain_errors(), opened(read_settings()) as database:
        with database.read() as session:
            before = retention.moment(session, age_s)
        there = would_go(database, before) if dry_run or not yes else None
        if there is not None:
            typer.echo(f"{'Would go' if dry_run else 'To be removed'}: {in_words(there)}.")
            if dry_run or there == Amount():
                return
            typer.confirm("Remove them for ever?", abort=True)
        _remove(database, before)


def would_go(database: Database, before: datetime) -> Amount:
    """Return what would go, in many short looks."""
    with database.read() as session:
        sweeps = len(retention.sweeps_that_may_go(session, before))
        amount = Amount(sweeps=sweeps, idempotency_keys=retention.old_idempotency_keys(session))
    after = None
    while True:
        with database.read() as session:
            found, after = retention.ended_before(session, before, 10 * AT_ONCE, after)
            if after is None:
                return amount
            amount += retention.measure(session, found)


def removed(database: Database, before: datetime, pause_s: float = PAUSE_S) -> Iterator[Amount]:
    """Remove what may go, the oldest first; give what has gone with each transaction."""
    with database.write() as session:
        keys = retention.remove_old_idempotency_keys(session)
    yield Amount(idempotency_keys=keys)
    with database.read() as session:
        sweeps = retention.sweeps_that_may_go(session, before)
    for sweep_id in sweeps:
        with database.write() as session:
            dissolved = retention.dissolve(session, sweep_id, before)
        yield Amount(sweeps=dissolved)
        time.sleep(pause_s)
    yield from _experiments_removed(database, before, pause_s)


def _experiments_removed(database: Database, before: datetime, pause_s: float) -> Iterator[Amount]:
    after = None
    while True:
        with database.read() as session:
            found, after = retention.ended_before(session, before, AT_ONCE, after)
        if after is None:
            return
        with database.write() as session:
            gone = retention.remove(session, found, before)
        yield gone
        time.sleep(pause_s)


def _remove(database: Database, before: datetime) -> None:
    total = Amount()
    with _interrupted() as interrupted:
        for gone in removed(database, before):
            total += gone
            if interrupted.is_set():
                typer.echo(f"\nStopped. Gone so far: {in_words(total)}. Run it again to go on.")
                raise typer.Exit(130)
    typer.echo(f"Gone: {in_words(total)}.")
    if total.experiments:
        typer.echo(ROOM_ON_SQLITE if database.engine.dialect.name == "sqlite" else ROOM_ON_POSTGRES)


@contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """Give what Ctrl-C sets inside: between two transactions there is a moment to say what is gone, to the last one."""
    said = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: said.set())
    try:
        yield said
    finally:
        signal.signal(signal.SIGINT, before)


def in_words(amount: Amount) -> str:
    """Return an amount for people."""
    if amount == Amount():
        return "nothing"
    networks = f"{amount.networks} networks ({in_bytes(amount.networks_bytes)})"
    experiments = f"{amount.experiments} experiments with {amount.points} points and {networks}"
    return f"{experiments}, {amount.sweeps} whole sweeps, {amount.idempotency_keys} old idempotency keys"


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except CannotUse as error:
        typer.echo(f"Nothing more is removed: {error}. {error.mend}", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
