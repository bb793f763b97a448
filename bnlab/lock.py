"""One `bnlab up` for each state folder: an exclusive lock on a file that says who holds it and at which address."""

import fcntl
import json
import os
from pathlib import Path

from bnlab.errors import StateFolderTaken


class StateLock:
    """The lock of a state folder; the system lets go of it when its holders are gone, however they went."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self.fd = os.open(state_dir / "up.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            where = _holder(os.read(self.fd, 4_096))
            os.close(self.fd)
            raise StateFolderTaken(state_dir=state_dir, where=where) from None

    def write(self, url: str) -> None:
        """Say who holds the folder and where it answers."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)

    def release(self) -> None:
        """Let go; the file stays, empty."""
        os.ftruncate(self.fd, 0)
        os.close(self.fd)


def _holder(content: bytes) -> str:
    try:
        held = json.loads(content)
        return f" at {held['url']} (process {held['pid']})"
    except (ValueError, KeyError, TypeError):  # it has the lock and has not written yet
        return ""
