"""Settings with a name: the lesson's 18 comparisons and two inference runs with what it published; and some of ours.

A preset says everything that shapes a comparison; seed, replicates and data set stay open. The published figures are
one run each, of 2017, on a GPU and the full MNIST.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

LESSON_DATASET = "mnist"

#: Everything that the lesson's networks have in common; a preset that differs says so.
COMMON: dict[str, Any] = {
    "network": "dense",
    "hidden_layers": [100, 100, 100],
    "batch_size": 60,
    "batch_norm": {
        "momentum": 0.99,
        "epsilon": 0.001,
        "placement": "before_activation",
        "update_population_statistics": True,
    },
}


@dataclass(frozen=True)
class PublishedArm:
    """What the lesson printed for one of the two networks."""

    validation_accuracy: float
    test_accuracy: float
    batches_per_second: float


@dataclass(frozen=True)
class PublishedSingles:
    """What the lesson printed for test images shown one at a time; None where it printed nothing."""

    count: int
    accuracy: float
    distinct_answers: int | None


@dataclass(frozen=True)
class PublishedInference:
    """What the lesson printed for the trained network with batch normalization and one kind of statistics."""

    statistics: Literal["population", "batch"]
    test_accuracy: float
    single_predictions: PublishedSingles


@dataclass(frozen=True)
class Published:
    """What the lesson printed: of a comparison both arms, of an inference run the inference."""

    without_batch_norm: PublishedArm | None = None
    with_batch_norm: PublishedArm | None = None
    inference: PublishedInference | None = None


@dataclass(frozen=True)
class Preset:
    """A setting with a name: the fields of the spec it fills, and what it is there to show."""

    name: str
    shows: str
    kind: Literal["comparison", "inference", "depth", "network"]
    settings: dict[str, Any] = field(hash=False)  # the part of a spec
    lesson_cell: int | None = None
    published: Published | None = None


def _settings(activation: str, learning_rate: float, weights: str, batches: int) -> dict[str, Any]:
    return {
        **COMMON,
        "activation": activation,
        "learning_rate": learning_rate,
        "weight_scale": {"good": 0.05, "bad": 5.0}[weights],
        "training_batches": batches,
        "batches_per_sample": 500 if batches == 50_000 else 50,
    }


# Cell of the lesson, activation, learning rate, starting weights, batches; then validation accuracy, test accuracy and
# batches per second without and with batch normalization; then what it shows.
_COMPARISONS = (
    (4, "relu", 0.01, "good", 50_000, (0.973, 0.9748, 1183.34), (0.9832, 0.9803, 533.5),
     "Both networks learn; the one with batch normalization gets there in far fewer batches."),
    (5, "relu", 0.01, "good", 2_000, (0.8286, 0.8262, 1069.17), (0.9578, 0.9525, 491.2),
     "After 2,000 batches the network with batch normalization is nearly done, the other one is on its way."),
    (6, "sigmoid", 0.01, "good", 50_000, (0.8344, 0.8271, 1153.97), (0.9756, 0.9732, 526.3),
     "Sigmoid units with a small learning rate start very late without batch normalization, at once with it."),
    (7, "relu", 1.0, "good", 50_000, (0.0958, 0.098, 1397.55), (0.9844, 0.9834, 501.48),
     "A hundred times the learning rate kills the ReLU network without batch normalization; the other one thrives."),
    (8, "relu", 1.0, "good", 50_000, (0.0986, 0.101, 1379.92), (0.984, 0.9822, 488.08),
     "The same once more: neither the failure nor the success was luck."),
    (9, "sigmoid", 1.0, "good", 50_000, (0.9784, 0.9752, 1382.38), (0.9838, 0.9812, 526.13),
     "Sigmoid units bear the high learning rate in both networks; batch normalization still begins earlier."),
    (10, "sigmoid", 1.0, "good", 2_000, (0.9208, 0.9227, 1167.28), (0.9518, 0.9463, 490.92),
     "The first 2,000 batches of it: the head start of batch normalization."),
    (11, "relu", 2.0, "good", 50_000, (0.0986, 0.101, 1412.09), (0.9828, 0.9827, 518.06),
     "At twice the rate again only the ReLU network with batch normalization learns."),
    (12, "sigmoid", 2.0, "good", 50_000, (0.9796, 0.9782, 1395.37), (0.9804, 0.9782, 506.05),
     "Sigmoid units at this rate end level: batch normalization is no better result, only a faster way to it."),
    (13, "sigmoid", 2.0, "good", 2_000, (0.9384, 0.936, 1170.27), (0.9574, 0.9524, 495.04),
     "The first 2,000 batches of it: even where both end level, one is faster."),
    (14, "relu", 0.01, "bad", 50_000, (0.0958, 0.098, 1147.21), (0.7946, 0.799, 515.05),
     "Starting weights a hundred times too large: without batch normalization nothing, with it something."),
    (15, "sigmoid", 0.01, "bad", 50_000, (0.2202, 0.227, 1108.5), (0.8592, 0.8527, 531.21),
     "Sigmoid units that start saturated hardly move without batch normalization."),
    (16, "relu", 1.0, "bad", 50_000, (0.1126, 0.1135, 1313.14), (0.9244, 0.9208, 520.39),
     "Bad weights and a high rate: with batch normalization it may learn, and it may not (see its second run)."),
    (17, "sigmoid", 1.0, "bad", 50_000, (0.897, 0.8957, 1409.45), (0.957, 0.9505, 534.39),
     "A high rate helps saturated sigmoid units out; batch normalization helps more."),
    (18, "relu", 2.0, "bad", 50_000, (0.0958, 0.098, 1392.83), (0.9128, 0.9054, 536.51),
     "A still higher rate on bad weights: with batch normalization it learned this time."),
    (19, "sigmoid", 2.0, "bad", 50_000, (0.9094, 0.9066, 1401.19), (0.9614, 0.9583, 532.22),
     "The highest rate on bad weights: sigmoid networks learn both, batch normalization leads."),
    (20, "relu", 1.0, "bad", 50_000, (0.1126, 0.1135, 1386.17), (0.0988, 0.101, 523.58),
     "The same setting as before, and this time batch normalization fails too: a single run is luck."),
    (21, "relu", 2.0, "bad", 50_000, (0.0958, 0.098, 1398.39), (0.0986, 0.101, 529.5),
     "Once more with the highest rate: batch normalization does not mend everything."),
)  # fmt: skip

# Cell of the lesson, statistics, accuracy on the test set and of 200 single images, different answers; what it shows.
_INFERENCE = (
    (23, "batch", 0.9503, 0.05, 1,
     "With the statistics of the batch a single image always gets the same answer, whatever it shows."),
    (24, "population", 0.9537, 0.97, None,
     "With the population statistics of the training single images are answered as well as many."),
)  # fmt: skip


def _comparisons() -> Iterator[Preset]:
    taken: set[str] = set()
    for cell, activation, learning_rate, weights, batches, without, with_, shows in _COMPARISONS:
        name = f"{activation}-{learning_rate:g}-{weights}-weights-{batches}"
        name = f"{name}-again" if name in taken else name
        taken.add(name)
        published = Published(PublishedArm(*without), PublishedArm(*with_))
        yield Preset(name, shows, "comparison", _settings(activation, learning_rate, weights, batches), cell, published)


def _inference() -> Iterator[Preset]:
    for cell, statistics, test, singly, distinct, shows in _INFERENCE:
        inference = PublishedInference(
            "batch" if statistics == "batch" else "population", test, PublishedSingles(200, singly, distinct)
        )
        settings = _settings("relu", 0.01, "good", 2_000)
        yield Preset(
            f"inference-with-{statistics}-statistics",
            shows,
            "inference",
            settings,
            cell,
            Published(inference=inference),
        )


def _depth() -> Iterator[Preset]:
    for layers, shows in (
        (3, "Three sigmoid layers, to set beside ten."),
        (10, "Ten sigmoid layers: without batch normalization the gradient is lost on the way; with it, they learn."),
    ):
        settings = {**_settings("sigmoid", 1.0, "good", 10_000), "hidden_layers": [100] * layers}
        yield Preset(f"depth-{layers}-sigmoid-layers", shows, "depth", {**settings, "batches_per_sample": 100})


def _networks() -> Iterator[Preset]:
    statistics = {**COMMON["batch_norm"], "momentum": 0.9}
    convolutional = {
        "network": "convolutional",
        "activation": "relu",
        "learning_rate": 0.1,
        "weight_scale": 0.05,
        "feature_maps": [8, 16, 32, 32, 32, 32],
        "kernel_size": 3,
        "strides": [2, 2, 2, 1, 1, 1],
        "batch_size": 64,
        "training_batches": 800,
        "batches_per_sample": 20,
        "batch_norm": statistics,
    }
    recurrent = {
        "network": "recurrent",
        "activation": "tanh",
        "learning_rate": 0.3,
        "units": 64,
        "batch_size": 60,
        "training_batches": 2_000,
        "batches_per_sample": 50,
        "batch_norm": {**statistics, "epsilon": 0.3},
    }
    yield Preset(
        "convolutional-good-weights-800",
        "Six convolutions: a number per feature map is enough to normalize with, and the network learns at once.",
        "network",
        convolutional,
    )
    yield Preset(
        "recurrent-bad-weights-2000",
        "An LSTM whose gates start saturated: normalized at each row, it learns far more in the same batches.",
        "network",
        {**recurrent, "weight_scale": 1.0},
    )
    yield Preset(
        "recurrent-good-weights-2000",
        "The same LSTM with small weights: normalized it begins sooner and ends behind. Most images have no ink in the "
        "first rows, so what their statistics make of the few others is not to be relied on.",
        "network",
        {**recurrent, "weight_scale": 0.05, "learning_rate": 0.2, "batch_norm": {**statistics, "epsilon": 0.01}},
    )


_ALL = (*_comparisons(), *_inference(), *_depth(), *_networks())

#: Every preset by its name: the lesson's in its order, then those of depth and of other networks.
PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}

#: What `"presets": "lesson"` stands for.
LESSON: tuple[str, ...] = tuple(name for name, preset in PRESETS.items() if preset.lesson_cell is not None)


def overridden(preset: Preset, spec: Mapping[str, Any]) -> list[str]:
    """Return the fields in which a spec (as JSON) differs from its preset, with a dot into an object."""
    differing = []
    for name, value in preset.settings.items():
        parts = {f"{name}.{part}": part for part in value} if isinstance(value, dict) else {}
        differing += [path for path, part in parts.items() if spec[name][part] != value[part]]
        if not parts and spec.get(name) != value:  # of another kind of network: it has no such field
            differing.append(name)
    return differing


def comparable(preset: Preset, spec: Mapping[str, Any]) -> bool:
    """Return whether a spec (as JSON) is what the lesson ran: nothing overridden, and the same data set."""
    return spec["dataset"] == LESSON_DATASET and not overridden(preset, spec)
