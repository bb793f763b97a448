"""Rings for waiting arms: sends the task by name, from a thread of its own, so no request ever waits for a broker."""

import logging
import threading
from collections import Counter
from collections.abc import Mapping

from celery import Celery

from models.broker import TRAIN_WAITING_ARMS, celery_options
from models.lanes import Lane, open_to
from models.settings import Settings
from models.spec import Device

log = logging.getLogger(__name__)

#: So many bells in a queue wake every worker there may be; each that hears one trains until no arm waits. Where nobody
#: hears them, because no worker has a GPU, they do not become more either.
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
        self._noted: Counter[Lane] = Counter()
        self._thread: threading.Thread | None = None
        self._broker_takes = True

    def ring(self, count: int, device: Device) -> None:
        """Note that so many more arms wait for a worker with this device, and return at once."""
        with self._changed:
            self._noted.update(dict.fromkeys(open_to(device), count))
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
        while noted := self._next():
            try:
                self._send(noted)
                self._broker_takes = True
            except Exception as error:  # whatever the transport raises
                self._forget(error)

    def _send(self, noted: Mapping[Lane, int]) -> None:
        """Ring once for each arm, in each lane whose workers may take it, but never so that more than MOST wait."""
        with self._celery.producer_pool.acquire(block=True) as producer:
            for lane, count in noted.items():
                unheard = producer.channel.queue_declare(queue=lane).message_count
                for _ in range(min(count, MOST - unheard)):
                    self._celery.send_task(TRAIN_WAITING_ARMS, queue=lane, producer=producer)

    def _next(self) -> Mapping[Lane, int]:
        """Wait for arms to be noted and return how many in each lane; none: none will be, the thread ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._noted or self._is_closed())
            noted, self._noted = self._noted, Counter()
            return noted

    def _is_closed(self) -> bool:
        return self._thread is not threading.current_thread()

    def _forget(self, error: Exception) -> None:
        """Let go of what was noted meanwhile too: it would fare alike. Warn of it once, until the broker is back."""
        with self._changed:
            self._noted = Counter()
        if self._broker_takes:
            log.warning(
                "The broker does not take bells (%s); the workers find waiting arms by themselves.",
                type(error).__name__,
                extra={"action": "ring"},
            )
        self._broker_takes = False
