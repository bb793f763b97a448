"""The grid: each combination of values over the base is one spec, in one order; what is wrong is named by its place."""

import json
import math
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.errors import FieldError, InvalidInput
from models.grid import FIELDS, MAX_EXPERIMENTS, SweepRequest
from models.kind_fields import KIND_FIELDS, foreign
from models.presets import LESSON, PRESETS
from models.spec import BatchNormSpec, Spec

Json = dict[str, Any]
SHORT = "relu-0.01-good-weights-2000"
LONG = "sigmoid-1-bad-weights-50000"


def asked(request: Json) -> SweepRequest:
    """Read a request from JSON, as the API does."""
    return SweepRequest.model_validate_json(json.dumps(request))


def specs(**request: Any) -> list[Json]:
    """Return the fields of each spec of a request."""
    return [spec.filled() for spec in asked(request).specs()]


def refused(**request: Any) -> list[FieldError]:
    with pytest.raises(InvalidInput) as raised:
        asked(request).specs()
    return raised.value.errors


def places(**request: Any) -> list[str]:
    return [error.field for error in refused(**request)]


# --------------------------------------------------------------------------------------------- combinations

#: Values that go with each other in every combination; each is a spec's own, so it comes back as it is.
AXES: dict[str, list[Any]] = {
    "activation": ["relu", "sigmoid", "tanh", "gelu"],
    "learning_rate": [0.01, 0.1, 1.0, 2.0],
    "weight_scale": [0.05, 5.0],
    "hidden_layers": [[100], [100, 100], [8, 9, 10]],
    "training_batches": [1_000, 2_000],
    "seed": [0, 1, 2, 3],
    "replicates": [1, 4],
    "batch_norm.momentum": [0.5, 0.9, 0.999],
    "batch_norm.placement": ["before_activation", "after_activation"],
    "batch_norm.update_population_statistics": [True, False],
    "preset": [SHORT, LONG, None],
}
BASE: Json = {"batch_size": 32, "learning_rate": 0.5, "batch_norm": {"epsilon": 0.01, "momentum": 0.75}}


@st.composite
def grids(draw: st.DrawFn) -> Json:
    names = draw(st.permutations(list(AXES)))[: draw(st.integers(1, 5))]
    return {name: draw(st.lists(st.sampled_from(AXES[name]), min_size=1, max_size=3)) for name in names}


def value_of(filled: Json, name: str) -> Any:
    field, _, part = name.partition(".")
    value = getattr(filled[field], part) if part else filled[field]
    return list(value) if isinstance(value, tuple) else value


@given(grids(), st.sampled_from([{}, {"batch_size": 32}, BASE]))
def test_there_is_a_spec_for_each_combination_and_it_is_the_base_with_its_values(grid: Json, base: Json) -> None:
    request = asked({"base": base, "grid": grid})
    found = request.specs()
    combinations = list(request.combinations())
    assert len(found) == len(combinations) == math.prod(len(values) for values in grid.values())
    for spec, values in zip(found, combinations, strict=True):
        laid = {**base, **{name: value for name, value in values.items() if "." not in name}}
        parts = {name.partition(".")[2]: value for name, value in values.items() if "." in name}
        if parts:
            laid["batch_norm"] = {**base.get("batch_norm", {}), **parts}
        assert spec == Spec.model_validate_json(json.dumps(laid))
        for name, value in values.items():
            assert value_of(spec.filled(), name) == value


@given(grids())
def test_the_last_field_named_changes_fastest(grid: Json) -> None:
    combinations = [tuple(values.values()) for values in asked({"grid": grid}).combinations()]
    assert combinations == list(product(*grid.values()))
    for values in asked({"grid": grid}).combinations():
        assert list(values) == list(grid)


def test_presets_are_the_slowest_axis() -> None:
    request = asked({"presets": [SHORT, LONG], "grid": {"seed": [1, 2], "activation": ["tanh", "elu"]}})
    assert [tuple(values.values()) for values in request.combinations()] == [
        (preset, seed, activation) for preset in (SHORT, LONG) for seed in (1, 2) for activation in ("tanh", "elu")
    ]
    assert list(next(request.combinations())) == ["preset", "seed", "activation"]
    assert [spec.preset for spec in request.specs()] == [SHORT] * 4 + [LONG] * 4


def test_the_lesson_is_its_comparisons_and_its_inference_runs_in_order() -> None:
    request = asked({"presets": "lesson", "base": {"replicates": 4}})
    assert [values["preset"] for values in request.combinations()] == list(LESSON)
    for name, spec in zip(LESSON, request.specs(), strict=True):
        assert (spec.preset, spec.replicates) == (name, 4)
        assert spec.filled()["learning_rate"] == PRESETS[name].settings["learning_rate"]


def test_lists_are_values_and_single_fields_of_batch_norm_have_a_dot() -> None:
    found = specs(
        base={"batch_norm": {"epsilon": 0.01}},
        grid={"hidden_layers": [[100], [50, 20]], "batch_norm.momentum": [0.5, 0.9]},
    )
    assert [(spec["hidden_layers"], spec["batch_norm"]) for spec in found] == [
        (layers, BatchNormSpec(epsilon=0.01, momentum=momentum))
        for layers in ((100,), (50, 20))
        for momentum in (0.5, 0.9)
    ]


