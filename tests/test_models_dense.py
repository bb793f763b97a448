"""The dense network in NumPy: its arrays, its starting weights, and its answer with both kinds of statistics."""

import hashlib
import re
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from builders import WITH, WITHOUT
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.stats import norm

from models.arrays import ACTIVATIONS, Array, Arrays, softmax
from models.dense import layer_names, shapes
from models.errors import BatchStatisticsUndefined, NetworkDamaged
from models.spec import Activation, ArmName, BatchNormSpec, Placement, ResolvedSpec, Spec, Statistics
from models.trained import TrainedNetwork, starting_arrays, weights_sha256

LESSON = Spec(seed=1).resolve("mnist-5k")
EPSILON = 0.001

Exact = NDArray[np.float64]


def small(
    activation: Activation = "relu",
    placement: Placement = "before_activation",
    hidden_layers: tuple[int, ...] = (12, 9),
) -> ResolvedSpec:
    return Spec(
        activation=activation, hidden_layers=hidden_layers, batch_norm=BatchNormSpec(placement=placement), seed=3
    ).resolve("mnist-5k")


def some_images(count: int) -> Array:
    return np.random.default_rng(5).random((count, 784)).astype(np.float32)


def some_arrays(spec: ResolvedSpec, arm: ArmName) -> Arrays:
    """Return arrays in which nothing is 0 or 1 by chance, with weights that make the sums neither vanish nor burst."""
    generator = np.random.default_rng(7)
    arrays: Arrays = {}
    for name, shape in shapes(spec, arm).items():
        scale = 0.1 if name == "hidden_1/weights" else 0.5
        values = generator.normal(0, scale, shape)
        arrays[name] = (np.abs(values) + 0.5 if "gamma" in name or "variance" in name else values).astype(np.float32)
    return arrays


ACT: dict[Activation, Callable[[Exact], Exact]] = {
    "relu": lambda z: np.where(z > 0, z, 0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "leaky_relu": lambda z: np.where(z > 0, z, 0.2 * z),
    "elu": lambda z: np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1),
    "gelu": lambda z: z * norm.cdf(z),
    "linear": lambda z: z,
}


def by_the_book(network: TrainedNetwork, images: Array, statistics: Statistics) -> tuple[Exact, Arrays]:
    """Return the logits written out layer by layer in float64, and the statistics of the batch met on the way."""
    arrays = {name: array.astype(np.float64) for name, array in network.arrays.items()}
    act = ACT[network.spec.activation]
    x: Exact = images.astype(np.float64)
    met: Arrays = {}
    for layer in layer_names(network.spec)[:-1]:
        z = x @ arrays[f"{layer}/weights"]
        if network.arm is WITHOUT:
            x = act(z + arrays[f"{layer}/bias"])
            continue
        if network.spec.batch_norm.placement == "after_activation":
            z = act(z)
        mean, variance = z.sum(axis=0) / len(z), ((z - z.sum(axis=0) / len(z)) ** 2).sum(axis=0) / len(z)
        met[f"{layer}/population_mean"] = mean.astype(np.float32)
        met[f"{layer}/population_variance"] = variance.astype(np.float32)
        if statistics == "population":
            mean, variance = arrays[f"{layer}/population_mean"], arrays[f"{layer}/population_variance"]
        x = arrays[f"{layer}/gamma"] * (z - mean) / np.sqrt(variance + EPSILON) + arrays[f"{layer}/beta"]
        if network.spec.batch_norm.placement == "before_activation":
            x = act(x)
    return x @ arrays["output/weights"] + arrays["output/bias"], met


# --------------------------------------------------------------------------------- arrays and starting weights


def test_the_lessons_networks_have_exactly_the_parameters_of_their_equations() -> None:
    weights = 784 * 100 + 100 * 100 + 100 * 100 + 100 * 10
    without = sum(array.size for array in starting_arrays(LESSON, WITHOUT, 0).values())
    assert without == weights + 3 * 100 + 10 == 99_710
    arrays = starting_arrays(LESSON, WITH, 0)
    population = sum(array.size for name, array in arrays.items() if "population" in name)
    assert population == 3 * 2 * 100  # a mean and a variance for each hidden unit
    trained = sum(array.size for array in arrays.values()) - population
    assert trained == weights + 3 * 2 * 100 + 10 == 100_010  # gamma and beta, but no bias beside them


@pytest.mark.parametrize("replicate", [0, 1, 7])
def test_both_arms_start_from_the_same_weights(replicate: int) -> None:
    without, with_ = (starting_arrays(LESSON, arm, replicate) for arm in (WITHOUT, WITH))
    layers = layer_names(LESSON)
    assert layers == ["hidden_1", "hidden_2", "hidden_3", "output"]
    for layer in layers:
        np.testing.assert_array_equal(without[f"{layer}/weights"], with_[f"{layer}/weights"])


