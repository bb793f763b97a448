"""The spec: what is accepted survives unchanged, what is out of bounds is refused by the name of its field."""

import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.kind_fields import DENSE, KIND_FIELDS, sides, usual_strides
from models.presets import PRESETS
from models.spec import (
    MAX_HIDDEN_LAYERS,
    MAX_REPLICATES,
    MAX_SAMPLES,
    MAX_SEED,
    MAX_TRAINING_BATCHES,
    MAX_TRAINING_BYTES,
    MAX_UNITS,
    ResolvedSpec,
    Spec,
    training_bytes,
)

Json = dict[str, Any]


def parse(asked: Json) -> Spec:
    """Read a spec from JSON, as the API does."""
    return Spec.model_validate_json(json.dumps(asked))


def refused(text: str | Json) -> list[str]:
    """Return the fields for which a spec is refused, with dots into objects and lists."""
    with pytest.raises(ValidationError) as raised:
        Spec.model_validate_json(text if isinstance(text, str) else json.dumps(text))
    return [
        error["ctx"]["field"] if error["type"] == "out_of_bounds" else ".".join(str(part) for part in error["loc"])
        for error in raised.value.errors()
    ]


def _lengths(training_batches: int) -> st.SearchStrategy[Json]:
    fewest = -(-training_batches // MAX_SAMPLES)
    return st.builds(
        lambda every: {"training_batches": training_batches, "batches_per_sample": every},
        st.integers(fewest, training_batches),
    )


COMMON: dict[str, st.SearchStrategy[Any]] = {
    "activation": st.sampled_from(["relu", "sigmoid", "tanh", "leaky_relu", "elu", "gelu", "linear"]),
    "learning_rate": st.floats(1e-30, 100) | st.integers(1, 100),
    "weight_scale": st.floats(1e-30, 100),
    "batch_size": st.integers(2, 1_000),
    "replicates": st.integers(1, MAX_REPLICATES),
    "seed": st.none() | st.integers(0, MAX_SEED - 63),
    "dataset": st.none() | st.sampled_from(["mnist", "mnist-5k"]),
    "device": st.sampled_from(["auto", "cpu", "gpu"]),
}
OWN: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "dense": {"hidden_layers": st.lists(st.integers(1, 350), min_size=1, max_size=MAX_HIDDEN_LAYERS)},
    "convolutional": {
        "feature_maps": st.lists(st.integers(1, 10), min_size=3, max_size=3),
        "kernel_size": st.integers(1, 3),
        "strides": st.lists(st.integers(1, 2), min_size=3, max_size=3),
        "data_format": st.sampled_from(["channels_last", "channels_first"]),
    },
    "recurrent": {"units": st.integers(1, 128)},
}


def _of_kind(network: str) -> st.SearchStrategy[Json]:
    placements = ["before_activation"] if network == "recurrent" else ["before_activation", "after_activation"]
    batch_norm = st.fixed_dictionaries(
        {},
        optional={
            "momentum": st.floats(0, 1, exclude_max=True),
            "epsilon": st.floats(1e-30, 1),
            "placement": st.sampled_from(placements),
            "implementation": st.sampled_from(["equations", "tf_nn", "keras_layer"]),
            "update_population_statistics": st.booleans(),
        },
    )
    named: dict[str, st.SearchStrategy[Any]] = {} if network == "dense" else {"network": st.just(network)}
    given_network = {"network": st.just(network)} if network == "dense" else {}
    presets = [name for name, preset in PRESETS.items() if preset.settings["network"] == network]
    common = {**COMMON, "preset": st.none() | st.sampled_from(presets)}
    if network != "dense":  # whose images take more memory
        common |= {"batch_size": st.integers(2, 100), "replicates": st.integers(1, 16)}
    of_arrays = {"strides", "feature_maps"} & set(OWN[network])  # one for each other: both or neither
    together = {name: OWN[network][name] for name in of_arrays}
    single = {name: strategy for name, strategy in OWN[network].items() if name not in of_arrays}
    return st.fixed_dictionaries(
        {**named, **together}, optional={**common, **given_network, **single, "batch_norm": batch_norm}
    )


