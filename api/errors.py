"""Which error is which status, and the one shape of all of them: application/problem+json (RFC 9457)."""

import logging
import math
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from models.errors import (
    BnlabError,
    Conflict,
    FieldError,
    InvalidInput,
    NotFound,
    Unavailable,
)

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5
SHOWN_CHARACTERS = 120

#: The first class that fits decides.
STATUS: tuple[tuple[type[BnlabError], HTTPStatus], ...] = (
    (InvalidInput, HTTPStatus.UNPROCESSABLE_ENTITY),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Conflict, HTTPStatus.CONFLICT),
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
                "title": "Unprocessable Entity",
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


def response(status: int) -> dict[str, Any]:
    """Return the OpenAPI entry of an error with this status."""
    return {
        "description": HTTPStatus(status).phrase,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of a route's errors."""
    return {status: {**response(status), "model": Problem} for status in statuses}


def problem(status: int, code: str, detail: str, errors: Iterable[FieldError] = (), **details: Any) -> JSONResponse:
    """Return the answer for an error."""
    fields = [
        {"field": error.field, "allowed": error.allowed, "received": readable(error.received)} for error in errors
    ]
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    body = {
        "type": f"urn:bnlab:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "errors": fields,
        **details,
    }
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def field_errors(details: Iterable[Mapping[str, Any]], skip: int = 0) -> list[FieldError]:
    """Return pydantic's complaints as ours, without the first `skip` parts of their place."""
    found = []
    for detail in details:
        context = detail.get("ctx", {})
        if detail["type"] == "out_of_bounds":  # a rule between fields, see models/spec.py
            found.append(FieldError(context["field"], context["allowed"], context["received"]))
            continue
        path = ".".join(str(part) for part in detail["loc"][skip:])
        allowed = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        received = detail["input"]
        if detail["type"] == "extra_forbidden":
            allowed = "no field of this name"
        elif detail["type"] == "json_invalid":
            allowed, received = f"a JSON object ({allowed})", None
        elif detail["type"] == "missing":
            allowed, received = "a value: this field is required", None
        found.append(FieldError(path, allowed, received))
    return found


def readable(value: Any) -> Any:
    """Return a received value as short JSON: no NaN, no endless text, no deep lists."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    text = value if isinstance(value, str) else str(value)
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def install(app: FastAPI) -> None:
    """Teach the application the one shape of its errors."""

    @app.exception_handler(BnlabError)
    def _ours(_request: Request, error: BnlabError) -> JSONResponse:
        status = next((status for kind, status in STATUS if isinstance(error, kind)), None)
        if status is None:
            log.error("%s", error.message, exc_info=error, extra={"action": "answer_500"})
            return problem(500, error.code, error.message)
        fields = error.errors if isinstance(error, InvalidInput) else []
        return problem(status, error.code, error.message, fields, **error.details)

    @app.exception_handler(RequestValidationError)
    def _parameters(_request: Request, error: RequestValidationError) -> JSONResponse:
        # the first part of a place is `query` or `path`: the parameter's name says enough
        return problem(422, InvalidInput.code, "The request is not valid.", field_errors(error.errors(), skip=1))

    @app.exception_handler(ValidationError)
    def _stored(_request: Request, error: ValidationError) -> JSONResponse:
        log.error("Stored data does not validate.", exc_info=error, extra={"action": "answer_500"})
        return problem(500, "internal_error", "Something stored cannot be read; the service's log has the details.")

    @app.exception_handler(HTTPException)
    def _http(_request: Request, error: HTTPException) -> JSONResponse:
        phrase = HTTPStatus(error.status_code).phrase
        answer = problem(error.status_code, phrase.lower().replace(" ", "_"), error.detail or phrase)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(OperationalError)
    @app.exception_handler(PoolTimeout)
    def _database(_request: Request, error: Exception) -> JSONResponse:
        log.error("The database does not answer.", exc_info=error, extra={"action": "answer_503"})
        return problem(503, "database_unavailable", "The database does not answer; try again in a moment.")

    @app.exception_handler(Exception)
    def _unexpected(_request: Request, _error: Exception) -> JSONResponse:
        return problem(500, "internal_error", "Something went wrong; the service's log has the details.")
