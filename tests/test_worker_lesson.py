"""The lesson's short comparison on the full MNIST files: its published figures, and what statistics do at inference."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.arrays import softmax
from models.datasets import Dataset
from models.results import NetworkResult
from models.spec import Activation, ArmName, BatchNormSpec, Implementation, ResolvedSpec, Spec
from models.trained import TrainedNetwork
from worker.examination import examine
from worker.tensorflow_setup import prepare_tensorflow

prepare_tensorflow(1)

import tensorflow as tf  # noqa: E402  (after its threads are set)

from worker import dense, forward  # noqa: E402
from worker.resident import ResidentData  # noqa: E402
from worker.training import train  # noqa: E402

PUBLISHED = {ArmName.WITHOUT_BATCH_NORM: 0.8286, ArmName.WITH_BATCH_NORM: 0.9578}
SEEDS = (1, 2, 3, 4, 5)

Runs = dict[ArmName, list[tuple[TrainedNetwork, NetworkResult]]]


def lesson(seed: int) -> ResolvedSpec:
    return Spec(training_batches=2_000, batches_per_sample=50, seed=seed).resolve("mnist")


@pytest.fixture(scope="module")
def runs(full_mnist: Dataset) -> Runs:
    """Both arms of the comparison with each seed, trained and examined."""
    data = ResidentData(full_mnist)
    found: Runs = {arm: [] for arm in ArmName}
    for seed in SEEDS:
        for arm in ArmName:
            end = list(train(lesson(seed), arm, data))[-1].trained
            assert end is not None
            network = TrainedNetwork(lesson(seed), arm, end[0].arrays)
            found[arm].append((network, examine(network, full_mnist, end[0].validation_correct)))
    return found


def accuracies(runs: Runs, arm: ArmName) -> list[float]:
    return [result.validation_correct / result.validation_total for _, result in runs[arm]]


def test_with_batch_normalization_every_seed_comes_within_0_01_of_the_published_accuracy(runs: Runs) -> None:
    found = accuracies(runs, ArmName.WITH_BATCH_NORM)
    print(f"with: {found}")
    assert all(abs(accuracy - PUBLISHED[ArmName.WITH_BATCH_NORM]) <= 0.01 for accuracy in found), found


def test_without_it_four_of_five_seeds_come_within_0_03_of_the_published_accuracy(runs: Runs) -> None:
    found = accuracies(runs, ArmName.WITHOUT_BATCH_NORM)
    print(f"without: {found}")
    assert sum(abs(accuracy - PUBLISHED[ArmName.WITHOUT_BATCH_NORM]) <= 0.03 for accuracy in found) >= 4, found


def test_one_at_a_time_population_statistics_are_right_and_batch_statistics_answer_one_digit(runs: Runs) -> None:
    for _, result in runs[ArmName.WITH_BATCH_NORM]:
        population, batch = result.population.single_predictions, result.batch
        print(f"one at a time: {population.correct} of 200 with population statistics")
        assert len(population.answers) == 200
        assert population.correct >= 0.92 * 200
        assert batch is not None
        assert len(batch.single_predictions.answers) == 200
        assert len(set(batch.single_predictions.answers)) == 1


def test_numpy_answers_as_tensorflow_does_on_all_test_images(runs: Runs, full_mnist: Dataset) -> None:
    images = full_mnist.test_images.astype(np.float32) / np.float32(255)  # [10000, 784]
    for arm in ArmName:
        network, _ = runs[arm][0]
        tensors = dense.held(
            {name: tf.constant(array[np.newaxis]) for name, array in network.arrays.items()}, tf.range(784)
        )
        theirs = forward.evaluation_logits(network.spec, arm, tensors, tensors, tf.constant(images[np.newaxis]))
        gap = np.abs(network.probabilities(images) - softmax(theirs.numpy()[0])).max()
        print(f"{arm.value}, population statistics: largest difference {gap:.1e}")
        assert gap <= 1e-5
        if arm is ArmName.WITH_BATCH_NORM:
            theirs, _ = forward.training_logits(network.spec, arm, tensors, tensors, tf.constant(images[np.newaxis]))
            gap = np.abs(network.probabilities(images, "batch") - softmax(theirs.numpy()[0])).max()
            print(f"{arm.value}, batch statistics: largest difference {gap:.1e}")
            assert gap <= 1e-5


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_the_three_implementations_give_one_curve(activation: Activation, full_mnist: Dataset) -> None:
    data = ResidentData(full_mnist)

    def curve(implementation: Implementation, seed: int) -> NDArray[np.int64]:
        chosen = {"activation": activation, "batch_norm": BatchNormSpec(implementation=implementation), "seed": seed}
        spec = lesson(seed).model_copy(update=chosen)
        steps = train(spec, ArmName.WITH_BATCH_NORM, data)
        return np.array([step.sample.correct[0] for step in steps if step.sample is not None])

    for implementation in ("tf_nn", "keras_layer"):
        gaps = [int(np.abs(curve(implementation, seed) - curve("equations", seed)).max()) for seed in (1, 2, 3)]
        print(f"{activation}, {implementation}: at most {gaps} of 5,000 images apart from the equations")
        assert max(gaps) <= 5  # 1e-3 of accuracy


def test_replicate_0_of_a_stack_of_8_is_the_experiment_run_alone(full_mnist: Dataset) -> None:
    data = ResidentData(full_mnist)
    for arm in ArmName:
        stacked, alone = (
            list(train(lesson(1).model_copy(update={"replicates": replicates}), arm, data)) for replicates in (8, 1)
        )
        curves = [[step.sample.correct[0] for step in steps if step.sample is not None] for steps in (stacked, alone)]
        assert curves[0] == curves[1]
        assert len(curves[0]) == 40
        assert stacked[-1].trained is not None
        assert alone[-1].trained is not None
        hashes = [steps[-1].trained[0].starting_weights_sha256 for steps in (stacked, alone) if steps[-1].trained]
        assert hashes[0] == hashes[1]
