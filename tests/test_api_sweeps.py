"""Sweeps over HTTP: many experiments in one request, their table, their curves side by side, cancelled as one."""

import csv
import io
import json
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from builders import BellsThatLook, fields, finish, problem, strict_json, waiting
from conftest import LOOPBACK, RecordingBells
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from api.app import create_app
from models import sweeps
from models.database import Database
from models.grid import FIELDS
from models.settings import Settings
from models.spec import ArmName

TINY = {"hidden_layers": [8], "training_batches": 20, "batches_per_sample": 5, "seed": 1, "dataset": "mnist-5k"}
GRID = {"base": TINY, "grid": {"activation": ["relu", "tanh"], "learning_rate": [0.01, 0.1, 1.0]}}


def submitted(api: TestClient, request: dict[str, Any]) -> dict[str, Any]:
    answer = api.post("/sweeps", json=request)
    assert answer.status_code == 202, answer.text
    sweep: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/sweeps/{sweep['id']}"
    return sweep


def trained(database: Database, sweep: dict[str, Any], positions: range) -> None:
    """Carry some of a sweep's experiments to their end."""
    for position in positions:
        finish(database, UUID(sweep["experiments"][position]["experiment"]["id"]))


def test_every_combination_is_an_experiment_in_the_grids_order(api: TestClient, bells: RecordingBells) -> None:
    sweep = submitted(api, GRID)
    values = [row["values"] for row in sweep["experiments"]]
    assert values == [{"activation": a, "learning_rate": r} for a in ("relu", "tanh") for r in (0.01, 0.1, 1.0)]
    assert [row["position"] for row in sweep["experiments"]] == list(range(6))
    for row in sweep["experiments"]:
        spec = row["experiment"]["spec"]
        assert {**spec, **TINY, **row["values"]} == spec
        assert row["experiment"]["sweep_id"] == sweep["id"]
    assert sweep["counts"] == {"queued": 6, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0}
    assert sweep["progress"] == {"batches_done": 0, "batches_total": 6 * 40, "fraction": 0.0}
    assert (sweep["base"], sweep["grid"], sweep["presets"]) == (TINY, GRID["grid"], None)
    assert bells.rung == [12]


def test_arms_wait_in_the_sweeps_order(api: TestClient, database: Database) -> None:
    sweep = submitted(api, GRID)
    with database.read() as session:
        in_order = [exp.id for exp in sweeps.experiments_of(session, UUID(sweep["id"]))]
        by_arm = {arm.id: exp.id for exp in sweeps.experiments_of(session, UUID(sweep["id"])) for arm in exp.arms}
    assert [by_arm[arm_id] for arm_id in waiting(database)] == [id for id in in_order for _ in ArmName]


def test_the_bells_ring_only_after_the_commit(api: TestClient, database: Database) -> None:
    bells = BellsThatLook(database)
    api.app.state.bells = bells  # type: ignore[attr-defined]
    submitted(api, GRID)
    assert bells.rung == [12]
    assert len(set(bells.waiting)) == 12


def test_a_sweep_is_accepted_although_the_broker_is_down(settings: Settings, database: Database) -> None:
    nobody_there = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    with TestClient(create_app(nobody_there), base_url=LOOPBACK, raise_server_exceptions=False) as api:
        submitted(api, {"base": TINY, "grid": {"seed": list(range(100))}})
    assert len(waiting(database)) == 200


def test_a_sweep_reads_as_it_was_answered_and_stands_so_in_the_list(api: TestClient) -> None:
    sweep = submitted(api, GRID)
    assert strict_json(api.get(f"/sweeps/{sweep['id']}").text) == sweep
    for row in sweep["experiments"]:
        assert api.get(f"/experiments/{row['experiment']['id']}").json() == row["experiment"]
    del sweep["experiments"]
    assert api.get("/sweeps").json() == {"sweeps": [sweep], "next_cursor": None}


def test_the_lesson_is_one_request(api: TestClient) -> None:
    sweep = submitted(api, {"presets": "lesson", "base": {"dataset": "mnist", "replicates": 2}})
    rows = sweep["experiments"]
    assert len(rows) == 20
    assert sweep["progress"]["batches_total"] == 1_520_000
    assert all(row["experiment"]["preset"]["published"] for row in rows)
    assert all(row["experiment"]["spec"]["replicates"] == 2 for row in rows)
    assert [row["values"]["preset"] for row in rows] == [row["experiment"]["preset"]["name"] for row in rows]
    seeds = [row["experiment"]["spec"]["seed"] for row in rows]
    assert len(set(seeds)) > 15  # an open seed is drawn for each