OTHERS: st.SearchStrategy[Json] = st.sampled_from(list(OWN)).flatmap(_of_kind)
LENGTHS: st.SearchStrategy[Json] = st.just({}) | st.integers(1, MAX_TRAINING_BATCHES).flatmap(_lengths)
SPECS: st.SearchStrategy[Json] = st.builds(lambda others, lengths: others | lengths, OTHERS, LENGTHS)


@given(SPECS)
def test_every_valid_spec_comes_back_unchanged_from_its_canonical_json(asked: Json) -> None:
    resolved = parse(asked).resolve("mnist")
    text = resolved.canonical_json()
    assert ResolvedSpec.model_validate_json(text, strict=True) == resolved
    assert ResolvedSpec.model_validate(json.loads(text), strict=False) == resolved  # as the database gives it
    assert ResolvedSpec.model_validate_json(text).canonical_json() == text
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text


@given(SPECS)
def test_a_resolved_spec_keeps_what_was_given_and_leaves_nothing_open(asked: Json) -> None:
    resolved = parse(asked).resolve("mnist-5k").model_dump(mode="json")
    for field, value in asked.items():
        if field == "batch_norm":
            assert value.items() <= resolved[field].items()
        elif value is not None:
            assert resolved[field] == value
    assert resolved["dataset"] in ("mnist", "mnist-5k")
    assert 0 <= resolved["seed"] <= MAX_SEED


@given(SPECS)
def test_filling_takes_what_is_given_then_the_preset_then_what_is_usual_then_the_default(asked: Json) -> None:
    asked = {field: value for field, value in asked.items() if field != "batches_per_sample"}
    network = asked.get("network", "dense")
    resolved = parse(asked | {"seed": 1}).resolve("mnist").model_dump(mode="json")
    usual = KIND_FIELDS[network].usual
    settings = PRESETS[asked["preset"]].settings if asked.get("preset") else {}
    parts = [Spec().batch_norm.model_dump(), *(each.get("batch_norm", {}) for each in (usual, settings, asked))]
    batch_norm = {name: value for part in parts for name, value in part.items()}
    everything = {name: field.default for name, field in Spec.model_fields.items()}
    expected = {**everything, **usual, **settings, **asked, "seed": 1, "network": network, "batch_norm": batch_norm}
    expected["dataset"] = asked.get("dataset") or "mnist"
    if "training_batches" in asked:
        expected["batches_per_sample"] = min(500, math.ceil(asked["training_batches"] / 40))
    strides = resolved.get("strides", [])
    if not asked.get("strides"):
        expected["strides"] = strides  # they follow from the other fields, see below
    own = {name for kind, fields in KIND_FIELDS.items() for name in fields.own if kind == network}
    foreign = {name for fields in KIND_FIELDS.values() for name in fields.own} - own
    assert resolved == json.loads(json.dumps({name: expected[name] for name in everything if name not in foreign}))


@given(st.integers(1, 8), st.integers(1, 7))
def test_strides_that_are_left_out_halve_the_picture_while_it_is_large_and_always_fit(layers: int, kernel: int) -> None:
    asked = {"network": "convolutional", "feature_maps": [1] * layers, "kernel_size": kernel, "batch_size": 2}
    resolved = parse(asked).resolve("mnist")
    assert len(resolved.strides) == layers
    assert set(resolved.strides) <= {1, 2}
    assert list(resolved.strides) == sorted(resolved.strides, reverse=True)
    assert min(sides(resolved.strides)) >= kernel


CONVOLUTIONAL: Json = {"network": "convolutional"}


@pytest.mark.parametrize(
    ("asked", "field", "words"),
    [
        ({"hidden_layers": [100], **CONVOLUTIONAL}, "hidden_layers", ("dense", "convolutional")),
        ({"units": 8, **CONVOLUTIONAL}, "units", ("recurrent", "convolutional")),
        ({"feature_maps": [8]}, "feature_maps", ("convolutional", "dense")),
        ({"kernel_size": 3, "network": "recurrent"}, "kernel_size", ("convolutional", "recurrent")),
        ({"data_format": "channels_last"}, "data_format", ("convolutional", "dense")),
        ({"strides": [], "network": "recurrent"}, "strides", ("convolutional", "recurrent")),
        ({"units": 64, "preset": "relu-0.01-good-weights-2000"}, "units", ("recurrent", "dense")),
    ],
)
def test_a_field_of_another_kind_is_refused_and_its_kind_is_named(
    asked: Json, field: str, words: tuple[str, ...]
) -> None:
    assert refused(asked) == [field]
    with pytest.raises(ValidationError) as raised:
        parse(asked)
    allowed = raised.value.errors()[0]["ctx"]["allowed"]
    assert all(word in allowed for word in words)


