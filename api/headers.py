"""Headers of every answer: what keeps a browser from misusing it, and what its request has put aside for it.

Strict-Transport-Security is not among them: only the proxy that speaks TLS knows that it may be promised.
"""

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: No content of ours is to be taken for another kind, told of elsewhere, or embedded in another site's page.
ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]

#: An answer loads nothing and is shown in no frame; a page sets its own policy. And it is true for a moment only.
UNLESS_SET = [
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
]


def install(app: FastAPI) -> None:
    """Put the headers on every answer, also to an error nobody expected, which middleware of the application misses."""
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: SafeHeaders(build())  # type: ignore[method-assign]


#: Where headers wait in a request's state until its answer begins, whatever that will be.
ASIDE = "headers"


class SafeHeaders:
    """The application with these headers on its answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        state = scope.setdefault("state", {})

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                names = {name for name, _ in headers}
                unset = (each for each in UNLESS_SET if each[0] not in names)
                message["headers"] = [*headers, *ALWAYS, *unset, *state.get(ASIDE, ())]
            await send(message)

        await self._app(scope, receive, send_with_headers)
