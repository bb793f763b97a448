"""The other kinds of networks on the full MNIST: the median curve of each arm over three seeds, and one answer's time.

Each preset says what it is there to show; the last one shows where batch normalization does not help.
"""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.report import keep, print_table
from bench.training import Train
from models import datasets
from models.datasets import Dataset
from models.presets import PRESETS
from models.settings import Settings
from models.spec import ArmName, ResolvedSpec, Spec
from models.trained import TrainedNetwork

SEEDS = (1, 2, 3)
TENTHS = 10
ANSWERS = 300


def main() -> None:
    """Train each preset of another kind, and print its curves at every tenth of the run."""
    from worker.tensorflow_setup import prepare_tensorflow

    prepare_tensorflow(1)
    from worker.resident import ResidentData
    from worker.training import train

    dataset = datasets.load("mnist", Settings().data_dir)
    rows, figures = [], {}
    for name, preset in PRESETS.items():
        if preset.kind != "network":
            continue
        specs = [Spec(preset=name, seed=seed).resolve("mnist") for seed in SEEDS]
        data = ResidentData(dataset, specs[0].network)
        for arm in ArmName:
            begin = time.perf_counter()
            trained = [_trained(train, spec, arm, data) for spec in specs]
            seconds = (time.perf_counter() - begin) / len(SEEDS)
            curve = np.median([points for points, _ in trained], axis=0)  # [tenths]
            answer_ms = _answer_ms(trained[0][1], dataset)
            rows.append((name, arm.value, *(f"{each:.3f}" for each in curve), f"{seconds:.0f}", f"{answer_ms:.2f}"))
            figures[f"{name}, {arm.value}"] = [points.tolist() for points, _ in trained]
    print_table(
        f"Validation accuracy at every tenth of the run, medians of {len(SEEDS)} seeds, full MNIST, one thread",
        ("preset", "arm", *(f"{tenth}/10" for tenth in range(1, TENTHS + 1)), "s a run", "ms an answer, p50"),
        rows,
    )
    keep("kinds", figures)


def _trained(train: Train, spec: ResolvedSpec, arm: ArmName, data: Any) -> tuple[NDArray[np.float64], TrainedNetwork]:
    """Return the accuracy at every tenth of the run, the last at its end, and the network."""
    accuracies: list[float] = []
    for progress in train(spec, arm, data):
        if progress.sample is not None:
            accuracies.append(progress.sample.correct[0] / progress.sample.total)
    assert progress.trained is not None
    (network,) = progress.trained
    at = [len(accuracies) * tenth // TENTHS for tenth in range(1, TENTHS)]
    points = [*(accuracies[i] for i in at), network.validation_correct / data.validation_total]
    return np.array(points), TrainedNetwork(spec, arm, network.arrays)


def _answer_ms(network: TrainedNetwork, dataset: Dataset) -> float:
    """Return the milliseconds of one answer to one image, the median of many."""
    images = dataset.test_images[:ANSWERS].astype(np.float32) / np.float32(255)
    times = []
    for image in images:
        begin = time.perf_counter()
        network.probabilities(image[np.newaxis])
        times.append(time.perf_counter() - begin)
    return float(np.median(times)) * 1_000
