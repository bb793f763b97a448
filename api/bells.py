"""Rings for queued arms: sends the task by name, so the API never imports the worker."""

import logging
from collections.abc import Iterable
from uuid import UUID

from celery import Celery

from models.broker import TRAIN_ARM, celery_options
from models.settings import Settings

log = logging.getLogger(__name__)


class Bells:
    """The API's end of the broker."""

    def __init__(self, settings: Settings) -> None:
        self._celery = Celery("bnlab-api", set_as_current=False)
        self._celery.conf.update(celery_options(settings))
        self._celery.conf.broker_transport_options["max_retries"] = 0  # a broker that is down holds up no thread

    def ring(self, arm_ids: Iterable[UUID]) -> None:
        """Send a message for each arm. A lost one is no error: the workers look for waiting arms themselves."""
        for arm_id in arm_ids:
            try:
                self._celery.send_task(TRAIN_ARM, args=[str(arm_id)])
            except Exception as error:  # whatever the transport raises
                log.warning(
                    "The broker did not take a bell (%s); a worker will find arm %s.",
                    type(error).__name__,
                    arm_id,
                    extra={"action": "ring"},
                )
                return

    def reachable(self) -> bool:
        """Return whether the broker answers."""
        try:
            with self._celery.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=2)
            return True
        except Exception:  # whatever the transport raises
            return False
