"""Experiments as tables in a terminal."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.table import Table

ARMS = ("without_batch_norm", "with_batch_norm")
UNKNOWN = "–"

Json = Mapping[str, Any]


def experiments_table(experiments: Iterable[Json]) -> Table:
    """Return one line for each experiment; it fits 80 columns."""
    caption = "setting: activation, learning rate, weight scale; then each arm's final validation accuracy or progress"
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, caption=caption, caption_justify="left")
    table.add_column("experiment", no_wrap=True, min_width=36)  # an id cut short is of no use
    table.add_column("status", no_wrap=True)
    table.add_column("setting")
    for name in ("without", "with"):
        table.add_column(name, justify="right", no_wrap=True)
    for experiment in experiments:
        spec, arms = experiment["spec"], experiment["arms"]
        table.add_row(
            experiment["id"],
            experiment["status"],
            f"{spec['activation']} {spec['learning_rate']} {spec['weight_scale']}",
            *(accuracy_or_progress(arms[arm], spec["training_batches"]) for arm in ARMS),
        )
    return table


def arms_table(experiment: Json) -> Table:
    """Return both arms of one experiment side by side: how far they are, and what came out."""
    table = Table(box=box.SIMPLE)
    table.add_column("")
    for arm in ARMS:
        table.add_column(arm, justify="right")
    arms = [experiment["arms"][arm] for arm in ARMS]
    total = experiment["spec"]["training_batches"]
    table.add_row("status", *(arm["status"] for arm in arms))
    table.add_row("batches done", *(f"{arm['batches_done']:,} of {total:,}" for arm in arms))
    table.add_row("batches per second", *(whole(arm["batches_per_second"]) for arm in arms))
    table.add_row("final validation accuracy", *(accuracy(arm["final_validation_accuracy"]) for arm in arms))
    for statistics in ("population", "batch"):
        tests = [(arm["test"] or {}).get(statistics) or {} for arm in arms]
        table.add_row(f"test accuracy, {statistics} statistics", *(accuracy(test.get("accuracy")) for test in tests))
        singles = [(test.get("single_predictions") or {}).get("accuracy") for test in tests]
        table.add_row("… one image at a time", *(accuracy(single) for single in singles))
    table.add_row("diverged at batch", *(whole(arm["diverged_at"]) for arm in arms))
    return table


def heading(experiment: Json) -> str:
    """Return the experiment in words: its id, its status, its setting, its error if it has one."""
    spec = experiment["spec"]
    lines = [
        f"{experiment['id']}  {experiment['status']}",
        f"{setting(spec)}, {spec['training_batches']:,} batches of {spec['batch_size']}, data set {spec['dataset']}, "
        f"seed {spec['seed']}, replicates {spec['replicates']}",
    ]
    return "\n".join([*lines, *failure(experiment)])


def failure(experiment: Json) -> list[str]:
    """Return why the experiment failed, as a line; none if it did not."""
    error = experiment["error"]
    return [] if error is None else [f"{error['arm']} failed: {error['message']} ({error['code']})"]


def setting(spec: Json) -> str:
    """Return what distinguishes one experiment of the lesson from another."""
    return f"{spec['activation']}, learning rate {spec['learning_rate']}, weight scale {spec['weight_scale']}"


def accuracy(spread: Json | None) -> str:
    """Return the mean over the replicates, with the standard deviation if there are several."""
    if spread is None:
        return UNKNOWN
    mean = f"{spread['mean']:.4f}"
    return mean if len(spread["replicates"]) == 1 else f"{mean} ± {spread['std']:.4f}"


def accuracy_or_progress(arm: Json, training_batches: int) -> str:
    """Return the final validation accuracy, or while there is none, how much of the training is done."""
    final = arm["final_validation_accuracy"]
    return f"{arm['batches_done'] / training_batches:.0%}" if final is None else accuracy(final)


def whole(number: float | None) -> str:
    """Return a number without its fraction."""
    return UNKNOWN if number is None else f"{number:,.0f}"
