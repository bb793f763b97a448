"""What is inside a trained network, over HTTP."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from builders import WITH, WITHOUT, cancelled, failed, fields, problem, running, strict_json, submitted, succeeded
from fastapi.testclient import TestClient

from models.database import Database
from models.spec import ArmName, Spec
from models.trained import starting_arrays

LESSON = Spec(training_batches=2_000, seed=1, dataset="mnist-5k")


def test_the_lessons_networks_have_exactly_so_many_parameters(api: TestClient, database: Database) -> None:
    experiment_id = succeeded(database, LESSON)
    counts = {arm: api.get(f"/experiments/{experiment_id}/networks/{arm.value}").json() for arm in ArmName}
    assert counts[WITHOUT]["parameters"] == {"trainable": 99_710, "population_statistics": 0}
    assert counts[WITH]["parameters"] == {"trainable": 100_010, "population_statistics": 600}
    layers = {layer["name"]: layer for layer in counts[WITH]["layers"]}
    assert list(layers) == ["hidden_1", "hidden_2", "hidden_3", "output"]
    assert layers["hidden_1"]["parameters"] == {"weights": 78_400, "gamma": 100, "beta": 100}
    assert layers["output"]["parameters"] == {"weights": 1_000, "bias": 10}
    assert (layers["hidden_2"]["inputs"], layers["hidden_2"]["units"]) == (100, 100)


def test_each_layers_batch_normalization_is_shown_as_it_is_stored(api: TestClient, database: Database) -> None:
    spec = Spec(hidden_layers=(8, 6), seed=1, training_batches=2_000)
    arrays = starting_arrays(spec.resolve("mnist-5k"), WITH, 0)
    generator = np.random.default_rng(0)
    kept = {name: generator.normal(size=array.shape).astype(np.float32) for name, array in arrays.items()}
    experiment_id = succeeded(database, spec, arrays={WITH: kept})
    for layer in api.get(f"/experiments/{experiment_id}/networks/with_batch_norm").json()["layers"]:
        for what, numbers in (layer["batch_norm"] or {}).items():
            np.testing.assert_array_equal(np.array(numbers, np.float32), kept[f"{layer['name']}/{what}"])
    without = api.get(f"/experiments/{experiment_id}/networks/without_batch_norm").json()
    assert [layer["batch_norm"] for layer in without["layers"]] == [None, None, None]


def of_kind(api: TestClient, database: Database, spec: Spec) -> dict[ArmName, Any]:
    """Return the answers for both arms, of which the one with batch normalization has random numbers everywhere."""
    start = starting_arrays(spec.resolve("mnist-5k"), WITH, 0)
    generator = np.random.default_rng(0)
    kept = {name: generator.uniform(0.5, 1.5, array.shape).astype(np.float32) for name, array in start.items()}
    experiment_id = succeeded(database, spec, arrays={WITH: kept})
    answers = {arm: api.get(f"/experiments/{experiment_id}/networks/{arm.value}").json() for arm in ArmName}
    for layer in answers[WITH]["layers"]:
        for what, numbers in (layer["batch_norm"] or {}).items():
            array = kept.get(f"{layer['name']}/{what}")
            if array is None:
                assert (what, numbers) == ("beta", None)
            else:
                np.testing.assert_array_equal(np.array(numbers, np.float32), array)
    return answers


def sizes(answer: Any) -> list[tuple[Any, ...]]:
    return [(layer["name"], layer["inputs"], layer["units"], layer.get("kernel_size")) for layer in answer["layers"]]


def test_a_convolutional_networks_layers_have_kernels_and_numbers_for_each_feature_map(
    api: TestClient, database: Database
) -> None:
    spec = Spec(network="convolutional", feature_maps=(4, 6), kernel_size=5, strides=(2, 4), seed=1)
    answers = of_kind(api, database, spec)
    for answer in answers.values():
        assert sizes(answer) == [
            ("convolution_1", 1, 4, 5),
            ("convolution_2", 4, 6, 5),
            ("output", 4 * 4 * 6, 10, None),
        ]
    assert answers[WITH]["layers"][1]["parameters"] == {"weights": 5 * 5 * 4 * 6, "gamma": 6, "beta": 6}
    assert answers[WITHOUT]["layers"][1]["parameters"] == {"weights": 5 * 5 * 4 * 6, "bias": 6}
    assert answers[WITH]["parameters"] == {"trainable": 100 + 8 + 600 + 12 + 960 + 10, "population_statistics": 20}
    assert [len(layer["batch_norm"]["gamma"]) for layer in answers[WITH]["layers"][:2]] == [4, 6]


def test_a_recurrent_networks_layers_have_statistics_for_each_step(api: TestClient, database: Database) -> None:
    answers = of_kind(api, database, Spec(network="recurrent", units=3, seed=1))
    assert sizes(answers[WITH]) == [
        ("lstm_input", 28, 12, None),
        ("lstm_hidden", 3, 12, None),
        ("lstm_cell", None, 3, None),
        ("output", 3, 10, None),
    ]
    assert "lstm_cell" not in {name for name, *_ in sizes(answers[WITHOUT])}  # it only normalizes
    of_input, _, of_cell, of_output = answers[WITH]["layers"]
    assert of_input["parameters"] == {"weights": 28 * 12, "bias": 12, "gamma": 12}
    assert of_cell["parameters"] == {"gamma": 3, "beta": 3}
    assert np.shape(of_input["batch_norm"]["population_variance"]) == (28, 12)
    assert np.shape(of_cell["batch_norm"]["population_mean"]) == (28, 3)
    assert of_output["batch_norm"] is None


def test_a_dense_networks_layers_say_nothing_of_kernels(api: TestClient, database: Database) -> None:
    layers = api.get(f"/experiments/{succeeded(database)}/networks/with_batch_norm").json()["layers"]
    for layer in layers:
        assert list(layer) == ["name", "inputs", "units", "parameters", "batch_norm"]


def test_both_arms_name_the_same_starting_weights(api: TestClient, database: Database) -> None:
    experiment_id = succeeded(database, LESSON)
    found = [api.get(f"/experiments/{experiment_id}/networks/{arm.value}").json() for arm in ArmName]
    assert found[0]["starting_weights_sha256"] == found[1]["starting_weights_sha256"]
    assert found[0]["arrays_sha256"] != found[1]["arrays_sha256"]
    experiment = api.get(f"/experiments/{experiment_id}").json()
    for arm, network in zip(ArmName, found, strict=True):
        assert experiment["arms"][arm.value]["starting_weights_sha256"] == [network["starting_weights_sha256"]]


def test_a_network_that_diverged_can_be_looked_into_without_a_nan_in_the_answer(
    api: TestClient, database: Database
) -> None:
    spec = Spec(hidden_layers=(8,), seed=1, training_batches=2_000)
    arrays = {name: array * np.nan for name, array in starting_arrays(spec.resolve("mnist-5k"), WITH, 0).items()}
    experiment_id = succeeded(database, spec, arrays={WITH: arrays}, diverged_at={WITH: 7})
    answer = api.get(f"/experiments/{experiment_id}/networks/with_batch_norm")
    assert answer.status_code == 200
    assert answer.json()["diverged_at"] == 7
    assert answer.json()["layers"][0]["batch_norm"]["gamma"] == [None] * 8


def test_a_recurrent_network_that_diverged_has_no_nan_in_the_answer_either(api: TestClient, database: Database) -> None:
    spec = Spec(network="recurrent", units=2, seed=1)
    start = starting_arrays(spec.resolve("mnist-5k"), WITH, 0)
    arrays = {name: np.full_like(array, np.inf) for name, array in start.items()}
    experiment_id = succeeded(database, spec, arrays={WITH: arrays}, diverged_at={WITH: 7})
    answer = strict_json(api.get(f"/experiments/{experiment_id}/networks/with_batch_norm").text)
    assert answer["layers"][2]["batch_norm"]["population_variance"] == [[None] * 2] * 28


@pytest.mark.parametrize(
    ("batch_norm", "batches", "codes"),
    [
        ({}, 2_000, []),
        ({}, 100, ["population_statistics_not_converged"]),
        ({"update_population_statistics": False}, 2_000, ["population_statistics_not_updated"]),
    ],
)
def test_a_network_whose_population_cannot_be_right_says_so(
    api: TestClient, database: Database, batch_norm: dict[str, object], batches: int, codes: list[str]
) -> None:
    spec = Spec.model_validate({"hidden_layers": (8,), "training_batches": batches, "batch_norm": batch_norm})
    experiment_id = succeeded(database, spec)
    for arm, expected in ((WITH, codes), (WITHOUT, [])):
        warnings = api.get(f"/experiments/{experiment_id}/networks/{arm.value}").json()["warnings"]
        assert [warning["code"] for warning in warnings] == expected
    if "population_statistics_not_converged" in codes:
        (warning,) = api.get(f"/experiments/{experiment_id}").json()["warnings"]
        assert warning["share_of_start"] == pytest.approx(0.99**100)
        assert "0.366" in warning["message"]


@pytest.mark.parametrize(
    ("make", "status"), [(submitted, "queued"), (running, "queued"), (failed, "failed"), (cancelled, "cancelled")]
)
def test_an_arm_that_has_not_succeeded_has_no_network(
    api: TestClient, database: Database, make: Callable[[Database], UUID], status: str
) -> None:
    answer = api.get(f"/experiments/{make(database)}/networks/with_batch_norm")
    assert problem(answer, 409, "not_trained_yet", ["arm", "arm_status"])["arm_status"] == status


def test_each_replicate_is_a_network_of_its_own(api: TestClient, database: Database) -> None:
    spec = Spec(hidden_layers=(8,), seed=1, training_batches=2_000, replicates=3)
    path = f"/experiments/{succeeded(database, spec, diverged_at={WITH: 9})}/networks/with_batch_norm"
    found = [api.get(path, params={"replicate": replicate}).json() for replicate in range(3)]
    assert [network["replicate"] for network in found] == [0, 1, 2]
    assert len({network["starting_weights_sha256"] for network in found}) == 3
    assert len({network["arrays_sha256"] for network in found}) == 3
    assert [network["diverged_at"] for network in found] == [None, None, 9]
    assert fields(api.get(path, params={"replicate": "-1"})) == ["replicate"]


def test_an_unknown_experiment_is_not_found(api: TestClient) -> None:
    problem(api.get(f"/experiments/{uuid4()}/networks/with_batch_norm"), 404, "unknown_experiment", ["experiment_id"])


def test_what_is_not_there_is_said(api: TestClient, database: Database) -> None:
    experiment_id = running(database)
    problem(
        api.get(f"/experiments/{experiment_id}/networks/with_batch_norm"), 409, "not_trained_yet", ["arm", "arm_status"]
    )
    missing = api.get(f"/experiments/{experiment_id}/networks/with_batch_norm?replicate=1")
    problem(missing, 404, "unknown_replicate", ["replicate", "replicates"])
    problem(api.get(f"/experiments/{experiment_id}/networks/best"), 422)