@pytest.mark.parametrize(
    ("asked", "field", "allowed"),
    [
        ({"kernel_size": 5, "feature_maps": [8] * 4, "strides": [2, 2, 2, 1]}, "kernel_size", "4×4 pixels, .*layer 4"),
        ({"kernel_size": 7, "feature_maps": [4] * 9}, "kernel_size", "at most 6 with 9 layers"),
        ({"kernel_size": 1, "feature_maps": [8] * 2, "strides": [28, 2]}, "strides.1", "at most 1: .*layer 2"),
        ({"kernel_size": 1, "feature_maps": [8] * 3, "strides": [8, 2, 3]}, "strides.2", "at most 2: .*layer 3"),
        ({"feature_maps": [8, 8], "strides": [1]}, "strides", "one for each of the 2"),
        ({"feature_maps": [8], "strides": [1, 1]}, "strides", "one for each of the 1"),
        ({"feature_maps": [11], "strides": [1]}, "feature_maps.0", "at most 10 of 28×28"),
        ({"feature_maps": [8, 42], "strides": [2, 1]}, "feature_maps.1", "at most 41 of 14×14"),
        (
            {"feature_maps": [41] * 16, "strides": [2] + [1] * 15, "kernel_size": 5},
            "feature_maps",
            "at most 50000000 multiplications",
        ),
        (
            {"feature_maps": [10] * 4, "strides": [1] * 4, "replicates": 64},
            "batch_size",
            "at most .* and 64 replicates",
        ),
    ],
)
def test_convolutions_that_do_not_fit_are_refused_and_the_layer_is_named(asked: Json, field: str, allowed: str) -> None:
    assert refused(CONVOLUTIONAL | asked) == [field]
    with pytest.raises(ValidationError, match=allowed):
        parse(CONVOLUTIONAL | asked)


def test_recurrent_batch_normalization_stands_where_its_paper_puts_it() -> None:
    asked: Json = {"network": "recurrent", "batch_norm": {"placement": "after_activation"}}
    assert refused(asked) == ["batch_norm.placement"]
    parse({"network": "recurrent", "batch_norm": {"placement": "before_activation"}})


def test_a_preset_of_another_kind_is_refused_and_both_kinds_are_named() -> None:
    asked = {"network": "recurrent", "preset": "depth-10-sigmoid-layers"}
    assert refused(asked) == ["preset"]
    with pytest.raises(ValidationError, match=r"recurrent.*dense"):
        parse(asked)


@pytest.mark.parametrize("given_too", [{"feature_maps": [8, 8, 8]}, {"kernel_size": 7}])
def test_a_presets_strides_are_those_of_its_own_layers(given_too: Json) -> None:
    resolved = parse({"preset": "convolutional-good-weights-800", **given_too}).resolve("mnist")
    assert resolved.strides == usual_strides(len(resolved.feature_maps), resolved.kernel_size)


@given(SPECS, st.randoms())
def test_canonical_json_does_not_depend_on_the_order_of_the_fields(asked: Json, random: Any) -> None:
    def shuffled(part: Json) -> Json:
        items = [(key, shuffled(value) if isinstance(value, dict) else value) for key, value in part.items()]
        random.shuffle(items)
        return dict(items)

    complete = asked | {"seed": 1}
    assert (
        parse(shuffled(complete)).resolve("mnist").canonical_json() == parse(complete).resolve("mnist").canonical_json()
    )


