"""The operator's way to the database: opened where there is one with tables, else one sentence on what to mend."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from models import schema
from models.database import Database, said
from models.passwords import without_password
from models.settings import Settings


class CannotUse(Exception):
    """The database cannot be used; the message says why, `mend` how to mend it."""

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(reason)
        self.mend = mend


@contextmanager
def opened(settings: Settings, current: bool = True) -> Iterator[Database]:
    """Open the database of the settings; it is never made. Raises CannotUse, also for what fails inside the block.

    `current`: it must have the tables that this version needs.
    """
    shown = without_password(settings.database_url)
    _refuse_missing_file(settings)
    try:
        database = Database(settings.database_url)
    except (ArgumentError, ModuleNotFoundError, NoSuchModuleError, ValueError):  # ValueError: a port that is no number
        raise CannotUse(f"{shown} is no address this version can use", "Correct BNLAB_DATABASE_URL.") from None
    try:
        if current:
            _refuse_old_tables(database)
        yield database
    except SQLAlchemyError as error:
        mend = "Check BNLAB_DATABASE_URL, and that it runs."
        raise CannotUse(f"{shown} does not answer: {said(error)}", mend) from error
    finally:
        database.close()


def _refuse_missing_file(settings: Settings) -> None:
    try:
        address = make_url(settings.database_url)
    except (ArgumentError, ValueError):
        return
    file = address.database
    if address.get_backend_name() == "sqlite" and not (file and Path(file).is_file()):
        raise CannotUse(f"there is no file {file}", "Start `bnlab up`, or name another folder with BNLAB_STATE_DIR.")


def _refuse_old_tables(database: Database) -> None:
    with database.read() as session:
        if not schema.is_current(session):
            found = schema.revision(session)
            reason = f"it has the tables of revision {found}" if found else "it has no tables"
            raise CannotUse(
                f"{reason}, and this version needs those of {schema.REVISION}", "run `python -m migrations`"
            )
