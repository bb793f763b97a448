"""`/predict` beside its peers: the same digit in turn in one run, on 1, 8 and 64 connections.

Ours is the API process as it is shipped; the floors are FastAPI routes that take the same body and do no work; the
peers are ready servers with the same network. Each server has one core, whatever processes it starts; the load comes
from the other one.
"""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import numpy as np
from PIL import Image

from bench.api import store_a_network
from bench.contestants import ROOT, interpreter
from bench.load import Load, loaded, request_of
from bench.peers import network
from bench.report import keep, print_table
from bench.server import running_api
from faults.processes import with_descendants
from faults.servers import free_port
from models import datasets
from models.spec import ArmName, Spec
from models.trained import starting_arrays

ROUNDS, SECONDS = 5, 1.5
CONNECTIONS = (1, 8, 64)
READY_S = 60.0

OURS = "bnlab, JSON"
READ, VALIDATE = "floor: reads the body", "floor: validates it with pydantic"


@dataclass(frozen=True)
class Door:
    """Where a request goes, and the request."""

    port: int
    request: bytes
    most_connections: int = max(CONNECTIONS)


def main() -> None:
    """Measure, and print answers per second with ours beside each."""
    server_core, own_core = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    found: dict[str, dict[int, list[Load]]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        with _on(server_core):
            doors = dict(_doors(Path(folder), stack))
        with _on(own_core):
            for connections in CONNECTIONS:
                asked = {name: door for name, door in doors.items() if connections <= door.most_connections}
                for _ in range(ROUNDS):
                    for name, door in asked.items():
                        load = loaded(door.port, door.request, connections, SECONDS)
                        found.setdefault(name, {}).setdefault(connections, []).append(load)
    for connections in CONNECTIONS:
        print_table(
            f"Answers per second, {connections} connection{'s' * (connections > 1)}, one core; medians of {ROUNDS}",
            ("", "per second", "ours is", "p50 ms", "p99 ms"),
            [
                _row(loads[connections], found[OURS][connections], name)
                for name, loads in found.items()
                if connections in loads
            ],
        )
    keep(
        "predictions",
        {name: {str(n): [vars(load) for load in loads] for n, loads in by.items()} for name, by in found.items()},
    )


def _row(loads: list[Load], ours: list[Load], name: str) -> tuple[str, ...]:
    per_second = [load.per_second for load in loads]
    times = [one.per_second / load.per_second for one, load in zip(ours, loads, strict=True)]  # round by round
    p50, p99 = (float(np.median([getattr(load, each) for load in loads])) for each in ("p50_ms", "p99_ms"))
    return name, f"{np.median(per_second):,.0f}", f"{np.median(times):.2f} ×", f"{p50:.2f}", f"{p99:.2f}"


def _doors(folder: Path, stack: ExitStack) -> Iterator[tuple[str, Door]]:
    """Start every server, and yield what is asked of each."""
    digit = datasets.load("mnist-5k", folder).test_images[0]
    rows = (digit / 255).round(4).reshape(28, 28).tolist()
    body = json.dumps({"image": rows}).encode()
    server = stack.enter_context(running_api(folder))
    store_a_network(folder)
    with urlopen(f"{server.url}/experiments") as answer:
        experiment = json.load(answer)["experiments"][0]["id"]
    named = {"image": rows, "experiment": experiment}
    yield OURS, Door(server.port, request_of("/predict", json.dumps(named).encode()))
    yield "… of the newest experiment", Door(server.port, request_of("/predict", body))
    png = io.BytesIO()
    Image.fromarray(digit.reshape(28, 28)).save(png, "PNG")
    path = f"/predict?experiment={experiment}"
    yield "… PNG", Door(server.port, request_of(path, png.getvalue(), "image/png"))
    hundred = json.dumps({"images": [rows] * 100, "experiment": experiment}).encode()
    # Of large bodies one is read at a time: 64 of them at once are told to come back (503).
    yield "… JSON, 100 digits in each", Door(server.port, request_of("/predict", hundred), most_connections=8)
    floors = _started(stack, [sys.executable, "-m", "bench.peers.serve_floors", "PORT"], {})
    yield READ, Door(floors, request_of("/read", body))
    yield VALIDATE, Door(floors, request_of("/validate", body))
    weights = folder / "network.npz"
    _write_network(weights)
    for name, peer, command, environment in _peers(folder, weights):
        if interpreter(peer) is None:
            print(f"NOT MEASURED: {name}: `make peers` installs it.")
            continue
        port = _started(stack, command, environment)
        yield name, Door(port, _request_to(peer, body, digit))


def _request_to(peer: str, body: bytes, digit: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    if peer != "mlserver":
        return request_of("/predict", body)
    numbers = (digit / 255).round(4).ravel().tolist()
    inputs = [{"name": "image", "shape": [1, len(numbers)], "datatype": "FP32", "data": numbers}]
    return request_of("/v2/models/digits/infer", json.dumps({"inputs": inputs}).encode())


def _peers(folder: Path, weights: Path) -> Iterator[tuple[str, str, list[str], Mapping[str, str]]]:
    """Yield the name, the packages, the command and the environment of each ready server."""
    python = {peer: str(interpreter(peer)) for peer in ("litserve", "bentoml", "mlserver")}
    told = {"NETWORK": str(weights)}
    yield "LitServe", "litserve", [python["litserve"], "-m", "bench.peers.serve_litserve", "PORT", str(weights)], told
    serve = [python["bentoml"], "-m", "bentoml", "serve", "bench.peers.serve_bentoml:Digits"]
    yield "BentoML", "bentoml", [*serve, "--host", "127.0.0.1", "--port", "PORT"], told
    settings = folder / "mlserver"
    settings.mkdir()
    model = {"name": "digits", "implementation": "bench.peers.serve_mlserver.Digits"}
    (settings / "model-settings.json").write_text(json.dumps(model))
    ports = {f"MLSERVER_{name}_PORT": str(free_port()) for name in ("GRPC", "METRICS")}
    quiet = {"MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_DEBUG": "false", "MLSERVER_HOST": "127.0.0.1", **ports}
    command = [python["mlserver"], "-m", "mlserver.cli.main", "start", str(settings)]
    yield "MLServer", "mlserver", command, {**told, **quiet, "MLSERVER_HTTP_PORT": "PORT"}


def _write_network(path: Path) -> None:
    spec = Spec(seed=1).resolve("mnist-5k")
    arrays = starting_arrays(spec, ArmName.WITHOUT_BATCH_NORM, 0)
    names = [name.removesuffix("/weights") for name in arrays if name.endswith("/weights")]
    network.write(path, [(arrays[f"{name}/weights"], arrays[f"{name}/bias"]) for name in names])


def _started(stack: ExitStack, command: list[str], environment: Mapping[str, str]) -> int:
    """Start a server, wait until it answers at all, and return its port; it ends with the stack."""
    port = free_port()
    told = {name: str(port) if value == "PORT" else value for name, value in environment.items()}
    process = subprocess.Popen(
        [str(port) if part == "PORT" else part for part in command],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **told},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    stack.callback(_end, process)
    _wait_for(process, port, command)
    return port


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and all that it has started, also in sessions of their own."""
    for pid in with_descendants(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, command: list[str]) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        try:
            loaded(port, b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 1, 0.0)
        except ConnectionRefusedError:
            time.sleep(0.1)
        except ConnectionError:  # it answers, with 404
            return
        else:
            return
    raise RuntimeError(f"{' '.join(command)} does not answer")


@contextmanager
def _on(core: int) -> Iterator[None]:
    """Keep this process, and what it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
