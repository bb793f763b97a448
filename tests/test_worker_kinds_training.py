"""The training loop with convolutions and with an LSTM: it descends the gradient, and keeps what it promises to all."""

from typing import Any

import numpy as np
import pytest
from equations import by_the_book

from models.arrays import Arrays
from models.checkpoints import Checkpoint
from models.datasets import Dataset
from models.spec import ArmName, NetworkKind, ResolvedSpec, Spec, Statistics
from models.streams import batch_indices
from models.trained import starting_arrays
from worker.tensorflow_setup import prepare_tensorflow

prepare_tensorflow(1)

from worker.resident import ResidentData  # noqa: E402  (after TensorFlow's threads are set)
from worker.training import Trained, train  # noqa: E402

SMALL: dict[NetworkKind, dict[str, Any]] = {
    "convolutional": {"feature_maps": (3, 4), "strides": (2, 3), "activation": "tanh"},
    "recurrent": {"units": 6},
}
every_kind = pytest.mark.parametrize("network", list(SMALL))
both_arms = pytest.mark.parametrize("arm", list(ArmName))


def resolved(network: NetworkKind, **fields: Any) -> ResolvedSpec:
    few = {"network": network, "training_batches": 12, "batches_per_sample": 4, "batch_size": 8, "seed": 3}
    return Spec.model_validate({**few, **SMALL[network], **fields}).resolve("mnist-5k")


@pytest.fixture(scope="module")
def resident(digits: Dataset) -> dict[NetworkKind, ResidentData]:
    return {network: ResidentData(digits, network) for network in SMALL}


def ended(spec: ResolvedSpec, arm: ArmName, data: ResidentData, **how: Any) -> Trained:
    *_, last = train(spec, arm, data, **how)
    assert last.trained is not None
    return last.trained


def assert_same_bits(one: Arrays, other: Arrays) -> None:
    assert set(one) == set(other)
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def loss(spec: ResolvedSpec, arm: ArmName, arrays: dict[str, Any], images: Any, labels: Any) -> float:
    """Return the mean softmax cross-entropy of a batch, by the equations in float64."""
    statistics: Statistics = "batch" if arm is ArmName.WITH_BATCH_NORM else "population"
    logits, _ = by_the_book(spec, arm, arrays, images, statistics)
    return float(np.mean(np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(len(labels)), labels]))


@both_arms
@every_kind
def test_a_batch_moves_every_array_against_its_gradient(
    network: NetworkKind, arm: ArmName, digits: Dataset, resident: dict[NetworkKind, ResidentData]
) -> None:
    """The gradient is taken by differences of the loss, in float64, at a few places of each array."""
    spec = resolved(network, training_batches=1, batches_per_sample=1, learning_rate=1.0, weight_scale=0.3)
    start = starting_arrays(spec, arm, 0)
    moved = ended(spec, arm, resident[network])[0].arrays
    chosen = batch_indices(spec.seed, 0, 0, 1, spec.batch_size, len(digits.train_labels))[0]
    images, labels = digits.train_images[chosen] / 255.0, digits.train_labels[chosen]
    exact: dict[str, Any] = {name: array.astype(np.float64) for name, array in start.items()}
    generator, step = np.random.default_rng(0), 1e-5
    for name, array in exact.items():
        if "/population_" in name:
            continue
        for place in generator.integers(0, array.size, 6):
            at = np.unravel_index(place, array.shape)
            losses = []
            for sign in (1, -1):
                shifted = array.copy()
                shifted[at] += sign * step
                losses.append(loss(spec, arm, {**exact, name: shifted}, images, labels))
            gradient = (losses[0] - losses[1]) / (2 * step)
            assert start[name][at] - moved[name][at] == pytest.approx(gradient, abs=2e-4, rel=5e-3), (name, at)


@both_arms
@every_kind
def test_a_training_that_was_broken_off_goes_on_with_the_same_bits(
    network: NetworkKind, arm: ArmName, resident: dict[NetworkKind, ResidentData]
) -> None:
    spec = resolved(network, replicates=2)
    checkpoints: list[Checkpoint] = []
    for progress in train(spec, arm, resident[network]):
        checkpoints.append(progress.checkpoint())
        if progress.trained is not None:
            whole = progress.trained
    broken_off = [each for each in checkpoints if 0 < each.batches_done < spec.training_batches]
    assert broken_off
    for checkpoint in broken_off:
        resumed = ended(spec, arm, resident[network], resumed=checkpoint)
        for one, other in zip(whole, resumed, strict=True):
            assert_same_bits(one.arrays, other.arrays)
            assert one.validation_correct == other.validation_correct


@both_arms
@every_kind
def test_every_replicate_is_the_experiment_with_its_seed_run_alone(
    network: NetworkKind, arm: ArmName, resident: dict[NetworkKind, ResidentData]
) -> None:
    together = ended(resolved(network, replicates=2), arm, resident[network])
    side_by_side = ended(resolved(network, replicates=2), arm, resident[network], side_by_side=2)
    for replicate in range(2):
        (alone,) = ended(resolved(network, seed=3 + replicate), arm, resident[network])
        assert_same_bits(alone.arrays, together[replicate].arrays)
        for name, array in side_by_side[replicate].arrays.items():
            np.testing.assert_allclose(array, alone.arrays[name], atol=1e-3)


@every_kind
def test_bad_weights_are_a_result_and_no_error(network: NetworkKind, resident: dict[NetworkKind, ResidentData]) -> None:
    spec = resolved(network, weight_scale=100.0, learning_rate=100.0, activation="linear")
    for arm in ArmName:
        (trained,) = ended(spec, arm, resident[network])
        assert 0 <= trained.validation_correct <= resident[network].validation_total
        if trained.diverged_at is not None:
            assert 0 <= trained.diverged_at < spec.training_batches
