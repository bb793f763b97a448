"""Eight replicates of an arm beside one: replicate-batches per second, with one thread and with two."""

import json
import subprocess
import sys

import numpy as np

from bench.report import in_words, print_table
from bench.training import prepared
from models.settings import Settings
from models.spec import ArmName, ResolvedSpec, Spec

ROUNDS = 5
REPLICATES = 8
BATCHES = 4_000
THREADS = (1, 2)


def spec(replicates: int) -> ResolvedSpec:
    """Return the setting that is measured: the lesson's with a sample every 500, the same work for each stack."""
    setting = Spec(training_batches=BATCHES // replicates * 2, batches_per_sample=500, replicates=replicates, seed=1)
    return setting.resolve(Settings().dataset)


def main() -> None:
    """Measure one and eight in turn, each number of threads in a process of its own, and print the shares."""
    rows = []
    for threads in THREADS:
        command = [sys.executable, "-c", f"from bench.replicates import measure; measure({threads})"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        for name, (alone, stacked) in json.loads(done.stdout.splitlines()[-1]).items():
            share = np.median(np.array(stacked) / np.array(alone))
            rows.append((name, str(threads), in_words(alone), in_words(stacked), f"{share:.2f}"))
    print_table(
        f"Replicate-batches per second of an arm, {REPLICATES} replicates beside one, {Settings().dataset}",
        ("", "threads", "one", f"{REPLICATES} replicates", "median of the shares"),
        rows,
    )


def measure(threads: int) -> None:
    """Print, as JSON, the replicate-batches per second of each round for each arm: of one, and of eight."""
    data, train = prepared(threads)
    found: dict[str, tuple[list[float], list[float]]] = {arm.value: ([], []) for arm in ArmName}
    for _ in range(ROUNDS):
        for arm in ArmName:
            for speeds, replicates in zip(found[arm.value], (1, REPLICATES), strict=True):
                *_, end = train(spec(replicates), arm, data)
                assert end.batches_per_second is not None
                speeds.append(end.batches_per_second * replicates)
    print(json.dumps(found))
