"""Submit, list, read, cancel: what is accepted is committed before its bells ring, what is refused leaves nothing."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from builders import (
    FINGERPRINT,
    LEASE_S,
    WITH,
    WITHOUT,
    BellsThatLook,
    arm_ids,
    cancelled,
    claimed,
    failed,
    fields,
    problem,
    running,
    strict_json,
    submitted,
    succeeded,
    waiting,
)
from conftest import LOOPBACK, TINY_SPEC, RecordingBells
from fastapi.testclient import TestClient
from httpx2 import Response
from scipy.stats import ttest_1samp
from sqlalchemy import update

from api.app import create_app
from models import arms, datasets, experiments
from models.database import Database
from models.settings import Settings
from models.spec import ArmName, Status
from models.tables import Network
from models.trained import starting_arrays, weights_sha256

TINY = TINY_SPEC.model_dump(mode="json")
JSON = {"Content-Type": "application/json"}


def listed(api: TestClient, **query: Any) -> list[str]:
    return [experiment["id"] for experiment in api.get("/experiments", params=query).json()["experiments"]]


# ---------------------------------------------------------------------------------------------------- submit


def test_an_accepted_experiment_is_answered_with_its_address_and_the_whole_contract(api: TestClient) -> None:
    answer = api.post("/experiments", json=TINY)
    assert answer.status_code == 202
    body = strict_json(answer.text)
    assert answer.headers["Location"] == f"/experiments/{body['id']}"
    arm = {
        "status": "queued",
        "batches_done": 0,
        "batches_per_second": None,
        "final_validation_accuracy": None,
        "learned": None,
        "reached_90_percent_after": None,
        "test": None,
        "diverged_at": None,
        "diverged_replicates": [],
        "starting_weights_sha256": None,
        "device": None,
        "fingerprint": None,
        "generation": 1,
    }
    assert [warning["code"] for warning in body.pop("warnings")] == ["population_statistics_not_converged"]
    created_at = body.pop("created_at")
    assert created_at.endswith("Z")
    assert abs(datetime.fromisoformat(created_at) - datetime.now(UTC)) < timedelta(minutes=1)
    assert body == {
        "id": str(UUID(body["id"])),
        "status": "queued",
        "spec": TINY,
        "preset": None,
        "sweep_id": None,
        "dataset_sha256": datasets.SHA256["mnist-5k"],
        "waits_for": "a worker: none has been heard of for 30 s",
        "progress": {"batches_done": 0, "batches_total": 40, "fraction": 0.0},
        "arms": {"without_batch_norm": arm, "with_batch_norm": arm},
        "comparison": None,
        "error": None,
        "started_at": None,
        "finished_at": None,
    }
    assert api.get(answer.headers["Location"]).json() == answer.json()


@pytest.mark.parametrize("body", [b"", b"{}", b" {\n}\t", b'{"seed": null, "dataset": null, "preset": null}'])
def test_every_field_may_be_left_out(api: TestClient, body: bytes) -> None:
    spec = api.post("/experiments", content=body, headers=JSON).json()["spec"]
    assert isinstance(spec.pop("seed"), int)
    assert spec == {
        "network": "dense",
        "activation": "relu",
        "learning_rate": 0.01,
        "weight_scale": 0.05,
        "hidden_layers": [100, 100, 100],
        "batch_size": 60,
        "training_batches": 50000,
        "batches_per_sample": 500,
        "replicates": 1,
        "dataset": "mnist-5k",  # this server's default
        "batch_norm": {
            "momentum": 0.99,
            "epsilon": 0.001,
            "placement": "before_activation",
            "implementation": "equations",
            "update_population_statistics": True,
        },
        "device": "auto",
        "preset": None,
    }


def test_a_drawn_seed_is_recorded(api: TestClient) -> None:
    answers = [api.post("/experiments", json={}).json() for _ in range(3)]
    assert len({answer["spec"]["seed"] for answer in answers}) == 3
    for answer in answers:
        assert api.get(f"/experiments/{answer['id']}").json()["spec"]["seed"] == answer["spec"]["seed"]


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", ""])
def test_json_is_json_however_it_is_announced(api: TestClient, content_type: str) -> None:
    answer = api.post("/experiments", content=b'{"seed": 4}', headers={"Content-Type": content_type})
    assert answer.json()["spec"]["seed"] == 4


def test_of_a_key_written_twice_the_last_one_counts_and_is_shown(api: TestClient) -> None:
    answer = api.post("/experiments", content=b'{"seed": 1, "seed": 2}', headers=JSON)
    assert answer.json()["spec"]["seed"] == 2


def test_each_arm_is_rung_for_once_and_only_after_the_commit(api: TestClient, database: Database) -> None:
    bells = BellsThatLook(database)
    api.app.state.bells = bells  # type: ignore[attr-defined]
    experiment_id = UUID(api.post("/experiments", json=TINY).json()["id"])
    mine = set(arm_ids(database, experiment_id).values())
    assert bells.rung == [2]
    assert set(bells.waiting) == mine  # another connection saw them when the bell rang


def test_an_experiment_is_accepted_although_the_broker_is_down(settings: Settings, database: Database) -> None:
    nobody_there = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    with TestClient(create_app(nobody_there), base_url=LOOPBACK, raise_server_exceptions=False) as api:
        began = monotonic()
        assert api.post("/experiments", json=TINY).status_code == 202
        assert monotonic() - began < 3  # no thread waits for the broker to come back
    assert len(waiting(database)) == 2


REFUSED: list[tuple[bytes, list[str]]] = [
    (b'{"learning_rat": 0.1}', ["learning_rat"]),
    (b'{"batch_norm": {"eps": 1}}', ["batch_norm.eps"]),
    (b'{"": 1}', [""]),
    (b'{"\\u0000": 1}', ["\0"]),
    (b'{"learning_rate": "0.1"}', ["learning_rate"]),
    (b'{"learning_rate": NaN}', ["learning_rate"]),
    (b'{"learning_rate": -Infinity}', ["learning_rate"]),
    (b'{"learning_rate": 1e999}', ["learning_rate"]),
    (b'{"learning_rate": 0}', ["learning_rate"]),
    (b'{"learning_rate": 101}', ["learning_rate"]),
    (b'{"weight_scale": 0}', ["weight_scale"]),
    (b'{"weight_scale": true}', ["weight_scale"]),
    (b'{"batches_per_sample": 50001}', ["batches_per_sample"]),
    (b'{"training_batches": 499, "batches_per_sample": 500}', ["batches_per_sample"]),
    (b'{"training_batches": 1000001}', ["training_batches"]),
    (b'{"training_batches": 1000000, "batches_per_sample": 99}', ["batches_per_sample"]),
    (b'{"hidden_layers": []}', ["hidden_layers"]),
    (b'{"hidden_layers": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}', ["hidden_layers"]),
    (b'{"hidden_layers": [4097]}', ["hidden_layers.0"]),
    (b'{"hidden_layers": [100, 0, "7"]}', ["hidden_layers.1", "hidden_layers.2"]),
    (b'{"hidden_layers": [4096, 4096, 4096]}', ["hidden_layers"]),
    (b'{"batch_size": 1}', ["batch_size"]),
    (b'{"batch_size": 60.0}', ["batch_size"]),
    (b'{"seed": ' + b"9" * 4_000 + b"}", ["seed"]),
    (b'{"activation": "re\\u0000lu"}', ["activation"]),
    (b'{"activation": "' + b"x" * 100_000 + b'"}', ["activation"]),
    (b'{"batch_norm": null}', ["batch_norm"]),
    (b'{"replicates": 0}', ["replicates"]),
    (b'{"replicates": 65}', ["replicates"]),
    (b'{"replicates": 64, "hidden_layers": [4096]}', ["replicates"]),
    (b'{"preset": "lesson"}', ["preset"]),
    (b'{"preset": "relu-0.01-good-weights-2000", "batches_per_sample": 2001}', ["batches_per_sample"]),
    (b'{"seed": 1, "seed": -1}', ["seed"]),
    # the body as a whole
    (b"null", [""]),
    (b"[]", [""]),
    (b"[{}]", [""]),
    (b"7", [""]),
    (b'"{}"', [""]),
    (b"seed=1", [""]),
    (b'{"seed": 1', [""]),
    (b"{'seed': 1}", [""]),
    (b'{"seed": 1,}', [""]),
    (b"{} {}", [""]),
    (b"   ", [""]),
    (b"\xef\xbb\xbf{}", [""]),
    (b'{"activation": "\xff\xfe"}', [""]),
    ('{"seed": 1}'.encode("utf-16"), [""]),
    (b'{"activation": "\\ud800"}', [""]),
    (b'{"activation": "re\0lu"}', [""]),
    (b'{"seed": ' + b"9" * 5_000 + b"}", [""]),
    (b"[" * 100_000, [""]),
    (b'{"a":' * 100_000, [""]),
    (b"[" * 100_000 + b"]" * 100_000, [""]),
]


@pytest.mark.parametrize(("body", "named"), REFUSED, ids=lambda value: repr(value[:32]))
def test_a_bad_spec_is_refused_by_its_fields(door: TestClient, body: bytes, named: list[str]) -> None:
    assert fields(door.post("/experiments", content=body, headers=JSON)) == named


def test_what_is_refused_leaves_nothing_and_rings_nothing(api: TestClient, bells: RecordingBells) -> None:
    for body, _ in REFUSED:
        assert api.post("/experiments", content=body, headers=JSON).status_code == 422
    assert api.get("/experiments").json() == {"experiments": [], "next_cursor": None}
    assert bells.rung == []


def test_a_refusal_says_what_is_allowed_and_what_came(door: TestClient) -> None:
    def error(body: bytes) -> dict[str, Any]:
        (first,) = problem(door.post("/experiments", content=body, headers=JSON), 422)["errors"]
        return dict(first)

    assert error(b'{"learning_rate": -1}') == {"field": "learning_rate", "allowed": "greater than 0", "received": -1}
    assert error(b'{"learning_rate": NaN}') == {
        "field": "learning_rate",
        "allowed": "a finite number",
        "received": "nan",
    }
    assert error(b'{"learning_rate": 1e999}')["received"] == "inf"
    assert error(b'{"activation": "swish"}') == {
        "field": "activation",
        "allowed": "'relu', 'sigmoid', 'tanh', 'leaky_relu', 'elu', 'gelu' or 'linear'",
        "received": "swish",
    }
    assert error(b'{"hidden_layers": []}') == {
        "field": "hidden_layers",
        "allowed": "at least 1 of them",
        "received": "[]",
    }
    assert "at most 16" in error(json.dumps({"hidden_layers": [1] * 17}).encode())["allowed"]
    assert error(b'{"batches_per_sample": 60000}') == {
        "field": "batches_per_sample",
        "allowed": "at most training_batches, which is 50000",
        "received": 60000,
    }
    assert error(b'{"batch_norm": [true, {"a": null}]}')["received"] == '[true, {"a": null}]'  # in the sender's words
    assert error(b'{"batch_sise": 60}')["allowed"] == "no field of this name"


def test_an_answer_stays_small_however_much_is_wrong(door: TestClient) -> None:
    many = problem(door.post("/experiments", json={f"field {i}": i for i in range(1_000)}), 422)
    assert len(many["errors"]) == 20
    assert many["detail"].endswith("These are the first 20 of 1000 errors.")
    (one,) = problem(door.post("/experiments", json={"x" * 1_000_000: "y" * 1_000}), 422)["errors"]
    assert len(one["field"]) < 200
    assert len(one["received"]) < 200


# -------------------------------------------------------------------------------------------------- read, list


def test_a_running_experiment_shows_its_progress(api: TestClient, database: Database) -> None:
    body = strict_json(api.get(f"/experiments/{running(database)}").text)
    assert body["status"] == "running"
    assert body["progress"] == {"batches_done": 6, "batches_total": 40, "fraction": 0.15}
    assert body["arms"]["without_batch_norm"]["batches_per_second"] == 123.5
    assert body["arms"]["with_batch_norm"]["status"] == "queued"
    assert body["started_at"].endswith("Z")
    assert body["finished_at"] is None


def test_a_succeeded_experiment_shows_its_results(api: TestClient, database: Database) -> None:
    body = strict_json(api.get(f"/experiments/{succeeded(database)}").text)
    assert body["status"] == "succeeded"
    assert body["progress"] == {"batches_done": 40, "batches_total": 40, "fraction": 1.0}
    assert body["created_at"] <= body["started_at"] <= body["finished_at"]

    def spread(value: float) -> dict[str, Any]:
        return {"mean": value, "min": value, "max": value, "std": 0.0, "replicates": [value]}

    population = {
        "accuracy": spread(0.75),
        "single_predictions": {
            "count": 4,
            "accuracy": spread(0.5),
            "distinct_answers": 4,
            "answer_counts": [[1, 1, 1, 0, 0, 0, 0, 1, 0, 0]],
        },
    }
    batch = {
        "accuracy": spread(0.74),
        "single_predictions": {
            "count": 4,
            "accuracy": spread(0.25),
            "distinct_answers": 1,
            "answer_counts": [[0, 0, 0, 4, 0, 0, 0, 0, 0, 0]],
        },
    }
    for arm, with_batch in (("without_batch_norm", None), ("with_batch_norm", batch)):
        assert body["arms"][arm] == {
            "status": "succeeded",
            "batches_done": 20,
            "batches_per_second": 1000.0,
            "final_validation_accuracy": spread(0.8),
            "learned": 1,
            "reached_90_percent_after": [None],
            "test": {"population": population, "batch": with_batch},
            "diverged_at": None,
            "diverged_replicates": [],
            "starting_weights_sha256": [weights_sha256(starting_arrays(TINY_SPEC.resolve("mnist-5k"), WITH, 0))],
            "device": "test",
            "fingerprint": FINGERPRINT,
            "generation": 1,
        }
    nothing = {**spread(0.0), "confidence_interval_95": None}
    assert body["comparison"] == {"final_validation_accuracy": nothing, "test_accuracy": nothing}


@pytest.mark.parametrize("step", [0, 17])
def test_divergence_is_a_result(api: TestClient, database: Database, step: int) -> None:
    body = api.get(f"/experiments/{succeeded(database, diverged_at={WITHOUT: step})}").json()
    assert body["status"] == "succeeded"
    assert body["arms"]["without_batch_norm"]["diverged_at"] == step
    assert body["arms"]["without_batch_norm"]["diverged_replicates"] == [0]
    assert body["arms"]["with_batch_norm"]["diverged_at"] is None


THREE = TINY_SPEC.model_copy(update={"replicates": 3})


def test_each_number_is_there_for_every_replicate(api: TestClient, database: Database) -> None:
    experiment_id = succeeded(database, THREE, correct={WITHOUT: [50, 101, 449], WITH: [450, 460, 500]})
    body = strict_json(api.get(f"/experiments/{experiment_id}").text)
    without, with_ = (body["arms"][arm.value] for arm in (WITHOUT, WITH))
    assert with_["final_validation_accuracy"] == {
        "mean": pytest.approx(0.94),
        "min": 0.9,
        "max": 1.0,
        "std": pytest.approx(float(np.std([0.9, 0.92, 1.0], ddof=1))),
        "replicates": [0.9, 0.92, 1.0],
    }
    assert with_["test"]["population"]["accuracy"]["replicates"] == [0.85, 0.87, 0.95]
    assert with_["test"]["batch"]["single_predictions"]["answer_counts"] == [[0, 0, 0, 4, 0, 0, 0, 0, 0, 0]] * 3
    assert (without["learned"], with_["learned"]) == (2, 3)  # 0.1 has not, 0.202 has
    assert (without["reached_90_percent_after"], with_["reached_90_percent_after"]) == ([None] * 3, [20] * 3)
    expected = [weights_sha256(starting_arrays(THREE.resolve("mnist-5k"), WITH, replicate)) for replicate in range(3)]
    assert without["starting_weights_sha256"] == with_["starting_weights_sha256"] == expected
    assert len(set(expected)) == 3


@pytest.mark.parametrize(("correct", "learned"), [(0, 0), (100, 0), (101, 1), (500, 1)])
def test_who_is_right_more_often_than_in_a_fifth_has_learned(
    api: TestClient, database: Database, correct: int, learned: int
) -> None:
    experiment_id = succeeded(database, correct={arm: [max(correct, 25)] for arm in ArmName})
    arms_ = api.get(f"/experiments/{experiment_id}").json()["arms"]
    assert {arm["learned"] for arm in arms_.values()} == {learned}


def test_the_comparison_pairs_the_replicates(api: TestClient, database: Database) -> None:
    experiment_id = succeeded(database, THREE, correct={WITHOUT: [300, 310, 320], WITH: [400, 420, 440]})
    comparison = api.get(f"/experiments/{experiment_id}").json()["comparison"]
    for what, differences in (("final_validation_accuracy", [0.2, 0.22, 0.24]), ("test_accuracy", [0.2, 0.22, 0.24])):
        found = comparison[what]
        assert found["replicates"] == pytest.approx(differences)
        assert found["mean"] == pytest.approx(0.22)
        expected = ttest_1samp(differences, 0).confidence_interval(0.95)
        assert found["confidence_interval_95"] == {
            "low": pytest.approx(expected.low),
            "high": pytest.approx(expected.high),
        }


def test_there_is_nothing_to_compare_until_both_arms_have_succeeded(api: TestClient, database: Database) -> None:
    for make in (submitted, running, failed, cancelled):
        assert api.get(f"/experiments/{make(database)}").json()["comparison"] is None


def test_of_replicates_the_diverged_ones_are_named_and_the_first_batch_of_any(
    api: TestClient, database: Database
) -> None:
    body = api.get(f"/experiments/{succeeded(database, THREE, diverged_at={WITHOUT: 17})}").json()
    without = body["arms"]["without_batch_norm"]
    assert (without["diverged_at"], without["diverged_replicates"]) == (17, [2])
    assert body["arms"]["with_batch_norm"]["diverged_replicates"] == []


def test_what_was_trained_before_starting_weights_were_hashed_reads_on(api: TestClient, database: Database) -> None:
    experiment_id = succeeded(database)
    with database.write() as session:
        session.execute(update(Network).values(starting_weights_sha256=None))
    body = api.get(f"/experiments/{experiment_id}").json()
    assert {str(arm["starting_weights_sha256"]) for arm in body["arms"].values()} == {"[None]"}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"training_batches": 299}, []),
        ({"training_batches": 298}, [("population_statistics_not_converged", 0.99**298)]),
        ({"training_batches": 298, "batch_norm": {"momentum": 0.9}}, []),
        ({"batch_norm": {"update_population_statistics": False}}, [("population_statistics_not_updated", 1.0)]),
    ],
)
def test_statistics_that_cannot_be_right_are_warned_of_from_the_start(
    api: TestClient, asked: dict[str, Any], expected: list[tuple[str, float]]
) -> None:
    warnings = api.post("/experiments", json=asked).json()["warnings"]
    assert [(warning["code"], warning["share_of_start"]) for warning in warnings] == [
        (code, pytest.approx(share)) for code, share in expected
    ]


def test_a_failed_experiment_says_which_arm_and_why(api: TestClient, database: Database) -> None:
    body = strict_json(api.get(f"/experiments/{failed(database)}").text)
    assert body["status"] == "failed"
    assert body["error"] == {
        "arm": "with_batch_norm",
        "code": "out_of_memory",
        "message": "The network is too large for this worker.",
    }
    assert body["arms"]["without_batch_norm"]["final_validation_accuracy"]["mean"] == 0.8
    assert body["arms"]["with_batch_norm"]["final_validation_accuracy"] is None
    assert body["finished_at"].endswith("Z")


def test_reading_changes_nothing(api: TestClient, database: Database) -> None:
    for make in (submitted, running, succeeded, failed, cancelled):
        path = f"/experiments/{make(database)}"
        first, second = api.get(path), api.get(path)
        assert first.status_code == 200
        assert first.content == second.content


@pytest.mark.parametrize("action", ["", "/curve", "/history", "/cancel"])
def test_an_unknown_id_is_not_found_and_a_malformed_one_is_refused(api: TestClient, action: str) -> None:
    def ask(experiment_id: str) -> Response:
        return api.request("POST" if action == "/cancel" else "GET", f"/experiments/{experiment_id}{action}")

    unknown = str(uuid4())
    body = problem(ask(unknown), 404, "unknown_experiment", ["experiment_id"])
    assert body["experiment_id"] == unknown
    for malformed in (
        "1",
        "x",
        unknown[:-1],
        unknown + "0",
        unknown.replace("-", "_"),
        "%00",
        "%F0%9F%98%80",
        "' OR 1=1",
    ):
        assert fields(ask(malformed)) == ["experiment_id"]


def test_the_list_shows_the_newest_first_and_each_as_its_own_address_does(api: TestClient, database: Database) -> None:
    ids = [str(make(database)) for make in (succeeded, failed, running, cancelled, submitted)]
    page = strict_json(api.get("/experiments").text)
    assert [experiment["id"] for experiment in page["experiments"]] == ids[::-1]
    assert page["next_cursor"] is None
    for experiment in page["experiments"]:
        assert api.get(f"/experiments/{experiment['id']}").json() == experiment


def test_the_list_can_be_filtered_by_each_status(api: TestClient, database: Database) -> None:
    made = {
        "succeeded": succeeded(database),
        "failed": failed(database),
        "running": running(database),
        "cancelled": cancelled(database),
        "queued": submitted(database),
    }
    assert set(made) == set(Status)
    for status, experiment_id in made.items():
        assert listed(api, status=status) == [str(experiment_id)]


def pages(api: TestClient, **query: Any) -> Iterator[list[str]]:
    """Walk through the pages; whoever gets lost ends after ten."""
    cursor: str | None = None
    for _ in range(10):
        page = api.get("/experiments", params={**query, **({"cursor": cursor} if cursor else {})}).json()
        yield [experiment["id"] for experiment in page["experiments"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return
    pytest.fail("the pages do not end")


@pytest.mark.parametrize(("limit", "lengths"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (5, [5]), (100, [5])])
def test_pages_follow_each_other_to_the_end(api: TestClient, limit: int, lengths: list[int]) -> None:
    ids = [api.post("/experiments", json=TINY).json()["id"] for _ in range(5)]
    found = list(pages(api, limit=limit))
    assert [len(page) for page in found] == lengths
    assert [experiment_id for page in found for experiment_id in page] == ids[::-1]


def test_a_page_is_not_shifted_by_what_is_submitted_meanwhile(api: TestClient) -> None:
    ids = [api.post("/experiments", json=TINY).json()["id"] for _ in range(4)]
    walk = pages(api, limit=2, status="queued")
    assert next(walk) == ids[:1:-1]
    api.post("/experiments", json=TINY)
    assert next(walk) == ids[1::-1]
    assert list(walk) == []


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


ID = "00000000-0000-4000-8000-000000000000"
BAD_CURSORS = [
    "",
    "x",
    "%%%",
    "\0",
    "ÿ",
    "1",
    cursor("now"),
    cursor(f"2026-01-01T00:00:00 {ID}"),  # without its time zone
    cursor("2026-01-01T00:00:00+00:00 7"),
    cursor(f"2026-01-01T00:00:00+00:00 {ID} {ID}"),
    cursor(f"2026-13-01T00:00:00+00:00 {ID}"),
    cursor(f"0001-01-01T00:00:00+14:00 {ID}"),  # before the first year in UTC
    cursor(f"9999-12-31T23:59:59-14:00 {ID}"),
    base64.urlsafe_b64encode(b"\xff\xfe \xfd").decode(),
    cursor(f"2026-01-01T00:00:00+00:00 {ID}") + "!" * 200,  # right, but far too long
]


@pytest.mark.parametrize("text", BAD_CURSORS)
def test_a_bad_cursor_is_refused(door: TestClient, text: str) -> None:
    assert fields(door.get("/experiments", params={"cursor": text})) == ["cursor"]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00"])
def test_a_cursor_at_the_end_of_time_is_only_an_odd_place_to_begin(api: TestClient, moment: str) -> None:
    newest = api.post("/experiments", json=TINY).json()["id"]
    assert listed(api, cursor=cursor(f"{moment} {ID}")) == ([] if moment.startswith("0") else [newest])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("limit", value) for value in ("0", "-1", "101", "1.5", "", "ten", "9" * 5_000, "NaN", "1e1")),
        *(("status", value) for value in ("", "done", "QUEUED", "queued,failed", "\0")),
    ],
)
def test_a_bad_limit_or_status_is_refused(door: TestClient, name: str, value: str) -> None:
    assert fields(door.get("/experiments", params={name: value})) == [name]


# ---------------------------------------------------------------------------------------------------- cancel


def test_a_queued_experiment_is_cancelled_at_once_and_again_without_effect(api: TestClient, database: Database) -> None:
    path = f"/experiments/{submitted(database)}"
    first = api.post(f"{path}/cancel")
    assert first.status_code == 202
    assert first.json()["status"] == "cancelled"
    assert {arm["status"] for arm in first.json()["arms"].values()} == {"cancelled"}
    assert first.json()["finished_at"].endswith("Z")
    second = api.post(f"{path}/cancel")
    assert (second.status_code, second.json()) == (202, first.json())
    assert api.get(path).json() == first.json()


def test_a_running_arm_is_asked_to_stop_and_a_waiting_one_never_begins(api: TestClient, database: Database) -> None:
    experiment_id = submitted(database)
    held = claimed(database, experiment_id, WITHOUT)
    answer = api.post(f"/experiments/{experiment_id}/cancel")
    assert answer.status_code == 202
    assert answer.json()["status"] == "running"
    assert answer.json()["arms"]["with_batch_norm"]["status"] == "cancelled"
    with database.write() as session:
        assert arms.record(session, held, LEASE_S, 1, None, []) is True  # the worker hears of it at its next write
        arms.mark_cancelled(session, held)
    assert api.post(f"/experiments/{experiment_id}/cancel").json()["status"] == "cancelled"


@pytest.mark.parametrize(("make", "status"), [(succeeded, "succeeded"), (failed, "failed")])
def test_a_finished_experiment_cannot_be_cancelled(
    api: TestClient, database: Database, make: Callable[[Database], UUID], status: str
) -> None:
    path = f"/experiments/{make(database)}"
    before = api.get(path).json()
    body = problem(api.post(f"{path}/cancel"), 409, "experiment_finished", ["experiment_status"])
    assert body["experiment_status"] == status
    assert api.get(path).json() == before


def test_cancelling_rings_no_bell(api: TestClient, database: Database, bells: RecordingBells) -> None:
    experiment_id = submitted(database)
    api.post(f"/experiments/{experiment_id}/cancel")
    assert bells.rung == []
    with database.read() as session:
        assert [arm.status for arm in experiments.read(session, experiment_id).arms] == [Status.CANCELLED] * len(
            ArmName
        )
        assert WITH in arm_ids(database, experiment_id)


@pytest.mark.parametrize(
    "path",
    [
        "/experiments?state=failed",
        f"/experiments/{ID}?full=1",
        f"/experiments/{ID}/curve?fromat=png",
        f"/experiments/{ID}/history?arm=with_batch_norm",
        f"/experiments/{ID}/networks/with_batch_norm?replica=1",
        "/sweeps?status=failed",
        f"/sweeps/{ID}?fromat=csv",
        f"/sweeps/{ID}/curves?offset=1",
        "/presets?kind=depth",
        "/digits?amount=3",
    ],
)
def test_a_query_parameter_of_another_name_is_refused_not_ignored(door: TestClient, path: str) -> None:
    assert fields(door.get(path)) == [path.partition("?")[2].partition("=")[0]]
