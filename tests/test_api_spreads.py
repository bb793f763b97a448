"""Spreads over replicates, and the paired difference with its interval."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from api.spreads import Difference, Spread

accuracies = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=64)


@given(pairs=accuracies)
def test_a_difference_is_taken_replicate_by_replicate(pairs: list[tuple[float, float]]) -> None:
    with_, without = (Spread.of([pair[arm] for pair in pairs]) for arm in (0, 1))
    difference = Difference.between(with_, without)
    assert difference.replicates == [a - b for a, b in pairs]
    assert difference.min == min(difference.replicates)
    assert difference.max == max(difference.replicates)
    assert difference.mean == pytest.approx(with_.mean - without.mean, abs=1e-12)


@given(pairs=accuracies)
def test_its_interval_is_that_of_students_paired_test(pairs: list[tuple[float, float]]) -> None:
    with_, without = (Spread.of([pair[arm] for pair in pairs]) for arm in (0, 1))
    difference = Difference.between(with_, without)
    assert difference.confidence_interval_95 is not None
    found = difference.confidence_interval_95
    assert found.low <= difference.mean <= found.high
    if difference.std > 1e-6:  # SciPy warns of less
        expected = stats.ttest_1samp(difference.replicates, 0).confidence_interval(0.95)
        assert [found.low, found.high] == pytest.approx([expected.low, expected.high], abs=1e-9)


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=64))
def test_a_mean_lies_between_the_least_and_the_most(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread.min <= spread.mean <= spread.max
    assert spread.replicates == values


def test_replicates_that_all_agree_leave_no_width() -> None:
    difference = Difference.between(Spread.of([0.75, 0.75, 0.75]), Spread.of([0.5, 0.5, 0.5]))
    assert difference.confidence_interval_95 is not None
    assert dict(difference.confidence_interval_95) == {"low": 0.25, "high": 0.25}


def test_one_replicate_says_nothing_about_others() -> None:
    difference = Difference.between(Spread.of([0.9]), Spread.of([0.5]))
    assert difference.confidence_interval_95 is None
    assert difference.mean == pytest.approx(0.4)
    assert difference.std == 0
