"""One engine and two kinds of session, made when asked: `read` looks, `write` commits as a whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from models.clock import clock_timestamp
from models.passwords import without_names

#: Connections of one process. The API runs as many threads, so a request never waits for a connection.
POOL_SIZE = 20
BUSY_TIMEOUT_S = 30

#: What a database raises that is away, restarts, is full or is too busy: the same may succeed in a while. Whether the
#: transaction was committed is then unknown.
DATABASE_AWAY = (OperationalError, InterfaceError, PoolTimeout)

#: A host of Postgres that is gone is noticed within half a minute.
POSTGRES_OPTIONS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds
}
#: Postgres gives up where it would wait, or hold others up, for ever.
POSTGRES_LIMITS = (
    "SET lock_timeout = '10s'; SET statement_timeout = '120s'; SET idle_in_transaction_session_timeout = '120s'"
)


def said(error: Exception) -> str:
    """Return what the database said, in a line; what is no more than the statement's story is left out."""
    words = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return without_names(words.splitlines()[0])


class Database:
    """The database of one process. It is made after a fork, never before."""

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)
        self._writing = self.engine.execution_options(begin_immediate=True)
        # All statements of one look see the same moment; a SQLite transaction does so by itself.
        on_sqlite = self.engine.dialect.name == "sqlite"
        self._reading = self.engine if on_sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for one look; what it loaded stays readable after it is closed."""
        with Session(self._reading, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open one transaction; it commits at the end, or rolls back with the exception."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()


def make_engine(url: str) -> Engine:
    """Return an engine with the habits of its database: short waits on Postgres, honest transactions on SQLite."""
    if url.startswith("sqlite"):
        engine = create_engine(url, pool_size=POOL_SIZE, connect_args={"timeout": BUSY_TIMEOUT_S})
        _teach_sqlite_transactions(engine)
        return engine
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args=POSTGRES_OPTIONS,
    )
    _teach_postgres_limits(engine)
    return engine


def _teach_postgres_limits(engine: Engine) -> None:
    """Set the limits of each new connection: by a statement, for proxies in between refuse them as start-up options."""

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.execute(POSTGRES_LIMITS)
        connection.commit()


def _teach_sqlite_transactions(engine: Engine) -> None:
    """Let SQLAlchemy, not the driver, begin transactions, and begin writing ones IMMEDIATE.

    A transaction that reads first and writes later can be refused at once, busy timeout or not; one that takes the
    write lock at its start only waits. The rollback journal stays (never WAL): SQLite before 3.51.3 can lose
    commits in WAL mode with several connections.
    """

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.create_function("clock_timestamp", 1, clock_timestamp)

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("begin_immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
