"""Cautions: what to know of a network before trusting it, with the number where there is one."""

import math
from typing import Any

import numpy as np
import pytest
from builders import WITH, WITHOUT
from hypothesis import given
from hypothesis import strategies as st

from models import cautions
from models.cautions import MAX_SHARE_OF_START, Caution
from models.spec import ArmName, BatchNormSpec, Placement, ResolvedSpec, Spec, Statistics
from models.trained import TrainedNetwork, starting_arrays


def spec(momentum: float = 0.99, training_batches: int = 50_000, update: bool = True) -> ResolvedSpec:
    batch_norm = BatchNormSpec(momentum=momentum, update_population_statistics=update)
    return Spec(training_batches=training_batches, batch_norm=batch_norm, seed=1).resolve("mnist")


def codes(found: list[Caution]) -> list[str]:
    return [caution.code for caution in found]


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 1_000_000))
def test_statistics_have_converged_when_at_most_a_twentieth_of_their_start_is_left(
    momentum: float, training_batches: int
) -> None:
    asked = spec(momentum, training_batches)
    share = asked.batch_norm.momentum**training_batches
    assert cautions.share_of_start(asked) == share
    found = cautions.of_population(asked)
    assert codes(found) == ["population_statistics_not_converged"] * (share > 0.05)
    for caution in found:
        assert caution.share_of_start == share


@pytest.mark.parametrize(("training_batches", "warned"), [(1, True), (298, True), (299, False), (2_000, False)])
def test_at_the_lessons_momentum_it_takes_299_batches(training_batches: int, warned: bool) -> None:
    assert math.log(MAX_SHARE_OF_START) / math.log(0.99) == pytest.approx(298.07, abs=0.01)
    assert bool(cautions.of_population(spec(training_batches=training_batches))) is warned


def test_the_warning_says_the_number_and_what_it_comes_from() -> None:
    (caution,) = cautions.of_population(spec(0.9, 10))
    assert caution.share_of_start == pytest.approx(0.3487, abs=1e-4)
    for word in ("10 batches", "momentum 0.9", "0.349", "0.05"):
        assert word in caution.message
    assert caution.message.endswith(".")


def test_statistics_that_are_never_updated_stay_as_they_start() -> None:
    (caution,) = cautions.of_population(spec(update=False))
    assert (caution.code, caution.share_of_start) == ("population_statistics_not_updated", 1.0)
    assert "update_population_statistics" in caution.message
    assert codes(cautions.of_population(spec(training_batches=10, update=False))) == [caution.code]  # not both


@given(st.sampled_from([spec(), spec(training_batches=10), spec(update=False)]), st.integers(1, 1_000))
def test_without_batch_norm_there_is_nothing_to_warn_of(asked: ResolvedSpec, images: int) -> None:
    assert cautions.of_prediction(asked, WITHOUT, "population", images) == []


@pytest.mark.parametrize(
    ("asked", "statistics", "images", "expected"),
    [
        (spec(), "population", 1, []),
        (spec(), "population", 1_000, []),
        (spec(training_batches=10), "population", 1, ["population_statistics_not_converged"]),
        (spec(training_batches=10), "population", 9, ["population_statistics_not_converged"]),
        (spec(update=False), "population", 1, ["population_statistics_not_updated"]),
        (spec(), "batch", 1, ["batch_of_one"]),
        (spec(), "batch", 2, []),
        (spec(training_batches=10), "batch", 2, []),  # the population is not asked
        (spec(update=False), "batch", 1, ["batch_of_one"]),
    ],
)
def test_an_answer_is_warned_of_by_the_statistics_it_used(
    asked: ResolvedSpec, statistics: Statistics, images: int, expected: list[str]
) -> None:
    found = cautions.of_prediction(asked, ArmName.WITH_BATCH_NORM, statistics, images)
    assert codes(found) == expected
    assert all(caution.message.endswith(".") for caution in found)
    if expected == ["batch_of_one"]:
        assert found[0].share_of_start is None


PIXELS_AT_THE_END = {"network": "convolutional", "feature_maps": (3, 4), "strides": (4, 3)}
ONE_AT_THE_END = {"network": "convolutional", "feature_maps": (3, 4), "strides": (7, 4)}


@pytest.mark.parametrize("placement", ["before_activation", "after_activation"])
@pytest.mark.parametrize(
    ("fields", "one_answer"),
    [
        ({"hidden_layers": (5, 4)}, True),
        ({"network": "recurrent", "units": 4}, True),
        (PIXELS_AT_THE_END, False),
        (ONE_AT_THE_END, True),
    ],
)
def test_what_is_said_of_a_batch_of_one_is_so(fields: dict[str, Any], one_answer: bool, placement: Placement) -> None:
    if fields.get("network") == "recurrent":
        placement = "before_activation"
    asked = Spec.model_validate({**fields, "batch_norm": {"placement": placement}, "seed": 1}).resolve("mnist")
    network = TrainedNetwork(asked, WITH, starting_arrays(asked, WITH, 0))
    images = np.random.default_rng(0).uniform(0, 1, (2, 1, 784)).astype(np.float32)
    first, second = (network.probabilities(image, "batch") for image in images)
    assert np.array_equal(first, second) is one_answer
    (caution,) = cautions.of_prediction(asked, WITH, "batch", 1)
    assert caution.code == "batch_of_one"
    assert ("the same whatever the image shows" in caution.message) is one_answer
    assert ("mean and variance of its own pixels" in caution.message) is not one_answer
    assert "several images" in caution.message


def test_a_batch_of_one_is_told_the_way_out() -> None:
    (caution,) = cautions.of_prediction(spec(), WITH, "batch", 1)
    for word in ("single image", "variance is 0", "population", "several images"):
        assert word in caution.message
