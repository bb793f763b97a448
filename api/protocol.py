"""Speaks HTTP with clients that may be slow or hostile: each has so many seconds and bytes, and then it is cut.

uvicorn itself bounds only the time between two requests. Here a client has `header_timeout_s` for the head of a
request, from the connection's beginning or the head's first byte, `body_timeout_s` for its body, and as long for each
part of an answer. One timer per connection looks about once a second, so that a request costs none.
"""

import asyncio
from functools import partial
from typing import Any, Literal, cast

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from api.errors import phrase, problem
from api.headers import ALWAYS
from models.settings import Settings

#: The line of the request and its headers; also what may come between two pieces of a body.
MOST_HEAD_BYTES = 32_768

#: Requests that a client has sent ahead of the answer it waits for.
MOST_AHEAD = 16

LOOK_INTERVAL_S = 1.0

DETAILS = {
    400: "This is not a request of HTTP/1.1.",
    408: "The request did not arrive in time.",
    431: f"The head of the request is larger than {MOST_HEAD_BYTES} bytes.",
}


class Refused(Exception):
    """The parser is told so; whoever feeds it answers."""


def patient(settings: Settings) -> type[asyncio.Protocol]:
    """Return what uvicorn makes of each connection."""
    made = partial(Patient, header_timeout_s=settings.header_timeout_s, body_timeout_s=settings.body_timeout_s)
    return cast(type[asyncio.Protocol], made)


class Patient(HttpToolsProtocol):
    """One connection: what its client owes us, since when, and how many bytes it has sent towards it."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        header_timeout_s: float,
        body_timeout_s: float,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._patience_s = {"head": header_timeout_s, "body": body_timeout_s}
        self._interval_s = min(LOOK_INTERVAL_S, header_timeout_s / 4, body_timeout_s / 4)
        self._owes: Literal["head", "body"] | None = "head"
        self._since = self.loop.time()
        self._unseen_bytes = 0  # since the head's beginning, or the last piece of the body
        self._untaken_since: float | None = None
        self._refusal = 400
        self._next_look: asyncio.TimerHandle | None = None
        self._answered: RequestResponseCycle | None = None  # `cycle` is the newest: this one's answer may come before

    # ------------------------------------------------------------------------------------- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to look after it."""
        super().connection_made(transport)
        self._next_look = self.loop.call_later(self._interval_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """End to look after it."""
        if self._next_look:
            self._next_look.cancel()
        self._give_up()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the methods below; refuse what it cannot read, and what has no end."""
        if self._owes is None:  # empty lines before a request begin no message, and would keep the connection
            self._begin("head")
        self._unset_keepalive_if_required()
        self._unseen_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade:  # answered as if it had not asked; what follows is not HTTP/1.1
            self.cycle.keep_alive = False
        except HttpParserError:
            self._refuse(self._refusal)
        else:
            if self._unseen_bytes > MOST_HEAD_BYTES:
                self._refuse(431)

    def resume_writing(self) -> None:
        """Note that the client has taken a part of its answer."""
        self._untaken_since = None
        super().resume_writing()

    # ----------------------------------------------------------------------------------------- the parser

    def on_message_begin(self) -> None:
        """Expect a head."""
        super().on_message_begin()
        self._begin("head")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those behind a body are dropped."""
        if self._owes == "head":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer, and expect a body."""
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MOST_HEAD_BYTES:
            self._refusal = 431
            raise Refused
        if len(self.pipeline) >= MOST_AHEAD:
            raise Refused
        super().on_headers_complete()
        self._unseen_bytes = 0
        self._begin("body")

    def on_body(self, body: bytes) -> None:
        """Hand a piece on."""
        self._unseen_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect nothing more."""
        self._owes = None
        self._unseen_bytes = 0
        super().on_message_complete()

    # ------------------------------------------------------------------------------------------- patience

    def _begin(self, what: Literal["head", "body"]) -> None:
        self._owes, self._since = what, self.loop.time()

    def _look(self) -> None:
        """Cut a client that has used up its time; one that waits for us has all the time there is."""
        now = self.loop.time()
        self._next_look = self.loop.call_later(self._interval_s, self._look)
        if self.transport.is_closing() or self.flow.write_paused:
            self._untaken_since = self._untaken_since or now
            if now - self._untaken_since >= self._patience_s["body"]:
                self._give_up()
                self.transport.abort()
        elif self._owes is not None and (self.flow.read_paused or (self._owes == "head" and self._answering())):
            self._since = now
        elif self._owes is not None and now - self._since >= self._patience_s[self._owes]:
            self._refuse(408)

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, status: int) -> None:
        """Answer, where an answer would not be taken for another request's, and close the connection."""
        if self.transport.is_closing():
            return
        if self._owes == "head":
            answerable = self._unseen_bytes > 0 and not self._answering()
        else:
            answerable = self._answering() and not self.cycle.response_started and not self.pipeline
        if answerable:
            self.transport.write(self._answer(status))
        self._give_up()
        self.transport.close()

    def _give_up(self) -> None:
        """Let nobody speak to a client that is not there, or is not to be."""
        self.pipeline.clear()
        for cycle in (self._answered, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def _answer(self, status: int) -> bytes:
        code = phrase(status).lower().replace(" ", "_")
        answer = problem(status, code, DETAILS[status])
        headers = [*self.server_state.default_headers, *answer.raw_headers, *ALWAYS, (b"connection", b"close")]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        return STATUS_LINE[status] + lines + b"\r\n" + bytes(answer.body)
