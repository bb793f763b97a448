"""`python -m ops.keys` makes, lists and revokes API keys, in the database of the settings."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from models import keys
from models.errors import BnlabError, InvalidInput
from models.scopes import Scope
from models.settings import read_settings
from models.tables import ApiKey
from ops.database import CannotUse, opened
from ops.times import seconds

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="API keys: who may use the service, and for what. Needed when it listens to more than its own machine.",
)

SCOPES = "read: look and predict; write: also submit and cancel; admin: everybody's things, and the service itself."

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is, or what for.")],
    scope: Annotated[Scope, typer.Option(help=SCOPES)],
    expires_in: Annotated[
        int | None, typer.Option(parser=seconds, metavar="TIME", help="Such as 12h, 30d, 8w; else never.")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Else BNLAB_REQUESTS_PER_MINUTE.")] = None,
    max_active_experiments: Annotated[int | None, typer.Option(help="Else BNLAB_MAX_ACTIVE_EXPERIMENTS.")] = None,
    owner: Annotated[
        str | None, typer.Option("--for", metavar="KEY", help="Another key of this one's owner; its id, or beginning.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it; it is shown this once, and stored nowhere.

    It is the first key of a new owner, or, with --for, one more of the same: it sees what that one has made.
    """
    with _writing() as session:
        owner_id = _named(session, owner).owner_id if owner else None
        limits = requests_per_minute, max_active_experiments
        row, text = keys.create(session, name, scope, expires_in, *limits, owner_id)
    if as_json:
        typer.echo(json.dumps({"key": text, **_described(row)}, indent=2))
        return
    typer.echo(text)
    until = f" until {_moment(row.expires_at)}" if row.expires_at else ""
    typer.echo(
        f"This is the key {row.name!r}, id {row.id}, of scope {row.scope}{until}. Keep it now: it is shown this once. "
        "Its holder sends it as BNLAB_API_KEY, or in the header Authorization: Bearer.",
        err=True,
    )


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List all keys there ever were, the oldest first; of each, how it begins."""
    with _reading() as session:
        rows, expired = keys.read_all(session), keys.expired(session)
    described = [{**_described(row), "state": _state(row, expired)} for row in rows]
    if as_json:
        typer.echo(json.dumps({"keys": described}, indent=2))
    elif not rows:
        typer.echo("There are no keys yet.")
    else:
        columns = ("id", "owner_id", "name", "scope", "beginning", "state", "created_at", "expires_at", "last_used_at")
        typer.echo(_table(columns, [[str(row[column] or "-") for column in columns] for row in described]))


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID_OR_BEGINNING", help="Its id, or its first characters.")],
) -> None:
    """Revoke a key for ever, within seconds; what was made with it stays its owner's (`create --for` makes another)."""
    with _writing() as session:
        found = _named(session, key)
        revoked = keys.revoke(session, found.id)
    how = "is revoked; within seconds no process takes it any more" if revoked else "was revoked before"
    typer.echo(f"The key {found.name!r}, {found.beginning}…, {how}.")


def _named(session: Session, key: str) -> ApiKey:
    """Return the one key that is meant. Raises _Unclear."""
    found = keys.named(session, key)
    if len(found) != 1:
        raise _Unclear(key[: keys.SHOWN_CHARACTERS] if key.startswith(keys.PREFIX) else key, found)
    return found[0]


class _Unclear(BnlabError):
    """It is not clear which key is meant."""

    code = "unclear_key"

    def __init__(self, named: str, found: Sequence[ApiKey]) -> None:
        super().__init__(
            f"There is no key {named!r}; `list` shows them all."
            if not found
            else f"{len(found)} keys are {named!r}: {', '.join(str(row.id) for row in found)}; name one by its id."
        )


@contextmanager
def _reading() -> Iterator[Session]:
    with _plain_errors(), opened(read_settings()) as database, database.read() as session:
        yield session


@contextmanager
def _writing() -> Iterator[Session]:
    with _plain_errors(), opened(read_settings()) as database, database.write() as session:
        yield session


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Say what goes wrong in a line, and end with 1."""
    try:
        yield
    except InvalidInput as error:
        wrong = (f"{each.field}: allowed is {each.allowed}; received {each.received!r}." for each in error.errors)
        _end("\n".join(wrong))
    except BnlabError as error:
        _end(error.message)
    except CannotUse as error:
        _end(f"The keys cannot be reached: {error}. {error.mend}")


def _end(sentence: str) -> None:
    typer.echo(sentence, err=True)
    raise typer.Exit(1) from None


def _described(row: ApiKey) -> dict[str, Any]:
    """Return a key as JSON has it; its text is nowhere."""
    return {
        "id": str(row.id),
        "owner_id": str(row.owner_id),
        "name": row.name,
        "scope": row.scope.value,
        "beginning": row.beginning,
        "created_at": _moment(row.created_at),
        "expires_at": _moment(row.expires_at),
        "revoked_at": _moment(row.revoked_at),
        "last_used_at": _moment(row.last_used_at),
        "requests_per_minute": row.requests_per_minute,
        "max_active_experiments": row.max_active_experiments,
    }


def _state(row: ApiKey, expired: set[Any]) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.id in expired else "valid"


def _moment(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


if __name__ == "__main__":
    app()
