"""How every process writes its logs: lines of text or of JSON, each with the ids of what it is about."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

LogFormat = Literal["text", "json"]

#: What libraries add to their records for themselves: the message in colours, a task once more as a mapping.
NOT_OURS = ("color_message", "data")

_NOTHING: Mapping[str, str] = {}
_bound: ContextVar[Mapping[str, str]] = ContextVar("bound", default=_NOTHING)


@contextmanager
def bound(**ids: str | None) -> Iterator[None]:
    """Put these ids into every record that is written inside, also by threads that copy the context; None: no id."""
    token = _bound.set({**_bound.get(), **{name: id for name, id in ids.items() if id is not None}})
    try:
        yield
    finally:
        _bound.reset(token)


def configure(log_format: LogFormat, level: int = logging.INFO) -> None:
    """Let all that this process logs, whoever writes it, go to standard error in this format.

    A library that has brought a way of its own loses it.
    """
    handler = logging.StreamHandler()
    handler.addFilter(_add_bound)
    handler.setFormatter(_Json() if log_format == "json" else _Text("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers.clear()
            logger.propagate = True
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level)
    logging.captureWarnings(True)


def _add_bound(record: logging.LogRecord) -> bool:
    fields, ids = vars(record), _bound.get()
    for name, id in ids.items():
        fields.setdefault(name, id)  # what the call says itself in `extra` stands
    fields["bound"] = ids
    return True


class _Text(logging.Formatter):
    """A sentence, and what it is about behind it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line, without the trace that may follow."""
        about = " ".join(f"{name.removesuffix('_id')} {id}" for name, id in vars(record)["bound"].items())
        line = super().formatMessage(record)
        return f"{line} [{about}]" if about else line


class _Json(JsonFormatter):
    """One object on one line; what is bound, and what a call says of itself in `extra`, are its members."""

    converter = time.gmtime  # type: ignore[assignment]  # of whatever moment, as the class calls it
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__(
            ("asctime", "levelname", "name", "message"),
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            reserved_attrs=[*RESERVED_ATTRS, *NOT_OURS, "bound"],
        )
