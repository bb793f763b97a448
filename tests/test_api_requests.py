"""Every request has an id, which its answer, the logs and what it makes all carry."""

import logging
from typing import Any
from uuid import UUID

import pytest
from builders import problem
from conftest import LOOPBACK, TINY_SPEC, RecordingBells
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from api.app import create_app
from models import logs
from models.database import Database
from models.settings import Settings
from models.tables import Experiment

BODY = TINY_SPEC.model_dump(mode="json")
FIT = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)


def request_ids(database: Database) -> set[str | None]:
    with database.read() as session:
        return set(session.scalars(select(Experiment.request_id)))


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged, with what is bound at that moment."""
    caplog.set_level(logging.INFO)
    caplog.handler.addFilter(logs._add_bound)
    return caplog


def records(said: pytest.LogCaptureFixture, action: str) -> list[dict[str, Any]]:
    return [vars(record) for record in said.records if vars(record).get("action") == action]


@given(FIT)
def test_a_callers_fit_id_is_the_requests(door: TestClient, id: str) -> None:
    answer = door.get("/health/live", headers={"X-Request-ID": id})
    assert answer.headers.get_list("X-Request-ID") == [id]


@pytest.mark.parametrize("id", ["", "a b", "x" * 65, "ä", "a;b", "a\tb", "[x]"])
def test_an_unfit_id_is_replaced_by_one_that_is_drawn(door: TestClient, id: str) -> None:
    answers = [door.get("/health/live", headers={b"X-Request-ID": id.encode()}) for _ in range(2)]
    ids = {UUID(answer.headers["X-Request-ID"]).hex for answer in answers}
    assert len(ids) == 2
    assert id not in ids


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/presets", 200), ("GET", "/nothing", 404), ("PUT", "/predict", 405), ("GET", "/presets?x=1", 422)],
)
def test_every_answer_has_an_id(door: TestClient, method: str, path: str, status: int) -> None:
    answer = door.request(method, path, headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (status, "mine")


def test_an_error_nobody_expected_has_the_id_in_its_answer_and_in_the_log(
    new_sqlite_url: str, said: pytest.LogCaptureFixture
) -> None:
    app = create_app(Settings(database_url=new_sqlite_url, dataset="mnist-5k"))
    app.state.bells = RecordingBells()
    app.state.networks = None  # what no configuration can bring about
    with TestClient(app, base_url=LOOPBACK) as api:
        experiment = api.post("/experiments", json=BODY).json()["id"]
        answer = api.post(
            "/predict", json={"image": [0.0] * 784, "experiment": experiment}, headers={"X-Request-ID": "lost"}
        )
        problem(answer, 500, "internal_error")
        assert answer.headers["X-Request-ID"] == "lost"
        assert 'route="/predict",status="500"' in api.get("/metrics").text
    (record,) = records(said, "answer_500")
    assert record["request_id"] == "lost"
    assert record["exc_info"]


def test_an_accepted_experiment_keeps_the_id_and_the_log_tells_of_both(
    api: TestClient, database: Database, said: pytest.LogCaptureFixture
) -> None:
    answer = api.post("/experiments", json=BODY, headers={"X-Request-ID": "first"})
    assert answer.status_code == 202
    assert request_ids(database) == {"first"}
    (record,) = records(said, "accept")
    assert (record["request_id"], record["experiment_id"]) == ("first", answer.json()["id"])
    assert record["message"] == f"Experiment {answer.json()['id']} is accepted."


def test_every_experiment_of_a_sweep_keeps_the_id(
    api: TestClient, database: Database, said: pytest.LogCaptureFixture
) -> None:
    request = {"base": {**BODY, "seed": None}, "grid": {"learning_rate": [0.1, 0.2]}}
    answer = api.post("/sweeps", json=request, headers={"X-Request-ID": "many"})
    assert answer.status_code == 202, answer.text
    assert request_ids(database) == {"many"}
    (record,) = records(said, "accept")
    assert (record["request_id"], record["sweep_id"]) == ("many", answer.json()["id"])


def test_a_request_that_is_sent_again_is_accepted_once(
    api: TestClient, database: Database, said: pytest.LogCaptureFixture
) -> None:
    for id in ("once", "again"):
        headers = {"X-Request-ID": id, "Idempotency-Key": "k"}
        assert api.post("/experiments", json=BODY, headers=headers).headers["X-Request-ID"] == id
    assert request_ids(database) == {"once"}
    assert [record["request_id"] for record in records(said, "accept")] == ["once"]


def test_a_cancel_is_told_of(api: TestClient, said: pytest.LogCaptureFixture) -> None:
    experiment = api.post("/experiments", json=BODY).json()["id"]
    api.post(f"/experiments/{experiment}/cancel", headers={"X-Request-ID": "stop"})
    api.post(f"/experiments/{experiment}/cancel")
    told = records(said, "cancel")
    assert told[0]["request_id"] == "stop"
    assert {record["experiment_id"] for record in told} == {experiment}
