"""The history: what happened to both arms, the oldest first, whoever did it and why."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from builders import (
    FINGERPRINT,
    LEASE_S,
    WITH,
    WITHOUT,
    cancelled,
    claimed,
    failed,
    running,
    strict_json,
    submitted,
    succeeded,
)
from conftest import TINY_SPEC
from fastapi.testclient import TestClient

from models import arms
from models.database import Database
from models.spec import ArmName, Reason

TINY = TINY_SPEC.model_dump(mode="json")


def history(api: TestClient, experiment_id: UUID | str) -> list[dict[str, Any]]:
    answer = api.get(f"/experiments/{experiment_id}/history")
    assert answer.status_code == 200
    body = strict_json(answer.text)
    assert set(body) == {"experiment_id", "events"}
    assert body["experiment_id"] == str(experiment_id)
    events: list[dict[str, Any]] = body["events"]
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    return events


def steps(events: list[dict[str, Any]], arm: ArmName) -> list[tuple[str, str, str, int, int, str]]:
    """Return what happened to one arm, without the moments."""
    names = ("from", "to", "reason", "fence", "batches_done", "actor")
    return [tuple(event[name] for name in names) for event in events if event["arm"] == arm.value]


def test_a_new_experiment_was_submitted(api: TestClient) -> None:
    experiment = api.post("/experiments", json=TINY).json()
    events = history(api, experiment["id"])
    for event in events:
        at = event.pop("at")
        assert at.endswith("Z")
        assert abs(datetime.fromisoformat(at) - datetime.now(UTC)) < timedelta(minutes=1)
    assert sorted(events, key=lambda event: str(event["arm"])) == [
        {
            "arm": arm,
            "from": None,
            "to": "queued",
            "reason": "submitted",
            "fence": 0,
            "batches_done": 0,
            "actor": "api",
        }
        for arm in ("with_batch_norm", "without_batch_norm")
    ]


def test_a_trained_arm_was_submitted_claimed_and_succeeded(api: TestClient, database: Database) -> None:
    events = history(api, succeeded(database))
    for arm in ArmName:
        assert steps(events, arm) == [
            (None, "queued", "submitted", 0, 0, "api"),
            ("queued", "running", "claimed", 1, 0, "test"),
            ("running", "succeeded", "succeeded", 1, 20, "test"),
        ]


def test_a_failed_arm_says_where(api: TestClient, database: Database) -> None:
    assert steps(history(api, failed(database)), WITH)[-1] == ("running", "failed", "failed", 1, 1, "test")


def test_a_cancel_is_told_of_once_however_often_it_is_asked_for(api: TestClient, database: Database) -> None:
    waited, ran = cancelled(database), running(database)
    for experiment_id in (waited, ran, ran):
        api.post(f"/experiments/{experiment_id}/cancel")
    assert steps(history(api, waited), WITH)[1:] == [("queued", "cancelled", "cancelled", 0, 0, "api")]
    assert steps(history(api, ran), WITHOUT)[2:] == [("running", "running", "cancel_requested", 1, 6, "api")]


def test_an_arm_that_was_given_back_and_moved_shows_each_step_and_how_often_it_began(
    api: TestClient, database: Database
) -> None:
    experiment_id = submitted(database)
    held = claimed(database, experiment_id, WITHOUT)
    with database.write() as session:
        arms.record(session, held, LEASE_S, 6, None, [])
        arms.give_back(session, held)
    claimed(database, experiment_id, WITHOUT, worker="another", fingerprint={**FINGERPRINT, "threads": 2})
    assert steps(history(api, experiment_id), WITHOUT)[2:] == [
        ("running", "queued", "worker_stopped", 1, 6, "test"),
        ("queued", "running", "restarted", 2, 0, "another"),
    ]
    answered = api.get(f"/experiments/{experiment_id}").json()["arms"]
    assert (answered["without_batch_norm"]["generation"], answered["with_batch_norm"]["generation"]) == (2, 1)
    assert answered["without_batch_norm"]["fingerprint"] == {**FINGERPRINT, "threads": 2}
    assert answered["with_batch_norm"]["fingerprint"] is None


def test_each_experiment_has_its_own_history(api: TestClient) -> None:
    sweep = api.post("/sweeps", json={"base": TINY, "grid": {"seed": [1, 2]}}).json()
    for row in sweep["experiments"]:
        events = history(api, row["experiment"]["id"])
        assert Counter(event["arm"] for event in events) == {"with_batch_norm": 1, "without_batch_norm": 1}


def test_every_reason_is_described(door: TestClient) -> None:
    schemas = door.get("/openapi.json").json()["components"]["schemas"]
    event = schemas["EventAnswer"]
    assert {"from", "to"} <= set(event["required"])
    assert "from_" not in event["properties"]
    for reason in Reason:
        assert f"`{reason}`: " in event["properties"]["reason"]["description"]
    assert schemas["Reason"]["enum"] == list(Reason)
