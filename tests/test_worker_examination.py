"""The examination: what it asks all at once is what it would hear one by one; and what it takes of the machine."""

import numpy as np
import pytest
from conftest import TINY_SPEC
from threadpoolctl import threadpool_info

from models import results
from models.datasets import Dataset
from models.spec import ArmName, ResolvedSpec, Spec, Statistics
from models.trained import TrainedNetwork, starting_arrays
from worker.examination import SINGLE_PREDICTIONS, examine
from worker.tensorflow_setup import prepare_tensorflow

SPECS = [
    Spec(**{**TINY_SPEC.model_dump(), "activation": activation, "hidden_layers": layers}).resolve("mnist-5k")
    for activation, layers in (("relu", (8,)), ("sigmoid", (100, 100, 100)), ("gelu", (33, 7)))
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.activation)
@pytest.mark.parametrize("arm", list(ArmName))
def test_single_predictions_are_those_of_one_image_at_a_time(spec: ResolvedSpec, arm: ArmName, digits: Dataset) -> None:
    network = TrainedNetwork(spec, arm, starting_arrays(spec, arm, 0))
    found = examine(network, digits, 0)
    images = digits.test_images[:SINGLE_PREDICTIONS].astype(np.float32) / np.float32(255)
    each: dict[Statistics, results.TestResult | None] = {"population": found.population, "batch": found.batch}
    assert (found.batch is None) == (arm is ArmName.WITHOUT_BATCH_NORM)
    for statistics, result in each.items():
        if result is None:
            continue
        one_by_one = [int(network.logits(image[None], statistics).argmax()) for image in images]
        assert result.single_predictions.answers == tuple(one_by_one)


def test_with_batch_statistics_each_batch_of_a_stack_has_its_own(digits: Dataset) -> None:
    spec, arm = SPECS[0], ArmName.WITH_BATCH_NORM
    network = TrainedNetwork(spec, arm, starting_arrays(spec, arm, 0))
    batches = digits.test_images[:60].astype(np.float32).reshape(3, 20, -1) / np.float32(255)
    together = network.logits(batches, "batch")
    for batch, logits in zip(batches, together, strict=True):
        np.testing.assert_array_equal(network.logits(batch, "batch"), logits)


def test_numpy_has_as_many_threads_as_the_worker() -> None:
    prepare_tensorflow(1)
    assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}
