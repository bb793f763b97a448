"""Time as the database tells it, in SQL: one clock for all workers, however wrong their own are."""

import time
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Float, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from models.tables import UtcDateTime


class _Moment(FunctionElement[datetime]):
    """So many seconds from now, at the moment the statement runs."""

    name = "moment"
    type = UtcDateTime()
    inherit_cache = True


def now() -> ColumnElement[datetime]:
    """Return this moment, in SQL."""
    return in_seconds(0.0)


def in_seconds(seconds: float) -> ColumnElement[datetime]:
    """Return the moment so many seconds from now, in SQL."""
    return _Moment(literal(float(seconds), Float()))


@compiles(_Moment, "postgresql")
def _on_postgres(moment: _Moment, compiler: Any, **options: Any) -> str:
    # Not now(): that is when the transaction began.
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(moment.clauses, **options)}))"


@compiles(_Moment, "sqlite")
def _on_sqlite(moment: _Moment, compiler: Any, **options: Any) -> str:
    return f"clock_timestamp({compiler.process(moment.clauses, **options)})"


def clock_timestamp(seconds: float) -> str:
    """Return the moment so many seconds from now as SQLite stores it: there the host's clock is the database's."""
    return datetime.fromtimestamp(time.time() + seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