def test_presets_are_one_more_axis_the_slowest(api: TestClient) -> None:
    names = ["relu-0.01-good-weights-2000", "sigmoid-1-good-weights-2000"]
    sweep = submitted(api, {"base": TINY, "presets": names, "grid": {"batch_norm.momentum": [0.5, 0.9]}})
    rows = [tuple(row["values"].values()) for row in sweep["experiments"]]
    assert rows == [(name, momentum) for name in names for momentum in (0.5, 0.9)]
    assert [row["experiment"]["spec"]["batch_norm"]["momentum"] for row in sweep["experiments"]] == [0.5, 0.9] * 2
    assert "batch_norm.momentum" in sweep["experiments"][0]["experiment"]["preset"]["overridden"]


def test_a_row_has_its_result_and_its_difference_from_the_published_figure(api: TestClient, database: Database) -> None:
    names = ["relu-0.01-good-weights-2000", "inference-with-batch-statistics", "depth-3-sigmoid-layers"]
    sweep = submitted(api, {"base": {"dataset": "mnist", "replicates": 2}, "presets": names})
    assert [row["difference_from_published"] for row in sweep["experiments"]] == [None] * 3
    trained(database, sweep, range(3))
    comparison, inference, ours = api.get(f"/sweeps/{sweep['id']}").json()["experiments"]
    # the builders' examination: 0.8 of validation, 0.75 and 0.74 of the test, a quarter of the single images
    with_ = comparison["difference_from_published"]["with_batch_norm"]
    assert with_["validation_accuracy"] == pytest.approx(0.8 - 0.9578)
    assert with_["test_accuracy"] == pytest.approx(0.75 - 0.9525)
    assert comparison["difference_from_published"]["inference"] is None
    found = inference["difference_from_published"]
    assert found["without_batch_norm"] is found["with_batch_norm"] is None
    assert found["inference"]["test_accuracy"] == pytest.approx(0.74 - 0.9503)
    assert found["inference"]["single_predictions_accuracy"] == pytest.approx(0.25 - 0.05)
    assert ours["difference_from_published"] is None
    assert comparison["experiment"]["comparison"]["final_validation_accuracy"]["replicates"] == [0.0, 0.0]


def test_the_table_is_csv_with_a_row_per_experiment(api: TestClient, database: Database) -> None:
    sweep = submitted(api, {**GRID, "base": {**TINY, "replicates": 3}})
    trained(database, sweep, range(2))
    by_format = api.get(f"/sweeps/{sweep['id']}?format=csv")
    by_accept = api.get(f"/sweeps/{sweep['id']}", headers={"Accept": "text/csv"})
    assert by_format.text == by_accept.text
    assert by_format.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(by_format.text)))
    assert [row["experiment"] for row in rows] == [row["experiment"]["id"] for row in sweep["experiments"]]
    assert [row["learning_rate"] for row in rows] == ["0.01", "0.1", "1.0"] * 2
    assert [row["status"] for row in rows] == ["succeeded"] * 2 + ["queued"] * 4
    assert float(rows[0]["with_batch_norm.validation_accuracy.mean"]) == 0.8
    assert rows[0]["with_batch_norm.learned"] == "3"
    assert float(rows[0]["difference.validation_accuracy.low_95"]) == 0
    assert (
        rows[0]["with_batch_norm.validation_accuracy.published"] == rows[5]["with_batch_norm.test_accuracy.mean"] == ""
    )


