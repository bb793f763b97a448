"""The demo's story, told from the answers of a small stand-in for the server."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from test_bnlab_fakes import LESSON, of_preset

from bnlab.client import Client
from bnlab.demo import PRESET, tell

ACCURACIES = ((0.8301,), (0.9561,))


class Lesson:
    """A server on which the one experiment has already ended; its answer with batch statistics is always 1."""

    def __init__(self, dataset: str, status: str = "succeeded") -> None:
        self.dataset, self.status = dataset, status
        self.spec: dict[str, Any] = {}
        self.predictions = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path, query = request.url.path, request.url.params
        if path == "/experiments":
            self.spec = json.loads(request.content)
        if path.endswith("/curve"):
            return httpx.Response(200, content=b"picture") if query["format"] == "png" else self.curve()
        if path == "/digits":
            digits = [{"index": n, "label": n, "image": [[n / 10] * 28] * 28} for n in range(int(query["count"]))]
            return httpx.Response(200, json={"dataset": self.dataset, "digits": digits})
        return self.prediction(json.loads(request.content)) if path == "/predict" else self.experiment()

    def experiment(self) -> httpx.Response:
        error = {"arm": "with_batch_norm", "code": "broken", "message": "The workshop burnt down."}
        one = of_preset(LESSON[0], dataset=self.dataset, status=self.status, accuracies=ACCURACIES)
        return httpx.Response(200, json={**one, "id": "e1", "error": error if self.status == "failed" else None})

    def curve(self) -> httpx.Response:
        points = {"steps": [0, 50], "mean": [0.1, 0.9561]}
        return httpx.Response(200, json={"arms": {"without_batch_norm": points, "with_batch_norm": points}})

    def prediction(self, asked: dict[str, Any]) -> httpx.Response:
        assert (asked["experiment"], asked["arm"]) == ("e1", "with_batch_norm")
        self.predictions += 1
        shown = round(asked["image"][0][0] * 10)
        return httpx.Response(200, json={"digit": shown if asked["statistics"] == "population" else 1})


def told(lesson: Lesson, picture: Path) -> tuple[int, str]:
    out = StringIO()
    with Client("http://server", transport=httpx.MockTransport(lesson)) as client:
        code = tell(client, picture, Console(file=out, width=120))
    return code, out.getvalue()


def test_the_demo_compares_with_the_lesson_on_the_full_data_set(tmp_path: Path) -> None:
    code, out = told(lesson := Lesson("mnist"), tmp_path / "curve.png")
    assert code == 0
    assert lesson.spec == {"preset": PRESET}
    assert "0.8286" in out
    assert "0.9578" in out
    assert "0.8301" in out
    assert "0.9561" in out


def test_the_demo_does_not_compare_another_data_set(tmp_path: Path) -> None:
    _, out = told(Lesson("mnist-5k"), tmp_path / "curve.png")
    assert "0.8286" not in out
    assert "not compared" in out
    assert "0.9561" in out


def test_the_demo_draws_the_curve_and_says_where_the_picture_is(tmp_path: Path) -> None:
    _, out = told(Lesson("mnist"), tmp_path / "curve.png")
    assert "Training steps" in out
    assert (tmp_path / "curve.png").read_bytes() == b"picture"
    assert str(tmp_path / "curve.png") in out


def test_the_demo_predicts_ten_digits_one_at_a_time_and_explains_the_batch_column(tmp_path: Path) -> None:
    _, out = told(lesson := Lesson("mnist"), tmp_path / "curve.png")
    assert lesson.predictions == 20
    assert out.count("✓") == 11  # ten right, and the one batch answer that happens to be
    assert out.count("1 ✗") == 9
    assert "variance 0" in out


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_demo_without_success_ends_with_1(status: str, tmp_path: Path) -> None:
    code, out = told(Lesson("mnist", status), tmp_path / "curve.png")
    assert code == 1
    assert f"The experiment {status}." in out
    assert ("burnt down" in out) == (status == "failed")
