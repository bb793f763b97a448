"""The workers as the API and the command line show them, and what an experiment is said to wait for."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from builders import WITH, WITHOUT, claimed, running, succeeded
from conftest import TINY_SPEC
from fastapi.testclient import TestClient
from sqlalchemy import event, update

from models import clock, workers
from models.database import Database
from models.lanes import Lane
from models.tables import Worker

TINY = TINY_SPEC.model_dump(mode="json")


def beat(database: Database, name: str, lane: Lane, processes: int = 1, names: Sequence[str] = ("X",)) -> None:
    with database.write() as session:
        workers.beat(session, name, lane, names, processes)


def submit(api: TestClient, device: str) -> dict[str, Any]:
    answer: dict[str, Any] = api.post("/experiments", json={**TINY, "device": device}).json()
    return answer


def waits_for(api: TestClient, id: str) -> str | None:
    said: str | None = api.get(f"/experiments/{id}").json()["waits_for"]
    return said


def test_workers_are_listed_with_what_they_train_on_and_how_much(api: TestClient, database: Database) -> None:
    assert api.get("/workers").json() == {"workers": []}
    beat(database, "alpha:7:ab", "gpu", 2, ["NVIDIA H200", "NVIDIA H200"])
    beat(database, "beta:9:cd", "cpu")
    with database.write() as session:
        silent = update(Worker).where(Worker.name == "beta:9:cd").values(seen_at=clock.in_seconds(-60))
        session.execute(silent)
    claimed(database, UUID(submit(api, "gpu")["id"]), WITH, worker="alpha:7:ab/8", lane="gpu")
    alpha, beta = api.get("/workers").json()["workers"]
    assert alpha.pop("started_at") <= alpha.pop("seen_at")
    assert alpha == {
        "name": "alpha:7:ab",
        "host": "alpha",
        "device": "gpu",
        "device_names": ["NVIDIA H200", "NVIDIA H200"],
        "processes": 2,
        "training": 1,
        "living": True,
    }
    assert (beta["host"], beta["device"], beta["training"], beta["living"]) == ("beta", "cpu", 0, False)


@pytest.mark.parametrize(
    ("device", "worker"), [("auto", "worker"), ("cpu", "worker without a GPU"), ("gpu", "worker with a GPU")]
)
def test_a_queued_experiment_says_what_it_waits_for(
    device: str, worker: str, api: TestClient, database: Database
) -> None:
    experiment = submit(api, device)
    nobody = f"a {worker}: none has been heard of for 30 s"
    assert experiment["waits_for"] == waits_for(api, experiment["id"]) == nobody
    other: Lane = "cpu" if device == "gpu" else "gpu"
    beat(database, "a:1:x", other)
    said = waits_for(api, experiment["id"])
    assert said == ("a free worker" if device == "auto" else nobody)
    beat(database, "b:1:x", "gpu" if device == "gpu" else "cpu")
    assert waits_for(api, experiment["id"]) == f"a free {worker}"


def test_a_worker_that_takes_no_arms_is_nobody_to_wait_for(api: TestClient, database: Database) -> None:
    wants_gpu, wants_any, wants_cpu = (submit(api, device)["id"] for device in ("gpu", "auto", "cpu"))
    beat(database, "a:1:x", "gpu", processes=0, names=["none: TensorFlow finds no GPU"])
    why = "one is here, but it takes no arms (TensorFlow finds no GPU)"
    assert waits_for(api, wants_gpu) == f"a worker with a GPU: {why}"
    assert waits_for(api, wants_any) == f"a worker: {why}"
    assert waits_for(api, wants_cpu) == "a worker without a GPU: none has been heard of for 30 s"
    beat(database, "b:1:x", "gpu")
    assert waits_for(api, wants_gpu) == "a free worker with a GPU"


def test_an_experiment_waits_as_long_as_one_of_its_arms_does(api: TestClient, database: Database) -> None:
    id = running(database)  # its other arm is queued
    assert waits_for(api, str(id)) is not None
    claimed(database, id, WITH)
    assert waits_for(api, str(id)) is None


def test_what_has_ended_waits_for_nothing(api: TestClient, database: Database) -> None:
    id = submit(api, "gpu")["id"]
    assert api.post(f"/experiments/{id}/cancel").json()["waits_for"] is None
    assert waits_for(api, str(succeeded(database))) is None


def test_each_arm_names_the_device_that_trains_it(api: TestClient, database: Database) -> None:
    id = UUID(submit(api, "auto")["id"])
    gpu = {"device": "NVIDIA H200", "processor": "Some Processor"}
    claimed(database, id, WITHOUT, fingerprint=gpu, lane="gpu")
    claimed(database, id, WITH, fingerprint={**gpu, "device": "CPU"})
    arms = api.get(f"/experiments/{id}").json()["arms"]
    assert {name: arm["device"] for name, arm in arms.items()} == {
        "without_batch_norm": "NVIDIA H200",
        "with_batch_norm": "Some Processor",
    }


def test_a_sweep_says_it_of_each_of_its_experiments(api: TestClient, database: Database) -> None:
    sweep = api.post("/sweeps", json={"base": {**TINY, "device": "gpu"}, "grid": {"seed": [1, 2]}}).json()
    for answer in (sweep, api.get(f"/sweeps/{sweep['id']}").json()):
        said = {row["experiment"]["waits_for"] for row in answer["experiments"]}
        assert said == {"a worker with a GPU: none has been heard of for 30 s"}


def test_a_page_asks_for_the_workers_once_and_only_if_something_waits(api: TestClient, database: Database) -> None:
    asked: list[str] = []
    engine = api.app.state.database.engine  # type: ignore[attr-defined]

    @event.listens_for(engine, "before_cursor_execute")
    def _note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    def looks_at_workers() -> int:
        asked.clear()
        assert api.get("/experiments").status_code == 200
        return sum("FROM workers" in statement for statement in asked)

    succeeded(database)
    assert looks_at_workers() == 0
    for _ in range(3):
        submit(api, "auto")
    assert looks_at_workers() == 1


@pytest.mark.parametrize("device", ["auto", "cpu", "gpu"])
def test_the_bell_rings_for_the_device_that_is_asked_for(device: str, api: TestClient, bells: Any) -> None:
    submit(api, device)
    api.post("/sweeps", json={"base": {**TINY, "device": device}, "grid": {"seed": [1, 2, 3]}})
    assert list(zip(bells.rung, bells.devices, strict=True)) == [(2, device), (6, device)]


def test_a_sweep_over_devices_rings_for_each_of_them(api: TestClient, bells: Any) -> None:
    answer = api.post("/sweeps", json={"base": TINY, "grid": {"device": ["cpu", "gpu"], "seed": [1, 2]}})
    assert answer.status_code == 202
    assert sorted(zip(bells.devices, bells.rung, strict=True)) == [("cpu", 4), ("gpu", 4)]


def test_an_unknown_device_is_refused_by_name(api: TestClient) -> None:
    answer = api.post("/experiments", json={**TINY, "device": "tpu"})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "device"
    assert all(word in error["allowed"] for word in ("auto", "cpu", "gpu"))