def test_equal_specs_have_equal_canonical_json() -> None:
    a, b = (parse({"seed": 1, "batch_norm": {"momentum": momentum}}).resolve("mnist") for momentum in (0.0, -0.0))
    assert a == b
    assert a.canonical_json() == b.canonical_json()
    one, other = (parse({"seed": 1, "learning_rate": rate}).resolve("mnist") for rate in (1, 1.0))
    assert one.canonical_json() == other.canonical_json()


BOUNDS: list[tuple[str, Any, Any]] = [  # field, the last values inside, the first values outside
    ("learning_rate", [1e-30, 100.0], [0, 9.9e-31, -0.01, 100.00001]),
    ("weight_scale", [1e-30, 100], [0, 9.9e-31, -5.0, 100.00001]),
    ("hidden_layers", [[1], [8] * MAX_HIDDEN_LAYERS], [[], [8] * (MAX_HIDDEN_LAYERS + 1), 100, "100", {}]),
    ("hidden_layers.1", [1, MAX_UNITS], [0, -1, MAX_UNITS + 1, 10.0, True, None]),
    ("batch_size", [2, 1_000], [1, 0, -60, 1_001]),
    ("training_batches", [500, MAX_TRAINING_BATCHES], [0, -1, MAX_TRAINING_BATCHES + 1]),
    ("batches_per_sample", [5, 50_000], [0, -1, 4, 50_001, MAX_TRAINING_BATCHES + 1]),
    ("replicates", [1, 2, 64], [0, -1, 65]),
    ("seed", [0, MAX_SEED, None], [-1, MAX_SEED + 1, 10**30]),
    ("batch_norm.momentum", [0, 0.999], [-0.001, 1, 1.5]),
    ("batch_norm.epsilon", [1e-30, 1], [0, 9.9e-31, -0.001, 1.001]),
    ("batch_norm.update_population_statistics", [True, False], [1, 0, "true", None]),
    ("batch_norm.placement", ["after_activation"], ["after", "", None]),
    ("batch_norm.implementation", ["equations", "tf_nn", "keras_layer"], ["layer", "tf.nn", None]),
    ("batch_norm", [{}], [None, [], True, "default"]),
    ("network", ["dense", "convolutional", "recurrent"], ["transformer", "Dense", "", None, 1]),
    (
        "feature_maps",
        [[1], [1, 1, 512], [8] * MAX_HIDDEN_LAYERS],
        [[], [8, 0], [8, 513], [8] * (MAX_HIDDEN_LAYERS + 1), 8, None],
    ),
    ("kernel_size", [1, 7], [0, -1, 8, 29, 3.0, "3", None]),
    ("strides", [[], [2, 2, 1, 1, 1, 1]], [[0, 1, 1, 1, 1, 1], [29], 2, None]),
    ("data_format", ["channels_last", "channels_first"], ["NHWC", "", None]),
    ("units", [1, 512], [0, -1, 513, 64.0, "64", None, [64]]),
    (
        "activation",
        ["relu", "sigmoid", "tanh", "leaky_relu", "elu", "gelu", "linear"],
        ["swish", "ReLU", "re\0lu", None, 1],
    ),
    ("dataset", ["mnist-5k", None], ["fashion-mnist", "", 5_000]),
    ("device", ["auto", "cpu", "gpu"], ["tpu", "GPU", "", None, 0]),
    ("preset", [None, "relu-0.01-good-weights-2000"], ["lesson", "", 5]),
]


#: The kind of network that each field of one kind only belongs to.
KIND_OF = {field: kind for kind, fields in KIND_FIELDS.items() for field in fields.own if kind != "dense"}


def nested(field: str, value: Any) -> Json:
    """Return a spec with one field set, the field named as in an error."""
    if field == "hidden_layers.1":
        return {"hidden_layers": [100, value]}
    outer, _, inner = field.partition(".")
    kind = {"network": KIND_OF[outer]} if outer in KIND_OF else {}
    return {**kind, outer: {inner: value} if inner else value}


@pytest.mark.parametrize(("field", "inside", "outside"), BOUNDS)
def test_each_bound_is_kept_and_named(field: str, inside: list[Any], outside: list[Any]) -> None:
    for value in inside:
        parse(nested(field, value))
    for value in outside:
        (named,) = refused(nested(field, value))
        assert named == field or (named in (f"{field}.0", f"{field}.1") and isinstance(value, list)), value


