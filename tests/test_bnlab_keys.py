"""The client with an API key: it is sent and never shown, and what is wrong with it is said."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from conftest import ROOT, RecordingBells
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from keyholders import holder, keyed_api
from test_bnlab_fakes import Server, bnlab, running_server

from bnlab.client import Client
from bnlab.errors import ApiProblem, BnlabError, NotAnApiKey
from models.database import Database
from models.settings import Settings

KEY = "bnlab_not-a-real-one"


class Through(httpx.BaseTransport):
    """Lets the client speak to an API in this process."""

    def __init__(self, api: TestClient) -> None:
        self._api = api

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        content = request.read()
        answer = self._api.request(
            request.method, request.url.raw_path.decode(), content=content, headers=dict(request.headers)
        )
        return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


def test_with_its_key_the_client_may(settings: Settings, database: Database, bells: RecordingBells) -> None:
    with keyed_api(settings, bells) as api:
        one = holder(api, database)
        with Client(transport=Through(api), api_key=one.key) as client:
            id = client.submit(training_batches=20, dataset="mnist-5k")["id"]
            assert [each["id"] for each in client.all_experiments()] == [id]
        for key in (None, f"{one.key}x"):
            with Client(transport=Through(api), api_key=key) as client, pytest.raises(ApiProblem) as raised:
                client.experiment(id)
            assert (raised.value.status, raised.value.code) == (401, "key_needed")
            assert "BNLAB_API_KEY" in str(raised.value)
            assert one.key not in str(raised.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:1", "https://bnlab.example"])
def test_where_nobody_can_read_it_a_key_is_sent_in_silence(url: str, caplog: pytest.LogCaptureFixture) -> None:
    Client(url, api_key=KEY).close()
    Client("http://bnlab.example").close()
    assert caplog.records == []


def test_a_key_that_others_may_read_on_its_way_is_sent_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Client("http://bnlab.example:8000", api_key=KEY).close()
    (record,) = caplog.records
    assert "https" in record.getMessage()
    assert "bnlab.example" in record.getMessage()
    assert KEY not in record.getMessage()


@given(st.text().filter(lambda key: not key or not all("!" <= character <= "~" for character in key)))
def test_what_no_header_can_carry_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(NotAnApiKey) as raised:
        Client(api_key=key)
    assert isinstance(raised.value, BnlabError)
    assert raised.value.details == {}


def test_the_command_sends_the_key_of_its_option_or_of_the_environment(server: Server) -> None:
    answer: dict[str, Any] = {"experiments": [], "next_cursor": None}
    for arguments, variable in ((["--api-key", KEY], ""), ([], KEY), ([], "")):
        server.answer("/experiments", answer)
        command = [sys.executable, "-m", "bnlab", "--url", server.url, *arguments, "list", "--json"]
        environment = {**os.environ, "BNLAB_API_KEY": variable}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        assert KEY not in done.stdout + done.stderr
    assert server.authorizations == [f"Bearer {KEY}", f"Bearer {KEY}", None]


def test_the_command_says_where_a_key_comes_from_when_it_lacks_one(server: Server) -> None:
    problem = {"title": "Unauthorized", "status": 401, "detail": "This needs a valid API key.", "code": "key_needed"}
    server.answer("/experiments", problem, status=401)
    result = bnlab(server, "list")
    assert result.code == 1
    assert "BNLAB_API_KEY" in result.err
    assert "bnlab keys create" in result.err
