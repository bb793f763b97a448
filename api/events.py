"""Route of events: what happens to an experiment, as it happens (server-sent events, WHATWG)."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.answers import ExperimentAnswer
from api.bodies import inlined
from api.callers import Callers, ReaderDep
from api.dependencies import DatabaseDep
from api.errors import responses
from api.feed import Feed, Told
from api.stream_events import EVENTS, Position, decode, whole
from api.waiting import heard_for
from models import experiments, news
from models.database import Database
from models.spec import FINISHED

router = APIRouter(prefix="/experiments", tags=["curves"])

#: So often a stream asks whether the key it was opened with is still valid; api/known_keys.py mostly knows.
CHECK_INTERVAL_S = 1.0


class NothingMore(Exception):
    """Who comes back after the last event is told so (204): a browser then stops to ask."""


@dataclass(frozen=True)
class Followed:
    """An experiment as one look found it, where its reader stood before, and what will be told from then on."""

    begin: list[ServerSentEvent]
    ended: bool
    further: asyncio.Queue[Told]


def install(app: FastAPI) -> None:
    """Teach the application its answer to who has heard everything."""

    @app.exception_handler(NothingMore)
    async def _nothing_more(_request: Request, _error: NothingMore) -> Response:
        return Response(status_code=204)


async def _followed(
    request: Request,
    experiment_id: UUID,
    caller: ReaderDep,
    database: DatabaseDep,
    last_event_id: Annotated[
        str | None, Header(description="The id of the last event that came: only what is new since then is sent.")
    ] = None,
) -> AsyncIterator[Followed]:
    """Watch the experiment as long as the stream is open: first what it is, then what changes."""
    since, heard_the_end = decode(last_event_id)
    feed: Feed = request.app.state.feed
    with feed.watch(experiment_id, caller.owner) as further:  # before the look, so that nothing is missed in between
        look = await to_thread.run_sync(_look, database, experiment_id, caller.sees, since)
        experiment, position, begin = look
        ended = experiment.status in FINISHED
        if ended and heard_the_end:
            raise NothingMore
        if not ended:
            feed.begin(experiment, position)
        yield Followed(begin, ended, further)


TOLD = (
    "First an `experiment`, as `GET /experiments/{experiment_id}` has it, and `points`, all that there are. Then "
    "further `points`, `progress`, and an `experiment` whenever an arm's status changes. After `end` nothing comes. "
    "Each event has an id: who sends it back as `Last-Event-ID` gets only what is new since. A comment every 15 "
    "seconds says that the connection lives."
)


def _documented() -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of the answers: each event's name, and the JSON that it carries."""
    kinds = []
    for name, model in EVENTS.items():
        known = model is ExperimentAnswer  # it stands in the document already
        carried = {"$ref": f"#/components/schemas/{model.__name__}"} if known else inlined(model)
        data = {"type": "string", "contentMediaType": "application/json", "contentSchema": carried}
        kinds.append({"properties": {"event": {"const": name}, "data": data}, "required": ["event", "data", "id"]})
    content = {"text/event-stream": {"itemSchema": {"oneOf": kinds}}}
    nothing_more = {"description": "The event that `Last-Event-ID` names was the last one."}
    return {200: {"description": TOLD, "content": content}, 204: nothing_more}


@router.get(
    "/{experiment_id}/events",
    response_class=EventSourceResponse,
    responses={**_documented(), **responses(404, 503)},
)
async def follow(request: Request, followed: Annotated[Followed, Depends(_followed)]) -> AsyncIterator[ServerSentEvent]:
    """Follow an experiment until it has ended, without asking again and again."""
    for told in followed.begin:
        yield told
    callers: Callers = request.app.state.callers
    check_at = time.monotonic() + CHECK_INTERVAL_S  # each at its own time: an event wakes all at once
    while not followed.ended:
        try:
            further = await asyncio.wait_for(followed.further.get(), check_at - time.monotonic())
        except TimeoutError:
            if not await callers.still_may(request):
                return
            check_at = time.monotonic() + CHECK_INTERVAL_S
        else:
            if further is None:
                return
            yield further


def _look(
    database: Database, experiment_id: UUID, owner: UUID | None, since: Position
) -> tuple[ExperimentAnswer, Position, list[ServerSentEvent]]:
    """Return the experiment, how much of it is known from now on, and the events that tell what was not known.

    They are written here, in a thread: a long curve of many replicates takes a second.
    """
    with database.read() as session:
        experiment = experiments.read(session, experiment_id, owner)
        answer = ExperimentAnswer.of(experiment, heard_for(session, [experiment]))
        arms = news.read(session, {experiment_id: since})[experiment_id]
    position = {name: arm.known_after(since[name]) for name, arm in arms.items()}
    return answer, position, whole(answer, arms, position, since)
