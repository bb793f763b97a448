"""A watched experiment shown while it trains: live in a terminal, in lines elsewhere, as JSON for scripts."""

import json
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Protocol, Self

import typer
from rich.console import Console, Group
from rich.live import Live

from bnlab.figures import four_places
from bnlab.progress import ArmBars, waits_in_vain
from bnlab.stream import Event
from bnlab.tables import ARMS
from bnlab.terminal_curve import HEIGHT, draw
from bnlab.watched import Watched

#: The curve is drawn again after so many seconds at the earliest.
DRAWN_EVERY_S = 0.25

#: Beside the curve: its key and the empty line above it, a bar for each arm, a sentence, and where the cursor stands.
LINES_BESIDE_THE_CURVE = 6
LEAST_HEIGHT = 8


class Display(Protocol):
    """What shows each event once it has been taken."""

    def show(self, event: Event, watched: Watched) -> None:
        """Show what the event changed."""


def display(as_json: bool) -> AbstractContextManager[Display]:
    """Return what shows the events: JSON on standard output, all else on standard error."""
    if as_json:
        return nullcontext(JsonLines())
    console = Console(stderr=True)
    in_a_terminal = sys.stderr.isatty() and console.is_interactive
    return LiveCurve(console) if in_a_terminal else nullcontext(Lines())


class JsonLines:
    """Each event as a line of JSON, at once."""

    def show(self, event: Event, watched: Watched) -> None:
        """Print the event."""
        typer.echo(json.dumps({"event": event.name, "id": event.id, "data": event.data}))


class Lines:
    """A line for an arm when its status changes, and after each tenth of its batches."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, int]] = {}
        self._vain: str | None = None

    def show(self, event: Event, watched: Watched) -> None:
        """Print a line for each arm of which there is something to tell."""
        if watched.experiment is None or event.name == "points":  # they wait for the line that tells how far it is
            return
        vain = waits_in_vain([watched.experiment])
        if vain not in (None, self._vain):
            typer.echo(f"Waits for {vain}.", err=True)
        self._vain = vain
        total = watched.experiment["spec"]["training_batches"]
        for name in ARMS:
            arm = watched.experiment["arms"][name]
            state = (arm["status"], 10 * arm["batches_done"] // total)
            if state != self._told.get(name):
                typer.echo(f"{name}: {_line(arm, total, watched.accuracy(name))}", err=True)
            self._told[name] = state


class LiveCurve:
    """Both curves as they grow above a bar for each arm, as long as the `with` block lasts; then they stay."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = ArmBars(console)
        self._live = Live(console=console)
        self._watched = Watched()
        self._drawn_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live.is_started:
            self._draw()
            self._live.stop()

    def show(self, event: Event, watched: Watched) -> None:
        """Bring the bars to where the experiment is, and the curves if they were not drawn just now."""
        if watched.experiment is None:
            return
        self._watched = watched
        if not self._live.is_started:  # not before: an experiment that is not there leaves nothing on the screen
            self._live.start()
        self._bars.show(watched.experiment, {arm: watched.accuracy(arm) for arm in ARMS})
        if time.monotonic() - self._drawn_at >= DRAWN_EVERY_S:
            self._draw()

    def _draw(self) -> None:
        """Draw the curves as high as the terminal leaves room for; in a very low one, only the bars."""
        width, height = self._console.width, min(HEIGHT, self._console.height - LINES_BESIDE_THE_CURVE)
        curve = [draw(self._watched.curve(), width, height)] if height >= LEAST_HEIGHT else []
        self._live.update(Group(*curve, self._bars), refresh=True)
        self._drawn_at = time.monotonic()


def _line(arm: dict[str, Any], total: int, accuracy: float | None) -> str:
    speed = f", {arm['batches_per_second']:,.0f} batches/s" if arm["batches_per_second"] else ""
    newest = "" if accuracy is None else f", accuracy {four_places(accuracy)}"
    return f"{arm['status']}, {arm['batches_done']:,} of {total:,} batches{speed}{newest}"
