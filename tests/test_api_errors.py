"""The contract of errors: over all routes, one shape, one content type, the right status, and nothing of the inside."""

import asyncio
import gzip
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from builders import SECRETS, fields, problem
from conftest import LOOPBACK, RecordingBells
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import assume, given
from hypothesis import strategies as st

from api.app import create_app
from api.errors import SHOWN_CHARACTERS, readable
from models.errors import BnlabError
from models.settings import Settings

UNKNOWN = UUID(int=0)
JSON = {"Content-Type": "application/json"}
#: Every route: how it is asked, where, and by which methods its path can be asked at all.
ROUTES = [
    ("POST", "/experiments", {"GET", "POST"}),
    ("GET", "/experiments", {"GET", "POST"}),
    ("GET", f"/experiments/{UNKNOWN}", {"GET"}),
    ("GET", f"/experiments/{UNKNOWN}/curve", {"GET"}),
    ("GET", f"/experiments/{UNKNOWN}/events", {"GET"}),
    ("GET", f"/experiments/{UNKNOWN}/history", {"GET"}),
    ("POST", f"/experiments/{UNKNOWN}/cancel", {"POST"}),
    ("GET", f"/experiments/{UNKNOWN}/networks/with_batch_norm", {"GET"}),
    ("POST", "/sweeps", {"GET", "POST"}),
    ("GET", "/sweeps", {"GET", "POST"}),
    ("GET", f"/sweeps/{UNKNOWN}", {"GET"}),
    ("GET", f"/sweeps/{UNKNOWN}/curves", {"GET"}),
    ("POST", f"/sweeps/{UNKNOWN}/cancel", {"POST"}),
    ("GET", "/presets", {"GET"}),
    ("POST", "/predict", {"POST"}),
    ("GET", "/digits", {"GET"}),
    ("GET", "/workers", {"GET"}),
    ("GET", "/health/live", {"GET", "HEAD"}),
    ("GET", "/health/ready", {"GET", "HEAD"}),
]
PATHS = {path: methods for _, path, methods in ROUTES}
#: Where a body can be sent, and how large it may be.
WITH_BODY = {"/experiments": 1_048_576, "/sweeps": 1_048_576, "/predict": 16_777_216}


def test_the_routes_above_are_all_there_are(door: TestClient) -> None:
    documented = {
        (method.upper(), re.sub(r"{\w+_id}", str(UNKNOWN), path).replace("{arm}", "with_batch_norm"))
        for path, operations in door.get("/openapi.json").json()["paths"].items()
        for method in operations
    }
    assert {(method, path) for method, path, _ in ROUTES} == documented


# ------------------------------------------------------------------------------------- what is not a route


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_a_method_that_a_path_does_not_have_is_not_allowed(door: TestClient, method: str, path: str) -> None:
    if method in PATHS[path]:
        return
    answer = door.request(method, path)
    assert answer.headers["Allow"] == ", ".join(sorted(PATHS[path]))
    if method == "HEAD":  # an answer without a body
        assert (answer.status_code, answer.headers["Content-Type"]) == (405, "application/problem+json")
    else:
        problem(answer, 405, "method_not_allowed")


