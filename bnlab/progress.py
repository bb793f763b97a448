"""Progress bars: one for each arm of an experiment, or one for each experiment of a sweep."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column

from bnlab.client import FINISHED
from bnlab.figures import four_places, listed, mean, one_or_more, word
from bnlab.tables import ARMS

Json = dict[str, Any]

LINES_BESIDE_THE_BARS = 2  # the sum of all, and where the cursor stands
LINES_WITHOUT_A_TERMINAL = 10_000

#: How the server says that there is somebody to wait for; of that no word is made.
FREE_WORKER = "a free worker"


class Bars:
    """Bars on standard error, as long as the `with` block lasts."""

    def __init__(self, name_width: int, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bars = Progress(
            TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(width=name_width, no_wrap=True, overflow="ellipsis"),
            ),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            MofNCompleteColumn(table_column=Column(no_wrap=True, justify="right")),
            TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True)),
            console=self._console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: str | None = None

    def __rich__(self) -> RenderableType:
        return self._bars.get_renderable()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def _say(self, experiments: Iterable[Json]) -> None:
        """Say above the bars what an experiment waits for in vain, once as long as it stays the same."""
        vain = waits_in_vain(experiments)
        if vain not in (self._said, None):
            self._console.print(f"Waits for {vain}.", highlight=False, markup=False)
        self._said = vain

    def _show(self, key: str, name: str, done: int, total: int, note: str, visible: bool = True) -> None:
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(name, total=total, note=note, visible=visible)
        self._bars.update(self._tasks[key], completed=done, note=note, visible=visible)


class ArmBars(Bars):
    """Two bars: batches done, batches per second, time left."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(name_width=18, console=console)

    def show(self, experiment: Json, accuracies: Mapping[str, float | None] | None = None) -> None:
        """Bring the bars to where the experiment is; each arm's accuracy stands before its note, if it is given."""
        self._say([experiment])
        total = experiment["spec"]["training_batches"]
        for name in ARMS:
            arm = experiment["arms"][name]
            accuracy = (accuracies or {}).get(name)
            words = note(arm, total) if accuracy is None else f"{four_places(accuracy)}, {note(arm, total)}"
            self._show(name, name, arm["batches_done"], total, words)


class SweepBars(Bars):
    """A bar for the sum of all experiments, and one for each, both arms together.

    Where the terminal has too few lines, they are those around the first experiment that has not ended.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(name_width=31, console=console)

    def show(self, sweep: Json) -> None:
        """Bring the bars to where the sweep is."""
        self._say(row["experiment"] for row in sweep["experiments"])
        rows, progress = sweep["experiments"], sweep["progress"]
        ended = [row["experiment"]["status"] in FINISHED for row in rows]
        words = f"{sum(ended)} of {one_or_more(len(rows), 'experiment')}"
        self._show("all", "all", progress["batches_done"], progress["batches_total"], words)
        window = visible_rows(ended, self._lines() - LINES_BESIDE_THE_BARS)
        for number, row in enumerate(rows):
            experiment = row["experiment"]
            done, total = experiment["progress"]["batches_done"], experiment["progress"]["batches_total"]
            name = listed(map(word, row["values"].values()))  # the axes' names are the same in each line
            self._show(str(number), name, done, total, outcome(experiment), number in window)

    def _lines(self) -> int:
        return self._console.height if self._console.is_terminal else LINES_WITHOUT_A_TERMINAL


def waits_in_vain(experiments: Iterable[Json]) -> str | None:
    """Return what the first of them waits for that nobody is there to give; None if none waits for such a thing."""
    sentences = (experiment["waits_for"] or FREE_WORKER for experiment in experiments)
    return next((sentence for sentence in sentences if not sentence.startswith(FREE_WORKER)), None)


def visible_rows(ended: list[bool], lines: int) -> range:
    """Return which rows fit the lines: from the first that has not ended, with some before it, to as many as fit."""
    lines = max(1, lines)
    first_open = ended.index(False) if False in ended else len(ended)
    start = max(0, min(first_open - lines // 3, len(ended) - lines))
    return range(start, min(start + lines, len(ended)))


def note(arm: Json, total: int) -> str:
    """Return what stands behind an arm's bar: the speed and the time left while it runs, else its status."""
    speed = arm["batches_per_second"]
    if arm["status"] != "running" or not speed:
        return str(arm["status"]) if speed is None else f"{arm['status']}, {speed:,.0f} batches/s"
    minutes, seconds = divmod(round((total - arm["batches_done"]) / speed), 60)
    return f"{speed:,.0f} batches/s, {minutes}:{seconds:02} left"


def outcome(experiment: Json) -> str:
    """Return what stands behind an experiment's bar: both final accuracies, while there are none, its status."""
    finals = [experiment["arms"][name]["final_validation_accuracy"] for name in ARMS]
    words = " ".join(map(mean, finals)) if experiment["status"] == "succeeded" else experiment["status"]
    replicates = experiment["spec"]["replicates"]
    return words if replicates == 1 else f"{words} ×{replicates}"
