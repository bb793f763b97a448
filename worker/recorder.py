"""Writes what a training brings: points and progress at once, then every so often, a checkpoint every few seconds.

While the database is away, what is to be written waits here and the training goes on; once the lease is over, the
training waits too: nothing is lost, and no work is done that another worker may do by then.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.orm import Session

from models import arms
from models.arms import Claim, Sample
from models.checkpoints import Checkpoint
from models.database import DATABASE_AWAY, Database, said
from models.settings import Settings
from models.spec import Status
from models.tables import Network
from worker.lease import Lease

if TYPE_CHECKING:
    from worker.training import Progress

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: While the database is away, it is asked so often.
RETRY_S = 0.5

#: An arm that is trained sooner is written once, at its end.
FIRST_WRITE_S = 0.1

#: Checkpoints take at most about one part in so many of the time: of large networks there are fewer.
CHECKPOINT_SHARE = 50


class Recorder:
    """The writer of one held arm; `stops` says whether its worker was told to stop."""

    def __init__(
        self, database: Database, held: Claim, lease: Lease, settings: Settings, stops: Callable[[], bool]
    ) -> None:
        self._database, self._held, self._lease, self._settings = database, held, lease, settings
        self._stops = stops
        self._unwritten: list[Sample] = []
        self._batches_written = 0
        begin = time.monotonic()
        self._first_write = self._next_write = begin + min(FIRST_WRITE_S, settings.write_interval_s)
        self._next_checkpoint = begin + settings.checkpoint_interval_s

    def cancelled_at(self, progress: "Progress") -> bool:
        """Take note of a chunk, write if it is time; return True once the arm has ended as cancelled.

        Raises FenceLost and PointsDiffer; what the database raises only if the worker stops meanwhile.
        """
        self._take(progress)
        begin, last = time.monotonic(), progress.trained is not None
        if begin < (self._first_write if last else self._next_write):
            return False
        checkpoint = progress.checkpoint() if begin >= self._next_checkpoint and not last else None
        cancelled = self._insist(lambda: self._write(progress, checkpoint), must=last)
        end = time.monotonic()
        self._next_write = end + (RETRY_S if cancelled is None else self._settings.write_interval_s)
        if checkpoint is not None and cancelled is not None:
            pause = max(self._settings.checkpoint_interval_s, CHECKPOINT_SHARE * (end - begin))
            self._next_checkpoint = end + pause
        return bool(cancelled)

    def give_back(self, progress: "Progress") -> Status:
        """Write all that is known, this chunk too, and put the arm back. Raises what the database raises."""
        self._take(progress)
        with self._database.write() as session:
            self._record(session, progress, progress.checkpoint())
            return arms.give_back(session, self._held)

    def succeed(self, progress: "Progress", networks: Sequence[Network]) -> Status:
        """End the arm with its networks, and with what is not yet written.

        Raises FenceLost and PointsDiffer; what the database raises only if the worker stops.
        """
        status = self._insist(lambda: self._succeed(progress, networks), must=True)
        assert status is not None  # where it must be now, it was written
        return status

    def _take(self, progress: "Progress") -> None:
        if progress.sample is not None:
            self._unwritten.append(progress.sample)

    def _insist(self, write: Callable[[], Result], *, must: bool) -> Result | None:
        """Return what a write returns. While the database is away, return None if it can wait, else try again.

        It can wait unless it must be now, or the lease is over.
        """
        while True:
            try:
                written = write()
            except DATABASE_AWAY as error:
                log.warning("The database takes nothing now: %s", said(error), extra={"action": "wait_for_database"})
                if self._stops():
                    raise
            else:
                self._lease.renewed()
                return written
            if not must and not self._lease.overdue:
                return None
            self._lease.advanced()  # it waits, but it does not hang
            time.sleep(RETRY_S)

    def _write(self, progress: "Progress", checkpoint: Checkpoint | None) -> bool:
        with self._database.write() as session:
            cancelled = self._record(session, progress, checkpoint)
            if cancelled:
                arms.mark_cancelled(session, self._held)
        self._unwritten, self._batches_written = [], progress.batches_done
        return cancelled

    def _record(self, session: Session, progress: "Progress", checkpoint: Checkpoint | None) -> bool:
        done, speed = progress.batches_done, progress.batches_per_second
        lease_s = self._settings.lease_s
        return arms.record(session, self._held, lease_s, done, speed, self._unwritten, checkpoint)

    def _succeed(self, progress: "Progress", networks: Sequence[Network]) -> Status:
        with self._database.write() as session:
            if self._batches_written < progress.batches_done:
                self._record(session, progress, None)
            return arms.succeed(session, self._held, networks)