@pytest.mark.parametrize(
    "path", ["/nothing", "/experiments/1/2/3", "/favicon.ico", "/../etc/passwd", "/%00", "/é", f"{LOOPBACK}//"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_path_that_is_none_is_not_found(door: TestClient, method: str, path: str) -> None:
    problem(door.request(method, path), 404, "not_found")


def test_a_path_with_a_slash_too_many_is_not_found_and_leads_to_no_other_host(door: TestClient) -> None:
    problem(door.post("/experiments/", json={}, headers={"Host": "evil.example"}), 404, "not_found")


# ------------------------------------------------------------------------------------------------- the body


@pytest.mark.parametrize("path", WITH_BODY)
def test_a_body_over_the_limit_is_refused_declared_or_in_pieces(door: TestClient, path: str) -> None:
    limit = WITH_BODY[path]

    def pieces() -> Iterator[bytes]:
        for _ in range(limit // 10_000 + 1):
            yield b" " * 10_000

    whole = door.post(path, content=b" " * (limit + 1), headers=JSON)
    chunked = door.post(path, content=pieces(), headers=JSON)
    assert "Content-Length" in whole.request.headers
    assert chunked.request.headers["Transfer-Encoding"] == "chunked"
    for answer in (whole, chunked):
        assert str(limit) in problem(answer, 413, "content_too_large")["detail"]


def test_more_errors_than_anybody_reads_are_counted_and_not_listed(door: TestClient) -> None:
    body = {f"field {i}": 0 for i in range(1_001)}
    (error,) = problem(door.post("/experiments", json=body), 422)["errors"]
    assert (error["field"], error["received"]) == ("", "1001 errors")


@pytest.mark.parametrize("path", WITH_BODY)
def test_more_values_than_any_request_has_are_refused_unread(door: TestClient, path: str) -> None:
    bodies: list[dict[str, Any]] = [{"base": [[]] * 60_000}, {"base": ["a"] * 60_000}]
    for body in [*bodies, {f"{i}": 0 for i in range(60_000)}]:
        (error,) = problem(door.post(path, json=body), 422)["errors"]
        assert error["received"] == "more values"


@pytest.mark.parametrize("path", WITH_BODY)
def test_a_body_that_nests_without_end_is_refused_at_once(door: TestClient, path: str) -> None:
    for opened in (b"[", b'{"a":'):
        begin = time.monotonic()
        (error,) = problem(door.post(path, content=opened * 100_000, headers=JSON), 422)["errors"]
        assert error["received"] in (None, "more values")
        assert time.monotonic() - begin < 2


def posted(path: str, headers: dict[str, str]) -> dict[str, Any]:
    """Return the head of a request, as a server gives it to the application."""
    raw = [(name.lower().encode(), value.encode()) for name, value in {"Host": "127.0.0.1", **headers}.items()]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": raw}
    return {**scope, "server": ("127.0.0.1", 80)}


def test_bodies_together_have_a_bound_and_small_ones_find_room_longer(tmp_path: Path) -> None:
    async def sent(app: FastAPI, body: bytes, gate: asyncio.Event) -> int:
        """Send a body and stop before its end until the gate opens; return the status."""
        statuses: list[int] = []

        async def receive() -> Any:
            nonlocal body
            if not body:
                await gate.wait()
                return {"type": "http.disconnect"}
            piece, body = body[:10_000], body[10_000:]
            return {"type": "http.request", "body": piece, "more_body": True}

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        await app(posted("/experiments", {}), receive, send)
        return statuses[0]

    async def several(app: FastAPI) -> list[int]:
        gate = asyncio.Event()
        held = [asyncio.ensure_future(sent(app, b" " * size, gate)) for size in (500_000, 90_000)]
        await asyncio.wait(held, timeout=0.5)
        refused = [await sent(app, b" " * 90_000, gate)]  # beyond half of the bound
        small = asyncio.ensure_future(sent(app, b" " * 60_000, gate))
        await asyncio.wait([small], timeout=0.5)
        assert not small.done()
        gate.set()
        await asyncio.wait([*held, small])
        gate.clear()
        again = asyncio.ensure_future(sent(app, b" " * 590_000, gate))
        await asyncio.wait([again], timeout=0.5)
        assert not again.done()  # there is room again
        gate.set()
        return [*refused, *(each.result() for each in held), small.result(), await again]

    app = create_app(
        Settings(
            state_dir=tmp_path,
            dataset="mnist-5k",
            max_body_bytes=600_000,
            max_images_body_bytes=600_000,
            max_bodies_bytes=1_200_000,
        )
    )
    assert asyncio.run(several(app)) == [503, 400, 400, 400, 400]


@pytest.mark.parametrize("path", WITH_BODY)
def test_a_body_at_the_limit_is_read(door: TestClient, path: str) -> None:
    assert fields(door.post(path, content=b"[" + b" " * (WITH_BODY[path] - 2) + b"]", headers=JSON)) == [""]


def spoken(door: TestClient, path: str, headers: dict[str, str], pieces: list[Any]) -> tuple[int, int]:
    """Speak to the application as a server does; return the status and how many pieces it asked for."""
    asked, statuses = 0, []

    async def receive() -> Any:
        nonlocal asked
        asked += 1
        piece = pieces[min(asked, len(pieces)) - 1]
        return piece if isinstance(piece, dict) else {"type": "http.request", "body": piece, "more_body": True}

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    asyncio.run(door.app(posted(path, headers), receive, send))  # type: ignore[arg-type]
    return statuses[0], asked


@pytest.mark.parametrize("path", WITH_BODY)
def test_a_body_over_the_limit_is_not_read_to_its_end(door: TestClient, path: str) -> None:
    endless, limit = [b" " * 100_000], WITH_BODY[path]
    pieces = limit // 100_000 + 1
    assert spoken(door, path, {"Content-Length": str(limit + 1)}, endless) == (413, 0)
    assert spoken(door, path, {"Content-Length": "9" * 5_000}, endless) == (413, 0)
    assert spoken(door, path, {"Transfer-Encoding": "chunked"}, endless) == (413, pieces)
    assert spoken(door, path, {"Content-Length": "2"}, endless) == (413, pieces)  # and a false length does not help


def test_a_picture_has_the_smaller_limit(door: TestClient) -> None:
    for kind in ("image/png", "image/jpeg"):
        fields(door.post("/predict", content=b" " * 1_048_576, headers={"Content-Type": kind}), code="invalid_image")
        answer = door.post("/predict", content=b" " * 1_048_577, headers={"Content-Type": kind})
        assert "larger than 1048576 bytes" in problem(answer, 413, "content_too_large")["detail"]


@pytest.mark.parametrize("path", WITH_BODY)
def test_a_sender_who_hangs_up_is_no_mistake_of_ours(door: TestClient, path: str) -> None:
    assert spoken(door, path, {}, [b'{"seed"', {"type": "http.disconnect"}]) == (400, 2)  # and nothing is raised


@pytest.mark.parametrize("declared", ["0", "1", "-1", "x", "٣", "1e9", "+5", ""])
def test_a_false_length_changes_nothing(door: TestClient, declared: str) -> None:
    headers = {b"Content-Type": b"application/json", b"Content-Length": declared.encode()}
    assert fields(door.post("/experiments", content=b"[]", headers=headers)) == [""]


@pytest.mark.parametrize("path", WITH_BODY)
@pytest.mark.parametrize(
    "kind",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "text/json",
        "application/xml",
        "application/octet-stream",
        "image/gif",
        "image/*",
        "*/*",
        "json",
        ";",
        "x" * 5_000,
    ],
)
def test_a_content_type_that_is_not_taken_says_which_header_to_send(door: TestClient, path: str, kind: str) -> None:
    answer = door.post(path, content=b"{}", headers={"Content-Type": kind})
    if kind == ";":  # names nothing: JSON
        assert answer.status_code in (422, 503)
        return
    detail = problem(answer, 415, "unsupported_media_type")["detail"]
    assert "`Content-Type: application/json`" in detail
    assert ("`Content-Type: image/png`" in detail) == (path == "/predict")
    assert "curl: -H 'Content-Type: application/json'" in detail
    assert len(detail) < 400


def test_a_picture_is_no_spec(door: TestClient) -> None:
    problem(
        door.post("/experiments", content=b"\x89PNG", headers={"Content-Type": "image/png"}),
        415,
        "unsupported_media_type",
    )


@pytest.mark.parametrize("path", WITH_BODY)
def test_a_compressed_body_is_refused_by_its_encoding(door: TestClient, path: str) -> None:
    for encoding in ("gzip", "GZIP", "br", "deflate, gzip", "x" * 5_000):
        headers = {**JSON, "Content-Encoding": encoding}
        answer = door.post(path, content=gzip.compress(b"{}"), headers=headers)
        assert "uncompressed" in problem(answer, 415, "unsupported_media_type")["detail"]
        assert answer.headers["Accept-Encoding"] == "identity"
    for encoding in ("identity", ""):
        assert fields(door.post(path, content=b"[]", headers={**JSON, "Content-Encoding": encoding})) == [""]


BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
NAMES = st.sampled_from(
    [
        "image",
        "images",
        "arm",
        "experiment",
        "seed",
        "hidden_layers",
        "batch_norm",
        "momentum",
        "grid",
        "base",
        "presets",
    ]
)


@given(st.sampled_from(list(WITH_BODY)), st.dictionaries(NAMES | st.text(), BODIES) | BODIES)
def test_any_json_is_understood_or_refused(door: TestClient, path: str, body: Any) -> None:
    sent = json.dumps(body)  # NaN and Infinity included
    assume(not any(word in sent.lower() for word in SECRETS))  # what was received may be shown again
    answer = door.post(path, content=sent, headers=JSON)
    if answer.status_code == 503:  # it passed the door: there are no tables behind it
        problem(answer, 503, "database_unavailable")
    else:
        fields(answer, code=answer.json()["code"])
        assert answer.json()["code"] in ("invalid_input", "invalid_image")


@given(
    st.sampled_from(list(WITH_BODY)),
    st.binary(max_size=100),
    st.sampled_from(["", "application/json", "image/png", "image/jpeg"]),
)
def test_any_bytes_are_understood_or_refused(door: TestClient, path: str, body: bytes, kind: str) -> None:
    answer = door.post(path, content=body, headers={"Content-Type": kind})
    assert answer.status_code in (415, 422, 503)
    problem(answer, answer.status_code, answer.json()["code"])


@given(st.sampled_from(list(PATHS)), st.dictionaries(st.text(), st.text(), max_size=3), st.text(max_size=30))
def test_any_query_and_any_accept_header_are_understood_or_refused(
    door: TestClient, path: str, query: dict[str, str], accept: str
) -> None:
    assume(not any(word in f"{query} {accept}".lower() for word in SECRETS))  # what was received may be shown again
    headers = {b"Accept": accept.encode("utf-8", "replace").replace(b"\r", b"").replace(b"\n", b"")}
    answer = door.get(path, params=query, headers=headers)
    if answer.status_code != 200:
        assert answer.status_code in (405, 406, 422, 503)
        extensions = ["missing"] if path == "/health/ready" else []
        problem(answer, answer.status_code, answer.json()["code"], extensions)


# --------------------------------------------------------------------------------------------- the service


@pytest.fixture(params=["sqlite", "postgres"])
def without_tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestClient]:
    """The API on a database that nobody has migrated."""
    url = f"sqlite:///{tmp_path / 'empty.sqlite3'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").format("postgres")
    yield from serving(Settings(state_dir=tmp_path, database_url=url, dataset="mnist-5k"))