def test_networks_of_all_kinds_stand_side_by_side(api: TestClient, database: Database) -> None:
    kinds = ["dense", "convolutional", "recurrent"]
    base = {"training_batches": 20, "seed": 1, "dataset": "mnist-5k"}
    sweep = submitted(api, {"base": base, "grid": {"network": kinds}})
    trained(database, sweep, range(3))
    rows = list(csv.DictReader(io.StringIO(api.get(f"/sweeps/{sweep['id']}?format=csv").text)))
    assert [row["network"] for row in rows] == kinds
    sizes = ("hidden_layers", "feature_maps", "kernel_size", "strides", "data_format", "units")
    assert [[row[name] for name in sizes] for row in rows] == [
        ["100-100-100", "", "", "", "", ""],
        ["", "8-16-32-32-32-32", "3", "2-2-2-1-1-1", "channels_last", ""],
        ["", "", "", "", "", "64"],
    ]
    assert [row["learning_rate"] for row in rows] == ["0.01", "0.1", "0.3"]  # what is usual for each
    assert [row["batch_norm.momentum"] for row in rows] == ["0.99", "0.9", "0.9"]
    for row, kind in zip(api.get(f"/sweeps/{sweep['id']}").json()["experiments"], kinds, strict=True):
        assert row["values"] == {"network": kind}
        assert row["experiment"]["status"] == "succeeded"
    assert api.get(f"/sweeps/{sweep['id']}/curves?format=png").status_code == 200


def test_a_sweep_is_refused_a_field_that_one_of_its_networks_has_not(api: TestClient) -> None:
    asked = {"base": {"units": 8}, "grid": {"network": ["recurrent", "dense"]}}
    assert fields(api.post("/sweeps", json=asked)) == ["base.units"]


def test_the_table_has_the_published_figures_and_leaves_empty_what_there_is_not(
    api: TestClient, database: Database
) -> None:
    names = ["relu-0.01-good-weights-2000", "inference-with-population-statistics", "depth-10-sigmoid-layers"]
    sweep = submitted(api, {"base": {"dataset": "mnist", "seed": 1}, "presets": [*names, names[0]]})
    trained(database, sweep, range(1))
    api.post(f"/experiments/{sweep['experiments'][3]['experiment']['id']}/cancel")
    rows = list(csv.DictReader(io.StringIO(api.get(f"/sweeps/{sweep['id']}?format=csv").text)))
    assert [row["preset"] for row in rows] == [*names, names[0]]
    assert [row["status"] for row in rows] == ["succeeded", "queued", "queued", "cancelled"]
    assert [row["hidden_layers"] for row in rows] == [
        "100-100-100",
        "100-100-100",
        "-".join(["100"] * 10),
        "100-100-100",
    ]
    published = "without_batch_norm.validation_accuracy.published", "with_batch_norm.test_accuracy.published"
    assert [[row[name] for name in published] for row in rows] == [
        ["0.8286", "0.9525"],
        ["", ""],
        ["", ""],
        ["0.8286", "0.9525"],
    ]
    assert rows[0]["difference.validation_accuracy.mean"] == "0.0"
    assert rows[0]["difference.validation_accuracy.low_95"] == ""  # of one replicate
    for row in rows[1:]:
        assert {row[name] for name in row if name.endswith((".mean", ".std", ".learned", "per_second"))} == {""}


def test_a_named_format_wins_over_the_accept_header(api: TestClient) -> None:
    path = f"/sweeps/{submitted(api, GRID)['id']}"
    for suffix, format, media_type in (
        ("", "csv", "text/csv; charset=utf-8"),
        ("", "json", "application/json"),
        ("/curves", "svg", "image/svg+xml"),
        ("/curves", "png", "image/png"),
    ):
        for accept in ("*/*", "text/html", "application/json", "text/csv", "image/svg+xml"):
            answer = api.get(f"{path}{suffix}", params={"format": format}, headers={"Accept": accept})
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, media_type)
            assert answer.headers["Vary"] == "Accept"


def test_a_sweep_goes_from_queued_over_running_to_succeeded(api: TestClient, database: Database) -> None:
    sweep = submitted(api, {"base": TINY, "grid": {"seed": [1, 2]}})

    def now() -> dict[str, Any]:
        answer: dict[str, Any] = api.get(f"/sweeps/{sweep['id']}").json()
        return answer

    assert (now()["status"], now()["started_at"], now()["finished_at"]) == ("queued", None, None)
    trained(database, sweep, range(1))
    assert (now()["status"], now()["finished_at"]) == ("running", None)
    assert now()["progress"]["fraction"] == 0.5
    assert (now()["counts"]["succeeded"], now()["counts"]["queued"]) == (1, 1)
    trained(database, sweep, range(1, 2))
    ended = now()
    assert (ended["status"], ended["progress"]["fraction"]) == ("succeeded", 1.0)
    assert ended["created_at"] <= ended["started_at"] <= ended["finished_at"]


