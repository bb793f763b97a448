"""Sample digits: test images with their labels, in a form that can be sent to /predict as it is."""

import numpy as np
import pytest
from builders import fields, problem, strict_json, succeeded
from conftest import LOOPBACK
from fastapi.testclient import TestClient

from api.app import create_app
from models.database import Database
from models.datasets import Dataset
from models.settings import Settings


def test_the_digits_are_those_of_the_test_set(door: TestClient, digits: Dataset) -> None:
    body = strict_json(door.get("/digits", params={"first": 3, "count": 4}).text)
    assert body["dataset"] == "mnist-5k"
    assert [digit["index"] for digit in body["digits"]] == [3, 4, 5, 6]
    for digit in body["digits"]:
        assert digit["label"] == digits.test_labels[digit["index"]]
        pixels = np.array(digit["image"])
        assert pixels.shape == (28, 28)
        np.testing.assert_allclose(pixels.ravel() * 255, digits.test_images[digit["index"]], atol=1e-9)


def test_ten_are_given_from_the_beginning_and_fewer_at_the_end(door: TestClient) -> None:
    assert [digit["index"] for digit in door.get("/digits").json()["digits"]] == list(range(10))
    at_the_end = door.get("/digits", params={"first": 998, "count": 100}).json()["digits"]
    assert [digit["index"] for digit in at_the_end] == [998, 999]
    assert door.get("/digits", params={"first": 9_999}).json()["digits"] == []


def test_a_digit_can_be_predicted_as_it_is(api: TestClient, database: Database) -> None:
    succeeded(database)
    for digit in api.get("/digits", params={"count": 3}).json()["digits"]:
        assert api.post("/predict", json={"image": digit["image"]}).status_code == 200


def test_the_full_set_has_its_own_digits(full_mnist: Dataset, settings: Settings, full_mnist_dir: str) -> None:
    full = settings.model_copy(update={"data_dir": full_mnist_dir})
    with TestClient(create_app(full), base_url=LOOPBACK) as api:
        labels = [digit["label"] for digit in api.get("/digits", params={"dataset": "mnist"}).json()["digits"]]
        assert labels == full_mnist.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
        assert len(api.get("/digits", params={"dataset": "mnist", "first": 9_950, "count": 100}).json()["digits"]) == 50


def test_a_data_set_that_is_not_at_hand_is_unavailable_not_an_error_of_the_sender(door: TestClient) -> None:
    answer = door.get("/digits", params={"dataset": "mnist"})
    body = problem(answer, 503, "dataset_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert "BNLAB_DATA_DIR" in body["detail"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("count", value) for value in ("0", "101", "-1", "ten", "1.5", "")),
        *(("first", value) for value in ("-1", "10000", "x", "9" * 5_000)),
        *(("dataset", value) for value in ("", "mnist5k", "../mnist", "MNIST")),
    ],
)
def test_a_bad_parameter_is_refused(door: TestClient, name: str, value: str) -> None:
    assert fields(door.get("/digits", params={name: value})) == [name]