@given(st.integers(0, 2**32 - 1), st.integers(0, 63))
def test_the_hash_of_the_starting_weights_is_the_same_for_both_arms(seed: int, replicate: int) -> None:
    spec = small().model_copy(update={"seed": seed})
    hashes = {weights_sha256(starting_arrays(spec, arm, replicate)) for arm in ArmName}
    assert len(hashes) == 1
    assert re.fullmatch("[0-9a-f]{64}", hashes.pop())


def test_other_seeds_replicates_scales_and_shapes_start_from_other_weights() -> None:
    spec = small()
    others = [spec.model_copy(update={"seed": seed}) for seed in range(100, 104)]
    others += [spec.model_copy(update={"weight_scale": 5.0}), small(hidden_layers=(9, 12))]
    hashes = [weights_sha256(starting_arrays(other, WITH, 0)) for other in others]
    hashes += [weights_sha256(starting_arrays(spec, WITH, replicate)) for replicate in range(64)]
    assert len(set(hashes)) == len(hashes)
    same = [spec.model_copy(update={"learning_rate": 1.0}), small("sigmoid", "after_activation")]
    assert {weights_sha256(starting_arrays(other, WITH, 0)) for other in same} == {
        weights_sha256(starting_arrays(spec, WITHOUT, 0))
    }


def test_the_hash_is_of_the_weights_alone_and_anybody_can_compute_it() -> None:
    arrays = starting_arrays(small(), WITH, 0)
    whole = b"".join(arrays[f"{layer}/weights"].astype("<f4").tobytes() for layer in layer_names(small()))
    assert weights_sha256(arrays) == hashlib.sha256(whole).hexdigest()
    arrays["hidden_1/gamma"] += 1
    assert weights_sha256(arrays) == hashlib.sha256(whole).hexdigest()
    arrays["output/weights"][0, 0] += 1
    assert weights_sha256(arrays) != hashlib.sha256(whole).hexdigest()


def test_starting_weights_follow_from_seed_and_replicate_alone() -> None:
    again = starting_arrays(LESSON.model_copy(update={"learning_rate": 1.0, "batch_size": 2}), WITH, 2)
    for name, array in starting_arrays(LESSON.model_copy(update={"seed": 3}), WITH, 0).items():
        np.testing.assert_array_equal(array, again[name])
    other = starting_arrays(LESSON.model_copy(update={"seed": 2}), WITH, 0)["hidden_1/weights"]
    assert (other != starting_arrays(LESSON, WITH, 0)["hidden_1/weights"]).mean() > 0.99


@pytest.mark.parametrize("weight_scale", [0.05, 5.0])
def test_starting_weights_are_normal_with_the_weight_scale(weight_scale: float) -> None:
    spec = LESSON.model_copy(update={"weight_scale": weight_scale})
    for name, array in starting_arrays(spec, WITHOUT, 0).items():
        if not name.endswith("weights"):
            continue
        shares = array.ravel() / weight_scale
        error = 1 / np.sqrt(array.size)  # of the mean
        assert abs(shares.mean()) < 4 * error
        assert abs(shares.std() - 1) < 4 * error
        assert abs((np.abs(shares) < 1).mean() - 0.6827) < 4 * error
        assert np.abs(shares).max() > 2.5  # not cut off


@pytest.mark.parametrize("arm", ArmName)
def test_everything_but_the_weights_starts_as_if_it_were_not_there(arm: ArmName) -> None:
    start = {"bias": 0, "gamma": 1, "beta": 0, "population_mean": 0, "population_variance": 1}
    for name, array in starting_arrays(LESSON, arm, 0).items():
        assert array.dtype == np.float32
        what = name.split("/")[1]
        if what != "weights":
            assert (array == start[what]).all(), name


# ---------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("activation", ACT)
@pytest.mark.parametrize("placement", ["before_activation", "after_activation"])
@pytest.mark.parametrize(
    ("arm", "statistics"), [(WITHOUT, "population"), (WITH, "population"), (WITH, "batch")], ids=str
)
def test_the_answer_is_that_of_the_equations(
    activation: Activation, placement: Placement, arm: ArmName, statistics: Statistics
) -> None:
    spec = small(activation, placement)
    network = TrainedNetwork(spec, arm, some_arrays(spec, arm))
    images = some_images(20)
    expected, _ = by_the_book(network, images, statistics)
    logits = network.logits(images, statistics)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=2e-5, rtol=2e-5)
    assert expected.std(axis=0).min() > 0.01  # the images are told apart, so equal answers say something


