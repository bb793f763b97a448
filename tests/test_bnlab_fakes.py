"""Stand-ins for the server and its answers, used by the other tests of this room; and that they are like the API's."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import fmean, stdev
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from api.answers import ExperimentAnswer
from api.history import HistoryAnswer
from api.networks import NetworkAnswer
from api.predictions import Prediction
from api.presets import Presets
from api.sweep_answers import SweepAnswer
from api.workers import WorkersAnswer
from bnlab import cli

ID = "0c5d4f6e-8a1b-4c3d-9e2f-123456789abc"
SWEEP_ID = "5eeb0000-8a1b-4c3d-9e2f-123456789abc"
SHA256 = "ab" * 32
ARMS = ("without_batch_norm", "with_batch_norm")
PNG = b"\x89PNG\r\n\x1a\n and so on"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'

# Experiments


def spread(*replicates: float) -> dict[str, Any]:
    return {
        "mean": fmean(replicates),
        "min": min(replicates),
        "max": max(replicates),
        "std": stdev(replicates) if len(replicates) > 1 else 0.0,
        "replicates": list(replicates),
    }


def difference(*replicates: float) -> dict[str, Any]:
    bounds = {"low": min(replicates) - 0.01, "high": max(replicates) + 0.01} if len(replicates) > 1 else None
    return {**spread(*replicates), "confidence_interval_95": bounds}


def examined(*accuracies: float, distinct_answers: int = 10) -> dict[str, Any]:
    return {
        "accuracy": spread(*accuracies),
        "single_predictions": {
            "count": 200,
            "accuracy": spread(*accuracies),
            "distinct_answers": distinct_answers,
            "answer_counts": [[20] * 10 for _ in accuracies],
        },
    }


def arm(status: str = "succeeded", batches_done: int = 2000, accuracies: Sequence[float] = (0.91,)) -> dict[str, Any]:
    done = status == "succeeded"
    return {
        "status": status,
        "batches_done": batches_done,
        "batches_per_second": 500.0 if batches_done else None,
        "final_validation_accuracy": spread(*accuracies) if done else None,
        "reached_90_percent_after": [700 + 100 * n for n in range(len(accuracies))] if done else None,
        "learned": sum(accuracy > 0.2 for accuracy in accuracies) if done else None,
        "test": {"population": examined(*accuracies), "batch": None} if done else None,
        "diverged_at": None,
        "diverged_replicates": [],
        "starting_weights_sha256": [SHA256 for _ in accuracies] if done else None,
        "device": "Some Processor" if status != "queued" else None,
        "fingerprint": {"tensorflow": "2.21.0", "threads": 1} if status != "queued" else None,
        "generation": 0 if status == "queued" else 1,
    }


SPEC: dict[str, Any] = {
    "network": "dense",
    "activation": "relu",
    "learning_rate": 0.01,
    "weight_scale": 0.05,
    "hidden_layers": [100, 100, 100],
    "batch_size": 60,
    "training_batches": 2000,
    "batches_per_sample": 50,
    "replicates": 1,
    "seed": 7,
    "dataset": "mnist",
    "batch_norm": {
        "momentum": 0.99,
        "epsilon": 0.001,
        "placement": "before_activation",
        "implementation": "equations",
        "update_population_statistics": True,
    },
    "device": "auto",
    "preset": None,
}


def experiment(
    status: str = "succeeded",
    batches_done: int = 2000,
    error: Any = None,
    accuracies: Sequence[Sequence[float]] = ((0.91,), (0.91,)),
    **members: Any,
) -> dict[str, Any]:
    """An experiment; `accuracies` are those of both arms' replicates, `members` replace what else there is."""
    done = status == "succeeded"
    arms = {name: arm(status, batches_done, values) for name, values in zip(ARMS, accuracies, strict=True)}
    apart = difference(*(b - a for a, b in zip(*accuracies, strict=True)))
    return {
        "id": ID,
        "status": status,
        "spec": {**SPEC, "replicates": len(accuracies[0])},
        "preset": None,
        "sweep_id": None,
        "dataset_sha256": SHA256,
        "waits_for": "a free worker" if status == "queued" else None,
        "progress": {"batches_done": 2 * batches_done, "batches_total": 4000, "fraction": batches_done / 2000},
        "arms": arms,
        "comparison": {"final_validation_accuracy": apart, "test_accuracy": apart} if done else None,
        "warnings": [],
        "error": error,
        "created_at": "2026-11-23T02:34:00.000000Z",
        "started_at": "2026-11-23T02:35:00.000000Z" if status != "queued" else None,
        "finished_at": "2026-11-23T02:36:30.000000Z" if done else None,
        **members,
    }


