"""The command line: what it sends to a small real server, what it prints, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from bnlab import cli
from bnlab.progress import note
from bnlab.terminal_curve import round_steps

ROOT = Path(__file__).parents[1]
ID = "0c5d4f6e-8a1b-4c3d-9e2f-123456789abc"
PNG = b"\x89PNG\r\n\x1a\n and so on"
SPREAD = {"mean": 0.91, "min": 0.91, "max": 0.91, "std": 0.0, "replicates": [0.91]}


def arm(status: str, batches_done: int) -> dict[str, Any]:
    done = status == "succeeded"
    test = {"accuracy": SPREAD, "single_predictions": {"count": 200, "accuracy": SPREAD, "distinct_answers": 10}}
    return {
        "status": status,
        "batches_done": batches_done,
        "batches_per_second": 500.0 if batches_done else None,
        "final_validation_accuracy": SPREAD if done else None,
        "test": {"population": test, "batch": None} if done else None,
        "diverged_at": None,
    }


def experiment(status: str = "succeeded", batches_done: int = 2000, error: Any = None) -> dict[str, Any]:
    return {
        "id": ID,
        "status": status,
        "spec": {
            "activation": "relu",
            "learning_rate": 0.01,
            "weight_scale": 0.05,
            "batch_size": 60,
            "training_batches": 2000,
            "replicates": 1,
            "seed": 7,
            "dataset": "mnist",
        },
        "progress": {"batches_done": 2 * batches_done, "batches_total": 4000, "fraction": batches_done / 2000},
        "arms": {name: arm(status, batches_done) for name in ("without_batch_norm", "with_batch_norm")},
        "error": error,
    }


POINTS = {"steps": [0, 50], "mean": [0.1, 0.9], "min": [], "max": [], "std": [], "replicates": []}
CURVE = {"experiment_id": ID, "arms": {"without_batch_norm": POINTS, "with_batch_norm": POINTS}}
PREDICTION = {
    "digit": 2,
    "probabilities": [0.0, 0.0, 0.875, 0.125, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    "experiment": ID,
    "arm": "with_batch_norm",
    "replicate": 0,
    "statistics": "population",
}


class Server(ThreadingHTTPServer):
    """A server that answers each path with what was put there, in turn, and keeps what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.requests: list[tuple[str, str, bytes]] = []

    def answer(self, path: str, *bodies: Any, status: int = 200) -> None:
        self.answers[path] = [(status, body) for body in bodies]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.requests.append((self.command, self.path, body))
        answers = self.server.answers[urlsplit(self.path).path]
        status, answer = answers.pop(0) if len(answers) > 1 else answers[0]
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Result:
    """How a command ended and what it said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


def bnlab(server: Server | str, *arguments: object) -> Result:
    url = server if isinstance(server, str) else server.url
    result = CliRunner(env={"COLUMNS": "80"}).invoke(cli.app, ["--url", url, *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Result(result.exit_code, result.stdout, result.stderr)


# submit


def test_submit_prints_the_id_and_sends_nothing_that_was_not_given(server: Server) -> None:
    server.answer("/experiments", experiment("queued", 0), status=202)
    result = bnlab(server, "submit")
    assert (result.code, result.out) == (0, f"{ID}\n")
    assert server.requests == [("POST", "/experiments", b"{}")]


def test_submit_has_an_option_for_every_field_of_a_spec(server: Server) -> None:
    server.answer("/experiments", experiment("queued", 0), status=202)
    options = """--network dense --activation tanh --learning-rate 0.5 --weight-scale 5 --hidden-layers 10,20
        --batch-size 30 --training-batches 100 --batches-per-sample 10 --replicates 3 --seed 1 --dataset mnist-5k
        --preset bad --momentum 0.9 --epsilon 0.01 --placement after_activation --implementation equations
        --no-update-population-statistics"""
    assert bnlab(server, "submit", *options.split()).code == 0
    assert json.loads(server.requests[0][2]) == {
        "network": "dense",
        "activation": "tanh",
        "learning_rate": 0.5,
        "weight_scale": 5.0,
        "hidden_layers": [10, 20],
        "batch_size": 30,
        "training_batches": 100,
        "batches_per_sample": 10,
        "replicates": 3,
        "seed": 1,
        "dataset": "mnist-5k",
        "preset": "bad",
        "batch_norm": {
            "momentum": 0.9,
            "epsilon": 0.01,
            "placement": "after_activation",
            "implementation": "equations",
            "update_population_statistics": False,
        },
    }


def test_a_refused_spec_is_explained_field_by_field_and_ends_with_1(server: Server) -> None:
    problem = {
        "detail": "The request is not valid.",
        "status": 422,
        "errors": [{"field": "learning_rate", "allowed": "greater than 0", "received": -1}],
    }
    server.answer("/experiments", problem, status=422)
    result = bnlab(server, "submit", "--learning-rate", "-1")
    assert (result.code, result.out) == (1, "")
    assert result.err == "The request is not valid. (422)\n  learning_rate: allowed is greater than 0; received -1\n"


@pytest.mark.parametrize(
    "arguments", [["submit", "--hidden-layers", "10,ten"], ["submit", "--batch-size", "many"], ["show"], ["fly"]]
)
def test_a_wrong_command_line_ends_with_2(arguments: list[str]) -> None:
    assert bnlab("http://127.0.0.1:1", *arguments).code == 2


def test_a_number_json_does_not_have_is_refused_in_words(server: Server) -> None:
    result = bnlab(server, "submit", "--learning-rate", "nan")
    assert (result.code, server.requests) == (1, [])
    assert "JSON" in result.err


def test_wait_prints_the_id_first_and_the_accuracies_last(server: Server) -> None:
    server.answer("/experiments", experiment("queued", 0), status=202)
    server.answer(f"/experiments/{ID}", experiment("running", 1000), experiment())
    result = bnlab(server, "submit", "--wait")
    assert result.code == 0
    assert result.out.startswith(f"{ID}\n")
    assert "0.9100" in result.out
    assert "2000/2000" in result.err
    assert "without_batch_norm" in result.err


def test_wait_ends_with_1_when_the_experiment_fails_and_says_why(server: Server) -> None:
    error = {"arm": "with_batch_norm", "code": "broken", "message": "The workshop burnt down."}
    server.answer("/experiments", experiment("queued", 0), status=202)
    server.answer(f"/experiments/{ID}", experiment("failed", 0, error))
    result = bnlab(server, "submit", "--wait")
    assert result.code == 1
    assert "with_batch_norm failed: The workshop burnt down. (broken)" in result.out


def test_wait_with_json_prints_one_document(server: Server) -> None:
    server.answer("/experiments", experiment("queued", 0), status=202)
    server.answer(f"/experiments/{ID}", experiment())
    assert json.loads(bnlab(server, "submit", "--wait", "--json").out) == experiment()


def test_ctrl_c_leaves_the_experiment_running_and_says_how_to_come_back(server: Server) -> None:
    server.answer("/experiments", experiment("queued", 0), status=202)
    server.answer(f"/experiments/{ID}", experiment("running", 1000))
    command = [sys.executable, "-m", "bnlab", "--url", server.url, "submit", "--wait"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{ID}\n"
        while len(server.requests) < 3:  # it follows the experiment
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.endswith(f"The experiment goes on. Look at it again with: bnlab --url {server.url} show {ID}\n")
    assert "Traceback" not in err
    assert all(path != f"/experiments/{ID}/cancel" for _, path, _ in server.requests)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (arm("queued", 0), "queued"),
        (arm("running", 1000), "500 batches/s, 0:02 left"),
        (arm("running", 2000), "500 batches/s, 0:00 left"),
        (arm("succeeded", 2000), "succeeded, 500 batches/s"),
    ],
)
def test_a_bar_says_how_fast_and_how_long(one: dict[str, Any], words: str) -> None:
    assert note(one, 2000) == words


# list, show, curve, cancel, predict


def test_list_shows_whole_ids_and_says_when_there_are_more(server: Server) -> None:
    server.answer("/experiments", {"experiments": [experiment(), experiment("running", 1000)], "next_cursor": "more"})
    result = bnlab(server, "list", "--status", "running", "--limit", "2")
    assert server.requests[0][1] == "/experiments?status=running&limit=2"
    assert result.out.count(ID) == 2
    succeeded, running = (line.split()[1:] for line in result.out.splitlines() if ID in line)
    assert succeeded == ["succeeded", "relu", "0.01", "0.05", "0.9100", "0.9100"]
    assert running == ["running", "relu", "0.01", "0.05", "50%", "50%"]
    assert "--limit" in result.err


def test_an_empty_list_is_said_in_words(server: Server) -> None:
    server.answer("/experiments", {"experiments": [], "next_cursor": None})
    assert bnlab(server, "list").out == "There are no experiments yet.\n"


def test_show_has_both_arms_and_both_kinds_of_statistics(server: Server) -> None:
    server.answer(f"/experiments/{ID}", experiment())
    out = bnlab(server, "show", ID).out
    assert f"{ID}  succeeded" in out
    assert "relu, learning rate 0.01, weight scale 0.05, 2,000 batches of 60, data set mnist, seed 7" in out
    assert "test accuracy, population statistics" in out
    assert "test accuracy, batch statistics" in out


@pytest.mark.parametrize("command", [["list"], ["show", ID], ["submit"]])
def test_json_is_the_servers_own(server: Server, command: list[str]) -> None:
    answer = {"experiments": [experiment()], "next_cursor": None} if command == ["list"] else experiment()
    server.answer("/experiments", answer)
    server.answer(f"/experiments/{ID}", answer)
    assert json.loads(bnlab(server, *command, "--json").out) == answer


def test_the_curve_is_drawn_with_both_arms_told_apart(server: Server) -> None:
    server.answer(f"/experiments/{ID}/curve", CURVE)
    out = bnlab(server, "curve", ID).out
    assert "Training steps" in out
    assert "• without_batch_norm" in out
    assert "⢄⠤ with_batch_norm" in out
    assert "\x1b" not in out  # no colors into a file or a pipe


@pytest.mark.parametrize(
    ("last", "ticks"),
    [
        (1, [0, 1]),
        (9, list(range(10))),
        (1950, list(range(0, 1801, 200))),
        (49_500, [0, 10_000, 20_000, 30_000, 40_000]),
    ],
)
def test_the_steps_below_the_curve_are_round(last: int, ticks: list[int]) -> None:
    assert round_steps(last) == ticks


def test_a_curve_without_points_is_said_in_words(server: Server) -> None:
    nothing = {**POINTS, "steps": [], "mean": []}
    server.answer(f"/experiments/{ID}/curve", {"arms": {"without_batch_norm": nothing, "with_batch_norm": nothing}})
    assert bnlab(server, "curve", ID).out == "The curve has no points yet.\n"


def test_the_curve_is_written_to_each_file_asked_for(server: Server, tmp_path: Path) -> None:
    server.answer(f"/experiments/{ID}/curve", b"picture", b"drawing", b"table")
    files = [tmp_path / "c.png", tmp_path / "c.svg", tmp_path / "c.csv"]
    result = bnlab(server, "curve", ID, "--png", files[0], "--svg", files[1], "--csv", files[2])
    assert [file.read_bytes() for file in files] == [b"picture", b"drawing", b"table"]
    assert [path.split("=")[1] for _, path, _ in server.requests] == ["png", "svg", "csv"]
    assert result.out == "".join(f"Written: {file}\n" for file in files)


def test_a_file_that_cannot_be_written_is_said_in_one_line(server: Server, tmp_path: Path) -> None:
    server.answer(f"/experiments/{ID}/curve", b"picture")
    result = bnlab(server, "curve", ID, "--png", tmp_path / "nowhere" / "c.png")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "nowhere" in result.err


def test_cancel_says_whether_it_already_is(server: Server) -> None:
    server.answer(f"/experiments/{ID}/cancel", experiment("running", 5), experiment("cancelled", 5), status=202)
    assert bnlab(server, "cancel", ID).out == "The experiment will be cancelled; it is still running.\n"
    assert bnlab(server, "cancel", ID).out == "The experiment is cancelled.\n"


def test_predict_sends_the_picture_and_says_whose_answer_it_is(server: Server, tmp_path: Path) -> None:
    (tmp_path / "two.png").write_bytes(PNG)
    server.answer("/predict", PREDICTION)
    result = bnlab(server, "predict", tmp_path / "two.png", "--experiment", ID, "--statistics", "batch")
    assert server.requests == [("POST", f"/predict?experiment={ID}&statistics=batch", PNG)]
    assert result.out.startswith("2  (probability 0.8750; with_batch_norm, replicate 0, population statistics")
    assert json.loads(bnlab(server, "predict", tmp_path / "two.png", "--json").out) == PREDICTION


def test_a_picture_that_is_not_there_is_a_wrong_command_line(server: Server, tmp_path: Path) -> None:
    assert bnlab(server, "predict", tmp_path / "none.png").code == 2


# everywhere


def test_without_a_server_one_line_says_how_to_start_one() -> None:
    result = bnlab("http://127.0.0.1:1", "list")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "http://127.0.0.1:1" in result.err
    assert "`bnlab up`" in result.err


def test_the_address_can_come_from_the_environment(server: Server) -> None:
    server.answer(f"/experiments/{ID}", experiment())
    environment = {**os.environ, "BNLAB_URL": server.url}
    command = [sys.executable, "-m", "bnlab", "show", ID, "--json"]
    out = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True).stdout
    assert json.loads(out) == experiment()


def test_help_does_not_wait_for_what_it_does_not_need() -> None:
    program = "import sys, bnlab.cli; print(sorted({'httpx', 'plotext', 'rich.progress'} & sys.modules.keys()))"
    out = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    assert out == "[]\n"


def test_up_refuses_a_taken_port_in_one_line(server: Server, tmp_path: Path) -> None:
    result = bnlab(server, "up", "--port", server.server_port, "--state-dir", tmp_path)
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert f"port {server.server_port} of 127.0.0.1" in result.err
