"""Which error is which status, and the one shape of all of them: application/problem+json (RFC 9457)."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

from models.errors import (
    BnlabError,
    Conflict,
    FieldError,
    InvalidInput,
    KeyNeeded,
    NotFound,
    RequestForbidden,
    ScopeTooSmall,
    TooMuch,
    Unavailable,
)
from models.validation import field_errors

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5
QUEUE_RETRY_AFTER_S = 30
SHOWN_CHARACTERS = 120
SHOWN_ERRORS = 20

#: RFC 9110's names where Python's differ from one version to the next; titles and codes are made of them.
PHRASES = {413: "Content Too Large", 422: "Unprocessable Content"}

#: When to try again.
RETRY_AFTER: dict[int, int] = {
    HTTPStatus.SERVICE_UNAVAILABLE: RETRY_AFTER_S,
    HTTPStatus.TOO_MANY_REQUESTS: QUEUE_RETRY_AFTER_S,
}

#: The first class that fits decides.
STATUS: tuple[tuple[type[BnlabError], HTTPStatus], ...] = (
    (InvalidInput, HTTPStatus.UNPROCESSABLE_ENTITY),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Conflict, HTTPStatus.CONFLICT),
    (KeyNeeded, HTTPStatus.UNAUTHORIZED),
    (ScopeTooSmall, HTTPStatus.FORBIDDEN),
    (RequestForbidden, HTTPStatus.FORBIDDEN),
    (TooMuch, HTTPStatus.TOO_MANY_REQUESTS),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="The field, with dots into objects and lists; empty: the whole body.")
    allowed: str = Field(description="What would have been right.")
    received: Any = Field(description="What came, shortened; null where there is nothing to show.")


class Problem(BaseModel):
    """An error of this API; some carry further members, such as `diverged_at`."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "urn:bnlab:problem:invalid_input",
                "title": PHRASES[422],
                "status": 422,
                "detail": "The request is not valid.",
                "code": "invalid_input",
                "errors": [{"field": "learning_rate", "allowed": "greater than 0", "received": -1}],
            }
        },
    )

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldProblem]


def phrase(status: int) -> str:
    """Return the name of a status."""
    return PHRASES.get(status) or HTTPStatus(status).phrase


def response(status: int) -> dict[str, Any]:
    """Return the OpenAPI entry of an error with this status."""
    return {
        "description": phrase(status),
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of a route's errors."""
    return {status: response(status) for status in statuses}


def problem(
    status: int, code: str, detail: str, errors: Sequence[FieldError] = (), details: Mapping[str, Any] | None = None
) -> JSONResponse:
    """Return the answer for an error; of very many field errors, the first ones. `details` are further members."""
    fields = [
        {"field": readable(error.field), "allowed": error.allowed, "received": readable(error.received)}
        for error in errors[:SHOWN_ERRORS]
    ]
    if len(errors) > SHOWN_ERRORS:
        detail += f" These are the first {SHOWN_ERRORS} of {len(errors)} errors."
    headers = {"Retry-After": str(RETRY_AFTER[status])} if status in RETRY_AFTER else None
    body = {
        **(details or {}),
        "type": f"urn:bnlab:problem:{code}",
        "title": phrase(status),
        "status": status,
        "detail": detail,
        "code": code,
        "errors": fields,
    }
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def unexpected() -> JSONResponse:
    """Return the answer for what nobody expected."""
    return problem(500, "internal_error", "Something went wrong; the service's log has the details.")


def readable(value: Any) -> Any:
    """Return a received value as short JSON: no NaN, no endless text, no deep lists."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    text = value[: SHOWN_CHARACTERS + 1] if isinstance(value, str) else _beginning(value)
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def _beginning(value: Any) -> str:
    """Return a little more of a value's JSON than is shown; to write all of it may take long."""
    text = ""
    for piece in json.JSONEncoder(default=str, ensure_ascii=False).iterencode(value):
        text += piece[: SHOWN_CHARACTERS + 1]
        if len(text) > SHOWN_CHARACTERS:
            break
    return text


async def answer(request: Request, error: Exception) -> Response | None:
    """Return the answer to an error for who stands outside the framework's layers; None: nobody expected it."""
    handlers = request.app.exception_handlers
    kind = next(kind for kind in type(error).__mro__ if kind in handlers)
    if kind is Exception:
        return None
    told: Response = await handlers[kind](request, error)
    return told


def install(app: FastAPI) -> None:
    """Teach the application the one shape of its errors."""
    app.exception_handler(Exception)(_unexpected)
    app.exception_handler(BnlabError)(_ours)
    app.exception_handler(RequestValidationError)(_parameters)
    app.exception_handler(ValidationError)(_stored)
    app.exception_handler(HTTPException)(_http)
    for kind in (OperationalError, InterfaceError, ProgrammingError, PoolTimeout):  # the third: its tables are missing
        app.exception_handler(kind)(_database)
    _document(app)


# All are async: for one that is not, the answer would wait for a thread, and they may all be busy.


async def _ours(_request: Request, error: BnlabError) -> JSONResponse:
    status = next((status for kind, status in STATUS if isinstance(error, kind)), None)
    if status is None:
        log.error("%s", error.message, exc_info=error, extra={"action": "answer_500"})
        return problem(500, error.code, error.message)
    fields = error.errors if isinstance(error, InvalidInput) else []
    answer = problem(status, error.code, error.message, fields, error.details)
    if isinstance(error, KeyNeeded):
        answer.headers["WWW-Authenticate"] = "Bearer"
    if "retry_after_s" in error.details:  # where it is known, and not only guessed
        answer.headers["Retry-After"] = str(error.details["retry_after_s"])
    return answer


async def _parameters(_request: Request, error: RequestValidationError) -> JSONResponse:
    # the first part of a place is `query` or `path`: the parameter's name says enough
    return problem(422, InvalidInput.code, "The request is not valid.", field_errors(error.errors(), skip=1))


async def _stored(_request: Request, error: ValidationError) -> JSONResponse:
    log.error("Stored data does not validate.", exc_info=error, extra={"action": "answer_500"})
    return problem(500, "internal_error", "Something stored cannot be read; the service's log has the details.")


async def _unexpected(_request: Request, _error: Exception) -> JSONResponse:
    return unexpected()  # the framework raises the error again once this is sent, and `api.door` logs it


async def _http(request: Request, error: HTTPException) -> JSONResponse:
    name = phrase(error.status_code)
    answer = problem(error.status_code, name.lower().replace(" ", "_"), error.detail or name)
    answer.headers.update(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        answer.headers["Allow"] = ", ".join(_methods(request))
    return answer


async def _database(_request: Request, error: Exception) -> JSONResponse:
    log.error("The database does not answer.", exc_info=error, extra={"action": "answer_503"})
    return problem(503, "database_unavailable", "The database does not answer; try again in a moment.")


def _methods(request: Request) -> list[str]:
    """Return what the path can be asked with, by all of its routes."""
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]


def _document(app: FastAPI) -> None:
    """Put the shape of errors into the OpenAPI document: FastAPI itself would call it application/json."""
    generate = app.openapi

    def _with_problem() -> dict[str, Any]:
        document = generate()
        shape = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        document["components"]["schemas"] |= {**shape.pop("$defs"), "Problem": shape}
        return document

    app.openapi = _with_problem  # type: ignore[method-assign]