def test_the_bounds_above_speak_of_every_field() -> None:
    assert {field.partition(".")[0] for field, _, _ in BOUNDS} == set(Spec.model_fields)


@given(st.integers(1, MAX_TRAINING_BATCHES))
def test_of_batches_alone_follow_40_points_but_at_most_500_batches_apart(training_batches: int) -> None:
    resolved = parse({"training_batches": training_batches}).resolve("mnist")
    points = len(resolved.sampled_steps())
    assert resolved.batches_per_sample == min(500, math.ceil(training_batches / 40))
    assert resolved.batches_per_sample == 500 or points <= 40
    assert points >= min(training_batches, 21)  # rounding up costs no more than it must
    assert points <= MAX_SAMPLES


def test_the_lessons_two_lengths_get_the_lessons_points() -> None:
    for training_batches, batches_per_sample in ((50_000, 500), (2_000, 50)):
        assert parse({"training_batches": training_batches}).resolve("mnist").batches_per_sample == batches_per_sample


@given(st.integers(1, 2_000), st.integers(1, 5_000))
def test_a_sample_never_waits_longer_than_the_training(training_batches: int, beyond: int) -> None:
    every = training_batches + beyond
    assert refused({"training_batches": training_batches, "batches_per_sample": every}) == ["batches_per_sample"]


@given(st.lists(st.integers(1_000, MAX_UNITS), min_size=2, max_size=MAX_HIDDEN_LAYERS))
def test_a_network_is_refused_exactly_when_it_has_too_many_weights(layers: list[int]) -> None:
    widths = [784, *layers, 10]
    if sum(a * b for a, b in pairwise(widths)) > 25_000_000:
        assert refused({"hidden_layers": layers}) == ["hidden_layers"]
    else:
        parse({"hidden_layers": layers})


@given(st.lists(st.integers(1_000, 2_000), min_size=1, max_size=4), st.integers(1, MAX_REPLICATES))
def test_replicates_are_refused_exactly_when_they_need_too_much_memory(layers: list[int], replicates: int) -> None:
    asked = {"hidden_layers": layers, "replicates": replicates}
    # each weight four times: before and after the batch, its gradient; as float32
    needed = 4 * 4 * replicates * sum(a * b for a, b in pairwise([784, *layers, 10]))
    assert needed == training_bytes(DENSE.weights({"hidden_layers": layers}), replicates)
    if needed > MAX_TRAINING_BYTES:
        assert refused(asked) == ["replicates"]
    else:
        parse(asked)


def test_the_memory_bound_is_computed_and_named() -> None:
    asked = {"hidden_layers": [2000, 2000, 2000], "replicates": 14}
    with pytest.raises(ValidationError) as raised:
        parse(asked)
    (error,) = raised.value.errors()
    weights = DENSE.weights({"hidden_layers": (2000, 2000, 2000)})
    assert weights == 784 * 2000 + 2 * 2000 * 2000 + 2000 * 10
    allowed = error["ctx"]["allowed"]
    assert error["ctx"]["received"] == 14
    for number in (13, 14, weights, 16 * 14 * weights, MAX_TRAINING_BYTES):
        assert str(number) in allowed
    parse(asked | {"replicates": 13})  # as many as it says are allowed


def test_every_number_of_replicates_fits_the_lessons_network_at_any_depth() -> None:
    parse({"replicates": MAX_REPLICATES})
    parse({"replicates": MAX_REPLICATES, "hidden_layers": [100] * MAX_HIDDEN_LAYERS})


NUMBERS = ["learning_rate", "weight_scale", "batch_norm.momentum", "batch_norm.epsilon"]
COUNTS = ["batch_size", "training_batches", "batches_per_sample", "replicates", "seed", "hidden_layers.1"]


@pytest.mark.parametrize("field", NUMBERS + COUNTS)
@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", '"1"', '""', "true", "[1]", "{}"])
def test_what_is_not_a_finite_number_is_no_number(field: str, token: str) -> None:
    text = json.dumps(nested(field, "HERE")).replace('"HERE"', token)
    assert refused(text) == [field]


