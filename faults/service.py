"""The service under test: `bnlab up` with its API and two workers, sabotaged inside, on files or on servers."""

import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from sqlalchemy import select

from bnlab.client import Client
from faults.processes import Process, Processes, command_of, parents
from faults.servers import free_port
from models.database import Database
from models.spec import Status
from models.tables import Arm

ROOT = Path(__file__).parents[1]
READY = re.compile(r"bnlab is ready at (http://127\.0\.0\.1:\d+) ")
LEASE_S = 3.0

#: As it is shipped, but for the data set and a GPU, which may or may not be at hand.
AS_SHIPPED = {"BNLAB_DATASET": "mnist-5k", "BNLAB_DEVICE": "cpu"}
#: Everything happens often, so that much can be done to it in little time.
HURRIED = {
    **AS_SHIPPED,
    "BNLAB_LEASE_S": str(LEASE_S),
    "BNLAB_BELL_INTERVAL_S": "0.5",
    "BNLAB_WRITE_INTERVAL_S": "0.1",
    "BNLAB_CHECKPOINT_INTERVAL_S": "0.3",
    "BNLAB_MAX_CRASHES": "1000",  # whoever is killed here is killed from outside
}
SABOTAGED = {
    "PYTHONPATH": os.pathsep.join((str(ROOT / "faults" / "inside"), str(ROOT))),
}


class ServiceUnderTest(Processes):
    """A running service, and where its processes, its database and its levers are."""

    def __init__(
        self, folder: Path, database_url: str | None, broker_url: str | None, told: Mapping[str, str] = HURRIED
    ) -> None:
        super().__init__(folder)
        self.state_dir, self.levers = folder / "state", folder / "levers"
        for name in ("kill", "killed"):
            (self.levers / name).mkdir(parents=True)
        given = {"BNLAB_DATABASE_URL": database_url, "BNLAB_BROKER_URL": broker_url}
        self._told: Mapping[str, str] = {
            **told,
            **SABOTAGED,
            "FAULTS_DIR": str(self.levers),
            **{name: value for name, value in given.items() if value},
        }
        self.database = Database(database_url or f"sqlite:///{self.state_dir / 'bnlab.sqlite3'}")
        self.url = f"http://127.0.0.1:{free_port()}"
        self.up: Process

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.begin()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(None, None, None)
        self.database.close()

    def begin(self) -> None:
        """Start `bnlab up`, the first time or again, and wait until it is ready."""
        port, state = self.url.rpartition(":")[2], str(self.state_dir)
        command = [sys.executable, "-m", "bnlab", "up", "--port", port, "--state-dir", state]
        self.up = up = self.start("up", command, ROOT, self._told)
        up.wait_until(lambda: READY.search(up.said()) is not None)

    @property
    def client(self) -> Client:
        """A client that waits for answers no longer than a user would."""
        return Client(self.url, timeout_s=10.0)

    def logs(self) -> str:
        """Return what the API and the workers have written."""
        return "".join(log.read_text(errors="replace") for log in sorted((self.state_dir / "logs").glob("*.log")))

    # ------------------------------------------------------------------------------------------ its processes

    def api(self) -> int | None:
        """Return the API's process, None while it is being started again."""
        return next(iter(self._children("-m api")), None)

    def workers(self) -> list[int]:
        """Return the workers: each the parent of a process that trains."""
        return self._children("celery")

    def trainers(self) -> list[int]:
        """Return the processes that train."""
        workers, table = set(self.workers()), parents()
        return sorted(pid for pid, parent in table.items() if parent in workers)

    def holders(self) -> dict[str, int]:
        """Return the process that trains each running arm, by the arm's id."""
        with self.database.read() as session:
            rows = session.execute(select(Arm.id, Arm.worker).where(Arm.status == Status.RUNNING)).all()
        return {str(id): int(worker.rpartition("/")[2]) for id, worker in rows if worker}

    def _children(self, program: str) -> list[int]:
        children = [pid for pid, parent in parents().items() if parent == self.up.pid]
        return sorted(pid for pid in children if program in command_of(pid))

    # --------------------------------------------------------------------------------------------- its levers

    def arm_point(self, point: str) -> None:
        """Let the next process that passes this point die there."""
        (self.levers / "kill" / point).touch()

    def disarm_point(self, point: str) -> bool:
        """Take it back; return whether somebody had died there already."""
        try:
            (self.levers / "kill" / point).unlink()
        except FileNotFoundError:
            return True
        return False

    def set_clock(self, wrong_by_s: float, whose: str = "all") -> None:
        """Let processes believe that it is earlier or later than it is; 0 sets them right."""
        part = self.levers / "clock.part"
        part.write_text(json.dumps({whose: wrong_by_s} if wrong_by_s else {}))
        part.replace(self.levers / "clock")

    def fill_disk(self, full: bool) -> None:
        """Let the file of SQLite grow no more, or again."""
        if full:
            (self.levers / "full").touch()
        else:
            (self.levers / "full").unlink(missing_ok=True)


def kill(pid: int | None, number: signal.Signals = signal.SIGKILL) -> bool:
    """Send a process a signal and return whether it was there."""
    if pid is None:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
