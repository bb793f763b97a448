"""Every request has an id: its answer has it, each line of the logs, its span, and what it makes.

It is the caller's own `X-Request-ID` where that is a fit one, else it is drawn. What nobody expected ends here too:
the one place that knows the id writes the trace and answers 500.
"""

import logging
import os
import re
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import unexpected
from models import logs
from models.experiments import Origin
from models.tracing import Tracer

log = logging.getLogger(__name__)

REQUEST_ID = "X-Request-ID"
_NAME = REQUEST_ID.lower().encode()
_FIT = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RequestIds:
    """Middleware: gives each request its id."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app, self._tracer = app, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _id_of(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        self._tracer.note({"bnlab.request_id": request_id})
        begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", ()), (_NAME, request_id.encode())]
            await send(message)

        with logs.bound(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                log.exception("A request met an error that nobody expected.", extra={"action": "answer_500"})
                if not begun:
                    await unexpected()(scope, receive, send_with_id)


def _id_of(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == _NAME and _FIT.fullmatch(value):
            id: str = value.decode()
            return id
    return os.urandom(16).hex()


async def _origin(request: Request) -> Origin:  # async so as not to change threads
    return Origin(request.state.request_id, request.app.state.tracer.traceparent())


OriginDep = Annotated[Origin, Depends(_origin)]