def test_sweeps_are_listed_newest_first_page_by_page(api: TestClient) -> None:
    ids = [submitted(api, {"base": TINY, "grid": {"seed": [number]}})["id"] for number in range(3)]
    first = api.get("/sweeps?limit=2").json()
    second = api.get(f"/sweeps?limit=2&cursor={first['next_cursor']}").json()
    assert [sweep["id"] for sweep in first["sweeps"] + second["sweeps"]] == ids[::-1]
    assert second["next_cursor"] is None
    assert "experiments" not in first["sweeps"][0]
    assert fields(api.get("/sweeps?cursor=nonsense")) == ["cursor"]


def test_a_cancelled_sweep_keeps_what_has_ended(api: TestClient, database: Database) -> None:
    sweep = submitted(api, {"base": TINY, "grid": {"seed": [1, 2, 3]}})
    trained(database, sweep, range(1))
    for _ in range(2):  # again changes nothing
        answer = api.post(f"/sweeps/{sweep['id']}/cancel")
        assert answer.status_code == 202
        assert answer.json()["status"] == "cancelled"
        assert (answer.json()["counts"]["succeeded"], answer.json()["counts"]["cancelled"]) == (1, 2)
    assert api.get(f"/sweeps/{sweep['id']}").json()["experiments"][0]["experiment"]["comparison"] is not None


def test_a_sweep_that_has_ended_cannot_be_cancelled(api: TestClient, database: Database) -> None:
    sweep = submitted(api, {"base": TINY, "grid": {"seed": [1]}})
    trained(database, sweep, range(1))
    problem(api.post(f"/sweeps/{sweep['id']}/cancel"), 409, "sweep_finished", ["sweep_status"])


@pytest.mark.parametrize("path", ["", "/curves"])
def test_an_unknown_sweep_is_said(api: TestClient, path: str) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    problem(api.get(f"/sweeps/{unknown}{path}"), 404, "unknown_sweep", ["sweep_id"])
    problem(api.post(f"/sweeps/{unknown}/cancel"), 404, "unknown_sweep", ["sweep_id"])


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({}, ["grid"]),
        ({"grid": {}}, ["grid"]),
        ({"grid": {"learning_rate": []}}, ["grid.learning_rate"]),
        ({"presets": []}, ["presets"]),
        ({"grid": {"speed": [1]}}, ["grid.speed"]),
        ({"grid": {"learning_rate": [0.1, -1, "x"]}}, ["grid.learning_rate.1", "grid.learning_rate.2"]),
        ({"grid": {"batch_norm.momentum": [0.5, 1]}}, ["grid.batch_norm.momentum.1"]),
        ({"grid": {"hidden_layers": [[8], [0]]}}, ["grid.hidden_layers.1.0"]),
        ({"grid": {"seed": [1, 2]}, "base": {"learning_rate": 0}}, ["base.learning_rate"]),
        ({"grid": {"seed": [1]}, "base": {"unknown": 1}}, ["base.unknown"]),
        ({"presets": ["relu"]}, ["presets.0"]),
        ({"presets": "everything"}, ["presets"]),
        ({"grid": {"preset": ["depth-3-sigmoid-layers"]}, "presets": "lesson"}, ["grid.preset"]),
        ({"base": {"preset": "depth-3-sigmoid-layers"}, "presets": "lesson"}, ["base.preset"]),
        ({"grid": {"seed": list(range(40)), "learning_rate": [0.1] * 26}}, ["grid"]),
        ({"grid": {"training_batches": [10, 1000]}, "base": {"batches_per_sample": 50}}, ["base.batches_per_sample"]),
        ({"grid": {"replicates": [1, 64]}, "base": {"hidden_layers": [4096, 4096]}}, ["grid.replicates.1"]),
        ({"grid": [1]}, ["grid"]),
        ({"base": [1], "grid": {"seed": [1]}}, ["base"]),
        ({"grid": {"seed": 1}}, ["grid.seed"]),
        ({"sweep": 1, "grid": {"seed": [1]}}, ["sweep"]),
    ],
)
def test_what_is_wrong_is_named_where_it_stands(door: TestClient, request_: dict[str, Any], named: list[str]) -> None:
    found = fields(door.post("/sweeps", json=request_))
    assert [".".join(name.split(".")[: len(want.split("."))]) for name, want in zip(found, named, strict=True)] == named


