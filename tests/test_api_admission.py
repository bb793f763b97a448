"""How many experiments may wait: beyond the limit a submission is refused whole, and told when to try again."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from builders import WITH, WITHOUT, claimed, finish, problem, waiting
from conftest import LOOPBACK, TINY_SPEC, RecordingBells
from fastapi.testclient import TestClient
from httpx2 import Response

from api.app import create_app
from models.database import Database
from models.settings import Settings

LIMIT = 3
TINY = TINY_SPEC.model_dump(mode="json")


@pytest.fixture
def small(settings: Settings, bells: RecordingBells) -> Iterator[TestClient]:
    """The API with room for three waiting experiments."""
    app = create_app(settings.model_copy(update={"max_queued_experiments": LIMIT}))
    app.state.bells = bells
    with TestClient(app, base_url=LOOPBACK, raise_server_exceptions=False) as api:
        yield api


def submitted(api: TestClient) -> UUID:
    answer = api.post("/experiments", json=TINY)
    assert answer.status_code == 202
    return UUID(answer.json()["id"])


def sweep_of(api: TestClient, experiments: int) -> Response:
    return api.post("/sweeps", json={"base": TINY, "grid": {"seed": list(range(experiments))}})


def refused(answer: Response, queued: int) -> None:
    body = problem(answer, 429, "queue_full", ["queued", "limit"])
    assert (body["title"], body["queued"], body["limit"]) == ("Too Many Requests", queued, LIMIT)
    assert 5 < int(answer.headers["Retry-After"]) < 300


def test_beyond_the_limit_a_submission_is_refused_until_there_is_room_again(
    small: TestClient, database: Database, bells: RecordingBells
) -> None:
    first, *_ = [submitted(small) for _ in range(LIMIT)]
    for _ in range(2):
        refused(small.post("/experiments", json=TINY), queued=3)
    refused(sweep_of(small, 1), queued=3)
    assert len(waiting(database)) == 2 * LIMIT
    assert bells.rung == [2] * LIMIT
    small.post(f"/experiments/{first}/cancel")
    submitted(small)
    refused(small.post("/experiments", json=TINY), queued=3)


def test_a_sweep_is_admitted_whole_or_not_at_all(small: TestClient, database: Database) -> None:
    submitted(small)
    refused(sweep_of(small, 3), queued=1)
    assert len(waiting(database)) == 2
    assert small.get("/sweeps").json()["sweeps"] == []
    assert sweep_of(small, 2).status_code == 202
    refused(sweep_of(small, 1), queued=3)


def test_an_experiment_waits_as_long_as_one_of_its_arms_does(small: TestClient, database: Database) -> None:
    first, second, _ = [submitted(small) for _ in range(LIMIT)]
    claimed(database, first, WITHOUT)
    refused(small.post("/experiments", json=TINY), queued=3)
    claimed(database, first, WITH)
    submitted(small)
    refused(small.post("/experiments", json=TINY), queued=3)
    finish(database, second)
    submitted(small)


def test_what_is_not_valid_is_told_so_however_many_wait(small: TestClient) -> None:
    for _ in range(LIMIT):
        submitted(small)
    problem(small.post("/experiments", json={"seed": -1}), 422)


@pytest.mark.parametrize("path", ["/experiments", "/sweeps"])
def test_many_at_one_moment_never_exceed_the_limit(small: TestClient, database: Database, path: str) -> None:
    threads = 8
    together = Barrier(threads)
    body: dict[str, Any] = TINY if path == "/experiments" else {"base": TINY, "grid": {"replicates": [1, 2]}}

    def send(_: int) -> Response:
        together.wait(30)
        return small.post(path, json=body)

    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(send, range(threads)))
    admitted = 3 if path == "/experiments" else 1
    assert sorted(answer.status_code for answer in answers) == [202] * admitted + [429] * (threads - admitted)
    assert len(waiting(database)) == (6 if path == "/experiments" else 4)