def test_with_batch_statistics_what_is_normalized_has_mean_0_and_variance_1() -> None:
    # After the activation, with the output layer as the identity, the logits are the normalized values themselves.
    spec = small("tanh", "after_activation", hidden_layers=(10,))
    arrays = starting_arrays(spec, WITH, 0)
    arrays["output/weights"] = np.eye(10, dtype=np.float32)
    normalized = TrainedNetwork(spec, WITH, arrays).logits(some_images(60), "batch")
    variance = np.tanh(some_images(60).astype(np.float64) @ arrays["hidden_1/weights"]).var(axis=0)
    np.testing.assert_allclose(normalized.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(normalized.var(axis=0), variance / (variance + EPSILON), atol=1e-4)
    np.testing.assert_allclose(normalized.var(axis=0), 1, atol=0.3)  # epsilon takes most where the variance is small


@pytest.mark.parametrize("placement", ["before_activation", "after_activation"])
def test_a_batch_of_one_gets_the_same_answer_whatever_the_image(placement: Placement) -> None:
    spec = small(placement=placement)
    network = TrainedNetwork(spec, WITH, some_arrays(spec, WITH))
    answers = [network.logits(image[np.newaxis], "batch") for image in some_images(20)]
    for answer in answers:
        np.testing.assert_array_equal(answer, answers[0])
    told_apart = [network.logits(image[np.newaxis], "population") for image in some_images(20)]
    assert len({answer.tobytes() for answer in told_apart}) == 20


@pytest.mark.parametrize("placement", ["before_activation", "after_activation"])
def test_both_statistics_agree_when_the_population_is_the_batch(placement: Placement) -> None:
    spec = small("sigmoid", placement)
    images = some_images(50)
    network = TrainedNetwork(spec, WITH, some_arrays(spec, WITH))
    _, met = by_the_book(network, images, "batch")
    agreeing = TrainedNetwork(spec, WITH, network.arrays | met)
    by_batch = network.logits(images, "batch")
    np.testing.assert_allclose(agreeing.logits(images, "population"), by_batch, atol=2e-5)
    assert np.abs(network.logits(images, "population") - by_batch).max() > 0.1


@pytest.mark.parametrize("arm", ArmName)
def test_with_population_statistics_no_image_depends_on_the_others(arm: ArmName) -> None:
    spec = small()
    network = TrainedNetwork(spec, arm, some_arrays(spec, arm))
    images = some_images(10)
    together = network.logits(images)
    singly = np.concatenate([network.logits(image[np.newaxis]) for image in images])
    np.testing.assert_allclose(singly, together, atol=1e-5)
    np.testing.assert_allclose(network.logits(images[::-1]), together[::-1], atol=1e-5)


def test_the_placement_of_the_normalization_matters() -> None:
    before, after = small(placement="before_activation"), small(placement="after_activation")
    arrays = some_arrays(before, WITH)
    images = some_images(5)
    difference = TrainedNetwork(before, WITH, arrays).logits(images) - TrainedNetwork(after, WITH, arrays).logits(
        images
    )
    assert np.abs(difference).max() > 0.1


def test_the_arm_without_batch_norm_has_no_batch_statistics() -> None:
    spec = small()
    network = TrainedNetwork(spec, WITHOUT, starting_arrays(spec, WITHOUT, 0))
    for ask in (network.logits, network.probabilities):
        with pytest.raises(BatchStatisticsUndefined) as raised:
            ask(some_images(1), "batch")
        (error,) = raised.value.errors
        assert (error.field, error.received) == ("statistics", "batch")


# ------------------------------------------------------------------------------------------------ activations

SUMS = hnp.arrays(np.float32, (4, 5), elements=st.floats(-50, 50, width=32))
HUGE = hnp.arrays(np.float32, (4, 5), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))


def test_every_activation_of_a_spec_has_its_formula() -> None:
    assert list(ACTIVATIONS) == list(get_args(Activation)) == list(ACT)


@pytest.mark.parametrize("activation", ACT)
@given(SUMS)
def test_an_activation_is_its_formula_in_float32(activation: Activation, sums: Array) -> None:
    values = ACTIVATIONS[activation](sums)
    assert values.dtype == np.float32
    assert values.shape == sums.shape
    # a float32 tells 1 + erf(z) from 0 to 6e-8, and gelu multiplies that by z
    np.testing.assert_allclose(values, ACT[activation](sums.astype(np.float64)), rtol=2e-6, atol=4e-6)


