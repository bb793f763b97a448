"""An arm inside the service beside the training function called directly, in one run and in turn."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench.report import in_words, keep, print_table
from bench.training import spec
from bnlab.client import Client
from bnlab.up import Service
from models.spec import ArmName

ROUNDS = 3
BATCHES = 20_000

#: Run in a process of its own, so that it and the worker have the machine one after the other.
DIRECTLY = f"""
from bench.training import prepared, spec
from models.spec import ArmName
data, train = prepared(1)
for arm in ArmName:
    *_, end = train(spec({BATCHES}), arm, data)
    print(arm.value, end.batches_per_second)
"""


def main() -> None:
    """Measure one arm at a time with one worker, with one thread and with two, and both side by side with two."""
    one: dict[str, list[float]] = {arm.value: [] for arm in ArmName}
    two: dict[str, list[float]] = {arm.value: [] for arm in ArmName}
    wide: dict[str, list[float]] = {arm.value: [] for arm in ArmName}
    direct: dict[str, list[float]] = {arm.value: [] for arm in ArmName}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            with Service(port=0, state_dir=Path(folder), workers=1) as service:
                _add(one, _in_service(service))
            _add(direct, _directly())
            with Service(port=0, state_dir=Path(folder), workers=2) as service:
                _add(two, _in_service(service))
            with Service(port=0, state_dir=Path(folder), workers=1, settings={"BNLAB_THREADS": "2"}) as service:
                _add(wide, _in_service(service))
    rows = []
    for arm in ArmName:
        name = arm.value
        share = np.median(one[name]) / np.median(direct[name])
        speeds = (in_words(found[name]) for found in (direct, one))
        rows.append((name, *speeds, f"{share:.2f}", in_words(two[name]), in_words(wide[name])))
    print_table(
        f"Batches per second of an arm, {BATCHES:,} batches, a sample every 500",
        ("", "function", "in the service", "of the function", "both arms at once", "one arm, two threads"),
        rows,
    )
    both, alone = (np.array([found[arm.value] for arm in ArmName]) for found in (two, wide))  # [arms, rounds]
    print(f"Both arms at once beside one arm on two threads: {np.median(both.sum(axis=0) / alone.mean(axis=0)):.2f} ×")
    keep("service", {"function": direct, "one": one, "both at once": two, "two threads": wide})


def _in_service(service: Service) -> dict[str, float]:
    with Client(service.url) as client:
        # A first experiment of the same shape: so that compiling and importing are over on every worker.
        for batches in (1_000, BATCHES):
            setting = {**spec(BATCHES).model_dump(mode="json"), "training_batches": batches}
            experiment = client.wait(client.submit(**setting)["id"], poll_interval_s=1.0, timeout_s=600)
    return {name: arm["batches_per_second"] for name, arm in experiment["arms"].items()}


def _directly() -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", DIRECTLY], capture_output=True, text=True, check=True)
    return {name: float(speed) for name, speed in (line.split() for line in done.stdout.splitlines())}


def _add(found: dict[str, list[float]], new: dict[str, float]) -> None:
    for name, speed in new.items():
        found[name].append(speed)
