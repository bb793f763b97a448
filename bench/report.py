"""How measurements are written down: a table per measurement, below the machine it was taken on, and all as JSON."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print one measurement."""
    table = Table(*columns, title=f"{title}\n{_machine()}", title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def keep(name: str, figures: Mapping[str, object]) -> None:
    """Write the figures of a measurement, and the machine, as `NAME.json` into the folder `BENCH_OUT`, if it is set."""
    folder = os.environ.get("BENCH_OUT")
    if folder is None:
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    whole = {"machine": _machine(), "figures": figures}
    (Path(folder) / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n")


def in_words(values: Sequence[float], unit: str = "") -> str:
    """Return the median of several runs with the least and the most of them."""
    return f"{statistics.median(values):,.0f}{unit} ({min(values):,.0f}–{max(values):,.0f})"


def _machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.partition(": ")[2] for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    name = names[0] if cpuinfo.exists() and names else platform.processor()
    return f"{os.cpu_count()} cores, {name}, Python {platform.python_version()}"
