"""A way for the requests that come by the thousand: around the framework's layers, its matching and its dependencies.

It is a second way to an operation that an ordinary route documents, and takes only the plainest of its requests; all
others go on to that route. Its answers go out by the same door, its errors are answered by the same functions.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors
from api.bodies import JSON
from models.tracing import Tracer

Answer = Callable[[Request], Coroutine[Any, Any, bytes]]

JSON_HEADER = (b"content-type", JSON.encode())


class Direct:
    """Answers POST requests to one path with a JSON body, no query and no encoding; the application has all others.

    `answer` does what the route's dependencies would do too.
    """

    def __init__(self, app: ASGIApp, path: str, answer: Answer, tracer: Tracer) -> None:
        self.path = path
        self._app, self._answer, self._tracer = app, answer, tracer

    def takes(self, scope: Scope) -> bool:
        """Return whether the request is one of those."""
        if scope["type"] != "http" or scope["path"] != self.path or scope["method"] != "POST":
            return False
        return not scope["query_string"] and _is_plain_json(scope)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with JSON."""
        if not self.takes(scope):
            await self._app(scope, receive, send)
            return
        scope["route"] = self  # metrics call it by its path
        self._tracer.note({"http.route": self.path}, name=f"POST {self.path}")
        request = Request(scope, receive, send)
        try:
            body = await self._answer(request)
        except Exception as error:
            told = await errors.answer(request, error)
            if told is None:
                raise
            await told(scope, receive, send)
            error.__traceback__ = None  # its frames hold what came, and something may hold it
            return
        headers = [(b"content-length", b"%d" % len(body)), JSON_HEADER]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _is_plain_json(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"content-encoding":
            return False
        if name == b"content-type" and value.partition(b";")[0].strip().lower() not in (b"", JSON_HEADER[1]):
            return False
    return True
