"""Experiments as tables in a terminal; each fits 80 columns."""

from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.table import Table

from bnlab import published
from bnlab.figures import (
    Json,
    accuracy,
    deviation,
    extent,
    four_places,
    learned,
    listed,
    mean,
    moment,
    one_or_more,
    reached,
    second,
    several,
    whole,
    with_interval,
)
from bnlab.published import Figure

ARMS = ("without_batch_norm", "with_batch_norm")


def listing(caption: str) -> Table:
    """Return an empty table for a list, whose first column holds ids; one cut short would be of no use."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, caption=caption, caption_justify="left")
    table.caption_style = "dim"
    return table


def experiments_table(experiments: Iterable[Json]) -> Table:
    """Return two lines for each experiment: what it is and how it stands, then when it came and on which data."""
    table = listing(
        "setting: activation, learning rate, weight scale, and the network unless it is dense; then each arm's final "
        "validation accuracy or progress, ± standard deviation"
    )
    table.add_column("experiment", no_wrap=True, min_width=36)
    table.add_column("status", no_wrap=True)
    table.add_column("setting")
    for name in ("without", "with"):
        table.add_column(name, justify="right", no_wrap=True)
    for experiment in experiments:
        spec, arms = experiment["spec"], experiment["arms"]
        table.add_row(
            f"{experiment['id']}\n  {moment(experiment['created_at'])}",
            experiment["status"],
            f"{spec['activation']} {spec['learning_rate']} {spec['weight_scale']}\n{spec['dataset']}{_kind(spec)}",
            *(accuracy_or_progress(arms[arm], spec["training_batches"]) for arm in ARMS),
        )
    return table


def arms_table(experiment: Json) -> Table:
    """Return both arms of one experiment side by side: how far they are, what came out, and what was published."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("")
    for arm in ARMS:
        table.add_column(arm, justify="right")
    spec, arms = experiment["spec"], [experiment["arms"][arm] for arm in ARMS]
    table.add_row("status", *(arm["status"] for arm in arms))
    table.add_row("batches done", *(f"{arm['batches_done']:,} of {spec['training_batches']:,}" for arm in arms))
    table.add_row("batches per second", *(whole(arm["batches_per_second"]) for arm in arms))
    _add(table, "final validation accuracy", [published.validation(experiment, arm) for arm in ARMS])
    table.add_row("90 % reached after", *(reached(arm["reached_90_percent_after"]) for arm in arms))
    table.add_row("replicates that learned", *(learned(arm, spec["replicates"]) for arm in arms))
    for statistics in ("population", "batch"):
        tests = [published.test(experiment, arm, statistics) for arm in ARMS]
        _add(table, f"test accuracy, {statistics} statistics", tests)
        _add(
            table, "… one image at a time", [published.single_predictions(experiment, arm, statistics) for arm in ARMS]
        )
        answers = [published.distinct_answers(experiment, arm, statistics)[0] for arm in ARMS]
        table.add_row("… different answers", *map(whole, answers))
    table.add_row("diverged at batch", *(whole(arm["diverged_at"]) for arm in arms))
    return table


def history_table(events: Iterable[Json]) -> Table:
    """Return a line for each thing that happened to an arm: when, to which, what it led to, why, and how far it was."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("time (UTC)", "arm", "status", "reason"):
        table.add_column(name, no_wrap=True)
    table.add_column("batches", justify="right", no_wrap=True)
    table.add_column("by", justify="right", no_wrap=True)
    for event in events:
        table.add_row(
            second(event["at"]).partition("-")[2],  # the year is no news
            event["arm"].removesuffix("_batch_norm"),
            change(event),
            event["reason"].replace("_", " "),
            whole(event["batches_done"]),
            actor(event),
        )
    return table


def workers_table(workers: Iterable[Json]) -> Table:
    """Return a line for each worker: where it runs, what it trains on, how much, and when it was heard of last."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("host", "takes", "trains on"):
        table.add_column(name, overflow="fold")
    for name in ("arms", "of", "heard of (UTC)"):
        table.add_column(name, justify="right", no_wrap=True)
    for worker in workers:
        table.add_row(
            worker["host"],
            f"auto, {worker['device']}",
            listed(dict.fromkeys(worker["device_names"])),
            whole(worker["training"]),
            whole(worker["processes"]),
            second(worker["seen_at"]) if worker["living"] else f"{second(worker['seen_at'])}, silent",
        )
    return table


