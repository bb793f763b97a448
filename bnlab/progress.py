"""A progress bar for each arm of an experiment: batches done, batches per second, time left."""

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from bnlab.tables import ARMS


class ArmBars:
    """Two bars on standard error, as long as the `with` block lasts."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<18}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def show(self, experiment: dict[str, Any]) -> None:
        """Bring the bars to where the experiment is."""
        total = experiment["spec"]["training_batches"]
        for name in ARMS:
            arm = experiment["arms"][name]
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=total, note="")
            self._bars.update(self._tasks[name], completed=arm["batches_done"], note=note(arm, total))


def note(arm: dict[str, Any], total: int) -> str:
    """Return what stands behind a bar: the speed and the time left of a running arm, else its status."""
    speed = arm["batches_per_second"]
    if arm["status"] != "running" or not speed:
        return str(arm["status"]) if speed is None else f"{arm['status']}, {speed:,.0f} batches/s"
    minutes, seconds = divmod(round((total - arm["batches_done"]) / speed), 60)
    return f"{speed:,.0f} batches/s, {minutes}:{seconds:02} left"
