"""Requests with an Idempotency-Key: sent again, they get the same answer, byte for byte, and have no second effect."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from builders import fields, finish, problem, waiting
from conftest import LOOPBACK, TINY_SPEC, RecordingBells
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import event, func, select, update
from sqlalchemy.exc import OperationalError

from api.app import create_app
from models.database import Database
from models.idempotency import KEPT_FOR
from models.settings import Settings
from models.tables import Experiment, IdempotencyKey, Sweep

KEY, REPLAYED = "Idempotency-Key", "Idempotency-Replayed"
JSON = {"Content-Type": "application/json"}
TINY = TINY_SPEC.model_dump(mode="json")
REQUESTS: dict[str, dict[str, Any]] = {
    "/experiments": {"training_batches": 20, "batches_per_sample": 5},
    "/sweeps": {"base": TINY, "grid": {"learning_rate": [0.1, 0.2], "batch_size": [10, 20]}},
}
each_path = pytest.mark.parametrize("path", REQUESTS)


def sent(api: TestClient, path: str, body: Any, key: str) -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return api.post(path, content=content, headers={**JSON, KEY: key})


@contextmanager
def served(settings: Settings, bells: RecordingBells) -> Iterator[TestClient]:
    app = create_app(settings)
    app.state.bells = bells
    with TestClient(app, base_url=LOOPBACK, raise_server_exceptions=False) as api:
        yield api


def counted(database: Database) -> tuple[int, int]:
    """Return how many experiments and how many sweeps there are."""
    with database.read() as session:
        experiments, sweeps = (
            session.scalars(select(func.count()).select_from(table)).one() for table in (Experiment, Sweep)
        )
        return experiments, sweeps


def is_replay(again: Response, first: Response) -> bool:
    """Return whether an answer is the first one, said again."""
    assert first.headers.get(REPLAYED) is None
    same = [(answer.status_code, answer.content, answer.headers["Location"]) for answer in (again, first)]
    assert again.headers["Content-Type"] == first.headers["Content-Type"] == "application/json"
    return same[0] == same[1] and again.headers.get(REPLAYED) == "true"


@each_path
@pytest.mark.parametrize("keys", [("a", "b"), ("a", "a"), ("a", "")])
def test_more_than_one_key_is_refused(api: TestClient, database: Database, path: str, keys: tuple[str, str]) -> None:
    headers = [("Content-Type", "application/json"), *((KEY, key) for key in keys)]
    answer = api.post(path, content=json.dumps(REQUESTS[path]).encode(), headers=headers)
    (error,) = problem(answer, 422, "invalid_input")["errors"]
    assert error["field"] == KEY
    assert "one" in error["allowed"]
    assert counted(database) == (0, 0)


@each_path
def test_a_request_sent_again_gets_the_first_answer_and_rings_no_bell(
    api: TestClient, database: Database, bells: RecordingBells, path: str
) -> None:
    first = sent(api, path, REQUESTS[path], "a")
    assert first.status_code == 202
    after_one, rung = counted(database), list(bells.rung)
    assert len(rung) == 1
    for _ in range(3):
        assert is_replay(sent(api, path, REQUESTS[path], "a"), first)
    assert (counted(database), bells.rung) == (after_one, rung)
    assert api.get(first.headers["Location"]).json() == first.json()


@each_path
def test_the_first_answer_is_repeated_whatever_has_happened_since(
    api: TestClient, database: Database, path: str
) -> None:
    first = sent(api, path, REQUESTS[path], "a")
    with database.read() as session:
        (experiment_id, *_) = session.scalars(select(Experiment.id).order_by(Experiment.position)).all()
    finish(database, experiment_id)
    assert is_replay(sent(api, path, REQUESTS[path], "a"), first)
    api.post(f"{first.headers['Location']}/cancel")
    assert is_replay(sent(api, path, REQUESTS[path], "a"), first)
    assert api.get(first.headers["Location"]).json() != first.json()


@each_path
def test_without_a_key_or_with_another_one_the_same_request_counts_again(
    api: TestClient, database: Database, path: str
) -> None:
    answers = [api.post(path, json=REQUESTS[path]) for _ in range(2)]
    answers += [sent(api, path, REQUESTS[path], key) for key in ("a", "b", "A", '"a"')]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["Location"] for answer in answers}) == 6
    assert not any(REPLAYED in answer.headers for answer in answers)


def test_how_a_request_is_written_down_does_not_matter(api: TestClient) -> None:
    first = sent(api, "/experiments", b'{"seed":1,"batch_norm":{"momentum":0.5,"epsilon":0.1}}', "a")
    for same in (
        b'{ "batch_norm" : {"epsilon":1e-1, "momentum":0.50},\n"seed":1 }\n',
        b'{"seed": 2, "seed": 1, "batch_norm": {"momentum": 0.5, "epsilon": 0.1}}',
    ):
        assert is_replay(sent(api, "/experiments", same, "a"), first)


@pytest.mark.parametrize(
    "other",
    [{}, {"seed": 2}, {"seed": 1, "replicates": 2}, {"seed": 1, "replicates": 1}, {"seed": 1, "dataset": "mnist"}],
)
def test_another_request_with_the_same_key_is_refused(
    api: TestClient, database: Database, bells: RecordingBells, other: dict[str, Any]
) -> None:
    first = sent(api, "/experiments", {"seed": 1}, "a")
    refused = sent(api, "/experiments", other, "a")
    assert fields(refused, 422, "idempotency_key_reused") == [KEY]
    assert refused.json()["errors"][0]["received"] == "a"
    assert counted(database) == (1, 0)
    assert bells.rung == [2]
    assert is_replay(sent(api, "/experiments", {"seed": 1}, "a"), first)


def test_a_key_is_for_one_path(api: TestClient) -> None:
    assert sent(api, "/experiments", {}, "a").status_code == 202
    problem(sent(api, "/sweeps", {"grid": {"seed": [1]}}, "a"), 422, "idempotency_key_reused")


@each_path
def test_what_is_not_valid_takes_no_key(api: TestClient, database: Database, path: str) -> None:
    for wrong in (b"", b"[]", b"{", b'{"seed": -1}', b'{"base": {"seed": -1}, "grid": {"momentum": [1]}}'):
        if (path, wrong) != ("/experiments", b""):  # an experiment may be all defaults
            problem(sent(api, path, wrong, "a"), 422)
    assert sent(api, path, REQUESTS[path], "a").status_code == 202


@pytest.mark.parametrize("key", ["", " ", "a b", "a\tb", "é", "\x7f", "x" * 256, "\x00", "❄"], ids=repr)
@each_path
def test_a_key_is_of_visible_ascii_characters(door: TestClient, path: str, key: str) -> None:
    headers = {KEY.encode(): key.encode()}
    answer = door.post(path, json=REQUESTS[path], headers=headers)
    (error,) = problem(answer, 422)["errors"]
    assert (error["field"], error["allowed"]) == (KEY, "1 to 255 visible ASCII characters")


@pytest.mark.parametrize("key", ["!", "~", "x" * 255, "a,b", '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "'OR-1=1--"])
def test_any_visible_key_is_taken(api: TestClient, key: str) -> None:
    first = sent(api, "/experiments", {}, key)
    assert is_replay(sent(api, "/experiments", {}, key), first)


@each_path
def test_equal_keys_at_one_moment_make_one_thing_and_one_answer(
    api: TestClient, database: Database, bells: RecordingBells, path: str
) -> None:
    threads = 8
    together = Barrier(threads)

    def send(_: int) -> Response:
        together.wait(30)
        return sent(api, path, REQUESTS[path], "a")

    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(send, range(threads)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({(answer.content, answer.headers["Location"]) for answer in answers}) == 1
    assert sorted(answer.headers.get(REPLAYED, "") for answer in answers) == ["", *["true"] * (threads - 1)]
    assert counted(database) == ((1, 0) if path == "/experiments" else (4, 1))
    assert len(bells.rung) == 1


def test_of_different_requests_with_one_key_at_one_moment_one_is_accepted(api: TestClient, database: Database) -> None:
    together = Barrier(8)

    def send(seed: int) -> Response:
        together.wait(30)
        return sent(api, "/experiments", {"seed": seed}, "a")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    (accepted,) = [answer for answer in answers if answer.status_code == 202]
    for answer in answers:
        if answer is not accepted:
            problem(answer, 422, "idempotency_key_reused")
    assert counted(database) == (1, 0)


def test_a_request_that_the_queue_had_no_room_for_takes_no_key(
    settings: Settings, database: Database, bells: RecordingBells
) -> None:
    with served(settings.model_copy(update={"max_queued_experiments": 1}), bells) as api:
        first = sent(api, "/experiments", {"seed": 1}, "a")
        problem(sent(api, "/experiments", {"seed": 2}, "b"), 429, "queue_full", ["queued", "limit"])
        assert is_replay(sent(api, "/experiments", {"seed": 1}, "a"), first)  # what was accepted is not refused
        api.post(f"{first.headers['Location']}/cancel")
        assert REPLAYED not in sent(api, "/experiments", {"seed": 2}, "b").headers
    assert counted(database) == (2, 0)


@each_path
def test_of_a_request_that_the_database_broke_off_nothing_is_remembered(
    settings: Settings, database: Database, bells: RecordingBells, path: str
) -> None:
    def break_off(*_: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("the connection is lost"))

    with served(settings, bells) as api:
        engine = api.app.state.database.engine  # type: ignore[attr-defined]
        event.listen(engine, "commit", break_off)
        problem(sent(api, path, REQUESTS[path], "a"), 503, "database_unavailable")
        assert (counted(database), bells.rung) == ((0, 0), [])
        event.remove(engine, "commit", break_off)
        first = sent(api, path, REQUESTS[path], "a")
        assert REPLAYED not in first.headers
        assert is_replay(sent(api, path, REQUESTS[path], "a"), first)


def test_a_key_is_forgotten_after_its_time(api: TestClient, database: Database) -> None:
    first = sent(api, "/experiments", {"seed": 1}, "a")

    def make_older_than_kept(by: timedelta) -> None:
        with database.write() as session:
            session.execute(update(IdempotencyKey).values(created_at=datetime.now(UTC) - KEPT_FOR - by))

    make_older_than_kept(-timedelta(minutes=5))
    assert is_replay(sent(api, "/experiments", {"seed": 1}, "a"), first)
    make_older_than_kept(timedelta(seconds=1))
    assert REPLAYED not in sent(api, "/experiments", {"seed": 2}, "a").headers
    assert counted(database) == (2, 0)


def test_the_answer_of_a_large_sweep_is_kept_small(api: TestClient, database: Database) -> None:
    request = {"base": TINY, "grid": {"seed": list(range(100)), "learning_rate": [i / 10 for i in range(1, 11)]}}
    key = str(uuid4())
    first = sent(api, "/sweeps", request, key)
    assert is_replay(sent(api, "/sweeps", request, key), first)
    assert len(waiting(database)) == 2_000
    with database.read() as session:
        kept = session.scalars(select(IdempotencyKey.answer)).one()
    assert len(kept) < len(first.content) / 5


def test_the_key_and_its_answer_are_documented(door: TestClient) -> None:
    paths = door.get("/openapi.json").json()["paths"]
    for path in REQUESTS:
        operation = paths[path]["post"]
        (parameter,) = operation["parameters"]
        assert (parameter["name"], parameter["in"], parameter["required"]) == (KEY, "header", False)
        assert {"type": "string", "pattern": "^[!-~]{1,255}$"} in parameter["schema"]["anyOf"]
        assert "48 hours" in parameter["description"]
        accepted = operation["responses"]["202"]
        assert set(accepted["headers"]) == {"Location", REPLAYED}
        assert "$ref" in accepted["content"]["application/json"]["schema"]
    keyed = [path for path, operations in paths.items() for it in operations.values() if KEY in json.dumps(it)]
    assert keyed == list(REQUESTS)
