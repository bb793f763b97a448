"""`bnlab lesson`: the whole lesson again, every comparison and both inference runs, beside what it published."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from rich.console import Console

from bnlab.children import stop_signals_interrupt
from bnlab.client import FINISHED, Client
from bnlab.connection import Json
from bnlab.console import INTERRUPTED, left_running
from bnlab.errors import BnlabError, CannotWrite
from bnlab.figures import one_or_more
from bnlab.lesson_tables import comparisons_table, inference_table
from bnlab.progress import SweepBars
from bnlab.report import page
from bnlab.reproduction import Reproduction
from bnlab.tables import failure
from bnlab.up import Service

CANCEL_PATIENCE_S, CANCEL_POLL_INTERVAL_S = 5.0, 0.2

Guard = Callable[[str], AbstractContextManager[None]]


def run_here(service: Service, request: Json, report: Path) -> int:
    """Run a sweep over presets on our own service and return the exit code; Ctrl-C cancels it. Raises BnlabError."""
    console = _console()
    check_writable(report)
    with stop_signals_interrupt():
        try:
            with service, Client(service.url) as client:
                return reproduce(client, request, report, console, lambda id: cancelled_with_us(client, id))
        except KeyboardInterrupt:
            console.print("The lesson was stopped.")
            return INTERRUPTED


def run_there(url: str, api_key: str | None, request: Json, report: Path) -> int:
    """Run a sweep over presets on somebody's server and return the exit code; Ctrl-C leaves it. Raises BnlabError."""
    check_writable(report)
    with Client(url, api_key=api_key) as client:
        return reproduce(client, request, report, _console(), lambda id: left_running("sweep", f"sweep show {id}", url))


def reproduce(client: Client, request: Json, report: Path, console: Console, guard: Guard) -> int:
    """Submit the sweep, follow it, print what came out and write the report; 1 if an experiment did not succeed."""
    presets = client.presets()["presets"]
    sweep = client.submit_sweep(**request)
    id, experiments = sweep["id"], sum(sweep["counts"].values())
    console.print(f"Sweep {id}: {one_or_more(experiments, 'experiment')}.", soft_wrap=True)
    with guard(id), SweepBars() as bars:
        sweep = client.wait_for_sweep(id, on_change=bars.show)
    lesson = Reproduction(sweep, presets)
    tell(lesson, console)
    report.write_text(page(lesson, curves(client, lesson, console)), encoding="utf-8")
    console.print(f"The report: {report}", soft_wrap=True)
    return 0 if lesson.succeeded else 1


def tell(lesson: Reproduction, console: Console) -> None:
    """Print what was published and what came out."""
    for rows, table in ((lesson.comparisons, comparisons_table), (lesson.inferences, inference_table)):
        if rows:
            console.print(table(lesson))
            console.print()
    for row in lesson.rows:
        if not row.succeeded:
            lines = [f"{row.name} {row.experiment['status']} ({row.experiment['id']}).", *failure(row.experiment)]
            console.print("\n".join(lines), soft_wrap=True)
    for sentence in (lesson.why_not_compared(), lesson.training_time()):
        if sentence:
            console.print(sentence)


def curves(client: Client, lesson: Reproduction, console: Console) -> dict[str, bytes]:
    """Return the pictures of what succeeded, by the experiments' ids; one that cannot be had costs only itself."""
    pictures = {}
    for row in lesson.rows:
        if row.succeeded:
            try:
                pictures[row.experiment["id"]] = client.curve_picture(row.experiment["id"], "svg")
            except BnlabError as error:
                console.print(f"The report lacks the curve of {row.name}: {error}", soft_wrap=True)
    return pictures


@contextmanager
def cancelled_with_us(client: Client, id: str) -> Iterator[None]:
    """Cancel the sweep when Ctrl-C ends us, and give its running arms the second they need to see it."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(BnlabError):  # it has just ended, or the server has; or an arm takes longer than that
            if client.cancel_sweep(id)["status"] not in FINISHED:
                client.wait_for_sweep(id, CANCEL_POLL_INTERVAL_S, CANCEL_PATIENCE_S)
        raise


def check_writable(report: Path) -> None:
    """Refuse a file that could not be written at the end, before many minutes of training. Raises CannotWrite."""
    folder = report.absolute().parent
    if not folder.is_dir():
        raise CannotWrite(file=report, reason=f"there is no folder {folder}")
    if report.is_dir() or not os.access(report if report.exists() else folder, os.W_OK):
        raise CannotWrite(file=report, reason="it is a folder" if report.is_dir() else "that is not permitted")


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)
