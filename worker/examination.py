"""The examination after the training: the test set at once and 200 images one at a time, with both statistics.

It asks the very code that serves predictions (`models/trained.py`), so what is reported is what a user will meet.
"""

import numpy as np

from models.arrays import Array
from models.datasets import Dataset
from models.results import NetworkResult, SinglePredictions, TestResult
from models.spec import ArmName, Statistics
from models.trained import TrainedNetwork

SINGLE_PREDICTIONS = 200


def examine(network: TrainedNetwork, dataset: Dataset, validation_correct: int) -> NetworkResult:
    """Return how a trained network did; `batch` is None for the arm without batch normalization."""
    images = dataset.test_images.astype(np.float32) / np.float32(255)
    with np.errstate(over="ignore", invalid="ignore"):  # a diverged network is a result, not an error
        population = _test(network, images, dataset, "population")
        with_batch_norm = network.arm is ArmName.WITH_BATCH_NORM
        batch = _test(network, images, dataset, "batch") if with_batch_norm else None
    return NetworkResult(
        validation_correct=validation_correct,
        validation_total=len(dataset.validation_labels),
        population=population,
        batch=batch,
    )


def _test(network: TrainedNetwork, images: Array, dataset: Dataset, statistics: Statistics) -> TestResult:
    labels = dataset.test_labels
    together = network.logits(images, statistics).argmax(axis=-1)
    batches_of_one = images[:SINGLE_PREDICTIONS, None]  # [200, 1, 784]: all in one call
    singly = network.logits(batches_of_one, statistics).argmax(axis=-1)[:, 0]
    return TestResult(
        correct=int((together == labels).sum()),
        total=len(labels),
        single_predictions=SinglePredictions(
            correct=int((singly == labels[: len(singly)]).sum()), answers=tuple(singly.tolist())
        ),
    )