def of_kind(**own: Any) -> dict[str, Any]:
    """An experiment of another kind of network, with that kind's own fields."""
    common = {name: value for name, value in SPEC.items() if name != "hidden_layers"}
    return experiment(spec={**common, **own})


CONVOLUTIONAL = of_kind(
    network="convolutional", feature_maps=[8, 16], kernel_size=3, strides=[2, 2], data_format="channels_last"
)
RECURRENT = of_kind(network="recurrent", units=64)


def event(
    before: str | None, after: str, reason: str, second: int, arm: str = ARMS[0], batches_done: int = 0
) -> dict[str, Any]:
    """Something that happened to an arm, so many seconds after the minute."""
    return {
        "arm": arm,
        "at": f"2026-11-23T02:34:{second:02}.500000Z",
        "from": before,
        "to": after,
        "reason": reason,
        "fence": 1,
        "batches_done": batches_done,
        "actor": "api" if reason == "submitted" else "host:123:ab12cd34/1234567",
    }


HISTORY: dict[str, Any] = {
    "experiment_id": ID,
    "events": [
        event(None, "queued", "submitted", 0),
        event(None, "queued", "submitted", 0, ARMS[1]),
        event("queued", "running", "claimed", 1, ARMS[1]),
        event("running", "queued", "service_restarted", 2, ARMS[1], 1_050),
        event("queued", "cancelled", "cancelled", 3),
        event("queued", "running", "claimed", 4, ARMS[1], 1_050),
        event("running", "running", "cancel_requested", 5, ARMS[1], 1_050),
        event("running", "cancelled", "cancelled", 6, ARMS[1], 1_000_000),
    ],
}

WARNING: dict[str, Any] = {
    "code": "population_statistics_not_converged",
    "message": "The population statistics hold 13 % of their start.",
    "share_of_start": 0.13,
}

# Presets and sweeps

FAST, SLOW = "relu-0.01-good-weights-2000", "sigmoid-0.01-good-weights-50000"
BATCH, POPULATION = "inference-with-batch-statistics", "inference-with-population-statistics"


def comparison_preset(name: str, without: float, with_: float, training_batches: int = 2000) -> dict[str, Any]:
    published = [
        {"validation_accuracy": accuracy, "test_accuracy": accuracy - 0.01, "batches_per_second": speed}
        for accuracy, speed in ((without, 1000.0), (with_, 500.0))
    ]
    return {
        "name": name,
        "shows": f"What {name} shows.",
        "kind": "comparison",
        "lesson_cell": 5,
        "spec": {"training_batches": training_batches},
        "published": {**dict(zip(ARMS, published, strict=True)), "inference": None},
    }


def inference_preset(statistics: str, test: float, singles: float, distinct_answers: int | None) -> dict[str, Any]:
    single_predictions = {"count": 200, "accuracy": singles, "distinct_answers": distinct_answers}
    inference = {"statistics": statistics, "test_accuracy": test, "single_predictions": single_predictions}
    return {
        "name": f"inference-with-{statistics}-statistics",
        "shows": f"What {statistics} statistics do.",
        "kind": "inference",
        "lesson_cell": 23,
        "spec": {"training_batches": 2000},
        "published": {"without_batch_norm": None, "with_batch_norm": None, "inference": inference},
    }


DEPTH: dict[str, Any] = {
    "name": "depth-3",
    "shows": "Depth.",
    "kind": "depth",
    "lesson_cell": None,
    "spec": {},
    "published": None,
}
LESSON = [
    comparison_preset(FAST, 0.8286, 0.9578),
    comparison_preset(SLOW, 0.8344, 0.9756),
    inference_preset("batch", 0.9503, 0.05, 1),
    inference_preset("population", 0.9537, 0.97, None),
]
PRESETS = {"presets": [*LESSON, DEPTH]}


def of_preset(
    preset: dict[str, Any], overridden: Sequence[str] = (), dataset: str = "mnist", **members: Any
) -> dict[str, Any]:
    """An experiment from a preset; with its published figures where it can be compared."""
    one = experiment(**members)
    comparable = not overridden and dataset == "mnist"
    published = preset["published"] if comparable else None
    one["preset"] = {"name": preset["name"], "overridden": list(overridden), "published": published}
    one["spec"] = {**one["spec"], "preset": preset["name"], "dataset": dataset}
    if one["status"] == "succeeded":
        one["arms"]["with_batch_norm"]["test"]["batch"] = examined(0.12, distinct_answers=1)
    return one


