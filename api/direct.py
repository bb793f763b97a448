"""A route for the requests that come by the thousand: found first, and answered without FastAPI's machinery.

It is a second way to an operation that an ordinary route documents, and takes only the plainest of its requests; for
all others the ordinary one is found. Its answers go through the same middleware, its errors to the same handlers.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from api.bodies import JSON


class DirectRoute(BaseRoute):
    """Answers POST requests with a JSON body, no query and no encoding; `answer` does what dependencies would do."""

    def __init__(self, path: str, answer: Callable[[Request], Coroutine[Any, Any, bytes]]) -> None:
        self.path = self.path_format = path
        self._answer = answer
        self._found: Scope = {"route": self, "endpoint": answer}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the request is one of those."""
        if scope["type"] == "http" and scope["path"] == self.path and scope["method"] == "POST" and _is_plain(scope):
            return Match.FULL, self._found
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with JSON."""
        body = await self._answer(Request(scope, receive, send))
        headers = [(b"content-length", str(len(body)).encode()), (b"content-type", JSON.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _is_plain(scope: Scope) -> bool:
    if scope["query_string"]:
        return False
    for name, value in scope["headers"]:
        if name == b"content-encoding":
            return False
        if name == b"content-type" and value.partition(b";")[0].strip().lower() not in (b"", JSON.encode()):
            return False
    return True
