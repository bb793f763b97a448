"""The axes of a sweep as they are typed, such as `learning_rate=0.01,1` and `hidden_layers=[100],[100,100]`."""

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from typer import BadParameter

LESSON = "lesson"
OF_JSON = frozenset('[]{}"')  # in a word they are a slip


def parse_grid(axes: Iterable[str]) -> dict[str, list[Any]] | None:
    """Return each axis with its values; None without any. Raises typer's BadParameter."""
    grid: dict[str, list[Any]] = {}
    for axis in axes:
        name, equals, text = (part.strip() for part in axis.partition("="))
        if not (name and equals):
            raise BadParameter(f"{axis!r} is not an axis such as learning_rate=0.01,1.")
        if name in grid:
            raise BadParameter(f"{name} is given twice; write all its values behind one --grid, with commas.")
        grid[name] = parse_values(name, text)
    return grid or None


def parse_values(name: str, text: str) -> list[Any]:
    """Return the values between the commas: as JSON if they are (numbers, true, null, lists), else as words."""
    with suppress(ValueError):
        if values := json.loads(f"[{text}]"):
            return list(values)
    return [_value(name, part.strip()) for part in text.split(",")]


def parse_presets(text: str | None) -> str | list[str] | None:
    """Return the names between the commas, or the one word that stands for all that the lesson ran."""
    return text if text in (None, LESSON) else [_value("--presets", part.strip()) for part in text.split(",")]


def _value(name: str, part: str) -> Any:
    with suppress(ValueError):
        return json.loads(part)
    if not part:
        raise BadParameter(f"{name} has an empty value; its values stand behind =, with commas between them.")
    if OF_JSON & set(part):
        raise BadParameter(f"{part!r}, a value of {name}, is neither a word nor JSON; a list looks like [100,100].")
    return part