def sweep(
    experiments: Sequence[dict[str, Any]] | None = None, values: Sequence[dict[str, Any]] | None = None, **members: Any
) -> dict[str, Any]:
    """A sweep; of the lesson's presets if nothing else is said."""
    rows = [of_preset(preset) for preset in LESSON] if experiments is None else list(experiments)
    places = values or [{"preset": row["preset"]["name"]} for row in rows]
    statuses = [row["status"] for row in rows]
    running = "running" in statuses or "queued" in statuses
    ended = "succeeded" if set(statuses) == {"succeeded"} else "failed" if "failed" in statuses else "cancelled"
    done, total = (sum(row["progress"][name] for row in rows) for name in ("batches_done", "batches_total"))
    return {
        "id": SWEEP_ID,
        "status": "running" if running else ended,
        "counts": {name: statuses.count(name) for name in ("queued", "running", "succeeded", "failed", "cancelled")},
        "progress": {"batches_done": done, "batches_total": total, "fraction": done / total},
        "base": {},
        "grid": {},
        "presets": "lesson",
        "created_at": "2026-11-23T02:34:00.000000Z",
        "started_at": "2026-11-23T02:35:00.000000Z",
        "finished_at": None if running else "2026-11-23T02:39:00.000000Z",
        "experiments": [
            {
                "position": position,
                "values": places[position],
                "experiment": {**row, "id": numbered(position), "sweep_id": SWEEP_ID},
                "difference_from_published": None,
            }
            for position, row in enumerate(rows)
        ],
        **members,
    }


def numbered(position: int) -> str:
    """The id of the experiment at a position of a sweep."""
    return f"{position:08x}{ID[8:]}"


NETWORK: dict[str, Any] = {
    "experiment": ID,
    "arm": "with_batch_norm",
    "replicate": 0,
    "parameters": {"trainable": 46, "population_statistics": 4},
    "starting_weights_sha256": SHA256,
    "arrays_sha256": "cd" * 32,
    "diverged_at": None,
    "warnings": [WARNING],
    "layers": [
        {
            "name": "hidden_1",
            "inputs": 784,
            "units": 2,
            "parameters": {"weights": 1568, "gamma": 2, "beta": 2},
            "batch_norm": {
                "gamma": [1.0, 1.5],
                "beta": [0.0, -0.25],
                "population_mean": [-2.0, 4.0],
                "population_variance": [0.5, 1.5],
            },
        },
        {
            "name": "output",
            "inputs": 2,
            "units": 10,
            "parameters": {"weights": 20, "bias": 10},
            "batch_norm": None,
        },
    ],
}

#: The same of other kinds: a convolution and what it leads to; the parts of an LSTM, at two of its steps.
CONVOLUTIONAL_NETWORK = {
    **NETWORK,
    "layers": [
        {
            "name": "convolution_1",
            "inputs": 1,
            "units": 2,
            "kernel_size": 3,
            "parameters": {"weights": 18, "gamma": 2, "beta": 2},
            "batch_norm": NETWORK["layers"][0]["batch_norm"],
        },
        {
            "name": "output",
            "inputs": 32,
            "units": 10,
            "parameters": {"weights": 320, "bias": 10},
            "batch_norm": None,
        },
    ],
}
RECURRENT_NETWORK = {
    **NETWORK,
    "layers": [
        {
            "name": "lstm_hidden",
            "inputs": 1,
            "units": 4,
            "parameters": {"weights": 4, "gamma": 4},
            "batch_norm": {
                "gamma": [0.1, 0.1, 0.1, 0.1],
                "beta": None,
                "population_mean": [[-1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 3.0, 5.0]],
                "population_variance": [[1.0, 1.0, None, 1.0], [1.0, 1.0, 1.0, 8.0]],
            },
        },
        {
            "name": "lstm_cell",
            "inputs": None,
            "units": 1,
            "parameters": {"gamma": 1, "beta": 1},
            "batch_norm": {
                "gamma": [0.1],
                "beta": [2.0],
                "population_mean": [[0.0], [1.0]],
                "population_variance": [[1.0], [1.0]],
            },
        },
    ],
}

WORKER: dict[str, Any] = {
    "name": "gpu-host:7:0c5d4f1e",
    "host": "gpu-host",
    "device": "gpu",
    "device_names": ["NVIDIA H200", "NVIDIA H200"],
    "processes": 2,
    "training": 1,
    "living": True,
    "started_at": "2026-11-23T02:34:00.000000Z",
    "seen_at": "2026-11-23T02:35:00.000000Z",
}
SILENT = {**WORKER, "host": "cpu-host", "device": "cpu", "device_names": ["Some Processor"], "living": False}
WORKERS = {"workers": [WORKER, SILENT]}

