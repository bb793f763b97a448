"""The command `bnlab`: submit experiments, follow them, draw their curves, predict digits, run the whole service.

Exit codes: 0 it worked; 1 the server said no, or the experiment did not succeed; 2 the command line is wrong;
130 Ctrl-C, while an experiment was followed.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnlab import options
from bnlab.errors import BnlabError

if TYPE_CHECKING:  # each command imports what it needs: `bnlab --help` should not wait for the rest
    from bnlab.client import Client

INTERRUPTED = 130

app = typer.Typer(name="bnlab", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Id = Annotated[str, typer.Argument(metavar="ID", help="The experiment's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the server's JSON.")]
StateDir = Annotated[
    Path, typer.Option(envvar="BNLAB_STATE_DIR", help="Folder of the database, the messages, the logs, the data.")
]


@app.callback()
def everywhere(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Option(envvar="BNLAB_URL", help="Address of the server; else http://127.0.0.1:8000.")
    ] = None,
) -> None:
    """The batch normalization lesson: train a network without and with it, and compare."""
    context.obj = url


@app.command()
def submit(
    context: typer.Context,
    network: options.Network = None,
    activation: options.Activation = None,
    learning_rate: options.LearningRate = None,
    weight_scale: options.WeightScale = None,
    hidden_layers: options.HiddenLayers = None,
    batch_size: options.BatchSize = None,
    training_batches: options.TrainingBatches = None,
    batches_per_sample: options.BatchesPerSample = None,
    replicates: options.Replicates = None,
    seed: options.Seed = None,
    dataset: options.Dataset = None,
    preset: options.Preset = None,
    momentum: options.Momentum = None,
    epsilon: options.Epsilon = None,
    placement: options.Placement = None,
    implementation: options.Implementation = None,
    update_population_statistics: options.UpdatePopulationStatistics = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show the progress until the experiment has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit an experiment and print its id."""
    spec = options.spec_from(context.params)
    with connected(context.obj) as client:
        experiment = client.submit(**spec)
        if not as_json:
            typer.echo(experiment["id"])
        if wait:
            experiment = follow(client, experiment["id"], context.obj)
        if as_json:
            print_json(experiment)
        elif wait:
            print_experiment(experiment)
    if wait and experiment["status"] != "succeeded":
        raise typer.Exit(1)


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
    from rich.console import Console

    from bnlab.tables import experiments_table

    Console().print(experiments_table(page["experiments"]))
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
def curve(
    context: typer.Context,
    id: Id,
    png: Annotated[Path | None, typer.Option(help="Write the picture to this file.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the picture to this file.")] = None,
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
    as_json: AsJson = False,
) -> None:
    """Ask a trained network which digit a picture shows."""
    with connected(context.obj) as client:
        answer = client.predict(file, experiment, arm, replicate, statistics)
    if as_json:
        print_json(answer)
        return
    probability = answer["probabilities"][answer["digit"]]
    typer.echo(
        f"{answer['digit']}  (probability {probability:.4f}; {answer['arm']}, replicate {answer['replicate']}, "
        f"{answer['statistics']} statistics, experiment {answer['experiment']})"
    )


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


@contextmanager
def connected(url: str | None) -> Iterator["Client"]:
    """Give a client of the server; what goes wrong is said in plain words, and the command ends with 1."""
    from bnlab.client import Client

    with plain_errors(), Client(url) if url else Client() as client:
        yield client


@contextmanager
def plain_errors() -> Iterator[None]:
    """Say what goes wrong in plain words on standard error and end with 1."""
    try:
        yield
    except BrokenPipeError:  # `bnlab list | head`: typer knows what to do
        raise
    except (BnlabError, OSError) as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None


def follow(client: "Client", id: str, url: str | None) -> dict[str, Any]:
    """Show the progress until the experiment has ended; Ctrl-C leaves it running and says how to come back."""
    from bnlab.progress import ArmBars

    try:
        with ArmBars() as bars:
            return client.wait(id, on_change=bars.show)
    except KeyboardInterrupt:
        command = f"bnlab --url {url}" if url else "bnlab"
        typer.echo(f"The experiment goes on. Look at it again with: {command} show {id}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def print_experiment(experiment: dict[str, Any]) -> None:
    """Print one experiment for people."""
    from rich.console import Console

    from bnlab.tables import arms_table, heading

    typer.echo(heading(experiment))
    Console().print(arms_table(experiment))


def print_json(answer: dict[str, Any]) -> None:
    """Print what the server answered for scripts."""
    json.dump(answer, sys.stdout, indent=2)
    typer.echo()


def write(file: Path, content: bytes) -> None:
    """Write a file and say where it is."""
    file.write_bytes(content)
    typer.echo(f"Written: {file}")


def main() -> None:
    """Run the command."""
    app()
