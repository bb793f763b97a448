"""`bnlab lesson`: what it compares and what it does not, how it ends, and a report that holds it all and no script."""

import re
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from test_bnlab_fakes import (
    FAST,
    LESSON,
    PRESETS,
    SHA256,
    SLOW,
    SVG,
    SWEEP_ID,
    WARNING,
    Server,
    bnlab,
    comparison_preset,
    numbered,
    of_preset,
    running_server,
    sweep,
)

from bnlab.client import Client
from bnlab.errors import CannotWrite
from bnlab.html import joined, tag
from bnlab.lesson import cancelled_with_us, check_writable, tell
from bnlab.report import page
from bnlab.reproduction import Reproduction

ROOT = Path(__file__).parents[1]
SWEEP = f"/sweeps/{SWEEP_ID}"
ERROR = {"arm": "with_batch_norm", "code": "broken", "message": "The workshop burnt down."}


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


def answer_lesson(server: Server, ended: dict[str, Any]) -> None:
    """Let the server run the sweep at once."""
    server.answer("/presets", PRESETS)
    server.answer("/sweeps", ended, status=202)
    server.answer(SWEEP, ended)
    for row in ended["experiments"]:
        server.answer(f"/experiments/{row['experiment']['id']}/curve", SVG)


def of_lesson(**members: Any) -> dict[str, Any]:
    """The lesson's sweep, each experiment of it with these members."""
    return sweep([of_preset(preset, **members) for preset in LESSON])


def told(ended: dict[str, Any], presets: Sequence[dict[str, Any]] = LESSON) -> str:
    out = StringIO()
    tell(Reproduction(ended, presets), Console(file=out, width=80, highlight=False, markup=False))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    return out.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


# What is printed


def test_the_lessons_figures_stand_beside_the_reproduced_ones_with_the_difference() -> None:
    lines = [line.split() for line in told(of_lesson()).splitlines()]
    assert [FAST, "without", "0.8286", "0.9100", "+0.0814"] in lines
    assert ["with", "0.9578", "0.9100", "−0.0478"] in lines
    assert ["batch", "test", "accuracy", "0.9503", "0.1200", "−0.8303"] in lines
    assert ["different", "answers", "1", "1"] in lines
    assert ["population", "test", "accuracy", "0.9537", "0.9100", "−0.0437"] in lines


def test_replicates_are_shown_from_the_lowest_to_the_highest() -> None:
    out = told(of_lesson(accuracies=((0.8, 0.9), (0.95, 0.97))))
    assert "0.8500 0.8000 … 0.9000" in out


def test_another_data_set_is_not_compared_and_that_is_said() -> None:
    out = told(of_lesson(dataset="mnist-5k"))
    assert "The lesson's figures are for the data set mnist, and this was mnist-5k." in out
    assert "0.8286" not in out
    assert "difference" not in out
    assert "0.9100" in out
    assert "its own" not in out


def test_overridden_presets_are_not_compared_and_that_is_said() -> None:
    out = told(of_lesson(overridden=["training_batches", "batches_per_sample"]))
    assert "and here these differed: training_batches, batches_per_sample." in words(out)
    assert "0.8286" not in out


def test_what_failed_is_named_with_its_reason_and_the_rest_is_compared() -> None:
    rows = [of_preset(LESSON[0]), of_preset(LESSON[1], status="failed", batches_done=5, error=ERROR)]
    out = told(sweep(rows))
    assert f"{SLOW} failed ({numbered(1)})." in out
    assert "with_batch_norm failed: The workshop burnt down. (broken)" in out
    assert "+0.0814" in out


@given(st.integers(1, 1_000_000), st.integers(1, 1_000_000))
def test_the_lessons_own_time_follows_from_the_speeds_it_published(first: int, second: int) -> None:
    presets = [comparison_preset("a", 0.5, 0.9), comparison_preset("b", 0.5, 0.9)]
    rows = [of_preset(preset) for preset in presets]
    for row, batches in zip(rows, (first, second), strict=True):
        row["spec"]["training_batches"] = batches
    seconds = (first + second) / 1000 + (first + second) / 500
    time = Reproduction(sweep(rows), presets).training_time()
    assert time is not None
    (told,) = re.findall(r"([\d.]+) times as long", time)
    assert float(told) == pytest.approx(seconds / 240, abs=0.0051)  # the sweep took four minutes


# How it ends


def test_it_submits_the_lesson_and_writes_the_report(server: Server, tmp_path: Path) -> None:
    answer_lesson(server, of_lesson())
    report = tmp_path / "report.html"
    result = bnlab(server, "lesson", "--replicates", 3, "--seed", 5, "--dataset", "mnist", "--report", report)
    assert result.code == 0
    sent = next(body for method, path, body in server.requests if (method, path) == ("POST", "/sweeps"))
    assert sent == b'{"base": {"replicates": 3, "seed": 5, "dataset": "mnist"}, "presets": "lesson"}'
    assert f"Sweep {SWEEP_ID}: 4 experiments." in result.out
    assert "0.9578 0.9100" in result.out
    assert "4 of 4 experiments" in result.err
    assert report.read_text().startswith("<!doctype html>")
    assert f"The report: {report}" in result.out


