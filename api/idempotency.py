"""Requests that make something: done once for each Idempotency-Key, and answered the same, byte for byte, each time."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Request, Response
from pydantic import AfterValidator, BaseModel, WithJsonSchema
from sqlalchemy.orm import Session

from api.bodies import JSON
from models import idempotency
from models.database import Database
from models.errors import FieldError, InvalidInput
from models.spec import out_of_bounds

KEY, REPLAYED = "Idempotency-Key", "Idempotency-Replayed"
ALLOWED = "1 to 255 visible ASCII characters"
PATTERN = "[!-~]{1,255}"


def _check(key: str) -> str:
    if not re.fullmatch(PATTERN, key):
        raise out_of_bounds(KEY, ALLOWED, key)
    return key


_KeyHeader = Annotated[
    Annotated[str, AfterValidator(_check), WithJsonSchema({"type": "string", "pattern": f"^{PATTERN}$"})] | None,
    Header(
        alias=KEY,
        description=f"{ALLOWED}, such as a UUID, drawn anew for each request. Sent again with its key, within "
        f"{idempotency.KEPT_FOR.total_seconds() / 3600:.0f} hours, a request has no second effect: it gets the first "
        f"answer, and the header `{REPLAYED}: true`. Another request with the same key is refused (422, "
        "`idempotency_key_reused`). A request that was refused took no key.",
    ),
]


async def _only_key(request: Request, key: _KeyHeader = None) -> str | None:
    """Return the key of a request; of several, none would be the one that its sender means."""
    given = request.headers.getlist(KEY)
    if len(given) > 1:
        raise InvalidInput([FieldError(KEY, "one header of this name", ", ".join(given))])
    return key


KeyDep = Annotated[str | None, Depends(_only_key)]

#: The OpenAPI entry of what `Accepted.response` returns.
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "Accepted and committed.",
        "headers": {
            "Location": {
                "description": "Where it can be read.",
                "schema": {"type": "string", "format": "uri-reference"},
            },
            REPLAYED: {
                "description": f"Only there if this is the answer that an earlier request with the same {KEY} got.",
                "schema": {"type": "string", "const": "true"},
            },
        },
    }
}


class _Made(BaseModel):
    id: UUID


@dataclass(frozen=True)
class Accepted:
    """What a request made, below `path`, as it was answered when it was made."""

    path: str
    body: bytes
    replayed: bool

    @property
    def id(self) -> UUID:
        """Which one it is."""
        return _Made.model_validate_json(self.body).id

    def response(self) -> Response:
        """Return the answer."""
        headers = {"Location": f"{self.path}/{self.id}"}
        if self.replayed:
            headers[REPLAYED] = "true"
        return Response(self.body, 202, headers, JSON)


def accept(
    database: Database,
    path: str,
    asked: BaseModel,
    key: str | None,
    make: Callable[[Session], BaseModel],
    owner: UUID | None = None,
) -> Accepted:
    """Make what was POSTed to `path`, or recall the answer if its owner has made it with this key. Raises KeyReused.

    The key, what is made and the answer are committed together, or nothing is.
    """
    with database.write() as session:
        if key is not None:
            known = idempotency.answered(session, key, _sha256(path, asked), owner)
            if known is not None:
                return Accepted(path, known, replayed=True)
        body = make(session).model_dump_json().encode()
        if key is not None:
            idempotency.remember(session, key, body, owner)
        return Accepted(path, body, replayed=False)


def _sha256(path: str, asked: BaseModel) -> str:
    """Return what tells requests apart: where they were sent, and what was given, however it was written down."""
    # In the order of the model's fields; a grid keeps its own, which decides the order of the experiments.
    given = asked.model_dump_json(exclude_unset=True)
    return hashlib.sha256(f"POST {path}\n{given}".encode()).hexdigest()
