"""The commands of whoever runs the service: `bnlab keys`, `doctor` and `prune` become `python -m ops.…`.

They speak to the database itself, so they run where the repository and its settings are. Arguments, environment, folder
and terminal are passed on as they are, and so is the exit code: this process becomes that one.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from bnlab.commands import repository_root
from bnlab.console import plain_errors

#: Whatever stands behind the command, `--help` included, is for the program that does the work.
PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": True}
STATE_DIR = "BNLAB_STATE_DIR"

COMMANDS = {
    "keys": "Make, list and revoke API keys.",
    "doctor": "Say what is wrong with this set-up, and how to mend it.",
    "prune": "Remove experiments that ended long ago.",
}

StateDir = Annotated[
    Path | None, typer.Option(envvar=STATE_DIR, help="Folder of the database, the messages, the logs, the data.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, promise in COMMANDS.items():
        app.command(name, help=promise, add_help_option=False, context_settings=PASSED_ON)(_runs(name))


def _runs(name: str) -> Callable[..., None]:
    def run(context: typer.Context, state_dir: StateDir = None) -> None:
        become(name, context.args, state_dir)

    return run


def become(name: str, arguments: list[str], state_dir: Path | None) -> None:
    """Become `python -m ops.NAME` with these arguments. Says NeedsRepository where there is none."""
    with plain_errors():
        root = repository_root(Path(__file__).parent)
    environment = dict(os.environ)
    # The repository, and with -P never the caller's own folder, is where modules are looked for: the folder stays the
    # caller's, and every path in the arguments and settings means what it says.
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    if state_dir is not None:
        environment[STATE_DIR] = str(state_dir)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-P", "-m", f"ops.{name}", *arguments], environment)  # nosec B606