PARTS = st.dictionaries(
    st.sampled_from(FIELDS),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    max_size=3,
)


@given(base=PARTS, axes=PARTS, values=st.integers(0, 3))
def test_any_sweep_is_understood_or_refused_where_it_is_wrong(
    door: TestClient, base: dict[str, Any], axes: dict[str, Any], values: int
) -> None:
    request = {"base": base, "grid": {name: [value] * values for name, value in axes.items()}}
    answer = door.post("/sweeps", content=json.dumps(request), headers={"Content-Type": "application/json"})
    if answer.status_code == 503:  # it passed the door: there are no tables behind it
        problem(answer, 503, "database_unavailable")
        return
    for field in fields(answer):
        assert field.partition(".")[0] in ("base", "grid")


@pytest.mark.parametrize("sweep_id", ["1", "x", "00000000-0000-4000-8000-00000000000", "%00", "' OR 1=1"])
def test_a_malformed_id_is_refused(door: TestClient, sweep_id: str) -> None:
    for answer in (
        door.get(f"/sweeps/{sweep_id}"),
        door.get(f"/sweeps/{sweep_id}/curves"),
        door.post(f"/sweeps/{sweep_id}/cancel"),
    ):
        assert fields(answer) == ["sweep_id"]


def test_a_grid_over_the_limit_is_told_its_count(door: TestClient) -> None:
    refused = door.post("/sweeps", json={"grid": {"seed": list(range(101)), "learning_rate": [0.1] * 10}})
    (error,) = refused.json()["errors"]
    assert error == {"field": "grid", "allowed": "at most 1000 combinations in all", "received": 1010}


def test_a_refused_sweep_leaves_nothing_and_rings_nothing(api: TestClient, bells: RecordingBells) -> None:
    api.post("/sweeps", json={"base": TINY, "grid": {"learning_rate": [0.1, -1]}})
    assert api.get("/sweeps").json()["sweeps"] == api.get("/experiments").json()["experiments"] == bells.rung == []


def test_a_thousand_experiments_are_accepted_at_once(api: TestClient, bells: RecordingBells) -> None:
    request = {"base": TINY, "grid": {"seed": list(range(100)), "learning_rate": [i / 10 for i in range(1, 11)]}}
    sweep = submitted(api, request)
    assert sweep["counts"]["queued"] == len(sweep["experiments"]) == 1_000
    assert bells.rung == [2_000]


def test_the_curves_are_drawn_side_by_side_and_paged(api: TestClient, database: Database) -> None:
    sweep = submitted(api, {**GRID, "base": {**TINY, "replicates": 2}})
    trained(database, sweep, range(3))
    path = f"/sweeps/{sweep['id']}/curves"
    svg = api.get(f"{path}?format=svg").text
    for row in sweep["experiments"]:
        assert f"activation {row['values']['activation']}" in svg
    assert "1 to 6 of 6" in svg
    assert "5 to 6 of 6" in api.get(f"{path}?format=svg&first=4").text
    assert "2 to 3 of 6" in api.get(f"{path}?first=1&count=2", headers={"Accept": "image/svg+xml"}).text
    png = api.get(path)
    assert png.headers["Content-Type"] == "image/png"
    wide, narrow = (Image.open(io.BytesIO(api.get(f"{path}?count={count}").content)).size for count in (4, 1))
    assert wide[0] == 4 * narrow[0]
    assert np.asarray(Image.open(io.BytesIO(png.content))).std() > 1


def test_curves_that_are_not_there_are_refused(api: TestClient) -> None:
    sweep = submitted(api, {"base": TINY, "grid": {"seed": [1, 2]}})
    path = f"/sweeps/{sweep['id']}/curves"
    assert fields(api.get(f"{path}?first=2")) == ["first"]
    assert fields(api.get(f"{path}?count=0")) == ["count"]
    assert fields(api.get(f"{path}?count=61")) == ["count"]
    assert fields(api.get(f"{path}?format=csv")) == ["format"]
    problem(api.get(path, headers={"Accept": "application/json"}), 406, "not_acceptable")
    problem(api.get(f"/sweeps/{sweep['id']}", headers={"Accept": "image/png"}), 406, "not_acceptable")
