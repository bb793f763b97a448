"""An experiment's events as one stream: what breaks off is resumed behind the last event, until the experiment ends."""

import json
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import httpx
from httpx_sse import EventSource, SSEError

from bnlab.connection import Json, passes
from bnlab.errors import ApiProblem, ServerUnreachable, UnexpectedAnswer

#: A server gives a sign of life every 15 s; one that has been silent for so long is gone, whatever its connection says.
SILENCE_S = 45.0

#: The waits before a stream that broke off is resumed; the last one again and again.
RESUME_PAUSES_S = (0.5, 1.0, 2.0, 4.0)

#: How the server answers who resumes behind the last event of all.
NOTHING_MORE = 204

#: Opens the stream with some headers of the request.
OpenStream = Callable[[dict[bytes, bytes]], AbstractContextManager[httpx.Response]]


@dataclass(frozen=True, slots=True)
class Event:
    """Something the server tells of an experiment.

    `name` is `experiment`, `points`, `progress` or `end`, `data` what the server says of it, `id` its place in the
    stream.
    """

    name: str
    data: Json
    id: str


def resumed(open_stream: OpenStream, patience_s: float) -> Generator[Event, None, None]:
    """Yield the events up to `end`. A server that has answered before may be away for so many seconds.

    Raises ServerUnreachable, ApiProblem or UnexpectedAnswer: at once if the server never answered, or what it says
    will not pass; else when the patience is over.
    """
    tries, last_id = _Tries(patience_s), ""
    while True:
        try:
            with open_stream(_headers(last_id)) as response:
                if response.status_code == NOTHING_MORE:
                    return
                for event in tries.heard(_events(response)):
                    last_id = event.id or last_id
                    yield event
                    if event.name == "end":
                        return
                raise ServerUnreachable(url=response.url, reason="the stream of events broke off", reached=True)
        except (ServerUnreachable, ApiProblem) as error:
            pause_s = tries.pause_after(error)
        time.sleep(pause_s)


class _Tries:
    """How long to wait before the next try, and when it was the last one."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._heard_at: float | None = None
        self._in_vain = 0

    def heard(self, events: Iterator[Event]) -> Iterator[Event]:
        """Yield the events; the patience begins anew when they are over, however that comes about."""
        count = 0
        self._heard_at = time.monotonic() if self._heard_at is None else self._heard_at
        try:
            for count, event in enumerate(events, 1):
                if count > 1:  # each stream begins with one, also if the server cannot go on behind it
                    self._in_vain = 0
                yield event
        finally:
            if count:
                self._heard_at = time.monotonic()

    def pause_after(self, error: ServerUnreachable | ApiProblem) -> float:
        """Return the seconds to wait before the next try; raise the error if there is to be none."""
        now = time.monotonic()
        asked_s = error.retry_after_s if isinstance(error, ApiProblem) else None
        if asked_s is not None and self._heard_at is None:
            self._heard_at = now  # a server that says when is there
        left_s = 0.0 if self._heard_at is None else self._heard_at + self._patience_s - now
        if not passes(error) or left_s <= 0 or (asked_s or 0) > left_s:
            raise error
        own_s = RESUME_PAUSES_S[min(self._in_vain, len(RESUME_PAUSES_S) - 1)]
        self._in_vain += 1
        return min(max(own_s, asked_s or 0), left_s)


def _headers(last_id: str) -> dict[bytes, bytes]:
    headers = {b"Accept": b"text/event-stream", b"Cache-Control": b"no-store"}
    return {**headers, b"Last-Event-ID": last_id.encode()} if last_id else headers


def _events(response: httpx.Response) -> Iterator[Event]:
    try:
        for one in EventSource(response).iter_sse():
            if one.data:  # behind a comment the library gives an event without data, where the standard has none
                yield Event(one.event, _object(one.data, response), one.id)
    except SSEError as error:
        raise UnexpectedAnswer(url=response.url, reason="it gave no stream of events") from error


def _object(data: str, response: httpx.Response) -> Json:
    try:
        content = json.loads(data)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UnexpectedAnswer(url=response.url, reason="it gave an event without a JSON object")
    return content