def test_an_experiment_that_failed_ends_it_with_1_after_the_report(server: Server, tmp_path: Path) -> None:
    rows = [of_preset(LESSON[0]), of_preset(LESSON[1], status="failed", batches_done=5, error=ERROR)]
    answer_lesson(server, sweep(rows))
    assert bnlab(server, "lesson", "--report", tmp_path / "r.html").code == 1
    assert "The workshop burnt down." in (tmp_path / "r.html").read_text()
    assert f"/experiments/{numbered(1)}/curve?format=svg" not in [path for _, path, _ in server.requests]


def test_a_curve_that_cannot_be_had_costs_only_itself(server: Server, tmp_path: Path) -> None:
    answer_lesson(server, of_lesson())
    server.answer(f"/experiments/{numbered(1)}/curve", {"detail": "The pencil broke."}, status=500)
    result = bnlab(server, "lesson", "--report", tmp_path / "r.html")
    assert result.code == 0
    assert f"The report lacks the curve of {SLOW}: The pencil broke. (500)" in result.out
    assert len(Page((tmp_path / "r.html").read_text()).all("img")) == len(LESSON) - 1


def test_a_report_that_could_not_be_written_is_refused_before_anything_is_trained(
    server: Server, tmp_path: Path
) -> None:
    result = bnlab(server, "lesson", "--report", tmp_path / "nowhere" / "r.html")
    assert (result.code, server.requests) == (1, [])
    assert "--report" in result.err
    with pytest.raises(CannotWrite, match="it is a folder"):
        check_writable(tmp_path)


def interrupted_lesson(command: list[str], seen: Any) -> tuple[int, str, str]:
    """Run a command, send Ctrl-C when something is seen, and return how it ended and what it said."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 30
        while not seen() and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_ctrl_c_leaves_the_sweep_on_somebody_elses_server(server: Server, tmp_path: Path) -> None:
    answer_lesson(server, of_lesson(status="running", batches_done=5))
    report = tmp_path / "r.html"
    command = [sys.executable, "-m", "bnlab", "--url", server.url, "lesson", "--report", str(report)]
    code, _, err = interrupted_lesson(command, lambda: len(server.requests) >= 3)
    assert code == 130
    assert err.endswith(f"The sweep goes on. Look at it again with: bnlab --url {server.url} sweep show {SWEEP_ID}\n")
    assert "Traceback" not in err
    assert not report.exists()
    assert {method for method, path, _ in server.requests if "cancel" in path} == set()


#: A service of the lesson's own whose API passes every question on to the server of the test.
HERE = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
import test_bnlab_up as up
from bnlab.lesson import run_here
from bnlab.up import Service
API = '''
import http.server, sys, urllib.request
class Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        asked = urllib.request.Request({url!r} + self.path, data=body or None, method=self.command)
        with urllib.request.urlopen(asked) as answer:
            content = answer.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    do_POST = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Api).serve_forever()
'''
folder = Path({folder!r})
service = Service(port=0, state_dir=folder, workers=1, commands=up.stand_ins(folder, api=API))
sys.exit(run_here(service, {{"presets": "lesson"}}, folder / "r.html"))
"""


def test_ctrl_c_cancels_the_sweep_on_a_service_of_its_own(server: Server, tmp_path: Path) -> None:
    ended = of_lesson(status="running", batches_done=5)
    answer_lesson(server, ended)
    server.answer("/health/ready", {"status": "ready"})
    server.answer(f"{SWEEP}/cancel", of_lesson(status="cancelled"))
    program = HERE.format(tests=str(ROOT / "tests"), url=server.url, folder=str(tmp_path))
    followed = ("GET", f"{SWEEP}?format=json")
    code, out, err = interrupted_lesson(
        [sys.executable, "-c", program], lambda: followed in [request[:2] for request in server.requests]
    )
    assert code == 130, err
    assert [path for method, path, _ in server.requests if method == "POST"] == ["/sweeps", f"{SWEEP}/cancel"]
    assert "The lesson was stopped." in out
    assert "Traceback" not in err


def test_a_cancelled_sweep_is_given_time_to_end() -> None:
    running, cancelled = of_lesson(status="running", batches_done=5), of_lesson(status="cancelled")
    answers = [running, running, cancelled]
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path))
        return httpx.Response(200, json=answers.pop(0))

    with Client("http://server", transport=httpx.MockTransport(answer)) as client, pytest.raises(KeyboardInterrupt):
        with cancelled_with_us(client, SWEEP_ID):
            raise KeyboardInterrupt
    assert asked == [("POST", f"{SWEEP}/cancel"), ("GET", SWEEP), ("GET", SWEEP)]


def test_a_cancel_that_comes_too_late_changes_nothing() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(409, json={"status": 409, "code": "sweep_finished"})

    with Client("http://server", transport=httpx.MockTransport(refuse)) as client, pytest.raises(KeyboardInterrupt):
        with cancelled_with_us(client, SWEEP_ID):
            raise KeyboardInterrupt


