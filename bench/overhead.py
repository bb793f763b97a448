"""What the service adds to a training: from POST to the first point, and from there to the end, on warm workers.

The two workers have trained the setting before, so its programs are compiled; what is seen is all the rest: the
request, the bell, the claim, the first chunk and evaluation, the write, and the look that finds it. A look is taken
every few milliseconds, so the figures are a little too large.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import keep, print_table
from bnlab.client import Client
from bnlab.up import Service

TIMES = 15
LOOK_S = 0.005
PATIENCE_S = 60.0
WARM_UPS = 3  # until each of the two workers has had each arm, most likely
SETTINGS: dict[str, dict[str, Any]] = {
    "the lesson's, 2,000 batches, 50 a point": {"training_batches": 2_000, "batches_per_sample": 50},
    "one batch": {"training_batches": 1, "batches_per_sample": 1},
}


def main() -> None:
    """Measure each setting in turn, on the embedded set-up with two workers."""
    rows, figures = [], {}
    with tempfile.TemporaryDirectory() as folder:
        with Service(port=0, state_dir=Path(folder)) as service, Client(service.url) as client:
            for name, setting in SETTINGS.items():
                for _ in range(WARM_UPS):
                    client.wait(client.submit(**setting)["id"], timeout_s=PATIENCE_S)
                found = np.array([_once(client, setting) for _ in range(TIMES)])  # [times, 2], seconds
                figures[name] = found.tolist()
                rows.append((name, *(f"{np.median(found[:, i]):.3f} ({found[:, i].max():.3f})" for i in (0, 1))))
    print_table(
        f"Seconds on warm workers, the median and the most of {TIMES}",
        ("setting", "POST to the first point of both arms", "POST to the end of both"),
        rows,
    )
    keep("overhead", figures)


def _once(client: Client, setting: dict[str, Any]) -> tuple[float, float]:
    begin = time.perf_counter()
    id = client.submit(**setting, seed=1)["id"]
    _until(lambda: all(arm["steps"] for arm in client.curve(id)["arms"].values()))
    first = time.perf_counter() - begin
    _until(lambda: client.experiment(id)["status"] == "succeeded")
    return first, time.perf_counter() - begin


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(LOOK_S)
