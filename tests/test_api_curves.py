"""The curve: one address, four representations, each with every point; while it trains, the points so far."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import numpy as np
import pytest
from builders import WITH, WITHOUT, cancelled, failed, fields, problem, running, strict_json, submitted, succeeded
from conftest import TINY_SPEC
from fastapi.testclient import TestClient
from httpx2 import Response
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from api.answers import ArmCurve, ArmCurves, CurveAnswer, ExperimentAnswer
from api.pictures import draw_curve
from api.spreads import Spread
from models import experiments
from models.arms import Sample
from models.database import Database
from models.spec import ArmName, Spec

THREE = TINY_SPEC.model_copy(update={"replicates": 3})
BAND = np.array([214, 205, 194])  # a fifth of the orange on a fifth of the blue on white
STEPS = [0, 5, 10, 15]
ACCURACIES = [0.1, 0.12, 0.14, 0.16]
MEDIA_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
}


def curve(api: TestClient, experiment_id: UUID, **query: str) -> Response:
    return api.get(f"/experiments/{experiment_id}/curve", params=query)


def accepted(api: TestClient, experiment_id: UUID, accept: str) -> Response:
    return api.get(f"/experiments/{experiment_id}/curve", headers={"Accept": accept})


# --------------------------------------------------------------------------------------------------- contents


def test_the_curve_has_every_point_of_both_arms(api: TestClient, database: Database) -> None:
    experiment_id = succeeded(database)
    arm = {
        "steps": STEPS,
        "mean": ACCURACIES,
        "min": ACCURACIES,
        "max": ACCURACIES,
        "std": [0.0] * 4,
        "replicates": [ACCURACIES],
    }
    assert strict_json(curve(api, experiment_id).text) == {
        "experiment_id": str(experiment_id),
        "metric": "validation_accuracy",
        "arms": {"without_batch_norm": arm, "with_batch_norm": arm},
    }


def test_a_long_curve_is_never_sampled_down(api: TestClient, database: Database) -> None:
    spec = TINY_SPEC.model_copy(update={"training_batches": 400, "batches_per_sample": 1})
    experiment_id = succeeded(database, spec)
    for arm in curve(api, experiment_id).json()["arms"].values():
        assert arm["steps"] == list(range(400))
        assert len(arm["replicates"][0]) == 400
    assert len(curve(api, experiment_id, format="csv").text.splitlines()) == 1 + 2 * 400


def test_while_it_trains_the_curve_has_the_points_so_far(api: TestClient, database: Database) -> None:
    arms = curve(api, running(database)).json()["arms"]
    assert arms["without_batch_norm"]["steps"] == STEPS[:2]
    assert arms["with_batch_norm"]["steps"] == []


@pytest.mark.parametrize("make", [submitted, cancelled])
def test_before_the_first_point_the_curve_is_empty_in_every_format(
    api: TestClient, database: Database, make: Callable[[Database], UUID]
) -> None:
    experiment_id = make(database)
    nothing: dict[str, Any] = {"steps": [], "mean": [], "min": [], "max": [], "std": [], "replicates": [[]]}
    assert curve(api, experiment_id).json()["arms"] == {arm.value: nothing for arm in ArmName}
    assert len(curve(api, experiment_id, format="csv").text.splitlines()) == 1
    with Image.open(io.BytesIO(curve(api, experiment_id, format="png").content)) as picture:
        assert picture.size == (800, 500)
    ElementTree.fromstring(curve(api, experiment_id, format="svg").text)


def test_what_a_failed_arm_reached_is_still_drawn(api: TestClient, database: Database) -> None:
    assert curve(api, failed(database)).json()["arms"]["with_batch_norm"]["mean"] == ACCURACIES[:1]


def test_the_curve_of_a_diverged_arm_goes_on(api: TestClient, database: Database) -> None:
    arms = strict_json(curve(api, succeeded(database, diverged_at={WITHOUT: 3})).text)["arms"]
    assert arms["without_batch_norm"]["steps"] == STEPS


def test_csv_has_a_row_for_each_arm_step_and_replicate(api: TestClient, database: Database) -> None:
    rows = list(csv.DictReader(io.StringIO(curve(api, succeeded(database), format="csv").text)))
    assert [(row["arm"], int(row["step"]), int(row["replicate"])) for row in rows] == [
        (arm, step, 0) for arm in ("without_batch_norm", "with_batch_norm") for step in STEPS
    ]
    for row, accuracy in zip(rows, ACCURACIES * 2, strict=True):
        assert int(row["correct"]) / int(row["total"]) == float(row["validation_accuracy"]) == accuracy


def test_every_replicate_is_in_the_curve_and_in_the_csv(api: TestClient, database: Database) -> None:
    experiment_id = succeeded(database, THREE)
    first = [correct / 500 for correct in (50, 60, 70, 80)]
    second, third = ([accuracy + r / 500 for accuracy in first] for r in (1, 2))
    for arm in curve(api, experiment_id).json()["arms"].values():
        assert arm["steps"] == STEPS
        assert arm["replicates"] == [pytest.approx(each) for each in (first, second, third)]
        assert [arm[what] for what in ("min", "mean", "max")] == [
            pytest.approx(each) for each in (first, second, third)
        ]
        assert arm["std"] == pytest.approx([1 / 500] * 4)
    rows = list(csv.DictReader(io.StringIO(curve(api, experiment_id, format="csv").text)))
    assert [(row["arm"], int(row["step"]), int(row["replicate"]), int(row["correct"])) for row in rows] == [
        (arm.value, step, replicate, 50 + 10 * i + replicate)
        for arm in ArmName
        for i, step in enumerate(STEPS)
        for replicate in range(3)
    ]


def test_before_the_first_point_each_replicate_has_an_empty_line(api: TestClient, database: Database) -> None:
    for arm in curve(api, submitted(database, THREE)).json()["arms"].values():
        assert arm["replicates"] == [[], [], []]


def words(api: TestClient, experiment_id: UUID) -> list[str]:
    """Return every text of the picture."""
    svg = ElementTree.fromstring(curve(api, experiment_id, format="svg").text)
    return ["".join(text.itertext()).strip() for text in svg.iter("{http://www.w3.org/2000/svg}text")]


def test_the_caption_says_how_far_the_arms_are_apart(api: TestClient, database: Database) -> None:
    def caption(experiment_id: UUID) -> list[str]:
        return [word for word in words(api, experiment_id) if word.startswith("At the end")]

    several = succeeded(database, THREE, correct={WITHOUT: [300, 310, 320], WITH: [400, 420, 440]})
    # 0.2, 0.22, 0.24: 0.22 ± 4.302653 · 0.02 / √3
    assert caption(several) == [
        "At the end, with minus without batch norm: +0.2200 (95 % confidence: +0.1703 to +0.2697)"
    ]
    assert any("3 replicates" in word and "band" in word for word in words(api, several))
    one = succeeded(database, correct={WITHOUT: [400], WITH: [350]})
    assert caption(one) == ["At the end, with minus without batch norm: -0.1000"]  # of one replicate no interval
    assert "replicates" not in " ".join(words(api, one))
    for unfinished in (submitted(database), running(database), failed(database)):
        assert caption(unfinished) == []


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"hidden_layers": [9, 8]}, "layers 9-8,"),
        ({"network": "convolutional", "feature_maps": [4, 8]}, "convolutional 4-8, kernels of 3×3,"),
        ({"network": "recurrent", "units": 7}, "LSTM of 7,"),
    ],
)
def test_the_caption_says_which_network_it_is(
    api: TestClient, database: Database, fields: dict[str, Any], size: str
) -> None:
    spec = Spec.model_validate_json(json.dumps(fields))
    assert size in " ".join(words(api, succeeded(database, spec)))


@pytest.mark.parametrize("format", ["png", "svg"])
def test_a_band_is_seen_where_replicates_differ(api: TestClient, database: Database, format: str) -> None:
    spec = TINY_SPEC.model_copy(update={"training_batches": 200})
    alone, several = (
        curve(api, succeeded(database, spec.model_copy(update={"replicates": replicates})), format=format).content
        for replicates in (1, 20)
    )
    assert alone != several
    if format == "svg":
        assert (b"FillBetween" in alone, b"FillBetween" in several) == (False, True)
        return
    found = []
    for content in (alone, several):
        with Image.open(io.BytesIO(content)) as picture:
            pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
        found.append(int((np.abs(pixels - BAND).max(axis=1) < 12).sum()))
    assert found[0] * 10 < found[1]


def test_the_picture_is_the_lessons(api: TestClient, database: Database) -> None:
    svg = ElementTree.fromstring(curve(api, succeeded(database), format="svg").text)
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    words = ["".join(text.itertext()).strip() for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    for word in ("Training steps", "Accuracy", "Without batch norm", "With batch norm", "0.0", "0.1", "0.9", "1.0"):
        assert word in words
    setting = next(word for word in words if "learning rate" in word)
    for part in ("relu", "0.01", "0.05", "8-8", "batches of 60", "mnist-5k", "seed 1"):
        assert part in setting


def test_the_lines_are_seen_in_the_picture(api: TestClient, database: Database) -> None:
    def colours(experiment_id: UUID) -> set[tuple[int, ...]]:
        content = curve(api, experiment_id, format="png").content
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        with Image.open(io.BytesIO(content)) as picture:
            pixels = np.asarray(picture.convert("RGB"))[100:350, 100:700]  # inside the axes, above the legend
        return {tuple(colour) for colour in pixels.reshape(-1, 3).tolist()}

    blue, orange = (0x1F, 0x77, 0xB4), (0xE6, 0x73, 0x0B)
    spec = TINY_SPEC.model_copy(update={"training_batches": 200})  # so many points that the lines climb into view
    assert {blue, orange} & colours(succeeded(database, spec))
    assert not {blue, orange} & colours(submitted(database))


def test_the_same_curve_is_drawn_as_the_same_bytes(api: TestClient, database: Database) -> None:
    experiment_id = succeeded(database)
    for format in MEDIA_TYPES:
        assert curve(api, experiment_id, format=format).content == curve(api, experiment_id, format=format).content


# ---------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("format", MEDIA_TYPES)
def test_a_named_format_wins_over_the_accept_header(api: TestClient, database: Database, format: str) -> None:
    experiment_id = submitted(database)
    for accept in ("*/*", "text/html", "application/json", ";;q=,"):
        answer = api.get(f"/experiments/{experiment_id}/curve", params={"format": format}, headers={"Accept": accept})
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == MEDIA_TYPES[format]
        assert answer.headers["Vary"] == "Accept"


@pytest.mark.parametrize("format", ["xml", "", "JSON", "png,svg", "../json", "\0"])
def test_an_unknown_format_is_refused(door: TestClient, format: str) -> None:
    answer = door.get(f"/experiments/{UUID(int=0)}/curve", params={"format": format})
    assert fields(answer) == ["format"]


LIKED = [
    ("*/*", "json"),
    ("application/json", "json"),
    ("application/*", "json"),
    ("text/csv", "csv"),
    ("TEXT/CSV", "csv"),
    ("text/*", "csv"),
    ("text/csv; charset=utf-8", "csv"),
    ("image/png", "png"),
    ("image/*", "png"),
    ("image/svg+xml", "svg"),
    ("text/csv;q=0.5, image/png", "png"),
    ("text/csv;q=0.5, image/png;q=0.4", "csv"),
    ("text/csv ; q=0.5 , */* ; Q=0.1", "csv"),
    ("image/png, text/csv", "png"),  # of equals the first
    ("text/csv, image/png", "csv"),
    ("application/json;q=0, */*", "csv"),  # anything but JSON
    ("application/json;q=0.1, */*", "csv"),
    ("image/png;q=0, image/*", "svg"),
    ("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", "json"),  # a browser's address bar
    ("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "png"),  # and its img
    ("text/csv;q=nan, image/png", "png"),
    ("text/csv;q=inf, image/png;q=0.1", "png"),
    ("text/csv;q=x, image/png;q=0.1", "png"),
    ("", "json"),
    (",", "json"),
    (";;q=,", "json"),
    ("text/html, , image/png", "png"),
]


def test_the_accept_header_chooses_the_format(api: TestClient, database: Database) -> None:
    experiment_id = submitted(database)
    for accept, format in LIKED:
        answer = accepted(api, experiment_id, accept)
        assert answer.status_code == 200, accept
        assert answer.headers["Content-Type"] == MEDIA_TYPES[format], accept
        assert answer.headers["Vary"] == "Accept"


NOT_LIKED = [
    "text/html",
    "text/csv;q=0",
    "text/csv;q=nan",
    "*/*;q=0",
    "json",
    "*",
    "text/csv;q=2",
    "text/csv;q=-1",
    "é",
]


@pytest.mark.parametrize("accept", [*NOT_LIKED, "x" * 8_000, ";q=1," * 500 + "a/b", "text/html," * 500 + "text/html"])
def test_what_cannot_be_given_is_not_acceptable(door: TestClient, accept: str) -> None:
    answer = door.get(f"/experiments/{UUID(int=0)}/curve", headers={b"Accept": accept.encode("latin-1")})
    body = problem(answer, 406, "not_acceptable")
    for media_type in MEDIA_TYPES.values():
        assert media_type.partition(";")[0] in body["detail"]
    assert len(body["detail"]) < 300


# --------------------------------------------------------------------------------------------------- numbers


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=20), st.integers(5_000, 10_000))
def test_a_spread_lies_between_its_ends(counts: list[int], total: int) -> None:
    values = [count / total for count in counts]
    spread = Spread.of(values)
    assert spread.min <= spread.mean + 1e-12
    assert spread.mean <= spread.max + 1e-12
    assert (spread.min, spread.max) == (min(values), max(values))
    assert spread.replicates == values
    expected = np.std(values, ddof=1) if len(values) > 1 else 0.0
    assert spread.std == pytest.approx(expected, abs=1e-12)


def test_each_replicate_has_its_own_line_and_a_band_is_drawn_around_them(database: Database) -> None:
    experiment_id = submitted(database)
    with database.read() as session:
        experiment = ExperimentAnswer.of(experiments.read(session, experiment_id), {})
    samples = [Sample(0, (10, 20, 30), 100), Sample(5, (40, 50, 60), 100)]
    arm = ArmCurve.of(samples, replicates=3)
    assert arm.steps == [0, 5]
    assert arm.replicates == [[0.1, 0.4], [0.2, 0.5], [0.3, 0.6]]
    assert arm.mean == pytest.approx([0.2, 0.5])
    assert (arm.min, arm.max) == ([0.1, 0.4], [0.3, 0.6])
    assert arm.std == pytest.approx([0.1, 0.1])

    def drawn(one: ArmCurve) -> str:
        answer = CurveAnswer(
            experiment_id=UUID(int=0),
            metric="validation_accuracy",
            arms=ArmCurves(without_batch_norm=one, with_batch_norm=one),
        )
        return draw_curve(answer, experiment, "svg").decode()

    band = "FillBetweenPolyCollection"
    assert band in drawn(arm)
    assert band not in drawn(ArmCurve.of([Sample(0, (10,), 100), Sample(5, (20,), 100)], replicates=1))
