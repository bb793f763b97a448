"""Reads a request's body once, within its limit and what all bodies together may take, and says what is in it."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from pydantic import BaseModel, ValidationError

from api.errors import response
from api.headers import header
from models.errors import Busy, FieldError, InvalidInput
from models.settings import Settings
from models.validation import field_errors

Model = TypeVar("Model", bound=BaseModel)
Result = TypeVar("Result")

JSON = "application/json"

#: A body up to here is read in less time than a change of threads takes, and finds room when there is none for others.
SMALL_BODY_BYTES = 65_536

#: How a body that does not come to its end is answered.
UNFINISHED = (400, 408)

#: How long a body waits while others are made into objects.
PATIENCE_S = 5.0

#: More values than the largest sweep has, in a body of a megabyte: each becomes an object and perhaps an error.
MOST_VALUES = 50_000

#: To list tens of thousands of errors, and show twenty, would take much memory and a noticeable time.
MOST_ERRORS = 1_000


class Bodies:
    """The bodies that this process has received and not yet read: so many bytes; costly ones are read one at a time.

    The thread for them is always the same: memory that has been used for one body is used again for the next.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0
        self._reader = ThreadPoolExecutor(1, "bodies")

    def take(self, size: int, piece: int) -> None:
        """Count a further piece of a body that has come to this size. Raises Busy if there is no room for it.

        Half is kept for small bodies, so that a few large ones that stop half-way do not keep all others out.
        """
        room = self._most_bytes if size <= SMALL_BODY_BYTES else self._most_bytes // 2
        if self._held_bytes + piece > room:
            raise Busy
        self._held_bytes += piece

    def release(self, size: int) -> None:
        """Forget a body."""
        self._held_bytes -= size

    def close(self) -> None:
        """End the thread."""
        self._reader.shutdown(wait=False)

    async def read(self, body: bytearray, parse: Callable[[bytearray], Result]) -> Result:
        """Return what the body says: a large one in the thread, when its turn has come. Raises Busy."""
        return parse(body) if len(body) <= SMALL_BODY_BYTES else await self.read_aside(body, parse)

    async def read_aside(self, body: bytearray, parse: Callable[[bytearray], Result]) -> Result:
        """Return what a body of any size says, read in the thread when its turn has come. Raises Busy."""
        reading = self._reader.submit(copy_context().run, parse, body)
        waiting = asyncio.wrap_future(reading)
        try:
            await asyncio.wait({waiting}, timeout=PATIENCE_S)
        finally:
            if begun := not reading.cancel():  # then nobody may take the body away from under the thread
                await asyncio.wait({waiting})
        if not begun:
            raise Busy
        try:
            return waiting.result()
        finally:
            del reading, waiting  # an error would hold them, and they the error


class Received:
    """Holds the whole body; 413 as soon as it is known to be larger than the limit, declared or chunked; or Busy."""

    def __init__(self, request: Request, most_bytes: int | None = None) -> None:
        settings: Settings = request.app.state.settings
        self._bodies: Bodies = request.app.state.bodies
        self._request, self._limit = request, most_bytes or settings.max_body_bytes
        self._body = bytearray()

    async def __aenter__(self) -> bytearray:
        declared = header(self._request.scope, b"content-length") or b"0"
        if declared.isdigit() and float(declared) > self._limit:  # int() refuses thousands of digits
            raise self._too_large()
        try:
            while await self._take_piece():
                pass
        except BaseException:
            self._release()
            raise
        return self._body

    async def _take_piece(self) -> bool:
        """Take what has come, and return whether there is more."""
        message = await self._request.receive()
        if message["type"] == "http.disconnect":  # nobody hears this answer, and nothing is wrong here
            raise HTTPException(400, "The connection ended before the body did.")
        if piece := message.get("body", b""):
            size = len(self._body) + len(piece)
            if size > self._limit:
                raise self._too_large()
            self._bodies.take(size, len(piece))
            self._body += piece
        return bool(message.get("more_body", False))

    async def __aexit__(self, *_: object) -> None:
        self._release()

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"The body is larger than {self._limit} bytes.")

    def _release(self) -> None:
        size = len(self._body)
        self._body.clear()  # an error that is still in somebody's hands may hold it
        self._bodies.release(size)


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


def parse(model: type[Model], body: bytes | bytearray) -> Model:
    """Return the body as a strict model; an empty body is an empty object. Raises InvalidInput."""
    try:
        return model.model_validate_json(body or b"{}", strict=True)
    except ValidationError as error:
        wrong = _told(error)
    raise InvalidInput(wrong)  # out here, so that it does not hold the other error, which holds what came


def _told(error: ValidationError) -> list[FieldError]:
    if error.error_count() > MOST_ERRORS:
        return [FieldError("", f"at most {MOST_ERRORS} errors to be told of", f"{error.error_count()} errors")]
    return field_errors(error.errors(include_url=False))


def _few_values(model: type[Model], body: bytearray) -> Model:
    if body.count(b",") > MOST_VALUES:
        raise InvalidInput([FieldError("", f"at most {MOST_VALUES} values", "more values")])
    return parse(model, body)


def json_body(model: type[Model]) -> Callable[[Request], Coroutine[Any, Any, Model]]:
    """Return the dependency that reads a JSON body as a strict model."""

    async def read(request: Request) -> Model:
        content_type(request, (JSON,))
        bodies: Bodies = request.app.state.bodies
        async with Received(request) as body:
            return await bodies.read(body, partial(_few_values, model))

    return read


def documented(schema: type[BaseModel], examples: dict[str, Any], **others: Any) -> dict[str, Any]:
    """Return what the OpenAPI document says of a route that reads its body itself."""
    content = {JSON: {"schema": inlined(schema), "examples": examples}, **others}
    body = {"required": False, "content": content}
    return {"requestBody": body, "responses": {str(status): response(status) for status in UNFINISHED}}


def inlined(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's schema without references: inside an OpenAPI document they would point nowhere."""
    whole = model.model_json_schema()
    schema: dict[str, Any] = _without_references(whole, whole.pop("$defs", {}))
    return schema


def _without_references(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_without_references(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].removeprefix("#/$defs/")], **schema}
    return {key: _without_references(part, definitions) for key, part in schema.items() if key != "$ref"}
