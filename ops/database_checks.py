"""Checks of the database: that it answers and has room, that its tables are the newest, that its clock is right."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from models import condition, schema
from models.database import POOL_SIZE
from models.settings import Settings
from ops.database import CannotUse, opened
from ops.finding import Finding, in_bytes, ok, problem, warning

SLOW_S = 0.5
#: As models.leases has it: leases are judged by the database's clock, what people read by the host's.
CLOCKS_APART_S = 2.0
#: Half of a SQLite file is worth giving back if it is at least so much.
WORTH_BYTES = 100_000_000


def database(settings: Settings) -> Iterator[Finding]:
    """See whether it answers, how soon, and whether connections are left."""
    try:
        with opened(settings, current=False) as there, there.read() as session:
            begin = time.monotonic()
            found = condition.server(session)
            took_s = time.monotonic() - begin
    except CannotUse as error:
        yield problem("database", f"The database cannot be used: {error}.", error.mend)
        return
    sentence = f"{found.version} answers in {took_s * 1_000:.0f} ms; the database takes {in_bytes(found.size_bytes)}"
    if found.connections is not None and found.most_connections is not None:
        sentence += f"; {found.connections} of {found.most_connections} connections are in use"
        if found.connections + POOL_SIZE > found.most_connections:
            yield warning("database", f"{sentence}.", "Raise max_connections, or put a pooler before it.")
            return
    if took_s > SLOW_S:
        yield warning("database", f"{sentence}.", "See what keeps it busy: its disk, long statements, a backup.")
    elif found.unused_bytes > max(WORTH_BYTES, found.size_bytes / 2):
        unused = f"{sentence}, {in_bytes(found.unused_bytes)} of it unused."
        yield warning("database", unused, "Give it back with VACUUM, see docs/operations.md; or leave it for new rows.")
    else:
        yield ok("database", f"{sentence}.")


def migrations(settings: Settings) -> Iterator[Finding]:
    """See whether the tables are those that this version needs."""
    with opened(settings, current=False) as there, there.read() as session:
        found, current = schema.revision(session), schema.is_current(session)
    if schema.is_newer(found):
        sentence = f"The tables are those of revision {found}, newer than this version's {schema.REVISION}."
        yield warning("migrations", sentence, "Use the newer version here too.")
    elif current:
        yield ok("migrations", f"The tables are those of revision {found}, the newest.")
    else:
        there_is = f"The tables are those of revision {found}" if found else "There are no tables yet"
        sentence = f"{there_is}; this version needs revision {schema.REVISION}."
        yield problem("migrations", sentence, "Run `python -m migrations`, which `bnlab up` does by itself.")


def clock(settings: Settings) -> Iterator[Finding]:
    """Hold this host's clock against the database's."""
    with opened(settings, current=False) as there, there.read() as session:
        before = datetime.now(UTC)
        moment = condition.now(session)
        after = datetime.now(UTC)
    apart_s = max((before - moment).total_seconds(), (moment - after).total_seconds(), 0.0)
    if apart_s <= CLOCKS_APART_S:
        yield ok("clock", f"This host's clock and the database's agree within {max(apart_s, 0.1):.1f} s.")
        return
    sentence = f"This host's clock and the database's are {apart_s:.1f} s apart; leases go by the database's."
    yield warning("clock", sentence, "Let both hosts keep the time, with chrony or systemd-timesyncd.")
