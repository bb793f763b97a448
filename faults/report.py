"""The table at the end."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from faults.recovery import median, percentile
from faults.run import Result
from models.settings import Settings

MARGIN_S = 3.0


def bound_s(result: Result) -> float:
    """Return what a recovery may take: the lease, TensorFlow's start in those recoveries, and three seconds."""
    return shipped_lease_s() + percentile(result.recovery.tensorflow_start, 0.95) + MARGIN_S


def shipped_lease_s() -> float:
    """Return the lease of the service as it is shipped: recovery is measured on that."""
    return float(Settings.model_fields["lease_s"].default)


def print_report(results: Sequence[Result], seed: int) -> None:
    """Print one column for each set-up."""
    table = Table("", *(result.setup for result in results), title=f"Faults, seed {seed}", title_justify="left")
    for name, *cells in zip(*(_rows(result) for result in results), strict=True):
        table.add_row(name[0], *(cell for _, cell in [name, *cells]))
    console = Console()
    console.print(table)
    for result in results:
        struck = ", ".join(f"{name} {count}" for name, count in sorted(result.faults.items()))
        console.print(f"{result.setup}: {struck}", highlight=False)
        for complaint in result.verdict.complaints:
            console.print(f"  {complaint}", highlight=False)


def _rows(result: Result) -> list[tuple[str, str]]:
    verdict, recovery = result.verdict, result.recovery
    rows = [
        ("faults", str(result.faults.total())),
        ("experiments accepted", str(verdict.accepted)),
        ("ended", str(verdict.ended)),
        ("lost", str(verdict.lost)),
        ("arms by end", ", ".join(f"{status} {count}" for status, count in sorted(verdict.statuses.items()))),
        ("duplicated effects", str(verdict.duplicated_effects)),
        ("points expected", f"{verdict.points_expected:,}"),
        ("points identical", f"{verdict.points_identical:,}"),
        ("networks expected", str(verdict.networks_expected)),
        ("networks identical", str(verdict.networks_identical)),
        ("stale writes refused", str(verdict.refused_writes)),
        ("claims", str(verdict.claims)),
        ("arms rescued", str(verdict.rescues)),
    ]
    if recovery.all:
        rows += [
            ("recovery, process killed: p50, p95 (s)", _both(recovery.of_process)),
            ("recovery, whole worker killed: p50, p95 (s)", _both(recovery.of_worker)),
            ("recovery, all: p50, p95 (s)", _both(recovery.all)),
            ("the lease (s)", f"{shipped_lease_s():g}"),
            ("TensorFlow's start: p50, p95 (s)", _both(recovery.tensorflow_start)),
            ("bound: both and three seconds (s)", f"{bound_s(result):.1f}"),
        ]
    return [*rows, ("wall time (s)", f"{result.seconds:.0f}")]


def _both(values: Sequence[float]) -> str:
    return f"{median(values):.1f}, {percentile(values, 0.95):.1f} ({len(values)} times)"
