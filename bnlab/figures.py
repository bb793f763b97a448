"""Figures as words, the same in a terminal and in the report: accuracies, differences, times."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

UNKNOWN = "–"  # stands for what is not known, or not known yet

Json = Mapping[str, Any]


def accuracy(spread: Json | None) -> str:
    """Return the mean over the replicates, with the standard deviation if there are several."""
    return f"{mean(spread)} ± {spread['std']:.4f}" if spread and several(spread) else mean(spread)


def mean(spread: Json | None) -> str:
    """Return the mean over the replicates."""
    return UNKNOWN if spread is None else four_places(spread["mean"])


def deviation(spread: Json | None) -> str:
    """Return the standard deviation over the replicates; nothing if there is only one."""
    return f"±{spread['std']:.4f}" if spread and several(spread) else ""


def extent(spread: Json | None) -> str:
    """Return the lowest and the highest of the replicates; nothing if there is only one."""
    return f"{spread['min']:.4f} … {spread['max']:.4f}" if spread and several(spread) else ""


def several(spread: Json | None) -> bool:
    """Say whether there are several replicates."""
    return spread is not None and len(spread["replicates"]) > 1


def four_places(number: float | None) -> str:
    """Return an accuracy."""
    return UNKNOWN if number is None else f"{number:.4f}"


def signed(number: float | None) -> str:
    """Return a difference with its sign."""
    if number is None:
        return UNKNOWN
    return f"{round(number, 4) + 0.0:+.4f}".replace("-", "−")  # + 0.0: no minus before a zero


def interval(difference: Json) -> str:
    """Return the 95 % interval of a difference; nothing if one replicate leaves it unknown."""
    bounds = difference["confidence_interval_95"]
    return "" if bounds is None else f"{signed(bounds['low'])} … {signed(bounds['high'])}"


def with_interval(difference: Json) -> str:
    """Return a difference with its 95 % interval, if it has one."""
    bounds = interval(difference)
    return signed(difference["mean"]) + (f" (95 % interval {bounds})" if bounds else "")


def whole(number: float | None) -> str:
    """Return a number without its fraction."""
    return UNKNOWN if number is None else f"{number:,.0f}"


def learned(arm: Json, replicates: int) -> str:
    """Return how many replicates learned anything."""
    return UNKNOWN if arm["learned"] is None else f"{arm['learned']} of {replicates}"


def reached(batches: list[int | None] | None) -> str:
    """Return after how many batches 90 % were reached: from the first replicate to the last, and how many did."""
    if batches is None:
        return UNKNOWN
    known = sorted(number for number in batches if number is not None)
    if not known:
        return "never"
    words = " … ".join(f"{number:,}" for number in dict.fromkeys((known[0], known[-1])))
    some = "" if len(known) == len(batches) else f" ({len(known)} of {len(batches)})"
    return f"{words} batches{some}"


def one_or_more(number: int, thing: str) -> str:
    """Return a number of things."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def axes(values: Json) -> str:
    """Return where an experiment stands on the axes of its sweep; a preset's name speaks for itself."""
    return ", ".join(word(value) if name == "preset" else f"{name} {word(value)}" for name, value in values.items())


def word(value: object) -> str:
    """Return a value of a spec as it would be typed."""
    return value if isinstance(value, str) else json.dumps(value)


def listed(words: Iterable[str]) -> str:
    """Return words with commas between them."""
    return ", ".join(words)


def moment(time: str | None) -> str:
    """Return a time of the server to the minute."""
    return UNKNOWN if time is None else f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M} UTC"


def second(time: str) -> str:
    """Return a time of the server to the second, without its zone, which is UTC."""
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M:%S}"


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Return the seconds from one time of the server to another; None if either is not known."""
    if start is None or end is None:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def duration(seconds: float) -> str:
    """Return how long something took."""
    return f"{seconds:.1f} seconds" if seconds < 120 else f"{seconds / 60:.1f} minutes"