PREDICTION: dict[str, Any] = {
    "digit": 2,
    "probabilities": [0.0, 0.0, 0.875, 0.125, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    "experiment": ID,
    "arm": "with_batch_norm",
    "replicate": 0,
    "statistics": "population",
    "warnings": [],
    "image": None,
}

# Events of an experiment, as the server sends them


def sse(name: str, id: int | str, data: Any) -> bytes:
    return f"event: {name}\nid: {id}\ndata: {json.dumps(data)}\n\n".encode()


def points(arm: str, accuracies: dict[int, Sequence[float]], restarted: bool = False) -> dict[str, Any]:
    """Points of a curve, from the replicates' accuracies at each step."""
    spreads = [spread(*replicates) for replicates in accuracies.values()]
    columns = {name: [one[name] for one in spreads] for name in ("mean", "min", "max", "std")}
    replicates = [list(one) for one in zip(*accuracies.values(), strict=True)]
    return {"arm": arm, "restarted": restarted, "steps": list(accuracies), **columns, "replicates": replicates}


def progress(batches_done: int, status: str = "running") -> dict[str, Any]:
    """Both arms so far."""
    one = {"status": status, "batches_done": batches_done, "batches_per_second": 500.0}
    of_both = {"batches_done": 2 * batches_done, "batches_total": 4000, "fraction": batches_done / 2000}
    return {"status": status, "progress": of_both, "arms": dict.fromkeys(ARMS, one)}


class Stream:
    """Pieces of a stream of events, sent one by one until the connection is cut; a bell is waited for."""

    def __init__(self, *pieces: bytes | Event) -> None:
        self.pieces = pieces


# A server


class Server(ThreadingHTTPServer):
    """A server that answers each path with what was put there, in turn, and keeps what came; None breaks off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.requests: list[tuple[str, str, bytes]] = []
        self.keys: list[str | None] = []  # the requests' idempotency keys
        self.authorizations: list[str | None] = []
        self.last_event_ids: list[str | None] = []

    def answer(self, path: str, *bodies: Any, status: int = 200) -> None:
        self.answers[path] = [(status, body) for body in bodies]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.requests.append((self.command, self.path, body))
        self.server.keys.append(self.headers["Idempotency-Key"])
        self.server.authorizations.append(self.headers["Authorization"])
        self.server.last_event_ids.append(self.headers["Last-Event-ID"])
        answers = self.server.answers[urlsplit(self.path).path]
        status, answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is None:
            return
        if isinstance(answer, Stream):
            self.stream(answer)
            return
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def stream(self, answer: Stream) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        with suppress(ConnectionError):  # who listened may have gone
            for piece in answer.pieces:
                if isinstance(piece, Event):
                    assert piece.wait(20)
                else:
                    self.wfile.write(piece)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep quiet."""


@contextmanager
def running_server() -> Iterator[Server]:
    with Server() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


# The command line


class Result:
    """How a command ended and what it said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


def bnlab(server: Server | str, *arguments: object) -> Result:
    """Run a command in a terminal of 80 columns."""
    url = server if isinstance(server, str) else server.url
    result = CliRunner(env={"COLUMNS": "80"}).invoke(cli.app, ["--url", url, *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Result(result.exit_code, result.stdout, result.stderr)


# The stand-ins are like the API's own answers


@pytest.mark.parametrize(
    ("shape", "answer"),
    [
        (ExperimentAnswer, experiment()),
        (ExperimentAnswer, experiment("running", 1000)),
        (ExperimentAnswer, experiment(accuracies=((0.8, 0.1), (0.95, 0.97)), warnings=[WARNING])),
        (ExperimentAnswer, CONVOLUTIONAL),
        (ExperimentAnswer, RECURRENT),
        (ExperimentAnswer, of_preset(LESSON[0])),
        (ExperimentAnswer, of_preset(LESSON[2], overridden=["learning_rate"], dataset="mnist-5k")),
        (HistoryAnswer, HISTORY),
        (Presets, PRESETS),
        (SweepAnswer, sweep()),
        (SweepAnswer, sweep([experiment("running", 1000)], [{"hidden_layers": [100, 100]}])),
        (NetworkAnswer, NETWORK),
        (NetworkAnswer, CONVOLUTIONAL_NETWORK),
        (NetworkAnswer, RECURRENT_NETWORK),
        (WorkersAnswer, WORKERS),
        (Prediction, PREDICTION),
        (Prediction, {**PREDICTION, "warnings": [WARNING]}),
    ],
)
def test_a_stand_in_has_what_the_apis_answer_has_and_nothing_else(shape: type[BaseModel], answer: Any) -> None:
    assert json.loads(shape.model_validate_json(json.dumps(answer)).model_dump_json(by_alias=True)) == answer
