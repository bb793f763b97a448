"""Whether speed depends on the numbers: good runs beside ones from bad weights, at high rates, and diverged ones.

Numbers near the smallest a processor knows (subnormal ones) take it a hundred times as long where it is not told to
take them for 0; overflown ones are as quick as any.
"""

import json
import subprocess
import sys
from typing import Any

import numpy as np

from bench.report import in_words, keep, print_table
from bench.training import prepared, spec
from models.spec import ArmName

ROUNDS, BATCHES = 7, 3_000
GOOD = "the lesson's setting"
SETTINGS: dict[str, dict[str, Any]] = {
    GOOD: {},
    "bad weights (5)": {"weight_scale": 5.0},
    "bad weights, rate 1": {"weight_scale": 5.0, "learning_rate": 1.0},
    "tiny weights (1e-6)": {"weight_scale": 1e-6},
    "diverged (rate 100)": {"learning_rate": 100.0, "weight_scale": 5.0},
}
ACTIVATIONS = ("relu", "sigmoid", "tanh")


def main() -> None:
    """Measure every setting in turn, one thread, and print the shares of the good one's speed."""
    command = [sys.executable, "-c", "from bench.values import measure; measure()"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, dict[str, list[float]]] = json.loads(done.stdout.splitlines()[-1])
    rows = []
    for case, speeds in found.items():
        cells = [case, in_words(speeds[GOOD])]
        for name in list(SETTINGS)[1:]:
            cells.append(f"{np.median(np.array(speeds[name]) / np.array(speeds[GOOD])):.2f}")
        rows.append(cells)
    columns = ("", "the lesson's setting, batches per second", *list(SETTINGS)[1:])
    print_table(f"Speed whatever the numbers, as shares of the first; medians of {ROUNDS}, one thread", columns, rows)
    keep("values", found)


def measure() -> None:
    """Print, as JSON, the batches per second of each round, by activation and arm."""
    data, train = prepared(1)
    found: dict[str, dict[str, list[float]]] = {}
    for activation in ACTIVATIONS:
        for arm in ArmName:
            speeds: dict[str, list[float]] = {name: [] for name in SETTINGS}
            for _ in range(ROUNDS):
                for name, fields in SETTINGS.items():
                    *_, end = train(spec(BATCHES, activation=activation, **fields), arm, data)
                    assert end.batches_per_second is not None
                    speeds[name].append(end.batches_per_second)
            found[f"{activation}, {arm.value}"] = speeds
    print(json.dumps(found))
