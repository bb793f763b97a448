"""The commands `bnlab sweep …`: submit many experiments at once, look at them as one, stop them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnlab import options
from bnlab.console import (
    AsJson,
    IdempotencyKey,
    Png,
    Svg,
    connected,
    left_running,
    print_json,
    print_tables,
    tell_submitted,
    write,
)
from bnlab.grid import parse_grid, parse_presets

if TYPE_CHECKING:
    from bnlab.client import Client

app = typer.Typer(name="sweep", no_args_is_help=True, help="Many experiments at once: a grid of settings, or presets.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The sweep's id.")]


@app.command()
@options.of_a_spec
def submit(
    context: typer.Context,
    *,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUES", help="An axis, such as learning_rate=0.01,1; may be given several times."),
    ] = None,
    presets: Annotated[
        str | None, typer.Option(help="One more axis: names of presets with commas, or the word lesson.")
    ] = None,
    spec: Mapping[str, Any],
    idempotency_key: IdempotencyKey = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show the progress until all experiments have ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit an experiment for each combination of the axes, and print the sweep's id.

    The other options are what all of them share.
    """
    axes, names = parse_grid(grid or []), parse_presets(presets)
    if not (axes or names):
        raise typer.BadParameter("A sweep needs an axis: give --grid or --presets.")
    with connected(context.obj) as client:
        sweep = client.submit_sweep(spec or None, axes, names, idempotency_key=idempotency_key)
        waited = partial(follow, client, sweep["id"], context.obj.url) if wait else None
        tell_submitted(sweep, waited, print_sweep, as_json)


@app.command("list")
def list_sweeps(
    context: typer.Context, limit: Annotated[int, typer.Option(help="How many at most.")] = 20, as_json: AsJson = False
) -> None:
    """List sweeps, the newest first."""
    with connected(context.obj) as client:
        page = client.sweeps(limit)
    if as_json:
        print_json(page)
        return
    if not page["sweeps"]:
        typer.echo("There are no sweeps yet.")
        return
    from bnlab.sweep_tables import sweeps_table

    print_tables(sweeps_table(page["sweeps"]))
    if page["next_cursor"]:
        typer.echo("There are more; ask for them with --limit.", err=True)


@app.command()
def show(
    context: typer.Context,
    id: Id,
    csv: Annotated[Path | None, typer.Option(help="Write a row for each experiment to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one sweep: a row for each experiment, with its results."""
    with connected(context.obj) as client:
        if csv:
            write(csv, client.sweep_csv(id).encode())
            return
        sweep = client.sweep(id)
    if as_json:
        print_json(sweep)
    else:
        print_sweep(sweep)


@app.command()
def curves(
    context: typer.Context,
    id: Id,
    png: Png = None,
    svg: Svg = None,
    first: Annotated[int, typer.Option(help="Begin with the experiment at this position.", min=0)] = 0,
    count: Annotated[int, typer.Option(help="How many experiments at most.")] = 24,
) -> None:
    """Write the accuracy curves of many experiments side by side as one picture."""
    if not (png or svg):
        raise typer.BadParameter("Name a file for the picture with --png or --svg.")
    with connected(context.obj) as client:
        if png:
            write(png, client.sweep_curves(id, "png", first, count))
        if svg:
            write(svg, client.sweep_curves(id, "svg", first, count))


@app.command()
def cancel(context: typer.Context, id: Id) -> None:
    """Stop all experiments of a sweep that have not ended; their points so far are kept."""
    with connected(context.obj) as client:
        sweep = client.cancel_sweep(id)
    if sweep["status"] == "cancelled":
        typer.echo("The sweep is cancelled.")
    else:
        typer.echo(f"The sweep will be cancelled; it is still {sweep['status']}.")


def follow(client: "Client", id: str, url: str | None) -> dict[str, Any]:
    """Show the progress until the sweep has ended; Ctrl-C leaves it running."""
    from bnlab.progress import SweepBars

    with left_running("sweep", f"sweep show {id}", url), SweepBars() as bars:
        return client.wait_for_sweep(id, on_change=bars.show)


def print_sweep(sweep: dict[str, Any]) -> None:
    """Print one sweep for people."""
    from bnlab.sweep_tables import sweep_heading, sweep_table

    typer.echo(sweep_heading(sweep))
    print_tables(sweep_table(sweep))
