"""`bnlab demo`: the lesson in one command, from the first batch to what goes wrong with batch statistics."""

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from bnlab.children import stop_signals_interrupt
from bnlab.client import Client
from bnlab.connection import Json
from bnlab.console import INTERRUPTED
from bnlab.figures import accuracy, four_places
from bnlab.progress import ArmBars
from bnlab.tables import ARMS, failure
from bnlab.terminal_curve import draw
from bnlab.up import service_of_one_command

PRESET = "relu-0.01-good-weights-2000"
DIGITS = 10

WHY = (
    "With batch statistics the answer is the same digit whatever the image: a batch of one image has variance 0, so "
    "each normalized value is 0 and each unit passes on only its beta. Population statistics know the values of many "
    "images."
)


def run(state_dir: Path) -> int:
    """Run the demo on a service of its own and return the exit code. Raises CannotRun."""
    console = Console(highlight=False)
    with stop_signals_interrupt():
        try:
            with service_of_one_command(state_dir) as service, Client(service.url) as client:
                return tell(client, service.state_dir / "demo-curve.png", console)
        except KeyboardInterrupt:
            console.print("The demo was stopped.")
            return INTERRUPTED


def tell(client: Client, picture: Path, console: Console) -> int:
    """Train, compare, draw and predict; 1 if the experiment did not succeed."""
    experiment = client.submit(preset=PRESET)
    id = experiment["id"]
    spec = experiment["spec"]
    console.print(
        f"Experiment {id}: {spec['activation']}, learning rate {spec['learning_rate']}, weight scale "
        f"{spec['weight_scale']}, {spec['training_batches']:,} batches of {spec['batch_size']}, seed {spec['seed']}."
    )
    with ArmBars() as bars:
        experiment = client.wait(id, on_change=bars.show)
    if experiment["status"] != "succeeded":
        console.print("\n".join([f"The experiment {experiment['status']}.", *failure(experiment)]), markup=False)
        return 1
    console.print(comparison(experiment))
    if not experiment["preset"]["published"]:
        console.print(f"This was the data set {spec['dataset']}; the lesson's figures, for mnist, are not compared.")
    console.print(draw(client.curve(id)))
    picture.write_bytes(client.curve_picture(id, "png"))
    console.print(f"The curve as a picture: {picture}", soft_wrap=True, markup=False)
    console.print(predictions(client, id))
    console.print(WHY)
    return 0


def comparison(experiment: Json) -> Table:
    """Return the final validation accuracy of both arms, beside the lesson's where they can be compared."""
    published = experiment["preset"]["published"]
    table = Table(title="Final validation accuracy", box=box.SIMPLE)
    table.add_column("arm")
    table.add_column("here", justify="right")
    if published:
        table.add_column("the lesson", justify="right")
    for name in ARMS:
        here = accuracy(experiment["arms"][name]["final_validation_accuracy"])
        table.add_row(name, here, *([four_places(published[name]["validation_accuracy"])] if published else []))
    return table


def predictions(client: Client, id: str) -> Table:
    """Return the answers to test digits, one request for each, with population and with batch statistics."""
    table = Table(title=f"{DIGITS} test digits, one at a time, by the arm with_batch_norm", box=box.SIMPLE)
    for column in ("label", "population statistics", "batch statistics"):
        table.add_column(column, justify="center")
    for digit in client.digits(DIGITS)["digits"]:
        answers = [
            client.predict(digit["image"], experiment=id, arm="with_batch_norm", statistics=statistics)["digit"]
            for statistics in ("population", "batch")
        ]
        table.add_row(str(digit["label"]), *(marked(answer, digit["label"]) for answer in answers))
    return table


def marked(answer: int, label: int) -> str:
    """Return an answer with a mark for right or wrong."""
    return f"[green]{answer} ✓[/green]" if answer == label else f"[red]{answer} ✗[/red]"
