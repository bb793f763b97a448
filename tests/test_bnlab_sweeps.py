"""`bnlab sweep`: how axes are typed, what is sent, what is printed, and what the bars show in a small terminal."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from test_bnlab_fakes import (
    BATCH,
    FAST,
    LESSON,
    PNG,
    SWEEP_ID,
    Server,
    bnlab,
    experiment,
    numbered,
    of_preset,
    running_server,
    sweep,
)
from typer import BadParameter

from bnlab.grid import parse_grid, parse_presets, parse_values
from bnlab.progress import SweepBars, visible_rows

ROOT = Path(__file__).parents[1]
SWEEP = f"/sweeps/{SWEEP_ID}"

WORDS = st.from_regex(r"[a-z][a-z_0-9]*", fullmatch=True).filter(lambda word: word not in ("true", "false", "null"))
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = NUMBERS | st.booleans() | st.none()


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


# The axes


@given(st.lists(PLAIN | st.lists(st.integers(), max_size=4), min_size=1))
def test_values_that_are_json_come_back_as_they_were(values: list[Any]) -> None:
    assert parse_values("axis", ",".join(map(json.dumps, values))) == values


@given(st.lists(PLAIN | WORDS, min_size=1))
def test_words_may_stand_beside_numbers(values: list[Any]) -> None:
    text = " , ".join(value if isinstance(value, str) else json.dumps(value) for value in values)
    assert parse_values("axis", text) == values


@given(st.text())
def test_whatever_is_typed_is_values_or_a_sentence(text: str) -> None:
    with suppress(BadParameter):
        assert len(parse_values("axis", text)) >= 1


def test_axes_keep_their_order_and_names_may_have_dots() -> None:
    grid = parse_grid(["hidden_layers=[100],[100,100]", "batch_norm.placement=before_activation,after_activation"])
    assert list(grid or {}) == ["hidden_layers", "batch_norm.placement"]
    assert grid == {
        "hidden_layers": [[100], [100, 100]],
        "batch_norm.placement": ["before_activation", "after_activation"],
    }


@pytest.mark.parametrize(
    ("text", "presets"), [(None, None), ("lesson", "lesson"), ("a", ["a"]), ("a-0.01, b", ["a-0.01", "b"])]
)
def test_presets_are_names_or_the_whole_lesson(text: str | None, presets: Any) -> None:
    assert parse_presets(text) == presets


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "A sweep needs an axis"),
        (["--grid", "learning_rate"], "is not an axis such as learning_rate=0.01,1."),
        (["--grid", "=1"], "is not an axis"),
        (["--grid", "seed="], "seed has an empty value"),
        (["--grid", "seed=1,,2"], "seed has an empty value"),
        (["--grid", "hidden_layers=[100],[100"], "a list looks like [100,100]"),
        (["--grid", "seed=1", "--grid", "seed=2"], "seed is given twice"),
        (["--presets", ""], "empty value"),
    ],
)
def test_a_wrong_axis_is_explained_and_nothing_is_sent(options: list[str], sentence: str) -> None:
    result = bnlab("http://127.0.0.1:1", "sweep", "submit", *options)
    assert result.code == 2
    words = " ".join(result.err.replace("│", " ").split())
    assert sentence in words


# submit


def test_submit_sends_the_axes_and_every_option_of_submit_as_the_base(server: Server) -> None:
    server.answer("/sweeps", sweep(), status=202)
    options = ["--grid", "learning_rate=0.01,1", "--grid", "activation=relu,sigmoid", "--presets", "lesson"]
    base = ["--training-batches", 200, "--seed", 3, "--hidden-layers", "10,20", "--momentum", 0.9]
    result = bnlab(server, "sweep", "submit", *options, *base)
    assert (result.code, result.out) == (0, f"{SWEEP_ID}\n")
    ((method, path, body),) = server.requests
    assert (method, path) == ("POST", "/sweeps")
    assert json.loads(body) == {
        "base": {"training_batches": 200, "seed": 3, "hidden_layers": [10, 20], "batch_norm": {"momentum": 0.9}},
        "grid": {"learning_rate": [0.01, 1], "activation": ["relu", "sigmoid"]},
        "presets": "lesson",
    }


def test_submit_sends_no_base_and_no_grid_that_was_not_given(server: Server) -> None:
    server.answer("/sweeps", sweep(), status=202)
    bnlab(server, "sweep", "submit", "--presets", FAST)
    assert json.loads(server.requests[0][2]) == {"presets": [FAST]}


def test_submit_sends_one_key_until_there_is_an_answer(server: Server) -> None:
    server.answer("/sweeps", None, sweep(), status=202)
    assert bnlab(server, "sweep", "submit", "--presets", FAST, "--idempotency-key", "mine").out == f"{SWEEP_ID}\n"
    assert bnlab(server, "sweep", "submit", "--presets", FAST).code == 0
    *mine, drawn = server.keys
    assert mine == ["mine", "mine"]
    assert drawn not in (None, "mine")


def test_wait_shows_a_bar_for_each_experiment_and_the_table_at_the_end(server: Server) -> None:
    queued = [experiment("queued", 0, preset={"name": preset["name"]}) for preset in LESSON]
    server.answer("/sweeps", sweep(queued), status=202)
    server.answer(SWEEP, sweep())
    result = bnlab(server, "sweep", "submit", "--presets", "lesson", "--wait")
    assert result.code == 0
    assert result.out.startswith(f"{SWEEP_ID}\n")
    assert result.out.count("succeeded") >= len(LESSON)
    bars = [line for line in result.err.splitlines() if "4000/4000" in line]
    assert len(bars) == len(LESSON)
    assert all("0.9100 0.9100" in bar for bar in bars)
    assert "4 of 4 experiments" in result.err


def test_wait_ends_with_1_when_one_failed(server: Server) -> None:
    rows = [of_preset(LESSON[0]), of_preset(LESSON[1], status="failed", batches_done=7)]
    server.answer("/sweeps", sweep(rows), status=202)
    server.answer(SWEEP, sweep(rows))
    assert bnlab(server, "sweep", "submit", "--presets", "lesson", "--wait").code == 1
    printed = json.loads(bnlab(server, "sweep", "submit", "--presets", "lesson", "--wait", "--json").out)
    assert printed == sweep(rows)


def test_ctrl_c_leaves_the_sweep_running_and_says_how_to_come_back(server: Server) -> None:
    running = sweep([of_preset(LESSON[0], status="running", batches_done=7)])
    server.answer("/sweeps", running, status=202)
    server.answer(SWEEP, running)
    command = [sys.executable, "-m", "bnlab", "--url", server.url, "sweep", "submit", "--presets", "lesson", "--wait"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{SWEEP_ID}\n"
        end = time.monotonic() + 20
        while len(server.requests) < 2 and time.monotonic() < end:  # it follows the sweep
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.endswith(f"The sweep goes on. Look at it again with: bnlab --url {server.url} sweep show {SWEEP_ID}\n")
    assert {path for _, path, _ in server.requests} == {"/sweeps", f"{SWEEP}?format=json"}


# list, show, curves, cancel


def test_list_shows_whole_ids_counts_and_axes(server: Server) -> None:
    one = sweep([of_preset(LESSON[0]), of_preset(LESSON[1], status="running", batches_done=5)])
    two = {**one, "grid": {"learning_rate": [1, 2]}, "presets": None}
    server.answer("/sweeps", {"sweeps": [one, two], "next_cursor": "more"})
    result = bnlab(server, "sweep", "list", "--limit", 2)
    assert server.requests[0][1] == "/sweeps?limit=2"
    lines = [line.split() for line in result.out.splitlines() if SWEEP_ID in line]
    assert [line[1:] for line in lines] == [
        ["running", "1/2", "2026-11-23", "02:34", "preset"],
        ["running", "1/2", "2026-11-23", "02:34", "learning_rate"],
    ]
    assert max(map(len, result.out.splitlines())) <= 80
    assert "--limit" in result.err


def test_an_empty_list_is_said_in_words(server: Server) -> None:
    server.answer("/sweeps", {"sweeps": [], "next_cursor": None})
    assert bnlab(server, "sweep", "list").out == "There are no sweeps yet.\n"


def test_show_has_a_row_for_each_experiment_in_80_columns(server: Server) -> None:
    rows = [of_preset(preset, accuracies=((0.1, 0.85), (0.95, 0.97))) for preset in LESSON]
    server.answer(SWEEP, sweep(rows))
    out = bnlab(server, "sweep", "show", SWEEP_ID).out
    assert f"{SWEEP_ID}  succeeded\n4 succeeded\n" in out
    assert max(map(len, out.splitlines())) <= 80
    assert all(numbered(position) in out for position in range(len(LESSON)))
    lines = out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(BATCH))
    assert lines[start].split() == [BATCH, "succeeded", "0.4750", "0.9600", "+0.4850"]
    assert lines[start + 1].split() == [numbered(2), "±0.5303", "±0.0141", "+0.1100", "…", "+0.8600"]
    assert lines[start + 2].split() == ["1", "of", "2", "2", "of", "2"]


def test_show_names_the_values_on_each_axis(server: Server) -> None:
    values = [{"hidden_layers": [100, 100], "activation": "relu"}]
    server.answer(SWEEP, sweep([experiment("running", 500)], values))
    out = bnlab(server, "sweep", "show", SWEEP_ID).out
    assert "hidden_layers [100, 100], activation" in out
    assert "25%" in out


def test_show_writes_the_table_as_csv_and_prints_json(server: Server, tmp_path: Path) -> None:
    server.answer(SWEEP, b"position,status\n", sweep())
    assert bnlab(server, "sweep", "show", SWEEP_ID, "--csv", tmp_path / "s.csv").code == 0
    assert (tmp_path / "s.csv").read_text() == "position,status\n"
    assert json.loads(bnlab(server, "sweep", "show", SWEEP_ID, "--json").out) == sweep()
    assert [path for _, path, _ in server.requests] == [f"{SWEEP}?format=csv", f"{SWEEP}?format=json"]


def test_curves_are_written_to_each_file_asked_for(server: Server, tmp_path: Path) -> None:
    server.answer(f"{SWEEP}/curves", PNG, b"<svg/>")
    files = [tmp_path / "c.png", tmp_path / "c.svg"]
    options = ["--png", files[0], "--svg", files[1], "--first", 24, "--count", 6]
    result = bnlab(server, "sweep", "curves", SWEEP_ID, *options)
    assert [file.read_bytes() for file in files] == [PNG, b"<svg/>"]
    assert result.out == "".join(f"Written: {file}\n" for file in files)
    assert server.requests[0][1] == f"{SWEEP}/curves?format=png&first=24&count=6"


def test_curves_without_a_file_are_a_wrong_command_line() -> None:
    assert bnlab("http://127.0.0.1:1", "sweep", "curves", SWEEP_ID).code == 2


def test_cancel_says_whether_it_already_is(server: Server) -> None:
    rows = [of_preset(LESSON[0], status="running", batches_done=5)]
    server.answer(f"{SWEEP}/cancel", sweep(rows), sweep([of_preset(LESSON[0], status="cancelled")]), status=202)
    assert bnlab(server, "sweep", "cancel", SWEEP_ID).out == "The sweep will be cancelled; it is still running.\n"
    assert bnlab(server, "sweep", "cancel", SWEEP_ID).out == "The sweep is cancelled.\n"


# The bars


@given(st.lists(st.booleans(), max_size=100), st.integers(-3, 120))
def test_the_rows_shown_fit_and_hold_the_first_that_has_not_ended(ended: list[bool], lines: int) -> None:
    shown = visible_rows(ended, lines)
    assert len(shown) == min(len(ended), max(1, lines))
    assert set(shown) <= set(range(len(ended)))
    if False in ended:
        assert ended.index(False) in shown


@pytest.mark.parametrize("height", [1, 3, 10, 50])
def test_more_bars_than_lines_do_not_overflow_the_terminal(height: int) -> None:
    rows = [of_preset(LESSON[0])] * 20 + [of_preset(LESSON[1], status="running", batches_done=500)] * 20
    out = StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=80, height=height)
    with SweepBars(console) as bars:
        bars.show(sweep(rows))
    *_, last = out.getvalue().split("all  ")
    assert last.count("\n") <= max(height, 3)
    assert "1000/4000" in last