# The report


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text."""

    VOID = frozenset({"meta", "img", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def report(ended: dict[str, Any], presets: Sequence[dict[str, Any]] = LESSON) -> Page:
    lesson = Reproduction(ended, presets)
    return Page(page(lesson, {row.experiment["id"]: SVG for row in lesson.rows if row.succeeded}))


def test_the_report_has_each_experiment_with_its_curve_its_setting_and_what_it_shows() -> None:
    seen = report(of_lesson(accuracies=((0.8, 0.9), (0.95, 0.97)), warnings=[WARNING]))
    pictures = [attributes["src"] or "" for attributes in seen.all("img")]
    assert [b64decode(source.removeprefix("data:image/svg+xml;base64,")) for source in pictures] == [SVG] * len(LESSON)
    assert all(attributes["alt"] for attributes in seen.all("img"))
    for position, preset in enumerate(LESSON):
        assert preset["shows"] in seen.text
        assert numbered(position) in seen.text
    for fact in ("batch_norm.momentum", "seed", "0.8286", "0.9578", SHA256, SWEEP_ID, WARNING["message"], "500"):
        assert fact in seen.text
    assert "+0.1100 (95 % interval +0.0600 … +0.1600)" in seen.text
    assert "0.8000 … 0.9000" in seen.text


def test_the_report_says_how_it_was_made() -> None:
    text = words(report(of_lesson()).text)
    assert re.search(r"bnlab\s?\d+\.\d+", text)
    assert "2026-11-23 02:35 UTC" in text
    assert "The training took 4.0 minutes (4 experiments, 1 replicate each)." in text


def test_the_report_needs_nothing_else_and_runs_nothing() -> None:
    seen = report(of_lesson())
    assert {name for name, _ in seen.elements}.isdisjoint({"script", "link", "iframe", "object", "embed", "base"})
    addresses = [
        value
        for _, attributes in seen.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action")
    ]
    assert all((address or "").startswith(("data:image/svg+xml;base64,", "#")) for address in addresses)
    policies = [meta["content"] for meta in seen.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert "@import" not in seen.text
    assert "url(" not in seen.text


def test_the_report_is_readable_in_the_dark_on_a_phone_and_by_a_screen_reader() -> None:
    seen = report(of_lesson())
    assert "prefers-color-scheme: dark" in seen.text
    assert [meta["content"] for meta in seen.all("meta") if meta.get("name") == "viewport"]
    assert seen.all("html") == [{"lang": "en"}]
    assert len(seen.all("caption")) == len(seen.all("table")) > 0
    assert {attributes.get("scope") for attributes in seen.all("th")} == {"col", "row", "rowgroup"}


def test_each_link_of_the_report_leads_somewhere() -> None:
    seen = report(of_lesson())
    ids = [attributes["id"] for _, attributes in seen.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) == len(LESSON)
    assert {(attributes["href"] or "").removeprefix("#") for attributes in seen.all("a")} == set(ids)


def test_the_report_of_another_data_set_says_that_it_is_not_compared() -> None:
    text = report(of_lesson(dataset="mnist-5k")).text
    assert "this was mnist-5k." in text
    assert "0.8286" not in text


def test_the_report_names_what_failed() -> None:
    rows = [of_preset(LESSON[0]), of_preset(LESSON[1], status="failed", batches_done=5, error=ERROR)]
    seen = report(sweep(rows))
    assert "1 of 2 experiments did not succeed." in seen.text
    assert "The workshop burnt down." in seen.text
    assert len(seen.all("img")) == 1


SLY = '</td><script>alert("1")</script><img src=x onerror=alert(1)>&amp;\'"'


def test_nothing_in_an_answer_becomes_an_element() -> None:
    presets = [{**preset, "name": f"{preset['name']}{SLY}", "shows": SLY} for preset in LESSON]
    error = {"arm": SLY, "code": SLY, "message": SLY}
    rows = [of_preset(preset, warnings=[{**WARNING, "message": SLY}], overridden=[SLY]) for preset in presets]
    rows[1] = of_preset(presets[1], status="failed", batches_done=5, error=error)
    for row in rows:
        row["spec"]["activation"] = SLY
        row["spec"][SLY] = SLY
        row["dataset_sha256"] = SLY
    sly, plain = report(sweep(rows), presets), report(of_lesson())
    assert sly.text.count("<script>") > 10
    assert {name for name, _ in sly.elements} == {name for name, _ in plain.elements} | {"p"}
    assert not [name for _, attributes in sly.elements for name in attributes if name.startswith("on")]


@given(st.text(), st.text())
def test_text_in_an_element_and_in_an_attribute_comes_back_as_it_was(text: str, value: str) -> None:
    seen = Page(joined([tag("p", text, aria_label=value)]))
    ((name, attributes),) = seen.elements
    assert name == "p"
    assert attributes == {"aria-label": value}
    assert seen.text == text
