"""What all commands share: the connection to the server, plain words for what goes wrong, and how they print."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from bnlab.errors import BnlabError

if TYPE_CHECKING:  # each command imports what it needs: `bnlab --help` should not wait for the rest
    from rich.table import Table

    from bnlab.client import Client

INTERRUPTED = 130

Json = dict[str, Any]

AsJson = Annotated[bool, typer.Option("--json", help="Print the server's JSON.")]
IdempotencyKey = Annotated[
    str | None, typer.Option(help="Submitting again with the same key makes nothing new; else a key is drawn.")
]
Png = Annotated[Path | None, typer.Option(help="Write the picture to this file.")]
Svg = Annotated[Path | None, typer.Option(help="Write the picture to this file.")]


class Server(NamedTuple):
    """Which server the commands speak to, and with which API key; None: this machine's, and none."""

    url: str | None
    api_key: str | None


@contextmanager
def connected(server: Server) -> Iterator["Client"]:
    """Give a client of the server; what goes wrong is said in plain words, and the command ends with 1."""
    from bnlab.client import Client
    from bnlab.connection import DEFAULT_URL

    with plain_errors(), Client(server.url or DEFAULT_URL, api_key=server.api_key) as client:
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


@contextmanager
def left_running(what: str, command: str, url: str | None) -> Iterator[None]:
    """Let Ctrl-C end the command but not what the server does, and say how to come back to it."""
    try:
        yield
    except KeyboardInterrupt:
        bnlab = f"bnlab --url {url}" if url else "bnlab"
        typer.echo(f"The {what} goes on. Look at it again with: {bnlab} {command}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def tell_submitted(
    answer: Json, waited: Callable[[], Json] | None, show: Callable[[Json], None], as_json: bool
) -> None:
    """Print the id of what was submitted; if it is waited for, also what came of it, and end with 1 if it failed."""
    if not as_json:
        typer.echo(answer["id"])
    ended = waited() if waited else answer
    if as_json:
        print_json(ended)
    elif waited:
        show(ended)
    if waited and ended["status"] != "succeeded":
        raise typer.Exit(1)


def print_tables(*tables: "Table") -> None:
    """Print tables for people, as wide as the terminal; what looks like markup in them is text."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for table in tables:
        console.print(table)


def print_json(answer: dict[str, Any]) -> None:
    """Print what the server answered for scripts."""
    json.dump(answer, sys.stdout, indent=2)
    typer.echo()


def print_warnings(answer: dict[str, Any], err: bool = False) -> None:
    """Print what the server warns of."""
    for warning in answer["warnings"]:
        typer.echo(f"Warning: {warning['message']}", err=err)


def write(file: Path, content: bytes) -> None:
    """Write a file and say where it is."""
    file.write_bytes(content)
    typer.echo(f"Written: {file}")
