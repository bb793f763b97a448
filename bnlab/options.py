"""The options of `bnlab submit`: one for each field of a spec. What is not given is not sent; the server has the
defaults and the bounds.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from typer import BadParameter, Option

SPEC_FIELDS = (
    "network",
    "activation",
    "learning_rate",
    "weight_scale",
    "hidden_layers",
    "batch_size",
    "training_batches",
    "batches_per_sample",
    "replicates",
    "seed",
    "dataset",
    "preset",
)
BATCH_NORM_FIELDS = ("momentum", "epsilon", "placement", "implementation", "update_population_statistics")
BATCH_NORM = "Batch normalization"


def split_integers(text: str) -> list[int]:
    """Return the integers between the commas. Raises typer's BadParameter."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise BadParameter(f"{text!r} is not a list of integers such as 100,100,100.") from None


Network = Annotated[str | None, Option(help="Kind of network, such as dense.")]
Activation = Annotated[str | None, Option(help="Activation of the hidden layers, such as relu or sigmoid.")]
LearningRate = Annotated[float | None, Option(help="Step of gradient descent.")]
WeightScale = Annotated[float | None, Option(help="Standard deviation of the starting weights.")]
HiddenLayers = Annotated[str | None, Option(help="Units of each hidden layer, such as 100,100,100.")]
BatchSize = Annotated[int | None, Option(help="Images in one training batch.")]
TrainingBatches = Annotated[int | None, Option(help="How many batches to train.")]
BatchesPerSample = Annotated[int | None, Option(help="Batches from one point of the curve to the next.")]
Replicates = Annotated[int | None, Option(help="Repeats of the setting with the next seeds; only 1 so far.")]
Seed = Annotated[int | None, Option(help="Seed of starting weights and batch order; else one is drawn.")]
Dataset = Annotated[str | None, Option(help="Data set, such as mnist; else the server's default.")]
Preset = Annotated[str | None, Option(help="Named settings; there are none so far.")]
Momentum = Annotated[
    float | None,
    Option(help="Share of the population statistics one batch leaves in place.", rich_help_panel=BATCH_NORM),
]
Epsilon = Annotated[
    float | None, Option(help="Added to the variance before its square root.", rich_help_panel=BATCH_NORM)
]
Placement = Annotated[str | None, Option(help="before_activation or after_activation.", rich_help_panel=BATCH_NORM)]
Implementation = Annotated[
    str | None, Option(help="How the normalization is written, such as equations.", rich_help_panel=BATCH_NORM)
]
UpdatePopulationStatistics = Annotated[
    bool | None,
    Option(
        "--update-population-statistics/--no-update-population-statistics",
        help="Without the update, prediction goes wrong: the lesson's warning.",
        rich_help_panel=BATCH_NORM,
    ),
]


def spec_from(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of the options that were given."""
    spec = {name: options[name] for name in SPEC_FIELDS if options[name] is not None}
    if "hidden_layers" in spec:
        spec["hidden_layers"] = split_integers(spec["hidden_layers"])
    batch_norm = {name: options[name] for name in BATCH_NORM_FIELDS if options[name] is not None}
    return {**spec, "batch_norm": batch_norm} if batch_norm else spec
