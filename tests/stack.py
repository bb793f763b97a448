"""What the end-to-end tests share: the story that every set-up must tell."""

import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import select

from bnlab.client import Client
from models.database import Database
from models.tables import Arm

ROOT = Path(__file__).parents[1]
ARMS = ("without_batch_norm", "with_batch_norm")
PATIENCE_S = 120.0

#: Trained in a tenth of a second, once its program is compiled.
SHORT = {
    "hidden_layers": [32, 32],
    "learning_rate": 0.05,
    "training_batches": 400,
    "batches_per_sample": 50,
    "seed": 7,
    "dataset": "mnist-5k",
}
#: The same program for some seconds: long enough to do something to it meanwhile.
LONG = {**SHORT, "training_batches": 30_000, "batches_per_sample": 500}
#: The same again, for longer than any test waits.
ENDLESS = {**SHORT, "training_batches": 1_000_000, "batches_per_sample": 1_000}


def submitted(client: Client, spec: dict[str, Any]) -> str:
    """Submit a spec and return the experiment's id."""
    return str(client.submit(**spec)["id"])


def finished(client: Client, id: str, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
    """Wait until the experiment has ended, and return it."""
    return client.wait(id, poll_interval_s=0.1, timeout_s=timeout_s)


def wait_for_points(client: Client, id: str, count: int) -> None:
    """Wait until both arms of a running experiment have that many points."""
    end = time.monotonic() + 60
    while min(len(arm["steps"]) for arm in client.curve(id)["arms"].values()) < count:
        status = client.experiment(id)["status"]
        assert status in ("queued", "running"), f"the experiment is {status} before it has {count} points"
        assert time.monotonic() < end, f"no {count} points within 60 s; the experiment is {status}"
        time.sleep(0.05)


def arms_of(database: Database, id: str) -> dict[str, Arm]:
    """Return the rows of both arms."""
    with database.read() as session:
        rows = session.scalars(select(Arm)).all()
    return {row.name.value: row for row in rows if str(row.experiment_id) == id}


def worker_pid(arm: Arm) -> int:
    """Return the worker, that is its parent process, that trained the arm last."""
    assert arm.worker is not None
    return int(arm.worker.split(":")[1])


def check_curves(client: Client, experiment: dict[str, Any], spec: dict[str, Any]) -> None:
    """Check that both curves are whole and that the arm with batch normalization has learned."""
    assert experiment["status"] == "succeeded", experiment
    assert experiment["progress"]["fraction"] == 1.0
    curve = client.curve(experiment["id"])
    for name in ARMS:
        arm = curve["arms"][name]
        assert arm["steps"] == list(range(0, spec["training_batches"], spec["batches_per_sample"]))
        assert arm["replicates"] == [arm["mean"]]
        assert len(arm["mean"]) == len(arm["steps"])
        assert all(0 <= accuracy <= 1 for accuracy in arm["mean"])
        assert experiment["arms"][name]["diverged_at"] is None
    assert experiment["arms"]["with_batch_norm"]["final_validation_accuracy"]["mean"] > 0.7


def check_arms_side_by_side(database: Database, id: str) -> None:
    """Check that two worker processes trained the arms, and both at one moment."""
    one, other = arms_of(database, id).values()
    assert worker_pid(one) != worker_pid(other)
    latest_start = max(arm.started_at for arm in (one, other) if arm.started_at)
    assert all(arm.finished_at and latest_start < arm.finished_at for arm in (one, other))


def digits(client: Client, count: int) -> list[dict[str, Any]]:
    """Return the first test digits of the data set that the story's experiments use."""
    found: list[dict[str, Any]] = client.digits(count, "mnist-5k")["digits"]
    return found


def check_predictions(client: Client, id: str) -> None:
    """Check twenty single digits: right with the population's statistics, all the same with those of the batch."""
    shown = digits(client, 20)
    assert len({digit["label"] for digit in shown}) > 5
    right = sum(client.predict(digit["image"], experiment=id)["digit"] == digit["label"] for digit in shown)
    assert right >= 15
    of_batch = {client.predict(digit["image"], experiment=id, statistics="batch")["digit"] for digit in shown}
    assert len(of_batch) == 1


def check_picture(client: Client, id: str) -> None:
    """Check that a digit gets the same answer as a PNG picture and as numbers."""
    numbers = digits(client, 1)[0]["image"]
    picture = BytesIO()
    Image.fromarray(np.rint(np.array(numbers) * 255).astype(np.uint8)).save(picture, "PNG")
    of_picture = client.predict(picture.getvalue(), experiment=id)
    of_numbers = client.predict(numbers, experiment=id)
    assert of_picture["digit"] == of_numbers["digit"]
    np.testing.assert_allclose(of_picture["probabilities"], of_numbers["probabilities"], atol=1e-6)
