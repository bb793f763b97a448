"""Which fields of a spec belong to one kind of network only, what each kind takes for what is left out, and its rules.

Fields of other kinds are refused when they are given, and no resolved spec has them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from math import isqrt
from typing import Any, Literal

NetworkKind = Literal["dense", "convolutional", "recurrent"]

SIDE = 28
PIXELS = SIDE * SIDE
CLASSES = 10

MAX_WEIGHTS = 25_000_000
MAX_MULTIPLICATIONS = 50_000_000
MAX_LAYER_VALUES = 8_192
MAX_KERNEL_SIDE = 7
MAX_KERNEL_PLACES = 400  # over all layers: each is a slice of its own in the program, and takes XLA a sixth of a second

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Wrong:
    """A field that breaks a rule between fields."""

    field: str
    allowed: str
    received: Any


@dataclass(frozen=True)
class KindFields:
    """What one kind of network has to say of a spec."""

    own: tuple[str, ...]  # the fields that no other kind has
    usual: Settings  # what it takes for fields that are left out, where that is not the field's own default
    filled: Callable[[Settings], Settings]  # its own fields, with what depends on others
    wrong: Callable[[Settings], Iterator[Wrong]]
    weights: Callable[[Settings], int]  # how many there are; biases, gammas and betas are few beside them
    multiplications: Callable[[Settings], int]  # for the answer to one image
    values: Callable[[Settings], int]  # about how many numbers the training holds of one image


def _as_it_is(settings: Settings) -> Settings:
    return settings


# ---------------------------------------------------------------------------------------------------------- dense


def _dense_weights(settings: Settings) -> int:
    return sum(inputs * units for inputs, units in pairwise((PIXELS, *settings["hidden_layers"], CLASSES)))


DENSE = KindFields(
    own=("hidden_layers",),
    usual={},
    filled=_as_it_is,
    wrong=lambda _: iter(()),
    weights=_dense_weights,
    multiplications=_dense_weights,
    values=lambda _: 0,  # few beside its weights; and what was accepted before there was a bound must still be read
)

# -------------------------------------------------------------------------------------------------- convolutional


def sides(strides: tuple[int, ...]) -> list[int]:
    """Return the side of the picture that each convolution takes, and at last of the one that the output layer takes.

    The picture is padded so that a stride of 1 keeps its size: n pixels become n / stride, rounded up.
    """
    return list(accumulate(strides, lambda side, stride: -(-side // stride), initial=SIDE))


def usual_strides(layers: int, kernel_size: int) -> tuple[int, ...]:
    """Return the strides if none are given: 2 as long as the picture is more than twice as large as the kernel."""
    strides: tuple[int, ...] = ()
    for _ in range(layers):
        strides += (2 if sides(strides)[-1] > 2 * kernel_size else 1,)
    return strides


def _with_strides(settings: Settings) -> Settings:
    if settings["strides"]:
        return settings
    return {**settings, "strides": usual_strides(len(settings["feature_maps"]), settings["kernel_size"])}


def _kernels(settings: Settings) -> list[tuple[int, int]]:
    """Return for each convolution how many weights its kernels have in all, and at how many places they are laid."""
    maps, kernel = (1, *settings["feature_maps"]), settings["kernel_size"]
    after = sides(settings["strides"])[1:]
    return [
        (kernel**2 * inputs * outputs, side**2) for (inputs, outputs), side in zip(pairwise(maps), after, strict=True)
    ]


def _convolved_values(settings: Settings) -> int:
    """Each place's part of the picture before it, laid out for the product, and what the product becomes."""
    maps, kernel = (1, *settings["feature_maps"]), settings["kernel_size"]
    after = sides(settings["strides"])[1:]
    return sum(
        side**2 * (kernel**2 * inputs + 4 * outputs)
        for (inputs, outputs), side in zip(pairwise(maps), after, strict=True)
    )


