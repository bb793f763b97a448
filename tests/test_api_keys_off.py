"""While keys are off, this machine's own user may do everything, and nobody else anything."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from builders import problem
from conftest import TINY_SPEC, RecordingBells
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from api.app import create_app
from api.this_machine import is_loopback
from models.settings import Settings

TINY = TINY_SPEC.model_dump(mode="json")


@pytest.fixture(params=["auto", "off"])
def settings(request: pytest.FixtureRequest, new_sqlite_url: str, tmp_path: object) -> Settings:
    return Settings(state_dir=str(tmp_path), database_url=new_sqlite_url, dataset="mnist-5k", keys=request.param)


def asked_at(settings: Settings, address: str) -> Iterator[TestClient]:
    app = create_app(settings)
    app.state.bells = RecordingBells()
    with TestClient(app, base_url=f"http://{address}", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def here(settings: Settings) -> Iterator[TestClient]:
    """The API as it is asked from this machine."""
    yield from asked_at(settings, "127.0.0.1:8000")


@pytest.fixture
def elsewhere(settings: Settings) -> Iterator[TestClient]:
    """The API as it is asked over a network."""
    yield from asked_at(settings, "192.0.2.1:8000")


def test_this_machines_user_needs_no_key_and_one_that_is_sent_does_no_harm(here: TestClient) -> None:
    assert here.post("/experiments", json=TINY).status_code == 202
    answer = here.get("/experiments", headers={"Authorization": "Bearer bnlab_x"})
    assert (answer.status_code, len(answer.json()["experiments"])) == (200, 1)
    assert "RateLimit" not in answer.headers


def test_over_a_network_everything_but_health_and_documents_is_refused(elsewhere: TestClient) -> None:
    for answer in (elsewhere.get("/experiments"), elsewhere.get("/presets"), elsewhere.post("/experiments", json=TINY)):
        body = problem(answer, 403, "request_forbidden")
        assert "192.0.2.1" in body["detail"]
        assert "BNLAB_KEYS=required" in body["detail"]
    assert elsewhere.get("/health/live").status_code == 200
    assert elsewhere.get("/openapi.json").status_code == 200


@pytest.mark.parametrize("host", ["rebound.example", "rebound.example:8000", "192.0.2.1", "[::2]:8000", "[", "", "a b"])
def test_a_name_that_is_not_this_machines_own_is_refused(here: TestClient, host: str) -> None:
    problem(here.get("/experiments", headers={"Host": host}), 403, "request_forbidden")


@pytest.mark.parametrize(
    "header",
    ["Forwarded", "Via", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "x-forwarded-server"],
)
def test_what_comes_through_a_proxy_is_refused_with_the_setting_it_needs(here: TestClient, header: str) -> None:
    detail = problem(here.get("/experiments", headers={header: ""}), 403, "request_forbidden")["detail"]
    assert "a proxy" in detail
    assert "BNLAB_KEYS=required" in detail
    assert here.get("/health/live", headers={header: "192.0.2.1"}).status_code == 200


@pytest.mark.parametrize("server", [None, ("/run/bnlab.sock", None), ("testserver", 80), ("localhost", 80)])
def test_where_it_is_not_known_which_address_was_reached_everything_is_refused(here: TestClient, server: Any) -> None:
    async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
        await here.app({**scope, "server": server}, receive, send)

    answer = TestClient(elsewhere, base_url="http://127.0.0.1").get("/experiments")
    assert "BNLAB_KEYS=required" in problem(answer, 403, "request_forbidden")["detail"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "localhost.", "x.localhost", "127.0.0.2", "[::1]:80"])
def test_this_machines_own_names_are_taken_whatever_the_port(here: TestClient, host: str) -> None:
    assert here.get("/experiments", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://other.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://localhost.example"},
        {"Origin": "http://127.0.0.1.example:8000", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_pages_of_other_sites_change_nothing_but_may_lead_here(here: TestClient, headers: dict[str, str]) -> None:
    problem(here.post("/experiments", json=TINY, headers=headers), 403, "request_forbidden")
    problem(here.post("/predict", json={}, headers=headers), 403, "request_forbidden")
    assert here.get("/experiments", headers=headers).json()["experiments"] == []


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8000"}, {"Sec-Fetch-Site": "none"}],
)
def test_our_own_page_may(here: TestClient, headers: dict[str, str]) -> None:
    assert here.post("/experiments", json=TINY, headers=headers).status_code == 202


@given(st.ip_addresses())
def test_an_address_is_this_machines_if_it_is_a_loopback_address(address: IPv4Address | IPv6Address) -> None:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    assert is_loopback(str(address)) is (mapped or address).is_loopback


@given(st.text(max_size=30))
def test_no_other_text_is_this_machine(name: str) -> None:
    assert not is_loopback(f"{name}.example")
    assert not is_loopback(f"localhost{name}x")
