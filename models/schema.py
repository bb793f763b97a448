"""Whether the database has the tables this version needs."""

from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from models.tables import Base

#: The newest file of `migrations/versions`; a test holds the two together.
REVISION = "2026112315"


def is_current(session: Session) -> bool:
    """Return whether the newest migration has run."""
    if not set(Base.metadata.tables) < set(inspect(session.connection()).get_table_names()):
        return False
    return session.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [REVISION]
