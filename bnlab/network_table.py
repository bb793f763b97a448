"""A trained network as a table in a terminal: its layers, and what batch normalization learned and gathered in each."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from rich import box
from rich.table import Table

from bnlab.figures import UNKNOWN, Json

#: A number for each unit; or, of a recurrent network, for each step and unit.
Values = Sequence[float | None] | Sequence[Sequence[float | None]]

ARRAYS = ("population_mean", "population_variance", "gamma", "beta")


def network_heading(network: Json) -> str:
    """Return whose network it is, how many parameters it has, and by which digests it can be told from others."""
    parameters = network["parameters"]
    lines = [
        f"{network['experiment']}  {network['arm']}, replicate {network['replicate']}",
        f"{parameters['trainable']:,} trained parameters, "
        f"{parameters['population_statistics']:,} population statistics",
        f"starting weights {network['starting_weights_sha256'] or 'not recorded'}",
        f"arrays           {network['arrays_sha256']}",
    ]
    diverged_at = network["diverged_at"]
    return "\n".join([*lines, *([] if diverged_at is None else [f"diverged at batch {diverged_at:,}"])])


def network_table(network: Json) -> Table:
    """Return a line for each layer and one more for each array of its batch normalization."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("layer", "over its units"):
        table.add_column(name)
    for name in ("min", "mean", "max"):
        table.add_column(name, justify="right")
    for layer in network["layers"]:
        parameters = f"{sum(layer['parameters'].values()):,} parameters"
        table.add_row(f"{layer['name']}: {_size(layer)}", parameters)
        for name in ARRAYS if layer["batch_norm"] else ():
            if layer["batch_norm"][name] is not None:
                table.add_row("", name.replace("_", " "), *summary(layer["batch_norm"][name]))
    return table


def _size(layer: Json) -> str:
    """Return from how many inputs to how many units a layer leads, and how large a convolution's kernels are."""
    if layer["inputs"] is None:
        return str(layer["units"])
    side = layer.get("kernel_size")
    return f"{layer['inputs']} → {layer['units']}" + (f", {side}×{side}" if side else "")


def summary(values: Values) -> list[str]:
    """Return the smallest value, the mean and the largest; what a diverged network holds is no number."""
    known = list(_known(values))
    return [f"{number:,.4g}" for number in (min(known), fmean(known), max(known))] if known else [UNKNOWN] * 3


def _known(values: Values) -> Iterator[float]:
    for value in values:
        if isinstance(value, Sequence):
            yield from _known(value)
        elif value is not None:
            yield value
