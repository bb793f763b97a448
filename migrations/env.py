"""Connects Alembic to the tables and to the database of the settings."""

from alembic import context

from models.database import make_engine
from models.settings import Settings
from models.tables import Base

engine = make_engine(Settings().database_url)
on_sqlite = engine.dialect.name == "sqlite"
with engine.connect().execution_options(begin_immediate=True) as connection:
    if on_sqlite:  # or the copied table, when it is dropped, takes with it the rows that refer to it
        connection.connection.dbapi_connection.execute("PRAGMA foreign_keys = OFF")  # type: ignore[union-attr]
    else:
        connection.exec_driver_sql("SET statement_timeout = 0")  # a large table takes its time
        connection.commit()
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,  # SQLite changes a table by copying it
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
