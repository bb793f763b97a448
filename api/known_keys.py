"""The keys that were found lately: they need no query for a few seconds, so a revoked one ends within them."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError

from models import keys
from models.database import Database
from models.keys import Key

log = logging.getLogger(__name__)

KNOWN_FOR_S = 5.0
MOST = 1_000


class KnownKeys:
    """A few thousand bytes of valid keys, by the hash of their text; wrong ones are never kept."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._found: OrderedDict[str, tuple[float, Key]] = OrderedDict()

    async def find(self, text: str) -> Key | None:
        """Return the valid key with this text, or None; a thread and a query only if it is not known."""
        if not keys.PATTERN.fullmatch(text):
            return None
        hashed = keys.sha256(text)
        until, key = self._found.get(hashed, (0.0, None))
        if key is not None and self._clock() < until:
            return key
        found = await to_thread.run_sync(self._read, text)
        self._found.pop(hashed, None)
        if found is not None:
            self._found[hashed] = (self._clock() + KNOWN_FOR_S, found)
            if len(self._found) > MOST:
                self._found.popitem(last=False)
        return found

    def _read(self, text: str) -> Key | None:
        with self._database.read() as session:
            found = keys.find(session, text)
            due = found is not None and keys.use_is_due(session, found.id)
        if found is not None and due:
            self._note_use(found)
        return found

    def _note_use(self, key: Key) -> None:
        """Note that a key was used. A database that cannot be written to is no reason to refuse its holder."""
        try:
            with self._database.write() as session:
                keys.note_use(session, key.id)
        except SQLAlchemyError as error:
            log.warning("The use of a key cannot be noted.", exc_info=error, extra={"action": "skip_note_of_use"})
