"""Reads a request's body once, within its limit, and says which kind of content it is."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from models.errors import FieldError, InvalidInput
from models.settings import Settings
from models.validation import field_errors

Model = TypeVar("Model", bound=BaseModel)

JSON = "application/json"

#: To list a million errors, and show twenty, would take a gigabyte and many seconds.
MOST_ERRORS = 100_000


async def read_body(request: Request, most_bytes: int | None = None) -> bytes:
    """Return the body; 413 as soon as it is known to be larger than the limit, declared or chunked."""
    settings: Settings = request.app.state.settings
    limit = most_bytes or settings.max_body_bytes
    too_large = HTTPException(413, f"The body is larger than {limit} bytes.")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and float(declared) > limit:  # int() refuses thousands of digits
        raise too_large
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                raise too_large
    except ClientDisconnect:  # nobody hears this answer, and nothing is wrong here
        raise HTTPException(400, "The connection ended before the body did.") from None
    return bytes(body)


def content_type(request: Request, allowed: tuple[str, ...]) -> str:
    """Return the body's media type, JSON if it names none; 415 if it is not an allowed one, or compressed."""
    named = request.headers.get("content-type", "").partition(";")[0].strip().lower() or JSON
    if named not in allowed:
        raise HTTPException(
            415,
            f"A body of Content-Type {named[:80]} is not taken here; send the header "
            f"`Content-Type: {'` or `Content-Type: '.join(allowed)}` (curl: -H 'Content-Type: {allowed[0]}').",
        )
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise HTTPException(
            415,
            f"A body of Content-Encoding {encoding[:80]} is not taken here; send it uncompressed.",
            {"Accept-Encoding": "identity"},
        )
    return named


def parse(model: type[Model], body: bytes) -> Model:
    """Return the body as a strict model; an empty body is an empty object. Raises InvalidInput."""
    try:
        return model.model_validate_json(body or b"{}", strict=True)
    except ValidationError as error:
        if error.error_count() > MOST_ERRORS:
            received = f"{error.error_count()} errors"
            raise InvalidInput([FieldError("", f"at most {MOST_ERRORS} errors to be told of", received)]) from None
        raise InvalidInput(field_errors(error.errors(include_url=False))) from None


def json_body(model: type[Model]) -> Callable[[Request], Coroutine[Any, Any, Model]]:
    """Return the dependency that reads a JSON body as a strict model."""

    async def read(request: Request) -> Model:
        content_type(request, (JSON,))
        return parse(model, await read_body(request))

    return read


def documented(schema: type[BaseModel], examples: dict[str, Any], **others: Any) -> dict[str, Any]:
    """Return the OpenAPI request body of a route that reads it itself."""
    whole = schema.model_json_schema()
    content = {JSON: {"schema": _inlined(whole, whole.pop("$defs", {})), "examples": examples}, **others}
    return {"requestBody": {"required": False, "content": content}}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """Return a schema without references: inside an OpenAPI document they would point nowhere."""
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].removeprefix("#/$defs/")], **schema}
    return {key: _inlined(part, definitions) for key, part in schema.items() if key != "$ref"}
