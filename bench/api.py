"""The API process: how soon it is ready, how much memory it takes, how long one prediction takes."""

import json
import os
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

import numpy as np

from bench.report import print_table
from faults.servers import free_port
from models import arms, datasets, experiments, networks
from models.database import Database
from models.spec import Spec
from models.trained import TrainedNetwork, starting_arrays, weights_sha256
from worker.examination import examine

PREDICTIONS = 2_000
STARTS = 5


def main() -> None:
    """Start the API several times, then ask it for digits over one connection."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "BNLAB_STATE_DIR": folder, "BNLAB_DATASET": "mnist-5k"}
        subprocess.run([sys.executable, "-m", "migrations"], env=environment, check=True)
        store_a_network(Path(folder))
        starts = []
        for last in [False] * (STARTS - 1) + [True]:
            port = free_port()
            command = [sys.executable, "-m", "api", "--port", str(port)]
            begin = time.perf_counter()
            with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
                _wait_for(port)
                starts.append(time.perf_counter() - begin)
                if last:
                    at_start = _resident_mb(process.pid)
                    body_named, body_newest = _times(port, named=True), _times(port, named=False)
                    _ask(port, "GET", f"/experiments/{_newest(port)}/curve?format=png")
                    at_end = _resident_mb(process.pid)
                process.terminate()
    rows = [
        ("ready after the start of the process, s", f"{np.median(starts):.2f}", f"{max(starts):.2f}"),
        ("memory when ready, MB", f"{at_start:.0f}", ""),
        (f"memory after {2 * PREDICTIONS:,} predictions and a picture, MB", f"{at_end:.0f}", ""),
    ]
    for name, times in (("named experiment", body_named), ("newest experiment", body_newest)):
        p50, p99 = np.percentile(times, [50, 99]) * 1_000
        rows.append((f"/predict, JSON, one connection, {name}: p50 and p99, ms", f"{p50:.2f}", f"{p99:.2f}"))
    print_table("The API process", ("", "median", "most"), rows)


def store_a_network(folder: Path) -> None:
    """Put a succeeded experiment with untrained networks into the database: predicting takes as long with them."""
    database = Database(f"sqlite:///{folder / 'bnlab.sqlite3'}")
    small = datasets.load("mnist-5k", folder)
    with database.write() as session:
        spec = Spec(seed=1).resolve("mnist-5k")
        experiments.create(session, spec, datasets.SHA256["mnist-5k"])
        while held := arms.claim(session, "bench", {}, lease_s=60, lane="cpu"):
            arrays = starting_arrays(spec, held.name, 0)
            result = examine(TrainedNetwork(spec, held.name, arrays), small, 0)
            row = networks.to_row(
                held.arm_id,
                0,
                arrays,
                starting_weights_sha256=weights_sha256(arrays),
                reached_90_percent_after=None,
                diverged_at=None,
                result=result,
            )
            arms.succeed(session, held, [row])
    database.close()


def _times(port: int, named: bool) -> list[float]:
    asked = {"image": np.random.default_rng(0).uniform(0, 1, (28, 28)).round(4).tolist()}
    if named:
        asked["experiment"] = _newest(port)
    return times_of(port, asked, PREDICTIONS)


def times_of(port: int, asked: dict[str, object], count: int) -> list[float]:
    """Return how many seconds each of so many equal predictions took, over one connection."""
    body = json.dumps(asked)
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        times.append(time.perf_counter() - begin)
        assert response.status == 200
    connection.close()
    return times


def _newest(port: int) -> str:
    newest: str = json.loads(_ask(port, "GET", "/experiments"))["experiments"][0]["id"]
    return newest


def _ask(port: int, method: str, path: str) -> bytes:
    connection = HTTPConnection("127.0.0.1", port)
    connection.request(method, path)
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, body
    connection.close()
    return body


def _wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            _ask(port, "GET", "/health/ready")
            return
        except OSError:
            time.sleep(0.01)
    raise TimeoutError


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1_024
