"""How the client speaks HTTP: what is sent, what comes back, and which error each failure is."""

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx

from bnlab.errors import ApiProblem, NotAKey, NotAnAddress, NotAnApiKey, NotJson, ServerUnreachable, UnexpectedAnswer

log = logging.getLogger(__name__)

DEFAULT_URL = "http://127.0.0.1:8000"

#: Never through a proxy that the environment names for the world outside.
THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})

#: What a server answers that restarts, or somebody before it; whether it did what was asked, they do not say.
RESTARTING_STATUSES = frozenset({502, 503, 504})

#: What a server answers that restarts or is busy.
PASSING_STATUSES = RESTARTING_STATUSES | {429}

#: What goes wrong with a connection that stood: the request may have arrived.
BROKEN = (
    httpx.ReadError,
    httpx.ReadTimeout,
    httpx.WriteError,
    httpx.WriteTimeout,
    httpx.CloseError,
    httpx.RemoteProtocolError,
)

#: The waits before a request that makes something is sent again.
RETRY_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 4.0)

Json = dict[str, Any]


class Connection:
    """A connection to one server, with an API key where it needs one.

    Every method raises ApiProblem when the server says no and ServerUnreachable when none answers.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        *,
        api_key: str | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        address = _address(self.base_url)
        self._http = httpx.Client(
            base_url=address,
            timeout=timeout_s,
            transport=transport,
            trust_env=address.host not in THIS_MACHINE,
            headers=_authorization(api_key, address),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _json(self, method: str, path: str, *, body: Json | None = None, **request: Any) -> Json:
        if body is not None:
            request["content"] = _as_json(body)
            request["headers"] = {"Content-Type": "application/json", **request.get("headers", {})}
        answer = _object_in(self._send(method, path, **request))
        if answer is None:
            raise UnexpectedAnswer(url=self.base_url, reason=f"{method} {path} gave no JSON object")
        return answer

    def _make(self, path: str, body: Json, key: str | None) -> Json:
        """POST what makes something until there is an answer; by its key the server makes it once only."""
        headers = {"Idempotency-Key": uuid4().hex if key is None else _visible(key)}
        reached = False  # from then on a refused connection is a server that restarts
        for pause_s in RETRY_PAUSES_S:
            try:
                return self._json("POST", path, body=body, headers=headers)
            except (ServerUnreachable, ApiProblem) as error:
                reached = reached or _reached(error)
                if not (reached and _unanswered(error)):
                    raise
            time.sleep(pause_s)
        return self._json("POST", path, body=body, headers=headers)

    def _send(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, **request: Any
    ) -> httpx.Response:
        with self._unreachable():
            response = self._http.request(method, path, params=given(**(params or {})), **request)
        if response.is_success:
            return response
        raise _problem(response)

    @contextmanager
    def _stream(self, path: str, headers: Mapping[bytes, bytes], silence_s: float) -> Iterator[httpx.Response]:
        """GET what comes bit by bit; ServerUnreachable also breaks into the block, if so many seconds bring nothing."""
        timeout = httpx.Timeout(**{**self._http.timeout.as_dict(), "read": silence_s})
        with self._unreachable(), self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise _problem(response)
            yield response

    @contextmanager
    def _unreachable(self) -> Iterator[None]:
        try:
            yield
        except httpx.RequestError as error:
            reached = isinstance(error, BROKEN)
            raise ServerUnreachable(url=self.base_url, reason=_reason(error), reached=reached) from error


def given(**values: Any) -> Json:
    """Return what was given; the server has the defaults of the rest."""
    return {name: value for name, value in values.items() if value is not None}


def passes(error: ServerUnreachable | ApiProblem) -> bool:
    """Say whether the same request may succeed in a while."""
    return isinstance(error, ServerUnreachable) or error.status in PASSING_STATUSES


def _reached(error: ServerUnreachable | ApiProblem) -> bool:
    return isinstance(error, ApiProblem) or bool(error.details["reached"])


def _unanswered(error: ServerUnreachable | ApiProblem) -> bool:
    return isinstance(error, ServerUnreachable) or error.status in RESTARTING_STATUSES


def _authorization(api_key: str | None, address: httpx.URL) -> Json:
    """Return the header that carries a key; over a network without TLS others may read it, which is said aloud."""
    if api_key is None:
        return {}
    if not re.fullmatch("[!-~]+", api_key):
        raise NotAnApiKey
    if address.scheme == "http" and address.host not in THIS_MACHINE:
        log.warning("The API key goes to %s unencrypted: use https wherever others share the network.", address.host)
    return {"Authorization": f"Bearer {api_key}"}


def _visible(key: str) -> str:
    if not re.fullmatch("[!-~]+", key):  # a header cannot carry every character
        raise NotAKey(key=key)
    return key


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
        address.host.encode("idna")  # the resolver's own check, which comes too late and as another error
    except (httpx.InvalidURL, UnicodeError) as error:
        raise NotAnAddress(url=url) from error
    if address.scheme not in ("http", "https") or not address.host:
        raise NotAnAddress(url=url)
    return address


def _as_json(body: Json) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as error:  # an object without a form in JSON; NaN or an infinity
        raise NotJson(reason=error) from error


def _problem(response: httpx.Response) -> ApiProblem:
    members = {"title": response.reason_phrase, **(_object_in(response) or {})}
    wait = response.headers.get("Retry-After", "")  # some give a date, which is worth no guess at their clock
    return ApiProblem(response.status_code, members, int(wait) if re.fullmatch("[0-9]{1,9}", wait) else None)


def _object_in(response: httpx.Response) -> Json | None:
    try:
        content = response.json()
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _reason(error: httpx.RequestError) -> str:
    return "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
