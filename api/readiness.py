"""Whether experiments can be accepted and answered: one look at a time, whose answer is good for a second.

Whoever asks needs no key, and a look costs a thread, a query and a connection to the broker.
"""

import asyncio
import time

from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError

from api.bells import Bells
from models import schema
from models.database import Database

FRESH_FOR_S = 1.0


class Readiness:
    """The newest look at what the service stands on."""

    def __init__(self) -> None:
        self._look: asyncio.Future[list[str]] | None = None
        self._begun_at = 0.0

    async def missing(self, database: Database, bells: Bells) -> list[str]:
        """Return what is missing, a sentence for each."""
        look = self._look
        if look is None or (look.done() and time.monotonic() - self._begun_at >= FRESH_FOR_S):
            look = asyncio.ensure_future(to_thread.run_sync(_missing, database, bells))
            self._look, self._begun_at = look, time.monotonic()
        return await asyncio.shield(look)  # others wait for it too, when this request has gone


def _missing(database: Database, bells: Bells) -> list[str]:
    missing = []
    try:
        with database.read() as session:
            if not schema.is_current(session):
                missing.append("The database lacks the newest tables: run `python -m migrations`.")
    except SQLAlchemyError:
        missing.append("The database does not answer: check BNLAB_DATABASE_URL and that it runs.")
    if not bells.reachable():
        missing.append("The broker does not answer: check BNLAB_BROKER_URL and that it runs.")
    return missing
