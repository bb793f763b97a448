"""Connects Alembic to the tables and to the database of the settings."""

import time

from alembic import context
from sqlalchemy import Connection, event, text

from models.database import make_engine
from models.settings import Settings
from models.tables import Base

#: While a change waits for a table, everybody else waits behind it: it gives up soon, and is tried again later.
LOCK_TIMEOUT = "2s"
#: Any number that nothing else in this database locks.
TURN = 0x6D69677261746530


def main() -> None:
    """Run what Alembic was asked for."""
    engine = make_engine(Settings().database_url)
    try:
        with engine.connect().execution_options(begin_immediate=True) as connection:
            if engine.dialect.name == "sqlite":
                # Or the copied table, when it is dropped, takes with it the rows that refer to it.
                connection.connection.dbapi_connection.execute("PRAGMA foreign_keys = OFF")  # type: ignore[union-attr]
            else:
                prepare_postgres(connection)
            run(connection)
    finally:
        engine.dispose()  # with the connection, what it locked is free again


def prepare_postgres(connection: Connection) -> None:
    """Wait until no other process migrates; then set the limits: none for the work, a short one for most locks."""
    # By looking again and again: who waited inside Postgres would be waited for by an index that is built meanwhile.
    while not connection.execute(text("SELECT pg_try_advisory_lock(:turn)"), {"turn": TURN}).scalar():
        connection.commit()
        time.sleep(0.1)
    connection.exec_driver_sql("SET statement_timeout = 0; SET lock_timeout = 0")
    connection.commit()
    event.listen(connection, "begin", limit_locks)


def limit_locks(connection: Connection) -> None:
    """Let a transaction wait for each lock a short time.

    Outside of one, indexes are built concurrently: that waits for old transactions with nobody behind it, and each try
    reads the whole table anew. So it waits for as long as they last.
    """
    if not connection.connection.dbapi_connection.autocommit:  # type: ignore[union-attr]
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")


def run(connection: Connection) -> None:
    """Run the migrations, each in a transaction of its own, so that none holds its locks during the next."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,  # SQLite changes a table by copying it
        compare_type=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


main()
