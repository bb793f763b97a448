"""The training loop: held against the equations in NumPy, sampled when it should be, the same bits again."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from models.arms import Sample
from models.arrays import Array, softmax
from models.datasets import Dataset
from models.spec import Activation, ArmName, Implementation, ResolvedSpec, Spec
from models.streams import batch_indices
from models.trained import TrainedNetwork, starting_arrays, weights_sha256
from worker.examination import examine
from worker.tensorflow_setup import prepare_tensorflow

prepare_tensorflow(1)

from worker import training  # noqa: E402  (after TensorFlow's threads are set)
from worker.resident import ResidentData  # noqa: E402
from worker.training import Progress, Trained, train  # noqa: E402


@pytest.fixture(scope="module")
def resident(digits: Dataset) -> ResidentData:
    return ResidentData(digits)


def resolved(**fields: object) -> ResolvedSpec:
    tiny = {"hidden_layers": (20, 15), "training_batches": 60, "batches_per_sample": 10, "seed": 3}
    return Spec.model_validate({**tiny, **fields}).resolve("mnist-5k")


def trained(spec: ResolvedSpec, arm: ArmName, data: ResidentData) -> tuple[list[Sample], Trained]:
    steps = list(train(spec, arm, data))
    assert steps[-1].trained is not None
    return [step.sample for step in steps if step.sample is not None], steps[-1].trained


def by_hand(spec: ResolvedSpec, arm: ArmName, data: Dataset) -> dict[str, NDArray[np.float64]]:
    """Return the network after the training, by the paper's equations and the chain rule, in double precision."""
    arrays = {name: array.astype(np.float64) for name, array in starting_arrays(spec, arm, 0).items()}
    layers = [f"hidden_{i + 1}" for i in range(len(spec.hidden_layers))]
    normalizes, settings = arm is ArmName.WITH_BATCH_NORM, spec.batch_norm
    for step in range(spec.training_batches):
        chosen = batch_indices(spec.seed, 0, step, 1, spec.batch_size, len(data.train_labels))[0]
        inputs, kept = [data.train_images[chosen] / 255.0], []
        for layer in layers:
            z = inputs[-1] @ arrays[f"{layer}/weights"]
            if normalizes:
                mean, variance = z.mean(axis=0), z.var(axis=0)
                deviation = np.sqrt(variance + settings.epsilon)
                normalized = (z - mean) / deviation
                z = arrays[f"{layer}/gamma"] * normalized + arrays[f"{layer}/beta"]
                kept.append((normalized, deviation))
                for what, now in (("mean", mean), ("variance", variance)):
                    name = f"{layer}/population_{what}"
                    arrays[name] = settings.momentum * arrays[name] + (1 - settings.momentum) * now
            else:
                z = z + arrays[f"{layer}/bias"]
            inputs.append(np.maximum(z, 0))
        logits = inputs[-1] @ arrays["output/weights"] + arrays["output/bias"]
        error = (softmax(logits) - np.eye(10)[data.train_labels[chosen]]) / spec.batch_size  # dLoss/dlogits
        gradients = {"output/weights": inputs[-1].T @ error, "output/bias": error.sum(axis=0)}
        error = error @ arrays["output/weights"].T
        for i, layer in reversed(list(enumerate(layers))):
            error = error * (inputs[i + 1] > 0)
            if normalizes:
                normalized, deviation = kept[i]
                to_gamma, to_beta = (error * normalized).sum(axis=0), error.sum(axis=0)
                gradients[f"{layer}/gamma"], gradients[f"{layer}/beta"] = to_gamma, to_beta
                centred = error - to_beta / spec.batch_size - normalized * to_gamma / spec.batch_size
                error = arrays[f"{layer}/gamma"] / deviation * centred
            else:
                gradients[f"{layer}/bias"] = error.sum(axis=0)
            gradients[f"{layer}/weights"] = inputs[i].T @ error
            error = error @ arrays[f"{layer}/weights"].T
        for name, gradient in gradients.items():
            arrays[name] = arrays[name] - spec.learning_rate * gradient
    return arrays


@pytest.mark.parametrize("arm", list(ArmName))
def test_the_loop_does_what_the_equations_say(arm: ArmName, digits: Dataset, resident: ResidentData) -> None:
    spec = resolved(training_batches=70, learning_rate=0.1)  # 70 batches of 60: into the second epoch of 3,500
    _, end = trained(spec, arm, resident)
    for name, expected in by_hand(spec, arm, digits).items():
        np.testing.assert_allclose(end[0].arrays[name], expected, atol=2e-4, err_msg=name)


def test_a_network_without_updates_keeps_the_population_it_started_with(resident: ResidentData) -> None:
    spec = resolved(batch_norm={"update_population_statistics": False})
    _, end = trained(spec, ArmName.WITH_BATCH_NORM, resident)
    np.testing.assert_array_equal(end[0].arrays["hidden_1/population_mean"], 0)
    np.testing.assert_array_equal(end[0].arrays["hidden_1/population_variance"], 1)


