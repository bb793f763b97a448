"""Rings for waiting arms: sends the task by name, from a thread of its own, so no request ever waits for a broker."""

import logging
import threading

from celery import Celery

from models.broker import TRAIN_WAITING_ARMS, celery_options
from models.settings import Settings

log = logging.getLogger(__name__)

#: So many bells wake every worker there may be; each that hears one trains until no arm waits.
MOST = 64
SOCKET_TIMEOUT_S = 1
CLOSE_TIMEOUT_S = 1.0


class Bells:
    """The API's end of the broker. A lost bell is no error: the workers look for waiting arms themselves."""

    def __init__(self, settings: Settings) -> None:
        self._celery = Celery("bnlab-api", set_as_current=False)
        self._celery.conf.update(celery_options(settings))
        options = self._celery.conf.broker_transport_options
        options["max_retries"] = 0
        if settings.broker_url.startswith("redis"):  # a frozen one takes the connection, but never answers
            options |= {"socket_connect_timeout": SOCKET_TIMEOUT_S, "socket_timeout": SOCKET_TIMEOUT_S}
        self._changed = threading.Condition()
        self._noted = 0
        self._thread: threading.Thread | None = None
        self._broker_takes = True

    def ring(self, count: int) -> None:
        """Note that so many more arms wait, and return at once."""
        with self._changed:
            self._noted += count
            if self._thread is None:  # it lives until `close`
                self._thread = threading.Thread(target=self._send_noted, daemon=True, name="bells")
                self._thread.start()
            self._changed.notify_all()

    def close(self) -> None:
        """Send what is noted if that takes no longer than a moment, and end the thread."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join(CLOSE_TIMEOUT_S)

    def reachable(self) -> bool:
        """Return whether the broker answers; takes two seconds at most."""
        try:
            with self._celery.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=2)
            return True
        except Exception:  # whatever the transport raises
            return False

    def _send_noted(self) -> None:
        while count := self._next():
            try:
                for _ in range(min(count, MOST)):
                    self._celery.send_task(TRAIN_WAITING_ARMS)
                self._broker_takes = True
            except Exception as error:  # whatever the transport raises
                self._forget(error)

    def _next(self) -> int:
        """Wait for arms to be noted and return how many; 0: none will be, the thread ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._noted or self._is_closed())
            count, self._noted = self._noted, 0
            return count

    def _is_closed(self) -> bool:
        return self._thread is not threading.current_thread()

    def _forget(self, error: Exception) -> None:
        """Let go of what was noted meanwhile too: it would fare alike. Warn of it once, until the broker is back."""
        with self._changed:
            self._noted = 0
        if self._broker_takes:
            log.warning(
                "The broker does not take bells (%s); the workers find waiting arms by themselves.",
                type(error).__name__,
                extra={"action": "ring"},
            )
        self._broker_takes = False
