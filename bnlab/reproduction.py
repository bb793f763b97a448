"""The lesson as a sweep ran it again: its rows, whether they can be compared with the lesson, and how long it took."""

from collections.abc import Iterable
from dataclasses import dataclass

from bnlab.figures import Json, axes, duration, extent, four_places, listed, mean, one_or_more, seconds_between
from bnlab.published import Figure, published, published_speed
from bnlab.tables import ARMS

LESSON_DATASET = "mnist"


@dataclass(frozen=True)
class Row:
    """One experiment of the sweep, with its preset as `GET /presets` describes it."""

    name: str
    preset: Json
    experiment: Json

    @property
    def succeeded(self) -> bool:
        """Whether there is something to compare."""
        return bool(self.experiment["status"] == "succeeded")

    @property
    def statistics(self) -> str:
        """The statistics whose use an inference run of the lesson shows."""
        return str(self.preset["published"]["inference"]["statistics"])


class Reproduction:
    """A sweep over presets that has ended."""

    def __init__(self, sweep: Json, presets: Iterable[Json]) -> None:
        self.sweep = sweep
        by_name = {preset["name"]: preset for preset in presets}
        self.rows = [
            Row(axes(row["values"]), by_name[row["experiment"]["preset"]["name"]], row["experiment"])
            for row in sweep["experiments"]
        ]
        self.comparisons = [row for row in self.rows if row.preset["kind"] != "inference"]
        self.inferences = [row for row in self.rows if row.preset["kind"] == "inference"]

    @property
    def succeeded(self) -> bool:
        """Whether every experiment did."""
        return all(row.succeeded for row in self.rows)

    @property
    def compared(self) -> bool:
        """Whether the lesson published figures for any of these."""
        return any(published(row.experiment) for row in self.rows)

    def replicates(self) -> int:
        """Return how often each setting was trained."""
        return max((row.experiment["spec"]["replicates"] for row in self.rows), default=1)

    def columns(self) -> list[str]:
        """Return the names of a figure's columns: only those that have something to say."""
        spread = ["min … max"] if self.replicates() > 1 else []
        return ["lesson", "here", *spread, "difference"] if self.compared else ["here", *spread]

    def cells(self, row: Row, figure: Figure) -> list[str]:
        """Return a figure in these columns; the status stands in the place of what did not come out."""
        here = row.experiment["status"] if figure.reproduced is None and not row.succeeded else mean(figure.reproduced)
        spread = [extent(figure.reproduced)] if self.replicates() > 1 else []
        return [four_places(figure.published), here, *spread, figure.difference] if self.compared else [here, *spread]

    def why_not_compared(self) -> str | None:
        """Return why the lesson's figures do not stand beside all of these; None if they do."""
        if all(published(row.experiment) for row in self.rows):
            return None
        datasets = sorted({row.experiment["spec"]["dataset"] for row in self.rows} - {LESSON_DATASET})
        overridden = dict.fromkeys(name for row in self.rows for name in row.experiment["preset"]["overridden"])
        reasons = [f"are for the data set {LESSON_DATASET}, and this was {listed(datasets)}"] if datasets else []
        reasons += [f"are for its own settings, and here these differed: {listed(overridden)}"] if overridden else []
        return f"The lesson's figures {'; they '.join(reasons or ['do not cover all of these'])}."

    def training_time(self) -> str | None:
        """Return how long it took, and how long the lesson's own where all comparisons are its own."""
        seconds = seconds_between(self.sweep["started_at"], self.sweep["finished_at"])
        if not seconds:
            return None
        amount = f"{one_or_more(len(self.rows), 'experiment')}, {one_or_more(self.replicates(), 'replicate')} each"
        words = f"The training took {duration(seconds)} ({amount})."
        if not (self.comparisons and all(published(row.experiment) for row in self.comparisons)):
            return words
        lessons = lesson_seconds(self.comparisons)
        return (
            f"{words} By the batches per second it printed, the lesson's own {len(self.comparisons)} comparisons, one "
            f"run each on a GPU, took {duration(lessons)}: {lessons / seconds:.2f} times as long."
        )


def lesson_seconds(comparisons: Iterable[Row]) -> float:
    """Return how long the lesson trained, from the batches per second that it published for each arm."""
    seconds = 0.0
    for row in comparisons:
        for arm in ARMS:
            if speed := published_speed(row.experiment, arm):
                seconds += row.experiment["spec"]["training_batches"] / speed
    return seconds
