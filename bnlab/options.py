"""The options of a spec: one for each field. What is not given is not sent; the server has defaults and bounds."""

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any

from typer import BadParameter, Option

PANEL = "Batch normalization"

FIELDS: dict[str, Any] = {
    "network": Annotated[str | None, Option(help="Kind of network: dense, convolutional or recurrent.")],
    "activation": Annotated[str | None, Option(help="Activation of the hidden layers, such as relu or sigmoid.")],
    "learning_rate": Annotated[float | None, Option(help="Step of gradient descent.")],
    "weight_scale": Annotated[float | None, Option(help="Standard deviation of the starting weights.")],
    "hidden_layers": Annotated[str | None, Option(help="Dense: units of each hidden layer, such as 100,100,100.")],
    "feature_maps": Annotated[str | None, Option(help="Convolutional: feature maps of each layer, such as 8,16,32.")],
    "kernel_size": Annotated[int | None, Option(help="Convolutional: side of each kernel, in pixels.")],
    "strides": Annotated[str | None, Option(help="Convolutional: step of the kernel in each layer, such as 2,2,1.")],
    "data_format": Annotated[str | None, Option(help="Convolutional: channels_last or channels_first.")],
    "units": Annotated[int | None, Option(help="Recurrent: units of the LSTM.")],
    "batch_size": Annotated[int | None, Option(help="Images in one training batch.")],
    "training_batches": Annotated[int | None, Option(help="How many batches to train.")],
    "batches_per_sample": Annotated[int | None, Option(help="Batches from one point of the curve to the next.")],
    "replicates": Annotated[int | None, Option(help="Repeats of the setting with the next seeds, such as 5.")],
    "seed": Annotated[int | None, Option(help="Seed of starting weights and batch order; else one is drawn.")],
    "dataset": Annotated[str | None, Option(help="Data set, such as mnist; else the server's default.")],
    "device": Annotated[str | None, Option(help="Where to train: cpu, gpu, or auto, wherever a worker is free.")],
    "preset": Annotated[
        str | None,
        Option(help="A named setting, see `bnlab presets`; what is given beside it overrides it."),
    ],
}
BATCH_NORM_FIELDS: dict[str, Any] = {
    "momentum": Annotated[
        float | None,
        Option(help="Share of the population statistics one batch leaves in place.", rich_help_panel=PANEL),
    ],
    "epsilon": Annotated[
        float | None, Option(help="Added to the variance before its square root.", rich_help_panel=PANEL)
    ],
    "placement": Annotated[str | None, Option(help="before_activation or after_activation.", rich_help_panel=PANEL)],
    "implementation": Annotated[
        str | None,
        Option(help="How the normalization is written: equations, tf_nn or keras_layer.", rich_help_panel=PANEL),
    ],
    "update_population_statistics": Annotated[
        bool | None,
        Option(
            "--update-population-statistics/--no-update-population-statistics",
            help="Without the update, prediction goes wrong: the lesson's warning.",
            rich_help_panel=PANEL,
        ),
    ],
}
ALL_FIELDS = {**FIELDS, **BATCH_NORM_FIELDS}

#: What is typed as integers with commas between them.
LISTS = {"hidden_layers", "feature_maps", "strides"}


def of_a_spec(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all these options in the place of its parameter `spec`, which then holds the spec they make."""

    @wraps(command)
    def with_options(**parameters: Any) -> None:
        options = {name: parameters.pop(name) for name in ALL_FIELDS}
        command(spec=spec_from(options), **parameters)

    options = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=ALL_FIELDS[name]) for name in ALL_FIELDS
    ]
    others = signature(command, eval_str=True).parameters.values()
    replaced = [
        taken
        for parameter in others
        for taken in (options if parameter.name == "spec" else [parameter.replace(kind=Parameter.KEYWORD_ONLY)])
    ]
    with_options.__signature__ = signature(command).replace(parameters=replaced)  # type: ignore[attr-defined]
    return with_options


def spec_from(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of the options that were given. Raises typer's BadParameter."""
    spec = {name: options[name] for name in FIELDS if options[name] is not None}
    for name in LISTS & spec.keys():
        spec[name] = split_integers(spec[name])
    batch_norm = {name: options[name] for name in BATCH_NORM_FIELDS if options[name] is not None}
    return {**spec, "batch_norm": batch_norm} if batch_norm else spec


def split_integers(text: str) -> list[int]:
    """Return the integers between the commas, and between brackets if there are some. Raises typer's BadParameter."""
    bare = text.strip()
    if bare.startswith("[") and bare.endswith("]"):  # as a grid and JSON have it
        bare = bare[1:-1]
    try:
        return [int(part) for part in bare.split(",")]
    except ValueError:
        raise BadParameter(f"{text!r} is not a list of integers such as 100,100,100.") from None
