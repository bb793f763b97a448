"""What is known of a watched experiment, event by event: how it stands, and the curve of each arm so far."""

from typing import Any, NamedTuple

from bnlab.stream import Event
from bnlab.tables import ARMS

Json = dict[str, Any]

SPREAD = ("mean", "min", "max", "std")


class Point(NamedTuple):
    """The validation accuracy at one step: its spread over the replicates, and that of each of them."""

    spread: tuple[float, ...]
    replicates: tuple[float, ...]


class Watched:
    """An experiment as its events tell it.

    `experiment` is what `Client.experiment` would return, None before the first event.
    """

    def __init__(self) -> None:
        self.experiment: Json | None = None
        self._points: dict[str, dict[int, Point]] = {arm: {} for arm in ARMS}

    def take(self, event: Event) -> None:
        """Learn from an event; one of an unknown name says nothing."""
        if event.name == "experiment":
            self.experiment = event.data
        elif event.name == "points":
            self._take_points(event.data)
        elif event.name in ("progress", "end") and self.experiment is not None:
            arms = event.data.get("arms", {})
            known = {arm: {**members, **arms.get(arm, {})} for arm, members in self.experiment["arms"].items()}
            self.experiment = {**self.experiment, **event.data, "arms": known}

    def curve(self) -> Json:
        """Return the curve so far, in the shape of `Client.curve`: a number for each step, steps ascending."""
        return {
            "experiment_id": self.experiment and self.experiment["id"],
            "metric": "validation_accuracy",
            "arms": {arm: _columns(points) for arm, points in self._points.items()},
        }

    def accuracy(self, arm: str) -> float | None:
        """Return an arm's newest validation accuracy, the mean over its replicates; None while there is none."""
        final = self.experiment and self.experiment["arms"][arm]["final_validation_accuracy"]
        if final:
            return float(final["mean"])
        points = self._points[arm]
        return points[max(points)].spread[SPREAD.index("mean")] if points else None

    def _take_points(self, data: Json) -> None:
        points = self._points.setdefault(data["arm"], {})
        if data["restarted"]:
            points.clear()
        spreads = zip(*(data[name] for name in SPREAD), strict=True)
        replicates = zip(*data["replicates"], strict=True)
        points.update(zip(data["steps"], map(Point, spreads, replicates), strict=True))


def _columns(points: dict[int, Point]) -> Json:
    steps = sorted(points)
    spreads = [[points[step].spread[column] for step in steps] for column in range(len(SPREAD))]
    replicates = zip(*(points[step].replicates for step in steps), strict=True)
    return {"steps": steps, **dict(zip(SPREAD, spreads, strict=True)), "replicates": [list(one) for one in replicates]}