def actor(event: Json) -> str:
    """Return who did it, in short: of a worker's process, which is called host:worker:word/process, the last number."""
    name, _, process = event["actor"].rpartition("/")
    return str(process) if name else str(event["actor"]).split(":")[0]


def change(event: Json) -> str:
    """Return from what to what an event led; only what it is, if it was nothing before or stays as it was."""
    return " → ".join(dict.fromkeys(status for status in (event["from"], event["to"]) if status))


def heading(experiment: Json) -> str:
    """Return the experiment in words: its id, its status, its setting, where it comes from, its error if it has one."""
    spec = experiment["spec"]
    lines = [
        f"{experiment['id']}  {experiment['status']}",
        f"{setting(spec)}, {spec['training_batches']:,} batches of {spec['batch_size']}, data set {spec['dataset']}, "
        f"seed {spec['seed']}, {one_or_more(spec['replicates'], 'replicate')}",
        *origin(experiment),
        *waiting(experiment),
    ]
    return "\n".join([*lines, *failure(experiment)])


def origin(experiment: Json) -> Iterator[str]:
    """Yield the preset with what was overridden, and the sweep, of an experiment that has them."""
    if preset := experiment["preset"]:
        overridden = f", but for {listed(preset['overridden'])}" if preset["overridden"] else ""
        yield f"preset {preset['name']}{overridden}"
    if sweep_id := experiment["sweep_id"]:
        yield f"sweep {sweep_id}"


def waiting(experiment: Json) -> list[str]:
    """Return what a queued experiment waits for, as a line; none if it does not wait."""
    return [f"Waits for {experiment['waits_for']}."] if experiment["waits_for"] else []


def remarks(experiment: Json) -> Iterator[str]:
    """Yield what does not fit a column for each arm: how far apart they are, and which replicates diverged."""
    if comparison := experiment["comparison"]:
        for name in ("final_validation_accuracy", "test_accuracy"):
            yield f"Difference of the {name.replace('_', ' ')}, with − without: {with_interval(comparison[name])}"
    for name in ARMS:
        diverged = experiment["arms"][name]["diverged_replicates"]
        if diverged and experiment["spec"]["replicates"] > 1:
            yield f"Diverged replicates {name}: {listed(map(str, diverged))}"


def failure(experiment: Json) -> list[str]:
    """Return why the experiment failed, as a line; none if it did not."""
    error = experiment["error"]
    return [] if error is None else [f"{error['arm']} failed: {error['message']} ({error['code']})"]


def setting(spec: Json) -> str:
    """Return what distinguishes one experiment of the lesson from another, and the network if it is not as there."""
    words = f"{spec['activation']}, learning rate {spec['learning_rate']}, weight scale {spec['weight_scale']}"
    if spec["network"] == "convolutional":
        return f"convolutional {'-'.join(map(str, spec['feature_maps']))}, {words}"
    if spec["network"] == "recurrent":
        return f"LSTM of {spec['units']}, {words}"
    return words


def _kind(spec: Json) -> str:
    """Return a line with the kind of network; nothing for the lesson's own."""
    return "" if spec["network"] == "dense" else f"\n{spec['network']}"


def accuracy_or_progress(arm: Json, training_batches: int) -> str:
    """Return the final validation accuracy in one or two lines, or while there is none, how much is done."""
    final = arm["final_validation_accuracy"]
    if final is None:
        return f"{arm['batches_done'] / training_batches:.0%}"
    return f"{mean(final)}\n{deviation(final)}".strip()


def _add(table: Table, name: str, figures: Sequence[Figure]) -> None:
    """Add a row of accuracies, and what is known of them below it."""
    table.add_row(name, *(accuracy(figure.reproduced) for figure in figures))
    if any(several(figure.reproduced) for figure in figures):
        table.add_row("   lowest … highest", *(extent(figure.reproduced) for figure in figures))
    if any(figure.published is not None for figure in figures):
        table.add_row("   published by the lesson", *(four_places(figure.published) for figure in figures))
