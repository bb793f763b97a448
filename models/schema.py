"""Whether the database has the tables this version needs."""

from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from models.tables import Base

#: The newest file of `migrations/versions`; a test holds the two together. A revision is a moment, in ten digits: later
#: ones are greater.
REVISION = "2026112315"


def is_current(session: Session) -> bool:
    """Return whether the newest migration this version knows has run.

    Newer ones may have run too: each leaves the version before it able to work, see CONTRIBUTING.md.
    """
    found = revision(session)
    return (found == REVISION or is_newer(found)) and set(Base.metadata.tables) < _tables(session)


def is_newer(found: str | None) -> bool:
    """Return whether a revision is newer than any this version knows."""
    return found is not None and found.isdecimal() and len(found) == len(REVISION) and found > REVISION


def revision(session: Session) -> str | None:
    """Return the migration that ran last; None: no table is there yet."""
    if "alembic_version" not in _tables(session):
        return None
    return session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _tables(session: Session) -> set[str]:
    return set(inspect(session.connection()).get_table_names())
