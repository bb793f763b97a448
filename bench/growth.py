"""How cost grows with the work: one quantity at a time is doubled, and the exponent is the slope in logarithms.

1 means in proportion; less, that a part does not grow.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from bench.report import keep, print_table
from bench.training import Train, prepared, spec
from models.spec import ArmName
from models.trained import TrainedNetwork, starting_arrays

ROUNDS = 3
BATCHES = 1_000
WITH = ArmName.WITH_BATCH_NORM
TRAININGS: dict[str, tuple[Sequence[int], Callable[[int], dict[str, Any]]]] = {
    "batches": ((1_000, 2_000, 4_000, 8_000), lambda batches: {"training_batches": batches}),
    "replicates": ((1, 2, 4, 8), lambda replicates: {"replicates": replicates}),
    "units of each of three layers": ((50, 100, 200, 400), lambda units: {"hidden_layers": (units,) * 3}),
    "layers of 100 units": ((1, 2, 4, 8), lambda depth: {"hidden_layers": (100,) * depth}),
}
UNITS = (50, 100, 200, 400, 800)
REPLICATES = (1, 4, 16, 64)


def main() -> None:
    """Measure, and print a table for training, one for memory, one for predictions."""
    training: dict[str, list[float]] = _in_a_process("print(json.dumps(training_seconds()))")
    rows = [(name, _listed(TRAININGS[name][0]), *_grown(TRAININGS[name][0], s)) for name, s in training.items()]
    print_table("Seconds to train the arm with BN, one thread", ("of", "sizes", "seconds", "exponent"), rows)
    memory = [_in_a_process(f"print(memory_mb({replicates}))") for replicates in REPLICATES]
    grown = ("replicates", _listed(REPLICATES), *_grown(REPLICATES, memory))
    print_table("Most memory of a process that trains, MB", ("of", "sizes", "MB", "exponent"), [grown])
    predicting = prediction_us()
    rows = [(f"units, {name}", _listed(UNITS), *_grown(UNITS, times)) for name, times in predicting.items()]
    print_table("Microseconds of an answer, three layers", ("of", "sizes", "µs", "exponent"), rows)
    keep("growth", {"training_s": training, "memory_mb": memory, "prediction_us": predicting})


def training_seconds() -> dict[str, list[float]]:
    """Return the least seconds of some rounds for each quantity and size; compiled before."""
    data, train = prepared(1)
    found: dict[str, list[float]] = {}
    for name, (sizes, fields) in TRAININGS.items():
        found[name] = []
        for size in sizes:
            setting = spec(BATCHES, **fields(size))
            found[name].append(_least(partial(_to_its_end, train, setting, WITH, data), ROUNDS + 1))
    return found


def memory_mb(replicates: int) -> float:
    """Return the most memory that this process has had at the end of a training."""
    data, train = prepared(1)
    _to_its_end(train, spec(BATCHES, replicates=replicates), WITH, data)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


def prediction_us() -> dict[str, list[float]]:
    """Return the least microseconds of a single answer, and of a hundred at once."""
    found: dict[str, list[float]] = {"one digit": [], "100 digits": []}
    for units in UNITS:
        setting = spec(BATCHES, hidden_layers=(units,) * 3)
        network = TrainedNetwork(setting, WITH, starting_arrays(setting, WITH, 0))
        for name, count in (("one digit", 1), ("100 digits", 100)):
            images = np.random.default_rng(0).uniform(0, 1, (count, 784)).astype(np.float32)
            found[name].append(_least(partial(network.probabilities, images), 200) * 1e6)
    return found


def _to_its_end(train: Train, *work: Any) -> None:
    for _ in train(*work):
        pass


def _in_a_process(code: str) -> Any:
    command = [sys.executable, "-c", f"import json\nfrom bench.growth import *\n{code}"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def _least(work: Callable[[], object], times: int) -> float:
    """Return the least seconds that some work takes: what else goes on only ever adds."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return min(found)


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(f"{size:,}" for size in sizes)


def _grown(sizes: Sequence[int], costs: Sequence[float]) -> tuple[str, str]:
    slope = np.polyfit(np.log(sizes), np.log(costs), 1)[0]
    return ", ".join(f"{cost:,.3g}" for cost in costs), f"{slope:.2f}"
