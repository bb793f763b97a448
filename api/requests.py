"""Every request has an id: its answer has it, each line of the logs, its span, and what it makes.

It is the caller's own `X-Request-ID` where that is a fit one, else it is drawn.
"""

import os
import re
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import Scope

from models.experiments import Origin

REQUEST_ID = "X-Request-ID"
_NAME = REQUEST_ID.lower().encode()
_FIT = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def id_of(scope: Scope) -> str:
    """Return the id that a request brings, or a new one."""
    for name, value in scope["headers"]:
        if name == _NAME and _FIT.fullmatch(value):
            id: str = value.decode()
            return id
    return os.urandom(16).hex()


def id_header(request_id: str) -> tuple[bytes, bytes]:
    """Return the header that tells a request's id."""
    return _NAME, request_id.encode()


async def _origin(request: Request) -> Origin:  # async so as not to change threads
    return Origin(request.state.request_id, request.app.state.tracer.traceparent())


OriginDep = Annotated[Origin, Depends(_origin)]