def _output_weights(settings: Settings) -> int:
    return int(sides(settings["strides"])[-1] ** 2 * settings["feature_maps"][-1] * CLASSES)


def _wrong_of_convolutions(settings: Settings) -> Iterator[Wrong]:
    maps, strides, kernel = settings["feature_maps"], settings["strides"], settings["kernel_size"]
    if len(strides) != len(maps):
        yield Wrong("strides", f"one for each of the {len(maps)} feature_maps, or left out", list(strides))
        return
    if len(maps) * kernel**2 > MAX_KERNEL_PLACES:
        yield Wrong("kernel_size", f"at most {isqrt(MAX_KERNEL_PLACES // len(maps))} with {len(maps)} layers", kernel)
        return
    for layer, (side, stride) in enumerate(zip(sides(strides), strides, strict=False)):
        if kernel > side:
            where = "" if layer == 0 else f", which is what layer {layer + 1} sees"
            yield Wrong("kernel_size", f"no larger than a picture of {side}×{side} pixels{where}", kernel)
            return
        if stride > side:
            allowed = f"at most {side}: layer {layer + 1} sees {side}×{side} pixels, and a larger step leaves none"
            yield Wrong(f"strides.{layer}", allowed, stride)
            return
    for layer, (side, count) in enumerate(zip(sides(strides)[1:], maps, strict=True)):
        if side**2 * count > MAX_LAYER_VALUES:
            allowed = (
                f"at most {MAX_LAYER_VALUES // side**2} of {side}×{side} pixels: a layer has at most "
                f"{MAX_LAYER_VALUES} values"
            )
            yield Wrong(f"feature_maps.{layer}", allowed, count)
            return


CONVOLUTIONAL = KindFields(
    own=("feature_maps", "kernel_size", "strides", "data_format"),
    usual={
        "learning_rate": 0.1,
        "batch_size": 64,
        "training_batches": 800,
        "batches_per_sample": 20,
        "batch_norm": {"momentum": 0.9},
    },
    filled=_with_strides,
    wrong=_wrong_of_convolutions,
    weights=lambda settings: sum(weights for weights, _ in _kernels(settings)) + _output_weights(settings),
    multiplications=lambda settings: (
        sum(weights * places for weights, places in _kernels(settings)) + _output_weights(settings)
    ),
    values=_convolved_values,
)

# ------------------------------------------------------------------------------------------------------ recurrent


def _step_weights(settings: Settings) -> int:
    """An LSTM's four gates have each a row of pixels and all units of the step before as inputs."""
    units = settings["units"]
    return int(4 * units * (SIDE + units))


def _wrong_of_recurrent(settings: Settings) -> Iterator[Wrong]:
    placement = settings["batch_norm"].placement
    if placement != "before_activation":
        allowed = "before_activation: in a recurrent network, batch normalization stands where its paper puts it"
        yield Wrong("batch_norm.placement", allowed, placement)


RECURRENT = KindFields(
    own=("units",),
    usual={
        "activation": "tanh",
        "learning_rate": 0.3,
        "weight_scale": 1.0,
        "training_batches": 2_000,
        "batches_per_sample": 50,
        "batch_norm": {"momentum": 0.9, "epsilon": 0.3},
    },
    filled=_as_it_is,
    wrong=_wrong_of_recurrent,
    weights=lambda settings: _step_weights(settings) + settings["units"] * CLASSES,
    multiplications=lambda settings: SIDE * _step_weights(settings) + settings["units"] * CLASSES,
    values=lambda settings: SIDE * 40 * settings["units"],
)

KIND_FIELDS: Mapping[NetworkKind, KindFields] = {"dense": DENSE, "convolutional": CONVOLUTIONAL, "recurrent": RECURRENT}


@cache
def foreign(kind: NetworkKind) -> dict[str, NetworkKind]:
    """Return the fields that a kind of network has not, each with the kind that has it."""
    return {field: other for other, has in KIND_FIELDS.items() if other != kind for field in has.own}
