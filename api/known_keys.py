"""The keys that were found lately: they need no query for a few seconds, so a revoked one ends within them."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from api.shared_looks import SharedLooks
from models import keys
from models.database import Database
from models.keys import Key

log = logging.getLogger(__name__)

KNOWN_FOR_S = 5.0
MOST = 1_000
CLOSE_TIMEOUT_S = 1.0


class KnownKeys:
    """A few thousand bytes of valid keys, by the hash of their text; wrong ones are never kept."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._found: OrderedDict[str, tuple[float, Key]] = OrderedDict()
        self._looks: SharedLooks[tuple[Key | None, bool]] = SharedLooks()
        self._to_be_noted: set[UUID] = set()
        self._notes: threading.Thread | None = None

    def close(self) -> None:
        """Let what is to be noted be written, if that takes no longer than a moment."""
        if self._notes is not None:
            self._notes.join(CLOSE_TIMEOUT_S)

    async def find(self, text: str) -> Key | None:
        """Return the valid key with this text, or None; a thread and a query only if it is not known.

        All who ask for one key at one moment share one look.
        """
        if not keys.PATTERN.fullmatch(text):
            return None
        hashed = keys.sha256(text)
        until, key = self._found.get(hashed, (0.0, None))
        if key is not None and self._clock() < until:
            return key
        asked_at = self._clock()
        found, is_due = await self._looks.find(hashed, partial(self._read, text))
        self._found.pop(hashed, None)
        if found is not None:
            self._found[hashed] = (asked_at + KNOWN_FOR_S, found)
            if len(self._found) > MOST:
                self._found.popitem(last=False)
            if is_due:
                self._note(found.id)
        return found

    def _read(self, text: str) -> tuple[Key | None, bool]:
        """Return the key, and whether its use is to be noted."""
        with self._database.read() as session:
            found = keys.find(session, text)
            return found, found is not None and keys.use_is_due(session, found.id)

    def _note(self, key_id: UUID) -> None:
        """Have it noted that a key is used. No request waits for that: it may have to wait for other writers."""
        self._to_be_noted.add(key_id)
        if self._notes is None or not self._notes.is_alive():
            self._notes = threading.Thread(target=self._write_notes, daemon=True, name="key uses")
            self._notes.start()

    def _write_notes(self) -> None:
        """Note which keys were used. A database that cannot be written to is no reason to refuse their holders."""
        while used := set(self._to_be_noted):
            try:
                with self._database.write() as session:
                    for key_id in sorted(used):  # in one order everywhere, or two processes could lock each other out
                        keys.note_use(session, key_id)
            except SQLAlchemyError as error:
                log.warning("The use of a key cannot be noted.", exc_info=error, extra={"action": "skip_note_of_use"})
            finally:
                self._to_be_noted.difference_update(used)
