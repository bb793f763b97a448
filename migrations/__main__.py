"""`python -m migrations` brings the database to the newest tables; it may be run again at any time."""

import sys
import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from models import misspelt, schema
from models.database import Database, said
from models.settings import read_settings

#: Pauses between two tries while other transactions hold a table: about two minutes in all.
PAUSES_S = (0.5, 1, 2, 4, 8, 15, 15, 15, 15, 15, 15)
LOCK_NOT_AVAILABLE = "55P03"  # Postgres's word for a lock that was not had in time

HELD = "Other transactions hold a table that is to be changed"


def configuration() -> Config:
    """Return Alembic's configuration, whatever the working directory."""
    return Config(toml_file=Path(__file__).parents[1] / "pyproject.toml")


def main() -> None:
    """Upgrade to the newest revision; a database that is newer than this version stays as it is."""
    settings = read_settings()
    for sentence in misspelt.sentences():
        print(f"Warning: {sentence}", file=sys.stderr)
    if settings.database_url.startswith("sqlite"):
        _make(settings.state_dir)
    try:
        revision = _revision(settings.database_url)
    except (ArgumentError, ModuleNotFoundError, NoSuchModuleError, ValueError, OperationalError) as error:
        # No address, no driver, no answer: nothing but the address was asked so far.
        reason = said(error) if isinstance(error, OperationalError) else "it is no address this version can use"
        sys.exit(f"The database cannot be used: check BNLAB_DATABASE_URL ({reason}).")
    if schema.is_newer(revision):
        print(f"The database is at revision {revision}, newer than this version's {schema.REVISION}: nothing to do.")
        return
    upgrade()


def _make(state_dir: Path) -> None:
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"The state folder {state_dir} cannot be made: check BNLAB_STATE_DIR ({error.strerror}).")


def _revision(url: str) -> str | None:
    database = Database(url)
    try:
        with database.read() as session:
            return schema.revision(session)
    finally:
        database.close()


def upgrade() -> None:
    """Upgrade to the newest revision, in as many tries as it takes while others hold a table."""
    for pause_s in PAUSES_S:
        if _upgraded():
            return
        print(f"{HELD}; trying again in {pause_s:g} s.", file=sys.stderr)
        time.sleep(pause_s)
    if not _upgraded():
        sys.exit(f"{HELD}, and do not let go of it. What was done before is kept; run this again later.")


def _upgraded() -> bool:
    """Try once; return whether no transaction held a table for too long."""
    try:
        command.upgrade(configuration(), "head")
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        return False
    return True


if __name__ == "__main__":
    main()
