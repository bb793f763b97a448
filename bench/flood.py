"""The API under attack by 200 slow clients and a flood of large bodies: does it still answer, and its memory hold?"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

from bench.api import store_a_network
from bench.report import print_table
from bench.server import ROOT, Server, running_api

HEADER_TIMEOUT_S, BODY_TIMEOUT_S = 2.0, 4.0
ATTACK_S = 30.0
CALM_S = 3.0
POLL_INTERVAL_S = 0.04


@dataclass(frozen=True)
class Figures:
    """What was seen."""

    calm_ms: list[float]
    attacked_ms: list[float]
    memory_before_mb: float
    memory_most_mb: float
    attack: dict[str, Any]
    afterwards_ms: float

    @property
    def growth_mb(self) -> float:
        """How much memory the attack made it take, at most."""
        return self.memory_most_mb - self.memory_before_mb


def main() -> None:
    """Attack for half a minute, and print what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), ATTACK_S)
    rows = [
        ("/health/live, new connection, calm: p50 and p99, ms", *p50_and_p99(found.calm_ms)),
        ("/health/live, new connection, attacked: p50 and p99, ms", *p50_and_p99(found.attacked_ms)),
        ("the slowest answer to it, ms", f"{max(found.attacked_ms):.0f}", f"of {len(found.attacked_ms)}"),
        ("memory before, and the most, MB", f"{found.memory_before_mb:.0f}", f"{found.memory_most_mb:.0f}"),
        ("slow clients cut, and not", str(found.attack["cut"]), str(found.attack["survivors"])),
        ("POST /predict afterwards, ms", f"{found.afterwards_ms:.1f}", ""),
        *((f"longest life: {kind}, s", f"{life:.1f}", "") for kind, life in found.attack["longest_s"].items()),
        *((f"answer to {kind}", str(count), "") for kind, count in sorted(found.attack["answers"].items())),
    ]
    limits = f"{HEADER_TIMEOUT_S:g} s for a head, {BODY_TIMEOUT_S:g} s for a body or a part of an answer"
    print_table(f"The API under attack for {ATTACK_S:g} s; {limits}", ("", "", ""), rows)


def measure(folder: Path, seconds: float) -> Figures:
    """Return the figures of an attack on an API process of its own."""
    timeouts = {"header_timeout_s": HEADER_TIMEOUT_S, "body_timeout_s": BODY_TIMEOUT_S}
    with running_api(folder, **timeouts) as server:
        store_a_network(folder)
        calm = _poll(server, time.monotonic() + CALM_S)
        _predict(server)
        before = server.resident_mb()
        command = [sys.executable, "-m", "bench.attackers", str(server.port), str(seconds)]
        command += map(str, timeouts.values())
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as attackers:
            attacked = _poll(server, time.monotonic() + seconds)
            told, _ = attackers.communicate(timeout=60)
        return Figures(calm, attacked, before, server.resident_mb("VmHWM"), json.loads(told), _predict(server))


def _poll(server: Server, end: float) -> list[float]:
    """Ask for the health, each time on a new connection; return how many milliseconds each answer took."""
    times = []
    while time.monotonic() < end:
        begin = time.perf_counter()
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", "/health/live")
        assert connection.getresponse().status == 200
        connection.close()
        times.append(1_000 * (time.perf_counter() - begin))
        time.sleep(POLL_INTERVAL_S)
    return times


def _predict(server: Server) -> float:
    begin = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/predict", json.dumps({"image": [0.0] * 784}), {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()
    return 1_000 * (time.perf_counter() - begin)


def p50_and_p99(times: list[float]) -> tuple[str, str]:
    """Return the median and the 99th percentile."""
    p50, p99 = np.percentile(times, [50, 99])
    return f"{p50:.1f}", f"{p99:.1f}"
