"""Several digits in one request: each alone with population statistics, normalized by all of them with the batch's."""

import json
from typing import Any

import numpy as np
import pytest
from builders import WITH, claimed, fields, network_row, problem, submitted, succeeded
from fastapi.testclient import TestClient

from models import arms
from models.database import Database
from models.datasets import Dataset
from models.spec import ArmName, Spec
from models.trained import TrainedNetwork, starting_arrays

SPEC = Spec(hidden_layers=(8, 6), training_batches=2_000, seed=1, dataset="mnist-5k")
BLANK = [0.0] * 784


@pytest.fixture
def network() -> TrainedNetwork:
    """A network with random everything, so that no answer is the same by chance."""
    spec, generator = SPEC.resolve("mnist-5k"), np.random.default_rng(0)
    start = starting_arrays(spec, WITH, 0)
    arrays = {name: generator.uniform(0.2, 1.2, array.shape).astype(np.float32) for name, array in start.items()}
    return TrainedNetwork(spec, WITH, {**arrays, "hidden_1/weights": start["hidden_1/weights"]})


@pytest.fixture
def trained(database: Database, network: TrainedNetwork) -> str:
    return str(succeeded(database, SPEC, arrays={WITH: network.arrays}))


def some(digits: Dataset, count: int) -> Any:
    return (digits.test_images[:count] / np.float32(255)).astype(np.float32)


def ask(api: TestClient, images: Any, **choice: Any) -> dict[str, Any]:
    answer = api.post("/predict", json={"images": images, **choice})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_with_population_statistics_each_is_answered_as_if_it_were_alone(
    api: TestClient, trained: str, digits: Dataset
) -> None:
    images = some(digits, 7).tolist()
    together = ask(api, images)
    assert {name: together[name] for name in together if name != "predictions"} == {
        "experiment": trained,
        "arm": "with_batch_norm",
        "replicate": 0,
        "statistics": "population",
        "warnings": [],
    }
    for image, found in zip(images, together["predictions"], strict=True):
        alone = api.post("/predict", json={"image": image}).json()
        assert found["digit"] == alone["digit"]
        assert found["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-6)


def test_with_batch_statistics_each_is_normalized_by_all_of_them(
    api: TestClient, trained: str, digits: Dataset, network: TrainedNetwork
) -> None:
    images = some(digits, 60)
    found = ask(api, images.tolist(), statistics="batch")
    expected = network.probabilities(images, "batch")
    np.testing.assert_allclose([seen["probabilities"] for seen in found["predictions"]], expected, atol=1e-6)
    assert found["warnings"] == []
    halves = [ask(api, half.tolist(), statistics="batch")["predictions"] for half in (images[:30], images[30:])]
    apart = [seen["probabilities"] for half in halves for seen in half]
    assert np.abs(np.array(apart) - expected).max() > 1e-3


def test_a_batch_of_one_is_answered_with_a_warning(api: TestClient, trained: str, digits: Dataset) -> None:
    answers = [ask(api, [image.tolist()], statistics="batch") for image in some(digits, 3)]
    answers.append(api.post("/predict", json={"image": BLANK, "statistics": "batch"}).json())
    assert {tuple(answer["predictions"][0]["probabilities"]) for answer in answers[:3]} == {
        tuple(answers[3]["probabilities"])
    }
    for answer in answers:
        assert [warning["code"] for warning in answer["warnings"]] == ["batch_of_one"]


@pytest.mark.parametrize(
    ("batch_norm", "batches", "expected"),
    [
        ({}, 298, ("population_statistics_not_converged", 0.99**298)),
        ({"momentum": 0.999}, 2_000, ("population_statistics_not_converged", 0.999**2_000)),
        ({"update_population_statistics": False}, 2_000, ("population_statistics_not_updated", 1.0)),
    ],
)
def test_an_answer_from_a_population_that_cannot_be_right_says_so(
    api: TestClient, database: Database, batch_norm: dict[str, Any], batches: int, expected: tuple[str, float]
) -> None:
    succeeded(
        database, Spec.model_validate({"hidden_layers": (8,), "training_batches": batches, "batch_norm": batch_norm})
    )
    for body in ({"image": BLANK}, {"images": [BLANK, BLANK]}):
        (warning,) = api.post("/predict", json=body).json()["warnings"]
        assert (warning["code"], warning["share_of_start"]) == (expected[0], pytest.approx(expected[1]))
        assert warning["message"].endswith(".")
        for other in ({"arm": "without_batch_norm"}, {"statistics": "batch"}):
            codes = [warning["code"] for warning in api.post("/predict", json={**body, **other}).json()["warnings"]]
            assert codes == ["batch_of_one"] * (other == {"statistics": "batch"} and "image" in body)


def test_a_diverged_network_answers_no_image_of_many(api: TestClient, database: Database) -> None:
    succeeded(database, SPEC, diverged_at={WITH: 3})
    problem(
        api.post("/predict", json={"images": [BLANK] * 2}), 409, "network_diverged", ["arm", "replicate", "diverged_at"]
    )


def test_the_arm_without_batch_norm_has_no_batch_statistics_for_many_either(api: TestClient, trained: str) -> None:
    body = {"images": [BLANK] * 2, "arm": "without_batch_norm", "statistics": "batch"}
    assert fields(api.post("/predict", json=body), code="batch_statistics_undefined") == ["statistics"]


def test_rows_and_flat_images_may_stand_side_by_side(api: TestClient, trained: str, digits: Dataset) -> None:
    image = some(digits, 1)[0]
    found = ask(api, [image.tolist(), image.reshape(28, 28).tolist()])["predictions"]
    assert found[0] == found[1]


def test_a_thousand_images_written_in_full_fit_into_one_request(api: TestClient, trained: str, digits: Dataset) -> None:
    images = (digits.test_images[:1_000] / 255.0).tolist()  # up to 18 digits for a pixel
    assert len(ask(api, images)["predictions"]) == 1_000


def test_a_replicate_of_its_own_answers(api: TestClient, database: Database, digits: Dataset) -> None:
    experiment_id = submitted(database, SPEC.model_copy(update={"replicates": 2}))
    for arm in ArmName:
        held = claimed(database, experiment_id, arm)
        with database.write() as session:
            arms.succeed(session, held, [network_row(held, replicate) for replicate in range(2)])
    images = some(digits, 3).tolist()
    first, second = (ask(api, images, experiment=str(experiment_id), replicate=r) for r in range(2))
    assert first["predictions"] != second["predictions"]
    beyond = api.post("/predict", json={"images": images, "experiment": str(experiment_id), "replicate": 2})
    problem(beyond, 404, "unknown_replicate", ["replicate", "replicates"])


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"images": []}, "images"),
        ({"images": [BLANK] * 1_001}, "images"),
        ({"images": BLANK}, "images.0"),
        ({"images": [BLANK, BLANK[1:]]}, "images.1"),
        ({"images": [BLANK] * 40 + [[*BLANK[1:], 2.0]]}, "images.40"),
        ({"images": [BLANK, None]}, "images.1"),
        ({"images": "digits"}, "images"),
        ({"images": None}, "image"),
        ({"image": BLANK, "images": [BLANK]}, "image"),
        ({}, "image"),
    ],
)
def test_what_is_wrong_is_named(door: TestClient, body: dict[str, Any], named: str) -> None:
    answer = door.post("/predict", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert fields(answer, code=answer.json()["code"]) == [named]
