"""The command `bnlab`: submit experiments, follow them, look into what came out, run the service and the whole lesson.

Exit codes: 0 it worked; 1 the server said no, or the experiment did not succeed; 2 the command line is wrong;
130 Ctrl-C, while an experiment or a sweep was followed.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnlab import ops_cli, options, sweep_cli
from bnlab.console import (
    AsJson,
    IdempotencyKey,
    Png,
    Server,
    Svg,
    connected,
    left_running,
    plain_errors,
    print_json,
    print_tables,
    print_warnings,
    tell_submitted,
    write,
)

if TYPE_CHECKING:
    from bnlab.client import Client

app = typer.Typer(name="bnlab", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(sweep_cli.app)
ops_cli.register(app)

Id = Annotated[str, typer.Argument(metavar="ID", help="The experiment's id.")]
StateDir = Annotated[
    Path, typer.Option(envvar="BNLAB_STATE_DIR", help="Folder of the database, the messages, the logs, the data.")
]


@app.callback()
def everywhere(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Option(envvar="BNLAB_URL", help="Address of the server; else http://127.0.0.1:8000.")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="BNLAB_API_KEY", help="Your key, where the server needs one; others see a command line."),
    ] = None,
) -> None:
    """The batch normalization lesson: train a network without and with it, and compare."""
    context.obj = Server(url, api_key)


@app.command()
@options.of_a_spec
def submit(
    context: typer.Context,
    spec: Mapping[str, Any],
    idempotency_key: IdempotencyKey = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show the progress until the experiment has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit an experiment and print its id."""
    with connected(context.obj) as client:
        experiment = client.submit(idempotency_key=idempotency_key, **spec)
        waited = partial(follow, client, experiment["id"], context.obj.url) if wait else None
        tell_submitted(experiment, waited, print_experiment, as_json)


