"""Headers that keep a browser from misusing an answer: on every answer, whatever became of the request."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from builders import problem
from conftest import LOOPBACK
from fastapi import Response
from fastapi.testclient import TestClient

from api.app import create_app
from api.documents import policy
from models.settings import Settings

STRICT = "default-src 'none'; frame-ancestors 'none'"
EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": STRICT,
    "Cache-Control": "no-store",
}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health/live", 200),
        ("GET", "/presets", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/nothing", 404),
        ("DELETE", "/presets", 405),
        ("POST", "/experiments", 415),
        ("GET", "/experiments", 503),
    ],
)
def test_every_answer_has_them_once(door: TestClient, method: str, path: str, status: int) -> None:
    answer = door.request(method, path, headers={"Content-Type": "text/plain"}, follow_redirects=False)
    assert answer.status_code == status
    for name, value in EVERYWHERE.items():
        assert answer.headers.get_list(name) == [value], name
    assert "Strict-Transport-Security" not in answer.headers  # the proxy's that speaks TLS


def answer_of(settings: Settings, route: Callable[[], Response]) -> Any:
    """Return what the application answers from a route of ours."""
    app = create_app(settings)
    app.get("/ours")(route)
    with TestClient(app, base_url=LOOPBACK) as client:
        return client.get("/ours")


def test_so_has_the_answer_to_an_error_that_nobody_expected(settings: Settings) -> None:
    def broken() -> Response:
        raise RuntimeError

    answer = answer_of(settings, broken)
    problem(answer, 500, "internal_error")
    assert {name: answer.headers[name] for name in EVERYWHERE} == EVERYWHERE


def test_what_an_answer_sets_itself_stands(settings: Settings) -> None:
    def own() -> Response:
        return Response(headers={"Cache-Control": "max-age=60", "Content-Security-Policy": "default-src 'self'"})

    answer = answer_of(settings, own)
    assert answer.headers.get_list("Cache-Control") == ["max-age=60"]
    assert answer.headers.get_list("Content-Security-Policy") == ["default-src 'self'"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_documents_may_load_their_library_and_ask_this_service_and_nothing_else(door: TestClient) -> None:
    answer = door.get("/docs")
    allowed = answer.headers["Content-Security-Policy"]
    assert allowed == policy(answer.text)
    assert "default-src 'none'" in allowed
    assert "connect-src 'self'" in allowed
    assert "frame-ancestors 'none'" in allowed
    assert "'unsafe-inline'" not in allowed.partition("script-src")[2].partition(";")[0]
    sources = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert sorted(sources) == ["/page/icon.svg", "/page/swagger-ui.css", "/page/swagger-ui.js"]
    for source in sources:
        assert door.get(source).status_code == 200, source


def test_a_script_that_was_altered_is_not_the_one_that_is_allowed(door: TestClient) -> None:
    page = door.get("/docs").text
    assert policy(page) != policy(page.replace("SwaggerUIBundle({", "SwaggerUIBundle({ "))
