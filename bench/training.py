"""The training function called directly, one thread, beside the floor: the step's matrix products alone."""

import os
import time
from itertools import pairwise

import numpy as np

from bench.report import in_words, print_table
from models import datasets
from models.settings import Settings
from models.spec import CLASSES, PIXELS, ArmName, ResolvedSpec, Spec

ROUNDS = 3
BATCHES = 20_000


def spec() -> ResolvedSpec:
    """Return the setting that is measured: the lesson's, 20,000 batches, a sample every 500."""
    return Spec(training_batches=BATCHES, batches_per_sample=500, seed=1).resolve(Settings().dataset)


def main() -> None:
    """Measure both arms and the floor in turn, and print batches per second."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the floor's library, before it is used
    from worker.tensorflow_setup import prepare_tensorflow

    prepare_tensorflow(1)
    from worker.resident import ResidentData
    from worker.training import train

    settings = Settings()
    data = ResidentData(datasets.load(settings.dataset, settings.data_dir))
    speeds: dict[str, list[float]] = {**{arm.value: [] for arm in ArmName}, "floor": []}
    for _ in range(ROUNDS):
        for arm in ArmName:
            *_, end = train(spec(), arm, data)
            assert end.batches_per_second is not None
            speeds[arm.value].append(end.batches_per_second)
        speeds["floor"].append(floor())
    share = {name: f"{np.median(found) / np.median(speeds['floor']):.2f}" for name, found in speeds.items()}
    print_table(
        f"Training function, one thread, {BATCHES:,} batches, a sample every 500, {settings.dataset}",
        ("", "batches per second", "of the floor"),
        [(name, in_words(found), share[name]) for name, found in speeds.items()],
    )


def floor(steps: int = 2_000) -> float:
    """Return how often per second this machine does the eleven matrix products of a step, and nothing else."""
    generator = np.random.default_rng(0)
    widths = (PIXELS, *spec().hidden_layers, CLASSES)
    layers = [generator.normal(size=(spec().batch_size, width)).astype(np.float32) for width in widths]
    weights = [generator.normal(size=shape).astype(np.float32) for shape in pairwise(widths)]
    begin = time.perf_counter()
    for _ in range(steps):
        for i, weight in enumerate(weights):
            layers[i] @ weight
        for i, weight in reversed(list(enumerate(weights))):
            layers[i].T @ layers[i + 1]
            if i > 0:
                layers[i + 1] @ weight.T
    return steps / (time.perf_counter() - begin)