def test_batch_norm_may_vary_as_an_object_that_is_laid_over_the_bases() -> None:
    found = specs(base={"batch_norm": {"epsilon": 0.5}}, grid={"batch_norm": [{}, {"momentum": 0.5}, {"epsilon": 0.1}]})
    expected = [BatchNormSpec(epsilon=0.5), BatchNormSpec(epsilon=0.5, momentum=0.5), BatchNormSpec(epsilon=0.1)]
    assert [spec["batch_norm"] for spec in found] == expected


def test_fields_beside_presets_override_them() -> None:
    found = specs(presets=[SHORT, LONG], base={"learning_rate": 0.3}, grid={"batch_norm.epsilon": [0.5]})
    assert [spec["learning_rate"] for spec in found] == [0.3, 0.3]
    assert [spec["activation"] for spec in found] == ["relu", "sigmoid"]
    assert [spec["batch_norm"] for spec in found] == [BatchNormSpec(epsilon=0.5)] * 2


def test_a_value_may_stand_twice_and_a_seed_may_stay_open() -> None:
    assert [spec["seed"] for spec in specs(grid={"seed": [7, 7, None]})] == [7, 7, None]


def test_every_field_of_a_spec_may_vary() -> None:
    assert set(FIELDS) == {
        *Spec.model_fields,
        *(f"batch_norm.{name}" for name in BatchNormSpec.model_fields),
    }
    for network, fields in KIND_FIELDS.items():
        usual = Spec(network=network).filled()
        for name in set(FIELDS) - set(foreign(network)):
            default = value_of(usual, name)
            value = default.model_dump() if isinstance(default, BatchNormSpec) else default
            assert specs(base={"network": network}, grid={name: [value]}) == [usual]
        assert set(fields.own) <= set(FIELDS)


def test_what_was_asked_comes_back_from_the_database_as_the_same_combinations() -> None:
    request = asked({"presets": [SHORT], "base": BASE, "grid": {"hidden_layers": [[100], [9]], "seed": [1, None]}})
    stored = json.loads(json.dumps(request.model_dump(mode="json")))
    again = SweepRequest.model_validate(stored)
    assert again == request
    assert list(again.combinations()) == list(request.combinations())


# -------------------------------------------------------------------------------------------------- refusals


def test_a_sweep_without_anything_that_varies_is_refused() -> None:
    nothing: list[Json] = [{}, {"grid": {}}, {"base": {"seed": 1}}, {"grid": {}, "presets": None}]
    for request in nothing:
        (error,) = refused(**request)
        assert error.field == "grid"
        assert "presets" in error.allowed


def test_an_empty_list_is_named() -> None:
    (error,) = refused(grid={"seed": [1], "learning_rate": []})
    assert (error.field, error.allowed, error.received) == ("grid.learning_rate", "at least one value", [])
    assert places(presets=[], grid={"seed": [1]}) == ["presets"]
    assert places(presets=[], grid={"seed": []}) == ["presets", "grid.seed"]


@pytest.mark.parametrize(
    ("request_", "count"),
    [
        ({"grid": {"seed": list(range(1_001))}}, 1_001),
        ({"grid": {"seed": list(range(100)), "learning_rate": [0.1] * 11}}, 1_100),
        ({"grid": {"seed": list(range(51))}, "presets": "lesson"}, 1_020),
        ({"grid": {name: [0] * 1_000 for name in FIELDS if name != "batch_norm"}}, 1_000 ** (len(FIELDS) - 1)),
    ],
)
def test_over_the_limit_the_error_says_how_many_there_would_be(request_: Json, count: int) -> None:
    (error,) = refused(**request_)
    assert (error.field, error.received) == ("grid", count)
    assert str(MAX_EXPERIMENTS) in error.allowed


def test_a_thousand_are_allowed() -> None:
    assert len(specs(grid={"seed": list(range(1_000))})) == 1_000


@pytest.mark.parametrize("name", ["learning_rat", "", "batch_norm.", "batch_norm.x", "seed.x", "Seed", "base", "grid"])
def test_a_field_that_no_spec_has_is_named_with_those_there_are(name: str) -> None:
    (error,) = refused(grid={name: [1]})
    assert error.field == f"grid.{name}"
    for field in ("learning_rate", "batch_norm.momentum"):
        assert field in error.allowed
    if "." not in name:
        assert places(base={name: 1}, grid={"seed": [1]}) == [f"base.{name}"]


def test_an_unknown_preset_is_named_wherever_it_stands_with_the_known() -> None:
    for request, place in (
        ({"presets": [SHORT, "relu"]}, "presets.1"),
        ({"grid": {"preset": [SHORT, None, "relu"]}}, "grid.preset.2"),
        ({"base": {"preset": "relu"}, "grid": {"seed": [1]}}, "base.preset"),
    ):
        (error,) = refused(**request)
        assert (error.field, error.received) == (place, "relu")
        for known in PRESETS:
            assert known in error.allowed


