"""What a check has found: how bad it is, a sentence, and how to mend it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # it works, but not as it should, or not for long
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One line of `bnlab doctor`."""

    check: str
    level: Level
    sentence: str
    mend: str | None = None


def ok(check: str, sentence: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Level.OK, sentence)


def warning(check: str, sentence: str, mend: str) -> Finding:
    """Return what will not do for long."""
    return Finding(check, Level.WARNING, sentence, mend)


def problem(check: str, sentence: str, mend: str) -> Finding:
    """Return what is broken."""
    return Finding(check, Level.PROBLEM, sentence, mend)


def in_bytes(count: int) -> str:
    """Return an amount for people."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1_000:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{count} bytes"
        size /= 1_000
    return f"{size:,.3g} TB"


def in_words(seconds: float) -> str:
    """Return a time for people."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
