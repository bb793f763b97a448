"""The condition of the database, as whoever runs it asks for it: its server, its room, its clock, what stands still."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session

from models import clock
from models.spec import Status
from models.tables import Arm

_POSTGRES = """
SELECT current_setting('server_version') AS version,
       pg_database_size(current_database()) AS size,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS most
"""


@dataclass(frozen=True)
class Server:
    """What answers, how much room the database takes, and how many connections there are of how many."""

    version: str
    size_bytes: int
    unused_bytes: int  # of a SQLite file: room that deleted rows have left in it
    connections: int | None
    most_connections: int | None


def server(session: Session) -> Server:
    """Return what answers."""
    if session.get_bind().dialect.name != "sqlite":
        row = session.execute(text(_POSTGRES)).one()
        return Server(f"PostgreSQL {row.version.partition(' ')[0]}", row.size, 0, row.connections, row.most)
    version = session.execute(text("SELECT sqlite_version()")).scalar_one()
    pages, unused, page = (
        int(session.execute(text(f"PRAGMA {name}")).scalar_one())
        for name in ("page_count", "freelist_count", "page_size")
    )
    return Server(f"SQLite {version}", pages * page, unused * page, None, None)


def now(session: Session) -> datetime:
    """Return the time as the database has it."""
    return session.scalars(select(clock.now())).one()


def stuck(session: Session, for_s: float) -> int:
    """Return how many arms run whose lease has been over for so long: nobody has taken them back."""
    over = or_(Arm.lease_expires_at.is_(None), Arm.lease_expires_at < clock.in_seconds(-for_s))
    return session.scalars(select(func.count()).where(Arm.status == Status.RUNNING, over)).one()
