"""The lesson's figures beside the reproduced ones, as tables in a terminal; each fits 80 columns."""

from collections.abc import Sequence

from rich.table import Table

from bnlab.figures import whole
from bnlab.published import distinct_answers, single_predictions, test, validation
from bnlab.reproduction import Reproduction
from bnlab.tables import ARMS

WITH = "with_batch_norm"


def comparisons_table(lesson: Reproduction) -> Table:
    """Return the final validation accuracy of every comparison, a line for each arm."""
    table = _table(lesson, "Final validation accuracy", ["comparison", "arm"])
    for row in lesson.comparisons:
        for arm in ARMS:
            first = row.name if arm == ARMS[0] else ""
            table.add_row(first, arm.removesuffix("_batch_norm"), *lesson.cells(row, validation(row.experiment, arm)))
    return table


def inference_table(lesson: Reproduction) -> Table:
    """Return what the network with batch normalization answers, with the statistics of each inference run."""
    table = _table(lesson, "Which statistics predict", ["statistics", "measured"])
    for row in lesson.inferences:
        experiment, statistics = row.experiment, row.statistics
        here, published = distinct_answers(experiment, WITH, statistics)
        table.add_row(statistics, "test accuracy", *lesson.cells(row, test(experiment, WITH, statistics)))
        table.add_row("", "one image at a time", *lesson.cells(row, single_predictions(experiment, WITH, statistics)))
        table.add_row("", "different answers", *([whole(published)] if lesson.compared else []), whole(here))
    return table


def _table(lesson: Reproduction, title: str, names: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    for name in names:
        table.add_column(name, no_wrap=True)
    for name in lesson.columns():
        table.add_column(name, justify="right", no_wrap=True)
    return table