def serving(settings: Settings) -> Iterator[TestClient]:
    app = create_app(settings)
    app.state.bells = RecordingBells()
    with TestClient(app, base_url=LOOPBACK, raise_server_exceptions=False) as api:
        yield api


def use_each_route(api: TestClient) -> None:
    """Ask every route that needs the database; each one says that it cannot answer now."""
    for method, path, _ in ROUTES:
        if path in ("/digits", "/presets", "/health/live"):
            assert api.request(method, path).status_code == 200
            continue
        sent = {"/predict": {"image": [0.0] * 784}, "/sweeps": {"grid": {"seed": [1]}}}.get(path, {})
        answer = api.request(method, path, json=sent if method == "POST" else None)
        ready = path == "/health/ready"
        problem(answer, 503, "not_ready" if ready else "database_unavailable", ["missing"] if ready else [])
        assert int(answer.headers["Retry-After"]) > 0


def test_a_database_without_tables_is_unavailable_on_every_route(without_tables: TestClient) -> None:
    use_each_route(without_tables)
    assert without_tables.app.state.bells.rung == []  # type: ignore[attr-defined]


def test_a_database_that_is_not_there_is_unavailable_on_every_route(tmp_path: Path) -> None:
    for url in (
        f"sqlite:///{tmp_path / 'nowhere' / 'bnlab.sqlite3'}",
        "postgresql+psycopg://bnlab:a-fit-one@127.0.0.1:1/bnlab",
    ):
        for api in serving(Settings(state_dir=tmp_path, database_url=url, dataset="mnist-5k")):
            use_each_route(api)


