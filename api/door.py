"""The outermost layer of the application: a request gets its id here, and goes out counted and with its headers.

It is one layer, because each costs a request some microseconds, and stands around the framework's: the direct way
(`api/direct.py`) leads past those, not past this one. What nobody expected ends here too, where the id is known.
"""

import logging
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import headers, requests
from api.errors import unexpected
from api.metrics import Metrics
from api.routes import STREAMS, method_of, route_of
from models import logs
from models.tracing import Tracer

log = logging.getLogger(__name__)


class Door:
    """Lets requests in to an application, and its answers out."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer) -> None:
        self._app, self._metrics, self._tracer = app, metrics, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and answer 500 where it meets an error that nobody expected."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, state = time.perf_counter(), scope.setdefault("state", {})
        state["request_id"] = request_id = requests.id_of(scope)
        self._tracer.note({"bnlab.request_id": request_id})
        answer = _Answer(send, state)
        with logs.bound(request_id=request_id):
            try:
                await self._app(scope, receive, answer.send)
            except Exception:
                log.exception("A request met an error that nobody expected.", extra={"action": "answer_500"})
                if answer.status is None:
                    await unexpected()(scope, receive, answer.send)
            finally:
                route = route_of(scope)
                end = answer.begun if answer.status and route in STREAMS else time.perf_counter()
                self._metrics.answered(method_of(scope), route, answer.status or 500, end - begin)


class _Answer:
    """One answer on its way out: its status and when it began, once it has."""

    def __init__(self, send: Send, state: dict[str, Any]) -> None:
        self.status: int | None = None
        self.begun = 0.0
        self._send, self._state = send, state

    async def send(self, message: Message) -> None:
        """Send a part of it; the first one with the headers that all answers have."""
        if message["type"] == "http.response.start":
            self.status, self.begun = message["status"], time.perf_counter()
            own = (*message.get("headers", ()), requests.id_header(self._state["request_id"]))
            message["headers"] = headers.completed(own, self._state)
        await self._send(message)
