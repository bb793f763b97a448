"""Keeps an arm ours while its training advances, and learns soon of a cancel or of its loss."""

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from models import arms
from models.arms import Claim
from models.database import DATABASE_AWAY, Database, said
from models.errors import FenceLost

log = logging.getLogger(__name__)

#: The longest between two renewals: a cancel is seen in so long, even while a program is being compiled.
RENEWAL_S = 1.0


class Lease:
    """A thread that renews the lease of a held arm, as long as the `with` block lasts and the training advances.

    When it has not advanced for `hang_limit_s`, `hung` is called once, and nothing is renewed any more. A cancel ends
    the arm at once; the training learns of it from `lost`.
    """

    def __init__(
        self, database: Database, held: Claim, lease_s: float, hang_limit_s: float, hung: Callable[[], object]
    ) -> None:
        self.lost = False
        self.cancelled = False
        self._database, self._held = database, held
        self._lease_s, self._hang_limit_s, self._hung = lease_s, hang_limit_s, hung
        self._renewed_at = self._advanced_at = time.monotonic()
        self._ended = threading.Event()
        here = contextvars.copy_context()  # what this thread logs is about the same arm
        self._thread = threading.Thread(target=here.run, args=(self._run,), daemon=True, name="lease")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(self._lease_s)

    @property
    def overdue(self) -> bool:
        """Whether the last renewal is longer ago than the lease: another worker may have the arm by now."""
        return time.monotonic() - self._renewed_at > self._lease_s

    def advanced(self) -> None:
        """Note that the training has come further. Raises FenceLost if the arm is known to be held no more."""
        self._advanced_at = time.monotonic()
        if self.lost:
            raise FenceLost(arm_id=str(self._held.arm_id), fence=self._held.fence)

    def renewed(self) -> None:
        """Note that a write has renewed the lease."""
        self._renewed_at = time.monotonic()

    def _run(self) -> None:
        period = min(RENEWAL_S, self._lease_s / 3)
        while not self._ended.wait(period) and not self.lost:
            now = time.monotonic()
            if now - self._advanced_at > self._hang_limit_s:
                log.error("Arm %s has not advanced for %g s.", self._held.arm_id, self._hang_limit_s)
                self._hung()
                return
            if now - self._renewed_at >= period:
                self._renew()

    def _renew(self) -> None:
        try:
            with self._database.write() as session:
                cancelled = arms.renew(session, self._held, self._lease_s)
                if cancelled:
                    arms.mark_cancelled(session, self._held)
        except FenceLost:
            self.lost = True
        except DATABASE_AWAY as error:
            log.warning("A lease could not be renewed: %s", said(error), extra={"action": "renew"})
        else:
            self.renewed()
            self.cancelled = self.lost = cancelled