@pytest.mark.parametrize(("batches", "per_sample"), [(60, 10), (61, 10), (7, 7), (1, 1), (5, 1), (59, 20)])
def test_the_curve_has_a_point_after_each_sampled_batch_and_the_end_is_counted_once_more(
    batches: int, per_sample: int, resident: ResidentData, digits: Dataset
) -> None:
    spec = resolved(training_batches=batches, batches_per_sample=per_sample)
    samples, end = trained(spec, ArmName.WITH_BATCH_NORM, resident)
    assert [sample.step for sample in samples] == list(spec.sampled_steps())
    assert {sample.total for sample in samples} == {500}
    network = TrainedNetwork(spec, ArmName.WITH_BATCH_NORM, end[0].arrays)
    images = digits.validation_images.astype(np.float32) / np.float32(255)
    right = int((network.logits(images).argmax(axis=1) == digits.validation_labels).sum())
    assert end[0].validation_correct == right
    if (batches - 1) % per_sample == 0:
        assert samples[-1].correct == (end[0].validation_correct,)


def test_results_do_not_depend_on_how_the_batches_are_cut_into_chunks(
    resident: ResidentData, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = resolved(training_batches=300, batches_per_sample=100)
    for arm in ArmName:
        whole, whole_end = trained(spec, arm, resident)
        with monkeypatch.context() as slower:
            slower.setattr(training, "CHUNK_S", 1e-9)  # one batch per chunk
            steps = list(train(spec, arm, resident))
        assert len(steps) > 250
        assert [step.sample for step in steps if step.sample is not None] == whole
        assert steps[-1].trained is not None
        for name, array in steps[-1].trained[0].arrays.items():
            np.testing.assert_array_equal(array, whole_end[0].arrays[name], err_msg=name)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(resident: ResidentData) -> None:
    first, first_end = trained(resolved(), ArmName.WITH_BATCH_NORM, resident)
    again, again_end = trained(resolved(), ArmName.WITH_BATCH_NORM, resident)
    _, other_end = trained(resolved(seed=4), ArmName.WITH_BATCH_NORM, resident)
    assert first == again
    for name, array in first_end[0].arrays.items():
        np.testing.assert_array_equal(array, again_end[0].arrays[name])
    assert not np.array_equal(first_end[0].arrays["output/weights"], other_end[0].arrays["output/weights"])


@pytest.mark.parametrize("arm", list(ArmName))
def test_a_diverging_run_goes_on_to_the_end_and_says_when_it_diverged(arm: ArmName, resident: ResidentData) -> None:
    spec = resolved(
        learning_rate=100.0, weight_scale=100.0, activation="tanh" if arm is ArmName.WITH_BATCH_NORM else "relu"
    )
    samples, end = trained(spec, arm, resident)
    assert [sample.step for sample in samples] == list(spec.sampled_steps())
    if end[0].diverged_at is None:
        assert all(np.isfinite(array).all() for array in end[0].arrays.values())
    else:
        assert 0 <= end[0].diverged_at < spec.training_batches


def test_a_network_whose_numbers_overflow_is_named_diverged_and_answers_at_chance(
    resident: ResidentData, digits: Dataset
) -> None:
    spec = resolved(learning_rate=100.0, weight_scale=100.0, hidden_layers=(50,) * 16)
    samples, end = trained(spec, ArmName.WITHOUT_BATCH_NORM, resident)
    assert end[0].diverged_at is not None
    zeros = int((digits.validation_labels == 0).sum())
    assert samples[-1].correct == (zeros,)  # of ten NaN the first counts as largest
    result = examine(TrainedNetwork(spec, ArmName.WITHOUT_BATCH_NORM, end[0].arrays), digits, zeros)
    assert len(set(result.population.single_predictions.answers)) == 1


@pytest.mark.parametrize("arm", list(ArmName))
def test_every_replicate_is_to_the_bit_the_experiment_with_its_seed_run_alone(
    arm: ArmName, resident: ResidentData
) -> None:
    samples, end = trained(resolved(replicates=3), arm, resident)
    for replicate in range(3):
        alone_samples, (alone,) = trained(resolved(seed=3 + replicate), arm, resident)
        for name, array in alone.arrays.items():
            np.testing.assert_array_equal(end[replicate].arrays[name], array, err_msg=name)
        assert [sample.correct[replicate] for sample in samples] == [sample.correct[0] for sample in alone_samples]
        assert end[replicate].starting_weights_sha256 == alone.starting_weights_sha256
        assert end[replicate].validation_correct == alone.validation_correct


@pytest.mark.parametrize("side_by_side", [2, 3])  # 2: the last program has one replicate fewer
@pytest.mark.parametrize("arm", list(ArmName))
def test_replicates_side_by_side_in_one_program_as_on_a_gpu_differ_by_rounding_only(
    arm: ArmName, side_by_side: int, resident: ResidentData
) -> None:
    def run(side_by_side: int) -> tuple[list[Sample], Trained]:
        steps = list(train(resolved(replicates=3), arm, resident, side_by_side=side_by_side))
        assert steps[-1].trained is not None
        return [step.sample for step in steps if step.sample is not None], steps[-1].trained

    one_by_one, end_one_by_one = run(1)
    samples, end = run(side_by_side)
    for sample, expected in zip(samples, one_by_one, strict=True):
        assert np.abs(np.subtract(sample.correct, expected.correct)).max() <= 2
    for found, alone in zip(end, end_one_by_one, strict=True):
        assert found.starting_weights_sha256 == alone.starting_weights_sha256
        for name, array in alone.arrays.items():
            np.testing.assert_allclose(found.arrays[name], array, atol=1e-4, err_msg=name)


def test_both_arms_start_from_the_weights_whose_hash_is_recorded(resident: ResidentData) -> None:
    spec = resolved(replicates=2, training_batches=1, batches_per_sample=1)
    hashes = {arm: [one.starting_weights_sha256 for one in trained(spec, arm, resident)[1]] for arm in ArmName}
    recorded = [weights_sha256(starting_arrays(spec, arm, r)) for r in range(2) for arm in ArmName]
    assert hashes[ArmName.WITHOUT_BATCH_NORM] == hashes[ArmName.WITH_BATCH_NORM] == [recorded[0], recorded[2]]
    assert recorded[0] == recorded[1] != recorded[2]


def test_the_batches_until_90_percent_are_those_before_the_first_point_that_has_it(resident: ResidentData) -> None:
    spec = resolved(training_batches=300, batches_per_sample=20, learning_rate=0.5, replicates=2)
    for arm in ArmName:
        samples, end = trained(spec, arm, resident)
        for replicate, one in enumerate(end):
            points = [(sample.step + 1, sample.correct[replicate] / sample.total) for sample in samples]
            points.append((300, one.validation_correct / 500))
            assert one.reached_90_percent_after == next((step for step, accuracy in points if accuracy >= 0.9), None)
    assert end[0].reached_90_percent_after is not None
    _, (never,) = trained(resolved(training_batches=2, batches_per_sample=1), ArmName.WITH_BATCH_NORM, resident)
    assert never.reached_90_percent_after is None


@pytest.mark.parametrize("implementation", ["tf_nn", "keras_layer"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_after_100_batches_every_implementation_gives_the_logits_of_the_equations(
    implementation: Implementation, activation: Activation, resident: ResidentData, digits: Dataset
) -> None:
    images = digits.test_images.astype(np.float32) / np.float32(255)

    def logits(chosen: Implementation, seed: int) -> Array:
        spec = resolved(
            seed=seed,
            training_batches=100,
            batches_per_sample=100,
            activation=activation,
            hidden_layers=(100, 100, 100),
            batch_norm={"implementation": chosen},
        )
        _, (end,) = trained(spec, ArmName.WITH_BATCH_NORM, resident)
        return TrainedNetwork(spec, ArmName.WITH_BATCH_NORM, end.arrays).logits(images)

    gaps = [float(np.abs(logits(implementation, seed) - logits("equations", seed)).max()) for seed in range(1, 6)]
    print(f"{activation}, {implementation}: largest differences of logits {[f'{gap:.0e}' for gap in gaps]}")
    assert max(gaps) < 1e-4


def test_progress_counts_every_batch_and_measures_speed_after_the_first_chunk(resident: ResidentData) -> None:
    steps: list[Progress] = list(train(resolved(), ArmName.WITHOUT_BATCH_NORM, resident))
    done = [step.batches_done for step in steps]
    assert all(later > earlier for earlier, later in pairwise(done))
    assert done[-1] == 60
    assert steps[0].batches_per_second is None
    assert all(step.batches_per_second is not None and step.batches_per_second > 0 for step in steps[1:])
    assert [step for step in steps if step.trained is not None] == [steps[-1]]


def test_a_single_image_with_batch_statistics_gets_the_same_answer_whatever_it_shows(
    resident: ResidentData, digits: Dataset
) -> None:
    spec = resolved(training_batches=400, batches_per_sample=400, learning_rate=0.1)
    _, end = trained(spec, ArmName.WITH_BATCH_NORM, resident)
    result = examine(TrainedNetwork(spec, ArmName.WITH_BATCH_NORM, end[0].arrays), digits, end[0].validation_correct)
    assert result.batch is not None
    assert len(set(result.batch.single_predictions.answers)) == 1
    assert len(result.batch.single_predictions.answers) == 200
    assert result.population.single_predictions.correct > 150
    assert result.population.correct > 750
