"""The named settings over HTTP, and the experiments that come from them."""

from typing import Any

import pytest
from builders import fields, submitted, succeeded
from fastapi.testclient import TestClient
from sqlalchemy import update

from models.database import Database
from models.presets import PRESETS
from models.spec import Spec
from models.tables import Experiment

SHORT = "relu-0.01-good-weights-2000"


def test_every_preset_is_listed_in_the_lessons_order(door: TestClient) -> None:
    presets = door.get("/presets").json()["presets"]
    assert [preset["name"] for preset in presets] == list(PRESETS)
    cells = [preset["lesson_cell"] for preset in presets if preset["lesson_cell"] is not None]
    assert cells == [*range(4, 22), 23, 24]
    assert all(preset["shows"].endswith(".") for preset in presets)


def test_a_comparison_has_both_published_arms_and_an_inference_run_its_statistics(door: TestClient) -> None:
    by_name = {preset["name"]: preset for preset in door.get("/presets").json()["presets"]}
    published = by_name[SHORT]["published"]
    assert published["inference"] is None
    assert published["with_batch_norm"]["validation_accuracy"] == 0.9578
    assert published["without_batch_norm"]["batches_per_second"] == 1069.17
    inference = by_name["inference-with-batch-statistics"]["published"]
    assert inference["with_batch_norm"] is None
    assert inference["inference"]["single_predictions"] == {"count": 200, "accuracy": 0.05, "distinct_answers": 1}


def test_the_spec_of_a_preset_can_be_submitted_as_it_is(api: TestClient) -> None:
    for preset in api.get("/presets").json()["presets"]:
        by_name = api.post("/experiments", json={"preset": preset["name"], "seed": 1}).json()["spec"]
        by_fields = api.post("/experiments", json={**preset["spec"], "seed": 1}).json()["spec"]
        assert {**by_name, "preset": None} == by_fields


@pytest.mark.parametrize(
    ("beside", "overridden"),
    [
        ({}, []),
        ({"seed": 3, "replicates": 2}, []),
        ({"learning_rate": 0.01}, []),  # the preset's own value
        ({"learning_rate": 0.5}, ["learning_rate"]),
        ({"hidden_layers": [50]}, ["hidden_layers"]),
        ({"batch_norm": {"momentum": 0.9}}, ["batch_norm.momentum"]),
        ({"batch_norm": {"implementation": "keras_layer"}}, []),  # another way to write the same
    ],
)
def test_what_is_given_beside_a_preset_wins_and_the_experiment_says_so(
    api: TestClient, beside: dict[str, Any], overridden: list[str]
) -> None:
    answer = api.post("/experiments", json={"preset": SHORT, "dataset": "mnist", **beside}).json()
    assert answer["preset"]["name"] == SHORT
    assert answer["preset"]["overridden"] == overridden
    assert (answer["preset"]["published"] is None) == bool(overridden)
    for name, value in beside.items():
        given = answer["spec"][name]
        assert (value.items() <= given.items()) if isinstance(value, dict) else given == value
    assert answer["spec"]["batch_norm"]["epsilon"] == 0.001


def test_published_figures_stand_only_beside_the_lessons_data_set(api: TestClient) -> None:
    answer = api.post("/experiments", json={"preset": SHORT, "dataset": "mnist-5k"}).json()
    assert answer["preset"] == {"name": SHORT, "overridden": [], "published": None}


def test_an_experiment_without_a_preset_has_none(api: TestClient, database: Database) -> None:
    experiment_id = succeeded(database)
    assert api.get(f"/experiments/{experiment_id}").json()["preset"] is None


def test_an_unknown_preset_is_refused_and_the_known_are_named(door: TestClient) -> None:
    refused = door.post("/experiments", json={"preset": "relu"})
    assert fields(refused) == ["preset"]
    allowed = refused.json()["errors"][0]["allowed"]
    assert all(name in allowed for name in PRESETS)


def test_a_preset_that_this_version_no_longer_knows_leaves_its_experiments_readable(
    api: TestClient, database: Database
) -> None:
    experiment_id = submitted(database, Spec(preset=SHORT))
    with database.write() as session:
        spec = {**Spec(preset=SHORT).resolve("mnist").model_dump(mode="json"), "preset": "gone"}
        session.execute(update(Experiment).where(Experiment.id == experiment_id).values(spec=spec))
    answer = api.get(f"/experiments/{experiment_id}")
    assert answer.status_code == 200
    assert answer.json()["spec"]["preset"] == "gone"
    assert answer.json()["preset"] is None
