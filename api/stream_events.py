"""The events of a stream: what each is called, what it carries, and the id after which a reader goes on.

An id says how much of both curves its reader has: `1.501-1.451`, for each arm its generation and the step from which on
points are unknown; behind the last event stands `-end`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from fastapi.sse import ServerSentEvent
from pydantic import BaseModel, Field

from api.answers import ArmCurve, ExperimentAnswer, ProgressAnswer
from models.arms import Sample
from models.errors import FieldError, InvalidInput
from models.news import Known, News
from models.spec import FINISHED, ArmName, Status

#: How much of both curves somebody has.
Position = Mapping[ArmName, Known]

NOTHING: Position = {name: Known(generation=1, before=0) for name in ArmName}
END = "-end"
_ID = re.compile(r"(\d{1,9})\.(\d{1,9})-(\d{1,9})\.(\d{1,9})(-end)?")

#: A reader whose connection is cut comes back after so long.
RETRY_MS = 1_000


class PointsEvent(ArmCurve):
    """`points`: the further points of one arm. One may come twice: the later one counts."""

    arm: ArmName
    restarted: bool = Field(description="The arm has begun at batch 0 again: its earlier points are to be forgotten.")


class ArmProgress(BaseModel):
    """How far one arm is."""

    status: Status
    batches_done: int
    batches_per_second: float | None


class ProgressEvent(BaseModel):
    """`progress`: how far the experiment is."""

    status: Status
    progress: ProgressAnswer
    arms: dict[ArmName, ArmProgress]

    @classmethod
    def of(cls, experiment: ExperimentAnswer, news: News) -> "ProgressEvent":
        """Return how far an experiment is by what is new; its status is the one it had."""
        done = sum(arm.batches_done for arm in news.values())
        return cls(
            status=experiment.status,
            progress=ProgressAnswer.of(done, experiment.progress.batches_total),
            arms={name: ArmProgress(**{each: getattr(arm, each) for each in ArmProgress.model_fields})
                  for name, arm in news.items()},
        )  # fmt: skip


class EndEvent(BaseModel):
    """`end`: nothing more will come; the `experiment` before it has the results."""

    status: Status


#: What each event carries, by its name.
EVENTS: dict[str, type[BaseModel]] = {
    "experiment": ExperimentAnswer,
    "points": PointsEvent,
    "progress": ProgressEvent,
    "end": EndEvent,
}
Name = Literal["experiment", "points", "progress", "end"]


def event(name: Name, carries: BaseModel, position: Position) -> ServerSentEvent:
    """Return an event, written once however many are to get it; `position` is where its reader stands then."""
    id = encode(position) + (END if name == "end" else "")
    retry = RETRY_MS if name == "experiment" else None
    return ServerSentEvent(raw_data=carries.model_dump_json(), event=name, id=id, retry=retry)


def points(arm: ArmName, samples: Sequence[Sample], restarted: bool) -> PointsEvent:
    """Return further points of an arm; none, where it has only begun again."""
    replicates = len(samples[0].correct) if samples else 0
    return PointsEvent(**dict(ArmCurve.of(samples, replicates)), arm=arm, restarted=restarted)


def whole(experiment: ExperimentAnswer, news: News, position: Position, since: Position) -> list[ServerSentEvent]:
    """Return the events that bring a reader who stands at `since` to `position`, and to what the experiment is now."""
    told = [event("experiment", experiment, since)]
    reached = dict(since)
    for name, arm in news.items():
        restarted = arm.generation != since[name].generation and since[name].before > 0
        reached[name] = position[name]
        if arm.samples or restarted:
            told.append(event("points", points(name, arm.samples, restarted), reached))
    if experiment.status in FINISHED:
        told.append(event("end", EndEvent(status=experiment.status), position))
    return told


def encode(position: Position) -> str:
    """Return a position as text."""
    return "-".join(f"{position[name].generation}.{position[name].before}" for name in ArmName)


def decode(text: str | None) -> tuple[Position, bool]:
    """Return the position an id tells of, and whether nothing came after it. Raises InvalidInput."""
    if not text:
        return NOTHING, False
    found = _ID.fullmatch(text)
    if found is None:
        raise InvalidInput([FieldError("Last-Event-ID", "the id of an event of this stream", text)])
    *numbers, end = found.groups()
    generations, befores = map(int, numbers[::2]), map(int, numbers[1::2])
    return {name: Known(*each) for name, *each in zip(ArmName, generations, befores, strict=True)}, end is not None
