"""Sweeps and presets as tables in a terminal; each fits 80 columns."""

from collections.abc import Iterable

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bnlab.figures import Json, axes, four_places, interval, learned, listed, moment, signed
from bnlab.tables import ARMS, accuracy_or_progress, listing


def sweeps_table(sweeps: Iterable[Json]) -> Table:
    """Return one line for each sweep."""
    table = listing("done: experiments that have ended, of all")
    table.add_column("sweep", no_wrap=True, min_width=36)
    for name in ("status", "done", "created"):
        table.add_column(name, no_wrap=True)
    table.add_column("axes")
    for sweep in sweeps:
        counts = sweep["counts"]
        table.add_row(
            sweep["id"],
            sweep["status"],
            f"{sum(counts.values()) - counts['queued'] - counts['running']}/{sum(counts.values())}",
            moment(sweep["created_at"]).removesuffix(" UTC"),
            listed(axis_names(sweep)),
        )
    return table


def axis_names(sweep: Json) -> list[str]:
    """Return the names of the axes, the slowest first."""
    return [*(["preset"] if sweep["presets"] else []), *(sweep["grid"] or {})]


def sweep_heading(sweep: Json) -> str:
    """Return the sweep in words: its id, its status, how many experiments are where."""
    counts = listed(f"{number} {status}" for status, number in sweep["counts"].items() if number)
    return f"{sweep['id']}  {sweep['status']}\n{counts}"


def sweep_table(sweep: Json) -> Table:
    """Return some lines for each experiment: its place on the axes, its id and status, both arms, the difference."""
    table = listing(
        "Each arm: final validation accuracy or progress, ± standard deviation, how many replicates learned. "
        "Difference: with − without, with its 95 % interval."
    )
    table.add_column("experiment", min_width=36)
    table.add_column("status", no_wrap=True)
    for name in ("without", "with"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("difference", justify="right", no_wrap=True)
    for row in sweep["experiments"]:
        experiment = row["experiment"]
        table.add_row(
            f"{axes(row['values'])}\n{experiment['id']}",
            experiment["status"],
            *(_arm(experiment["arms"][arm], experiment["spec"]) for arm in ARMS),
            _difference(experiment["comparison"]),
        )
    return table


def presets_table(presets: Iterable[Json]) -> Table:
    """Return a line for each preset with what the lesson published, and below it what it shows."""
    table = listing(
        "Published by the lesson, without and with batch normalization: the final validation accuracy; of the two "
        "inference runs the test accuracy."
    )
    table.add_column("preset")
    for name in ("without", "with"):
        table.add_column(name, justify="right", no_wrap=True)
    for preset in presets:
        published = preset["published"] or {}
        without, with_ = ((published.get(arm) or {}).get("validation_accuracy") for arm in ARMS)
        inference = published.get("inference") or {}
        table.add_row(
            Group(Text(preset["name"], style="bold"), Padding(Text(preset["shows"]), (0, 0, 0, 2))),
            four_places(without),
            four_places(inference.get("test_accuracy", with_)),
        )
    return table


def _arm(arm: Json, spec: Json) -> str:
    shown = accuracy_or_progress(arm, spec["training_batches"])
    return shown if arm["learned"] is None else f"{shown}\n{learned(arm, spec['replicates'])}"


def _difference(comparison: Json | None) -> str:
    if comparison is None:
        return "–"
    final = comparison["final_validation_accuracy"]
    return f"{signed(final['mean'])}\n{interval(final)}".strip()