def test_a_preset_is_given_in_one_place() -> None:
    assert places(presets="lesson", grid={"preset": [SHORT]}) == ["grid.preset"]
    assert places(presets=[SHORT], base={"preset": SHORT}) == ["base.preset"]
    assert len(specs(base={"preset": LONG}, grid={"preset": [SHORT]})) == 1  # an axis over the base, as for any field


def test_batch_norm_varies_as_a_whole_or_in_parts() -> None:
    assert places(grid={"batch_norm": [{}], "batch_norm.momentum": [0.5]}) == ["grid.batch_norm"]


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({"grid": {"learning_rate": [0.1, 0, "0.1", -1]}}, [f"grid.learning_rate.{i}" for i in (1, 2, 3)]),
        ({"grid": {"hidden_layers": [[100], [100, 0], 100, []]}}, [f"grid.hidden_layers.{i}" for i in ("1.1", 2, 3)]),
        ({"grid": {"batch_norm.momentum": [0.5, 1]}}, ["grid.batch_norm.momentum.1"]),
        (
            {"grid": {"batch_norm": [{"momentum": 1}, 7, {"x": 1}]}},
            [f"grid.batch_norm.{i}" for i in ("0.momentum", 1, "2.x")],
        ),
        (
            {"grid": {"seed": [1], "activation": ["swish"]}, "base": {"weight_scale": 0}},
            ["base.weight_scale", "grid.activation.0"],
        ),
        ({"grid": {"seed": [1, 2]}, "base": {"learning_rate": 0}}, ["base.learning_rate"]),
        ({"grid": {"seed": [1]}, "base": {"batch_norm": {"epsilon": 0}}}, ["base.batch_norm.epsilon"]),
        ({"grid": {"batch_norm.epsilon": [0.5]}, "base": {"batch_norm": 7}}, ["base.batch_norm"]),
        ({"grid": {"batch_norm.epsilon": [0.5]}, "base": {"batch_norm": None}}, ["base.batch_norm"]),
        # a value of the base that a value of an axis takes the place of is looked at too
        ({"grid": {"learning_rate": [0.1]}, "base": {"learning_rate": "fast"}}, ["base.learning_rate"]),
        ({"grid": {"learning_rate": [0.1]}, "base": {"learning_rate": math.nan}}, ["base.learning_rate"]),
        ({"grid": {"learning_rate": [math.nan, math.inf]}}, ["grid.learning_rate.0", "grid.learning_rate.1"]),
    ],
)
def test_a_wrong_value_is_named_by_its_place(request_: Json, named: list[str]) -> None:
    assert places(**request_) == named


def test_a_wrong_value_is_named_once_however_many_combinations_it_is_in() -> None:
    (error,) = refused(grid={"seed": list(range(100)), "learning_rate": [0.1, 1000]})
    assert error == FieldError("grid.learning_rate.1", "less than or equal to 100", 1000)


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({"grid": {"training_batches": [10, 20], "batches_per_sample": [5, 15]}}, ["grid.batches_per_sample.1"]),
        ({"grid": {"training_batches": [10, 200]}, "base": {"batches_per_sample": 50}}, ["base.batches_per_sample"]),
        ({"grid": {"replicates": [1, 64]}, "base": {"hidden_layers": [4096, 2048]}}, ["grid.replicates.1"]),
        ({"grid": {"hidden_layers": [[9], [4096] * 3]}}, ["grid.hidden_layers.1"]),
        ({"presets": [SHORT, LONG], "base": {"batches_per_sample": 2_001}}, ["base.batches_per_sample"]),
    ],
)
def test_a_rule_between_fields_is_held_in_each_combination(request_: Json, named: list[str]) -> None:
    assert places(**request_) == named


def test_a_rule_between_fields_counts_only_where_they_meet() -> None:
    # by itself 60,000 is more than the batches that are usual, with these it is not
    assert len(specs(base={"batches_per_sample": 60_000}, grid={"training_batches": [60_000, 70_000]})) == 2


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({"base": None}, "base"),
        ({"base": []}, "base"),
        ({"base": "lesson"}, "base"),
        ({"grid": None}, "grid"),
        ({"grid": [1]}, "grid"),
        ({"grid": {"seed": 1}}, "grid.seed"),
        ({"grid": {"seed": None}}, "grid.seed"),
        ({"presets": "all"}, "presets"),
        ({"presets": 7}, "presets"),
        ({"presets": {}}, "presets"),
        ({"presets": [7]}, "presets"),
        ({"presets": ["lesson", None]}, "presets"),
        ({"preset": SHORT}, "preset"),
        ({"axes": {}}, "axes"),
    ],
)
def test_what_is_no_request_is_refused_in_one_error(request_: Json, named: str) -> None:
    with pytest.raises(ValidationError) as raised:
        asked(request_)
    (error,) = raised.value.errors()
    assert ".".join(map(str, error["loc"])) == named


def test_many_wrong_fields_in_many_combinations_are_looked_at_once() -> None:
    # were the base looked at in each combination, these would be two million errors
    errors = refused(base={f"field {i}": i for i in range(2_000)}, grid={"seed": list(range(1_000))})
    assert len(errors) == 2_000