@pytest.mark.parametrize("field", COUNTS)
def test_a_count_is_a_whole_number_written_as_one(field: str) -> None:
    for token in ("1.0", "2.5", "1e2", "null" if field != "seed" else '"null"'):
        text = json.dumps(nested(field, "HERE")).replace('"HERE"', token)
        assert refused(text) == [field], token


@given(st.text().filter(lambda name: name not in Spec.model_fields))
def test_an_unknown_field_is_refused_by_its_name(name: str) -> None:
    assert refused({name: 0}) == [name]


def test_all_wrong_fields_are_named_at_once() -> None:
    wrong = {"learning_rate": 0, "seed": "1", "learning_rat": 0.1, "batch_norm": {"epsilon": 0, "moment": 1}}
    assert set(refused(wrong)) == {"learning_rate", "seed", "learning_rat", "batch_norm.epsilon", "batch_norm.moment"}


def test_an_open_seed_is_drawn_and_recorded() -> None:
    seeds = {Spec().resolve("mnist").seed for _ in range(20)}
    assert len(seeds) > 15
    assert all(0 <= seed <= MAX_SEED for seed in seeds)
    assert max(seeds) > 2**16  # of the whole range


@pytest.mark.parametrize("seed", [0, 1, MAX_SEED])
def test_a_given_seed_is_kept(seed: int) -> None:
    assert Spec(seed=seed).resolve("mnist").seed == seed


def test_an_open_data_set_is_the_servers_and_a_given_one_is_kept() -> None:
    assert Spec().resolve("mnist-5k").dataset == "mnist-5k"
    assert Spec().resolve("mnist").dataset == "mnist"
    assert Spec(dataset="mnist").resolve("mnist-5k").dataset == "mnist"


def test_a_resolved_spec_has_no_open_seed_and_no_open_data_set() -> None:
    complete = json.loads(Spec(seed=1).resolve("mnist").canonical_json())
    for field in ("seed", "dataset"):
        for open_one in ({k: v for k, v in complete.items() if k != field}, {**complete, field: None}):
            with pytest.raises(ValidationError, match=field):
                ResolvedSpec.model_validate(open_one, strict=False)


def test_a_spec_does_not_change() -> None:
    spec = Spec(seed=1).resolve("mnist")
    for changed in (spec, spec.batch_norm):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(changed, next(iter(type(changed).model_fields)), "other")


@pytest.mark.parametrize(
    ("training_batches", "batches_per_sample", "points"), [(50_000, 500, 100), (2_000, 50, 40), (1, 1, 1), (7, 3, 3)]
)
def test_the_curve_has_the_lessons_points(training_batches: int, batches_per_sample: int, points: int) -> None:
    spec = Spec(training_batches=training_batches, batches_per_sample=batches_per_sample).resolve("mnist")
    steps = spec.sampled_steps()
    assert len(steps) == points
    assert list(steps) == [i for i in range(training_batches) if i % batches_per_sample == 0]


@given(st.integers(1, MAX_TRAINING_BATCHES).flatmap(_lengths))
def test_a_curve_never_has_too_many_points(lengths: Json) -> None:
    steps = parse(lengths).resolve("mnist").sampled_steps()
    assert steps[0] == 0
    assert len(steps) == math.ceil(lengths["training_batches"] / lengths["batches_per_sample"]) <= MAX_SAMPLES


def test_the_defaults_are_the_lessons() -> None:
    spec = Spec()
    assert (spec.activation, spec.learning_rate, spec.weight_scale) == ("relu", 0.01, 0.05)
    assert (spec.hidden_layers, spec.batch_size) == ((100, 100, 100), 60)
    assert (spec.training_batches, spec.batches_per_sample) == (50_000, 500)
    assert (spec.batch_norm.momentum, spec.batch_norm.epsilon) == (0.99, 0.001)
    assert spec.batch_norm.update_population_statistics


def test_every_replicates_seed_is_one_that_can_be_asked_for_alone() -> None:
    last = Spec(replicates=64, seed=MAX_SEED - 63).resolve("mnist")
    assert last.seed + last.replicates - 1 == MAX_SEED
    with pytest.raises(ValidationError, match="at most 4294967232"):
        Spec(replicates=64, seed=MAX_SEED - 62)
