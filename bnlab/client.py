"""The service from Python: submit a spec, follow the experiment, take its curve, ask a trained network for a digit."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx

from bnlab.errors import ApiProblem, NotAnAddress, NotJson, ServerUnreachable, UnexpectedAnswer, WaitedTooLong

DEFAULT_URL = "http://127.0.0.1:8000"
FINISHED = frozenset({"succeeded", "failed", "cancelled"})
PAGE_LIMIT = 100

#: A server that restarts or is busy is asked again for this long while an experiment is followed.
PATIENCE_S = 15.0
PASSING_STATUSES = frozenset({429, 502, 503, 504})

#: Never through a proxy that the environment names for the world outside.
THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})

#: How a picture's bytes begin, and what its type is called.
PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}

Json = dict[str, Any]


class Client:
    """A connection to one server.

    Every method raises ApiProblem when the server says no and ServerUnreachable when none answers.
    """

    def __init__(
        self, base_url: str = DEFAULT_URL, timeout_s: float = 30.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        address = _address(self.base_url)
        self._http = httpx.Client(
            base_url=address, timeout=timeout_s, transport=transport, trust_env=address.host not in THIS_MACHINE
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

    def submit(self, **spec: Any) -> Json:
        """Submit a spec, every field of which may be left out, and return the experiment."""
        return self._json("POST", "/experiments", body=spec)

    def experiment(self, id: str) -> Json:
        """Return one experiment as it stands."""
        return self._json("GET", _path(id))

    def experiments(self, status: str | None = None, limit: int = 20, cursor: str | None = None) -> Json:
        """Return one page, newest first: `experiments`, and `next_cursor`, None on the last page."""
        return self._json("GET", "/experiments", params={"status": status, "limit": limit, "cursor": cursor})

    def all_experiments(self, status: str | None = None) -> Iterator[Json]:
        """Yield every experiment, newest first, one page after the other as they are needed."""
        cursor = None
        while True:
            page = self.experiments(status, PAGE_LIMIT, cursor)
            yield from page["experiments"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def curve(self, id: str) -> Json:
        """Return every point of both arms so far."""
        return self._json("GET", _path(id, "curve"), params={"format": "json"})

    def curve_csv(self, id: str) -> str:
        """Return the points as a CSV table."""
        return self._send("GET", _path(id, "curve"), params={"format": "csv"}).text

    def curve_picture(self, id: str, format: Literal["png", "svg"] = "png") -> bytes:
        """Return the curve drawn as the lesson draws it."""
        return self._send("GET", _path(id, "curve"), params={"format": format}).content

    def cancel(self, id: str) -> Json:
        """Ask for the experiment to be stopped, and return it; a running arm stops within about a second."""
        return self._json("POST", _path(id, "cancel"))

    def predict(
        self,
        image: Any,
        experiment: str | None = None,
        arm: str | None = None,
        replicate: int | None = None,
        statistics: str | None = None,
    ) -> Json:
        """Return the digit a trained network sees; without an experiment, the newest that succeeded answers.

        `image` is 28 rows of 28 numbers, 784 numbers, a NumPy array of either form (0 … 1, white ink on black), or the
        path or the bytes of a PNG or JPEG picture.
        """
        choices = _given(experiment=experiment, arm=arm, replicate=replicate, statistics=statistics)
        if isinstance(image, (str, PathLike)):
            image = Path(image).read_bytes()
        if isinstance(image, (bytes, bytearray)):
            picture = bytes(image)
            headers = {"Content-Type": _picture_type(picture)}
            return self._json("POST", "/predict", params=choices, content=picture, headers=headers)
        numbers = image.tolist() if hasattr(image, "tolist") else image
        return self._json("POST", "/predict", body={"image": numbers, **choices})

    def digits(self, count: int = 10) -> Json:
        """Return `dataset` and the first `digits` of its test images: `index`, `label` and `image` each."""
        return self._json("GET", "/digits", params={"count": count})

    def health(self) -> Json:
        """Return what the server says of itself when it is ready; ApiProblem with status 503 when it is not."""
        return self._json("GET", "/health/ready")

    def follow(self, id: str, poll_interval_s: float = 0.5) -> Iterator[Json]:
        """Yield the experiment now and after every interval, for the last time when it has ended.

        A server that goes away for a few seconds in between is waited for.
        """
        answered_at: float | None = None
        while True:
            try:
                experiment = self.experiment(id)
            except (ServerUnreachable, ApiProblem) as error:
                if answered_at is None or time.monotonic() - answered_at > PATIENCE_S or not _passes(error):
                    raise
            else:
                answered_at = time.monotonic()
                yield experiment
                if experiment["status"] in FINISHED:
                    return
            time.sleep(poll_interval_s)

    def wait(
        self,
        id: str,
        poll_interval_s: float = 0.5,
        timeout_s: float | None = None,
        on_change: Callable[[Json], object] | None = None,
    ) -> Json:
        """Return the experiment once it has succeeded, failed or been cancelled; None waits for ever.

        `on_change` is called with the experiment whenever it differs from the last time. Raises WaitedTooLong.
        """
        started, last = time.monotonic(), Json()
        for experiment in self.follow(id, poll_interval_s):
            if on_change is not None and experiment != last:
                on_change(experiment)
            last = experiment
            too_long = timeout_s is not None and time.monotonic() - started > timeout_s
            if too_long and experiment["status"] not in FINISHED:
                raise WaitedTooLong(id=id, status=experiment["status"], timeout_s=timeout_s)
        return last

    def _json(self, method: str, path: str, *, body: Json | None = None, **request: Any) -> Json:
        if body is not None:
            request["content"] = _as_json(body)
            request["headers"] = {"Content-Type": "application/json", **request.get("headers", {})}
        answer = _object_in(self._send(method, path, **request))
        if answer is None:
            raise UnexpectedAnswer(url=self.base_url, reason=f"{method} {path} gave no JSON object")
        return answer

    def _send(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, **request: Any
    ) -> httpx.Response:
        try:
            response = self._http.request(method, path, params=_given(**(params or {})), **request)
        except httpx.RequestError as error:
            raise ServerUnreachable(url=self.base_url, reason=_reason(error)) from error
        if response.is_success:
            return response
        raise ApiProblem(response.status_code, {"title": response.reason_phrase, **(_object_in(response) or {})})


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
        address.host.encode("idna")  # the resolver's own check, which comes too late and as another error
    except (httpx.InvalidURL, UnicodeError) as error:
        raise NotAnAddress(url=url) from error
    if address.scheme not in ("http", "https") or not address.host:
        raise NotAnAddress(url=url)
    return address


def _path(id: str, *rest: str) -> str:
    return "/".join(("/experiments", quote(id, safe=""), *rest))


def _given(**values: Any) -> Json:
    """Return what was given; the server has the defaults of the rest."""
    return {name: value for name, value in values.items() if value is not None}


def _as_json(body: Json) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as error:  # an object without a form in JSON; NaN or an infinity
        raise NotJson(reason=error) from error


def _object_in(response: httpx.Response) -> Json | None:
    try:
        content = response.json()
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _picture_type(picture: bytes) -> str:
    kinds = (kind for beginning, kind in PICTURES.items() if picture.startswith(beginning))
    return next(kinds, "application/octet-stream")  # which the server refuses, naming the types it takes


def _passes(error: ServerUnreachable | ApiProblem) -> bool:
    return isinstance(error, ServerUnreachable) or error.status in PASSING_STATUSES


def _reason(error: httpx.RequestError) -> str:
    return "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
