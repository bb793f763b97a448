"""The command line: what it sends to a small real server, what it prints, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_bnlab_fakes import (
    CONVOLUTIONAL,
    CONVOLUTIONAL_NETWORK,
    FAST,
    HISTORY,
    ID,
    LESSON,
    NETWORK,
    PNG,
    PREDICTION,
    PRESETS,
    RECURRENT,
    RECURRENT_NETWORK,
    SWEEP_ID,
    WARNING,
    WORKERS,
    Server,
    arm,
    bnlab,
    experiment,
    inference_preset,
    of_preset,
    running_server,
)

from bnlab.progress import note
from bnlab.terminal_curve import round_steps

ROOT = Path(__file__).parents[1]

POINTS = {"steps": [0, 50], "mean": [0.1, 0.9], "min": [], "max": [], "std": [], "replicates": []}
CURVE = {"experiment_id": ID, "arms": {"without_batch_norm": POINTS, "with_batch_norm": POINTS}}


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


# submit


def test_submit_prints_the_id_and_sends_nothing_that_was_not_given(server: Server) -> None:
    server.answer("/experiments", experiment("queued", 0), status=202)
    result = bnlab(server, "submit")
    assert (result.code, result.out) == (0, f"{ID}\n")
    assert server.requests == [("POST", "/experiments", b"{}")]


def test_submit_has_an_option_for_every_field_of_a_spec(server: Server) -> None:
    server.answer("/experiments", experiment("queued", 0), status=202)
    options = """--network dense --activation tanh --learning-rate 0.5 --weight-scale 5 --hidden-layers 10,20
        --feature-maps 8,16 --kernel-size 5 --strides 2,1 --data-format channels_first --units 32
        --batch-size 30 --training-batches 100 --batches-per-sample 10 --replicates 3 --seed 1 --dataset mnist-5k
        --device gpu --preset bad --momentum 0.9 --epsilon 0.01 --placement after_activation --implementation equations
        --no-update-population-statistics"""
    assert bnlab(server, "submit", *options.split()).code == 0
    assert json.loads(server.requests[0][2]) == {
        "network": "dense",
        "activation": "tanh",
        "learning_rate": 0.5,
        "weight_scale": 5.0,
        "hidden_layers": [10, 20],
        "feature_maps": [8, 16],
        "kernel_size": 5,
        "strides": [2, 1],
        "data_format": "channels_first",
        "units": 32,
        "batch_size": 30,
        "training_batches": 100,
        "batches_per_sample": 10,
        "replicates": 3,
        "seed": 1,
        "dataset": "mnist-5k",
        "device": "gpu",
        "preset": "bad",
        "batch_norm": {
            "momentum": 0.9,
            "epsilon": 0.01,
            "placement": "after_activation",
            "implementation": "equations",
            "update_population_statistics": False,
        },
    }


def test_submit_outlasts_a_broken_connection_and_submits_once(server: Server) -> None:
    server.answer("/experiments", None, experiment("queued", 0), status=202)
    result = bnlab(server, "submit")
    assert (result.code, result.out) == (0, f"{ID}\n")
    first, second = server.keys
    assert first == second


def test_submit_sends_the_idempotency_key_it_is_given(server: Server) -> None:
    server.answer("/experiments", experiment("queued", 0), status=202)
    assert bnlab(server, "submit", "--seed", 1, "--idempotency-key", "mine").code == 0
    assert (server.keys, server.requests) == (["mine"], [("POST", "/experiments", b'{"seed": 1}')])


def test_an_idempotency_key_that_cannot_be_sent_is_refused_in_words(server: Server) -> None:
    result = bnlab(server, "submit", "--idempotency-key", "Schlüssel")
    assert (result.code, server.requests) == (1, [])
    assert result.err.startswith("'Schlüssel' cannot be an idempotency key; ")


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
    "arguments",
    [
        ["submit", "--hidden-layers", "10,ten"],
        ["submit", "--strides", "2,"],
        ["submit", "--batch-size", "many"],
        ["show"],
        ["fly"],
    ],
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


def test_list_says_when_and_on_which_data_and_fits_80_columns(server: Server) -> None:
    spec = {**experiment()["spec"], "activation": "sigmoid", "dataset": "mnist-5k"}
    many = experiment(spec=spec, accuracies=((0.8, 0.9), (0.95, 0.96)))
    server.answer("/experiments", {"experiments": [many], "next_cursor": None})
    out = bnlab(server, "list").out
    assert "2026-11-23 02:34 UTC" in out
    assert "mnist-5k" in out
    assert "±0.0707" in out
    assert ID in out
    assert max(map(len, out.splitlines())) <= 80


def test_networks_of_every_kind_are_listed_and_shown(server: Server) -> None:
    listed = [experiment(), CONVOLUTIONAL, RECURRENT]
    server.answer("/experiments", {"experiments": listed, "next_cursor": None})
    out = bnlab(server, "list").out
    assert [out.count(f"\n{' ' * 47}{kind}") for kind in ("convolutional", "recurrent", "dense")] == [1, 1, 0]
    assert max(map(len, out.splitlines())) <= 80
    server.answer(f"/experiments/{ID}", *listed)
    shown = [bnlab(server, "show", ID).out.splitlines()[1] for _ in listed]
    assert [line.partition(", learning rate")[0] for line in shown] == [
        "relu",
        "convolutional 8-16, relu",
        "LSTM of 64, relu",
    ]


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


def rows(out: str) -> dict[str, list[str]]:
    """Return the cells of a table by the name of their row; of rows with the same name, the last."""
    lines = (re.split(r"\s{2,}", line.strip()) for line in out.splitlines())
    return {name: cells for name, *cells in lines}


def test_show_of_several_replicates_has_mean_spread_and_the_interval_of_the_difference(server: Server) -> None:
    server.answer(f"/experiments/{ID}", experiment(accuracies=((0.8, 0.1), (0.95, 0.97))))
    out = bnlab(server, "show", ID).out
    assert "2 replicates" in out
    table = rows(out)
    assert table["final validation accuracy"] == ["0.4500 ± 0.4950", "0.9600 ± 0.0141"]
    assert table["lowest … highest"] == ["0.1000 … 0.8000", "0.9500 … 0.9700"]
    assert table["replicates that learned"] == ["1 of 2", "2 of 2"]
    assert table["90 % reached after"] == ["700 … 800 batches", "700 … 800 batches"]
    assert "with − without: +0.5100 (95 % interval +0.1400 … +0.8800)" in out


def test_show_of_one_replicate_claims_no_spread(server: Server) -> None:
    server.answer(f"/experiments/{ID}", experiment())
    out = bnlab(server, "show", ID).out
    assert "lowest" not in out
    assert "±" not in out
    assert "interval" not in out


def test_show_has_the_published_figures_beside_the_reproduced_ones(server: Server) -> None:
    server.answer(f"/experiments/{ID}", of_preset(LESSON[0]))
    out = bnlab(server, "show", ID).out
    assert f"preset {FAST}\n" in out
    assert "0.8286" in out
    assert "0.9578" in out


def test_show_has_an_inference_runs_published_figures_below_its_own_statistics(server: Server) -> None:
    server.answer(f"/experiments/{ID}", of_preset(inference_preset("batch", 0.9503, 0.05, 1)))
    lines = bnlab(server, "show", ID).out.splitlines()
    batch = next(number for number, line in enumerate(lines) if "test accuracy, batch statistics" in line)
    assert "0.9503" in lines[batch + 1]
    assert "0.0500" in lines[batch + 3]


def test_show_says_what_was_overridden_and_then_compares_nothing(server: Server) -> None:
    changed = of_preset(LESSON[0], overridden=["learning_rate", "batch_norm.momentum"], sweep_id=SWEEP_ID)
    server.answer(f"/experiments/{ID}", changed)
    out = bnlab(server, "show", ID).out
    assert f"preset {FAST}, but for learning_rate, batch_norm.momentum\n" in out
    assert f"sweep {SWEEP_ID}" in out
    assert "published" not in out


def test_show_prints_warnings_and_diverged_replicates(server: Server) -> None:
    one = experiment(accuracies=((0.1, 0.1), (0.9, 0.9)), warnings=[WARNING])
    one["arms"]["without_batch_norm"] |= {"diverged_at": 12, "diverged_replicates": [1]}
    server.answer(f"/experiments/{ID}", one)
    out = bnlab(server, "show", ID).out
    assert f"Warning: {WARNING['message']}" in out
    assert "Diverged replicates without_batch_norm: 1" in out


def test_an_accuracy_never_reached_is_said(server: Server) -> None:
    one = experiment(accuracies=((0.1, 0.8), (0.95, 0.97)))
    one["arms"]["without_batch_norm"]["reached_90_percent_after"] = [None, None]
    one["arms"]["with_batch_norm"]["reached_90_percent_after"] = [1200, None]
    server.answer(f"/experiments/{ID}", one)
    assert rows(bnlab(server, "show", ID).out)["90 % reached after"] == ["never", "1,200 batches (1 of 2)"]


def test_history_says_when_what_and_why_in_80_columns(server: Server) -> None:
    server.answer(f"/experiments/{ID}/history", HISTORY)
    out = bnlab(server, "history", ID).out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    names, first, *_, last = (" ".join(line.split()) for line in out.splitlines())
    assert names == "time (UTC) arm status reason batches by"
    assert first == "11-23 02:34:00 without queued submitted 0 api"
    number = HISTORY["events"][-1]["actor"].rpartition("/")[2]
    assert last == f"11-23 02:34:06 with running → cancelled cancelled 1,000,000 {number}"
    assert out.count("\n") == 1 + len(HISTORY["events"])
    assert "running → queued" in out
    assert "service restarted" in out
    assert re.search(r" running +cancel requested", out)


def test_history_is_the_servers_own_with_json(server: Server) -> None:
    server.answer(f"/experiments/{ID}/history", HISTORY)
    assert json.loads(bnlab(server, "history", ID, "--json").out) == HISTORY


def test_an_experiment_without_a_history_says_so(server: Server) -> None:
    server.answer(f"/experiments/{ID}/history", {"experiment_id": ID, "events": []})
    assert bnlab(server, "history", ID).out == "No history was kept of this experiment.\n"


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


@pytest.mark.parametrize(("option", "said"), [("--normalize", "true"), ("--no-normalize", "false")])
def test_predict_says_whether_the_picture_is_to_be_normalized(
    server: Server, tmp_path: Path, option: str, said: str
) -> None:
    (tmp_path / "two.png").write_bytes(PNG)
    server.answer("/predict", PREDICTION)
    bnlab(server, "predict", tmp_path / "two.png", option)
    assert server.requests == [("POST", f"/predict?normalize={said}", PNG)]


def test_predict_keeps_warnings_apart_from_the_answer(server: Server, tmp_path: Path) -> None:
    (tmp_path / "two.png").write_bytes(PNG)
    server.answer("/predict", {**PREDICTION, "warnings": [WARNING]})
    result = bnlab(server, "predict", tmp_path / "two.png")
    assert result.out.count("\n") == 1
    assert result.err == f"Warning: {WARNING['message']}\n"


def test_a_picture_that_is_not_there_is_a_wrong_command_line(server: Server, tmp_path: Path) -> None:
    assert bnlab(server, "predict", tmp_path / "none.png").code == 2


# workers, and waiting for one


def test_workers_say_what_they_train_on_and_when_they_were_heard_of_in_80_columns(server: Server) -> None:
    server.answer("/workers", WORKERS)
    out = bnlab(server, "workers").out
    assert max(map(len, out.splitlines())) <= 80
    _, gpu, cpu = (line.split() for line in out.splitlines())
    assert gpu == ["gpu-host", "auto,", "gpu", "NVIDIA", "H200", "1", "2", "2026-11-23", "02:35:00"]
    assert cpu[-3:] == ["2026-11-23", "02:35:00,", "silent"]
    assert json.loads(bnlab(server, "workers", "--json").out) == WORKERS


def test_that_there_are_no_workers_is_said_in_words(server: Server) -> None:
    server.answer("/workers", {"workers": []})
    assert bnlab(server, "workers").out == "No worker has been heard of in the last day.\n"


def test_show_says_what_a_queued_experiment_waits_for(server: Server) -> None:
    server.answer(f"/experiments/{ID}", experiment("queued", 0))
    assert "\nWaits for a free worker.\n" in bnlab(server, "show", ID).out


def test_wait_says_once_that_nobody_is_there_to_take_the_experiment(server: Server) -> None:
    nobody = "a worker with a GPU: none has been heard of for 30 s"
    vain = experiment("queued", 0, waits_for=nobody)
    server.answer("/experiments", vain, status=202)
    free = experiment("queued", 0)
    server.answer(f"/experiments/{ID}", vain, {**vain, "warnings": [WARNING]}, free, experiment())
    result = bnlab(server, "submit", "--wait")
    assert result.code == 0
    assert result.err.count("Waits for") == result.err.count(f"Waits for {nobody}.") == 1


# presets, network


def test_presets_say_what_each_shows_and_what_was_published_in_80_columns(server: Server) -> None:
    long = {**LESSON[0], "name": "inference-with-population-statistics", "shows": "A sentence of many words. " * 5}
    server.answer("/presets", {"presets": [*PRESETS["presets"], long]})
    out = bnlab(server, "presets").out
    assert max(map(len, out.splitlines())) <= 80
    names = [line.split()[0] for line in out.splitlines() if line.startswith(tuple(p["name"] for p in LESSON))]
    assert names == [*(preset["name"] for preset in LESSON), long["name"]]
    fast = next(line for line in out.splitlines() if line.startswith(FAST))
    assert fast.split()[-2:] == ["0.8286", "0.9578"]
    depth = next(line for line in out.splitlines() if line.startswith("depth-3"))
    assert depth.split()[-2:] == ["–", "–"]
    assert json.loads(bnlab(server, "presets", "--json").out)["presets"][-1] == long


def test_network_sums_up_each_layer(server: Server) -> None:
    server.answer(f"/experiments/{ID}/networks/with_batch_norm", NETWORK)
    out = bnlab(server, "network", ID, "with_batch_norm", "--replicate", 0).out
    assert server.requests[0][1] == f"/experiments/{ID}/networks/with_batch_norm?replicate=0"
    assert "46 trained parameters, 4 population statistics" in out
    table = rows(out)
    assert table["population mean"] == ["-2", "1", "4"]
    assert table["population variance"] == ["0.5", "1", "1.5"]
    assert table["gamma"] == ["1", "1.25", "1.5"]
    assert table["hidden_1: 784 → 2"] == ["1,572 parameters"]
    assert table["output: 2 → 10"] == ["30 parameters"]
    assert f"Warning: {WARNING['message']}" in out
    assert json.loads(bnlab(server, "network", ID, "with_batch_norm", "--json").out) == NETWORK


def test_network_of_a_diverged_replicate_leaves_out_what_is_no_number(server: Server) -> None:
    hidden, output = NETWORK["layers"]
    arrays = {"gamma": [None, None], "beta": [None, 2.0], "population_mean": [0.0], "population_variance": [1.0]}
    broken = {**NETWORK, "layers": [{**hidden, "batch_norm": arrays}, output], "diverged_at": 1200}
    server.answer(f"/experiments/{ID}/networks/with_batch_norm", broken)
    out = bnlab(server, "network", ID, "with_batch_norm").out
    assert "diverged at batch 1,200" in out
    assert rows(out)["gamma"] == ["–", "–", "–"]
    assert rows(out)["beta"] == ["2", "2", "2"]


def test_network_shows_kernels_and_sums_up_statistics_over_units_and_steps(server: Server) -> None:
    path = f"/experiments/{ID}/networks/with_batch_norm"
    server.answer(path, CONVOLUTIONAL_NETWORK, RECURRENT_NETWORK)
    table = rows(bnlab(server, "network", ID, "with_batch_norm").out)
    assert table["convolution_1: 1 → 2, 3×3"] == ["22 parameters"]
    assert table["output: 32 → 10"] == ["330 parameters"]
    out = bnlab(server, "network", ID, "with_batch_norm").out
    assert table["gamma"] == ["1", "1.25", "1.5"]
    hidden, cell = (rows(part) for part in out.split("lstm_cell: 1"))
    assert hidden["lstm_hidden: 1 → 4"] == ["8 parameters"]
    assert hidden["population mean"] == ["-1", "1", "5"]
    assert hidden["population variance"] == ["1", "2", "8"]
    assert "beta" not in hidden
    assert cell["beta"] == ["2", "2", "2"]


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