@app.command("list")
def list_experiments(
    context: typer.Context,
    status: Annotated[str | None, typer.Option(help="Only experiments of this status, such as running.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List experiments, the newest first."""
    with connected(context.obj) as client:
        page = client.experiments(status, limit)
    if as_json:
        print_json(page)
        return
    if not page["experiments"]:
        typer.echo("There are no such experiments." if status else "There are no experiments yet.")
        return
    from bnlab.tables import experiments_table

    print_tables(experiments_table(page["experiments"]))
    if page["next_cursor"]:
        typer.echo("There are more; ask for them with --limit.", err=True)


@app.command()
def show(context: typer.Context, id: Id, as_json: AsJson = False) -> None:
    """Show one experiment: its setting, its progress, its results."""
    with connected(context.obj) as client:
        experiment = client.experiment(id)
    if as_json:
        print_json(experiment)
    else:
        print_experiment(experiment)


@app.command()
def watch(
    context: typer.Context,
    id: Id,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
) -> None:
    """Watch an experiment until it has ended: both curves as they grow, then its results."""
    from bnlab.watch_display import display
    from bnlab.watched import Watched

    watched = Watched()
    with connected(context.obj) as client:
        with left_running("experiment", f"watch {id}", context.obj.url), display(as_json) as shown:
            for event in client.watch(id):
                watched.take(event)
                shown.show(event, watched)
        ended = watched.experiment or client.experiment(id)
    if not as_json:
        print_experiment(ended)
    if ended["status"] != "succeeded":
        raise typer.Exit(1)


@app.command()
def history(context: typer.Context, id: Id, as_json: AsJson = False) -> None:
    """Show what happened to an experiment: when each arm was claimed, came back into the queue, ended, and why."""
    with connected(context.obj) as client:
        answer = client.history(id)
    if as_json:
        print_json(answer)
        return
    if not answer["events"]:
        typer.echo("No history was kept of this experiment.")
        return
    from bnlab.tables import history_table

    print_tables(history_table(answer["events"]))


@app.command()
def curve(
    context: typer.Context,
    id: Id,
    png: Png = None,
    svg: Svg = None,
    csv: Annotated[Path | None, typer.Option(help="Write the points to this file.")] = None,
) -> None:
    """Draw the accuracy curves of both arms here, or write them to files."""
    with connected(context.obj) as client:
        if png:
            write(png, client.curve_picture(id, "png"))
        if svg:
            write(svg, client.curve_picture(id, "svg"))
        if csv:
            write(csv, client.curve_csv(id).encode())
        if not (png or svg or csv):
            from rich.console import Console

            from bnlab.terminal_curve import draw

            Console().print(draw(client.curve(id)))


@app.command()
def cancel(context: typer.Context, id: Id) -> None:
    """Stop an experiment; its points so far are kept."""
    with connected(context.obj) as client:
        experiment = client.cancel(id)
    if experiment["status"] == "cancelled":
        typer.echo("The experiment is cancelled.")
    else:
        typer.echo(f"The experiment will be cancelled; it is still {experiment['status']}.")


@app.command()
def predict(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A PNG or JPEG picture of a digit.")],
    experiment: Annotated[str | None, typer.Option(help="Its id; else the newest that succeeded.")] = None,
    arm: Annotated[str | None, typer.Option(help="with_batch_norm or without_batch_norm.")] = None,
    replicate: Annotated[int | None, typer.Option(help="Which repeat of the setting.")] = None,
    statistics: Annotated[str | None, typer.Option(help="population or batch.")] = None,
    normalize: Annotated[
        bool | None,
        typer.Option(help="Make the picture into a digit as MNIST's were; else that is done unless it is 28×28."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a trained network which digit a picture shows, drawn or photographed."""
    with connected(context.obj) as client:
        answer = client.predict(file, experiment, arm, replicate, statistics, normalize)
    if as_json:
        print_json(answer)
        return
    probability = answer["probabilities"][answer["digit"]]
    typer.echo(
        f"{answer['digit']}  (probability {probability:.4f}; {answer['arm']}, replicate {answer['replicate']}, "
        f"{answer['statistics']} statistics, experiment {answer['experiment']})"
    )
    print_warnings(answer, err=True)


@app.command()
def network(
    context: typer.Context,
    id: Id,
    arm: Annotated[str, typer.Argument(metavar="ARM", help="with_batch_norm or without_batch_norm.")],
    replicate: Annotated[int | None, typer.Option(help="Which repeat of the setting.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look into a trained network: its size, and what each layer learned and gathered."""
    with connected(context.obj) as client:
        answer = client.network(id, arm, replicate)
    if as_json:
        print_json(answer)
        return
    from bnlab.network_table import network_heading, network_table

    typer.echo(network_heading(answer))
    print_tables(network_table(answer))
    print_warnings(answer)


@app.command()
def workers(context: typer.Context, as_json: AsJson = False) -> None:
    """List the workers: what each trains on, how many arms it trains now, when it was heard of last."""
    with connected(context.obj) as client:
        answer = client.workers()
    if as_json:
        print_json(answer)
        return
    if not answer["workers"]:
        typer.echo("No worker has been heard of in the last day.")
        return
    from bnlab.tables import workers_table

    print_tables(workers_table(answer["workers"]))


@app.command()
def presets(context: typer.Context, as_json: AsJson = False) -> None:
    """List the named settings: what each shows, and what the lesson published for it."""
    with connected(context.obj) as client:
        answer = client.presets()
    if as_json:
        print_json(answer)
        return
    from bnlab.sweep_tables import presets_table

    print_tables(presets_table(answer["presets"]))


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 is every network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where to listen; 0 is any free port.", min=0, max=65_535)] = 8000,
    state_dir: StateDir = Path(".bnlab"),
    workers: Annotated[int, typer.Option(help="Worker processes; two train both arms at once.", min=1)] = 2,
) -> None:
    """Run the whole service on this machine, until Ctrl-C."""
    from bnlab.up import Service, run

    with plain_errors():
        run(Service(host, port, state_dir, workers, say=typer.echo), say=typer.echo)


@app.command()
def demo(state_dir: StateDir = Path(".bnlab")) -> None:
    """Run the lesson once: train both arms, compare, draw the curves, predict ten digits."""
    from bnlab.demo import run

    with plain_errors():
        raise typer.Exit(run(state_dir))


@app.command()
def lesson(
    context: typer.Context,
    replicates: Annotated[int, typer.Option(help="Repeats of each setting with the next seeds.", min=1)] = 1,
    seed: Annotated[int | None, typer.Option(help="Seed of every experiment; else each draws its own.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Data set, such as mnist; else the server's default.")] = None,
    report: Annotated[Path, typer.Option(help="Write the report to this file.")] = Path("bnlab-lesson.html"),
    state_dir: StateDir = Path(".bnlab"),
) -> None:
    """Reproduce the whole lesson, all that it trained and measured, and write a report.

    It starts a service of its own in the state folder, unless --url or BNLAB_URL names a server.
    """
    from bnlab.connection import given
    from bnlab.lesson import run_here, run_there
    from bnlab.up import service_of_one_command

    request = {"base": given(replicates=replicates, seed=seed, dataset=dataset), "presets": "lesson"}
    with plain_errors():
        if context.obj.url:
            code = run_there(context.obj.url, context.obj.api_key, request, report)
        else:
            code = run_here(service_of_one_command(state_dir), request, report)
        raise typer.Exit(code)


def follow(client: "Client", id: str, url: str | None) -> dict[str, Any]:
    """Show the progress until the experiment has ended; Ctrl-C leaves it running."""
    from bnlab.progress import ArmBars

    with left_running("experiment", f"show {id}", url), ArmBars() as bars:
        return client.wait(id, on_change=bars.show)


def print_experiment(experiment: dict[str, Any]) -> None:
    """Print one experiment for people."""
    from bnlab.tables import arms_table, heading, remarks

    typer.echo(heading(experiment))
    print_tables(arms_table(experiment))
    for remark in remarks(experiment):
        typer.echo(remark)
    print_warnings(experiment)


def main() -> None:
    """Run the command."""
    app()