def test_a_mistake_of_ours_is_one_sentence_to_the_user(tmp_path: Path) -> None:
    class Broken:
        """A database of which every use is a mistake."""

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(f"SELECT secret FROM {name}, at {tmp_path}")

    app = create_app(Settings(state_dir=tmp_path, dataset="mnist-5k"))
    database, app.state.database = app.state.database, Broken()
    # without its lifespan: that would close the database
    api = TestClient(app, base_url=LOOPBACK, raise_server_exceptions=False)
    for method, path in (("GET", "/experiments"), ("POST", "/experiments"), ("GET", f"/experiments/{UNKNOWN}/curve")):
        answer = api.request(method, path)
        body = problem(answer, 500, "internal_error")
        assert body["detail"] == "Something went wrong; the service's log has the details."
        assert "secret" not in answer.text
    database.close()


def every_error(kind: type[BnlabError] = BnlabError) -> Iterator[type[BnlabError]]:
    for child in kind.__subclasses__():
        yield child
        yield from every_error(child)


def test_each_error_has_a_code_and_a_sentence_of_its_own() -> None:
    errors: list[type[BnlabError]] = [BnlabError, *every_error()]
    assert len(errors) > 15
    assert len({error.code for error in errors}) == len(errors)
    for error in errors:
        message = (error.__doc__ or "").splitlines()[0]
        assert message.endswith("."), error
        assert error.code.replace("_", "").islower(), error


# ------------------------------------------------------------------------------------------ what is shown


@given(BODIES)
def test_what_came_is_shown_short_and_as_json(value: Any) -> None:
    shown = readable(value)
    json.dumps(shown, allow_nan=False).encode()
    assert not isinstance(shown, list | dict)
    assert len(str(shown)) <= SHOWN_CHARACTERS + 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (-0.5, -0.5),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (2**53, str(2**53)),
        ("text", "text"),
        ("\ud800", "?"),
        ({"a": [True, None]}, '{"a": [true, null]}'),
        ("x" * 121, "x" * 120 + "…"),
    ],
    ids=repr,
)
def test_a_value_is_shown_as_it_was_sent(value: Any, shown: Any) -> None:
    assert readable(value) == shown
    assert type(readable(value)) is type(shown)


@pytest.mark.parametrize("path", [path for method, path, _ in ROUTES if method == "GET" and "/health" not in path])
def test_a_misspelt_query_parameter_is_refused_not_ignored(door: TestClient, path: str) -> None:
    assert fields(door.get(path, params={"replicates": 3})) == ["replicates"]


def test_a_probe_may_ask_for_health_as_it_likes(door: TestClient) -> None:
    assert door.get("/health/live?now=1").status_code == 200
