"""The accuracy curves of both arms, drawn with characters."""

import shutil
from typing import Any

from rich.text import Text

from bnlab.tables import ARMS

MAX_WIDTH, HEIGHT = 100, 22

#: Two characters, so that the arms can be told apart without colors too: (of the curve, of its key, color).
MARKERS = {"without_batch_norm": ("•", "•", "orange+"), "with_batch_norm": ("braille", "⢄⠤", "blue+")}
KEY_COLORS = {"without_batch_norm": "bright_yellow", "with_batch_norm": "bright_blue"}


def draw(curve: dict[str, Any], width: int | None = None, height: int = HEIGHT) -> Text:
    """Return the drawing: the mean over the replicates, accuracy 0 to 1, and which arm is which below it.

    `width` and `height` are characters and lines, without the two lines below; left out, it is as wide as the terminal.
    """
    import plotext  # a tenth of a second that the other commands need not wait

    arms = {name: curve["arms"][name] for name in ARMS if curve["arms"][name]["steps"]}
    if not arms:
        return Text("The curve has no points yet.")
    figure = plotext.figure
    figure.clear()
    plotext.terminal.limit(False, False)  # a pipe has no size, and plotext would draw nothing
    figure.theme("colorless")
    figure.plot_size(min(width or shutil.get_terminal_size().columns, MAX_WIDTH), height)
    for name, points in arms.items():
        marker, _, color = MARKERS[name]
        line = figure.signal(points["steps"], points["mean"], marker=plotext.marker(marker, color))
        figure.draw(line.lines())
    last = max(1, *(points["steps"][-1] for points in arms.values()))
    figure.ruler("x").lim(0, last).ticks(ticks := round_steps(last), [f"{step:,}" for step in ticks])
    figure.ruler("y").lim(0, 1).frequency(6).grid(True)
    figure.label("Training steps", "x")
    figure.label("Accuracy", "y")
    figure.legend(False)  # it would cover a curve that stays at chance
    return Text.from_ansi(figure.build().string()) + _key(arms)


def round_steps(last: int) -> list[int]:
    """Return up to ten round numbers from 0 to the last step; the axis's own choice is 1.3e4."""
    power = 10 ** (len(str(last)) - 1)
    distance = power if last >= 4 * power else power // 2 if last >= 2 * power else power // 5
    return list(range(0, last + 1, max(1, distance)))


def _key(arms: dict[str, Any]) -> Text:
    key = Text("\n ")
    for name in arms:
        key.append(f"   {MARKERS[name][1]} ", style=KEY_COLORS[name])
        key.append(name)
    return key