@pytest.mark.parametrize("activation", ACT)
@given(HUGE)
def test_no_finite_sum_is_too_large_for_an_activation(activation: Activation, sums: Array) -> None:
    values = ACTIVATIONS[activation](sums)  # a warning would be an error
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    if activation in ("sigmoid", "tanh"):
        assert (np.abs(values) <= 1).all()


@pytest.mark.parametrize(
    ("activation", "low", "high"),
    [
        ("relu", 0, 1e30),
        ("sigmoid", 0, 1),
        ("tanh", -1, 1),
        ("leaky_relu", -2e29, 1e30),
        ("elu", -1, 1e30),
        ("gelu", 0, 1e30),
        ("linear", -1e30, 1e30),
    ],
)
def test_at_the_far_ends_an_activation_has_its_limits(activation: Activation, low: float, high: float) -> None:
    values = ACTIVATIONS[activation](np.array([-1e30, 1e30], np.float32))
    np.testing.assert_array_equal(values, np.array([low, high], np.float32))


@pytest.mark.parametrize("activation", sorted(set(ACT) - {"gelu"}))  # gelu dips below 0
@given(SUMS)
def test_but_for_gelu_more_in_is_never_less_out(activation: Activation, sums: Array) -> None:
    ordered = np.sort(sums.ravel())
    assert (np.diff(ACTIVATIONS[activation](ordered)) >= -1e-6).all()


@pytest.mark.parametrize("activation", ACT)
def test_an_activation_leaves_its_sums_as_they_are(activation: Activation) -> None:
    sums = np.linspace(-3, 3, 20, dtype=np.float32)
    kept = sums.copy()
    ACTIVATIONS[activation](sums)
    np.testing.assert_array_equal(sums, kept)


def test_a_sigmoid_of_huge_sums_is_0_or_1() -> None:
    spec = small("sigmoid", hidden_layers=(10,))
    arrays = starting_arrays(spec, WITHOUT, 0)
    arrays["hidden_1/weights"][:] = 0
    arrays["hidden_1/bias"][:] = [-1e30, 1e30] * 5
    arrays["output/weights"] = np.eye(10, dtype=np.float32)
    logits = TrainedNetwork(spec, WITHOUT, arrays).logits(some_images(1))
    assert logits[0].tolist() == [0, 1] * 5


LOGITS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=10),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@given(LOGITS)
def test_probabilities_sum_to_1_and_keep_the_order_of_any_finite_logits(logits: Array) -> None:
    shares = softmax(logits)
    assert ((shares >= 0) & (shares <= 1)).all()
    np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(np.take_along_axis(shares, logits.argmax(-1)[:, None], -1)[:, 0], shares.max(-1))


def test_probabilities_are_the_softmax_of_the_logits() -> None:
    np.testing.assert_allclose(softmax(np.log(np.array([[1, 2, 5]], np.float32))), [[0.125, 0.25, 0.625]], rtol=1e-6)
    spec = small()
    network = TrainedNetwork(spec, WITH, some_arrays(spec, WITH))
    powers = np.exp(network.logits(some_images(4), "batch").astype(np.float64))
    np.testing.assert_allclose(
        network.probabilities(some_images(4), "batch"), powers / powers.sum(axis=1, keepdims=True), atol=1e-6
    )


# --------------------------------------------------------------------------------------------- damaged arrays


@pytest.mark.parametrize("arm", ArmName)
def test_arrays_that_do_not_fit_the_spec_are_refused(arm: ArmName) -> None:
    whole = starting_arrays(LESSON, arm, 0)
    TrainedNetwork(LESSON, arm, whole)
    for name, array in whole.items():
        others = {key: value for key, value in whole.items() if key != name}
        damaged: list[dict[str, Any]] = [
            others,  # missing
            {**others, name.replace("/", "."): array},  # renamed
            {**whole, name: array[:-1]},
            {**whole, name: array[np.newaxis]},
            {**whole, name: array.astype(np.float64)},
            {**whole, name: array.astype(np.float16)},
        ]
        for arrays in damaged:
            with pytest.raises(NetworkDamaged):
                TrainedNetwork(LESSON, arm, arrays)
    for kind in (np.float32, np.int64):
        extra: Any = np.zeros(3, kind)
        with pytest.raises(NetworkDamaged):
            TrainedNetwork(LESSON, arm, {**whole, "hidden_4/weights": extra})


def test_the_arrays_of_one_arm_are_not_those_of_the_other() -> None:
    with pytest.raises(NetworkDamaged):
        TrainedNetwork(LESSON, WITH, starting_arrays(LESSON, WITHOUT, 0))
    with pytest.raises(NetworkDamaged):
        TrainedNetwork(LESSON, WITHOUT, starting_arrays(LESSON, WITH, 0))
