"""The lesson's picture: validation accuracy of both arms over training steps, as PNG or SVG."""

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from api.answers import ArmCurve, CurveAnswer
from models.errors import Unavailable
from models.spec import ResolvedSpec

#: Blue and orange: told apart by the colour-blind, and in grey.
LINES = {"Without batch norm": "#1f77b4", "With batch norm": "#e6730b"}
CAPTION_CHARACTERS = 110
SIZE_INCHES, DOTS_PER_INCH = (8.0, 5.0), 100

#: How long a request waits for those before it: threads that wait for pictures serve nobody else.
PATIENCE_S = 3.0

_drawing = Lock()  # Matplotlib's fonts and settings are shared by all threads


def draw_curve(curve: CurveAnswer, spec: ResolvedSpec, format: Literal["png", "svg"]) -> bytes:
    """Return the picture: a line per arm; with replicates, a line for the mean and a band from least to most."""
    with _one_at_a_time(), rc_context({"svg.hashsalt": "bnlab", "svg.fonttype": "none"}):
        figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
        axes = figure.add_subplot()
        arms = (curve.arms.without_batch_norm, curve.arms.with_batch_norm)
        for (label, colour), arm in zip(LINES.items(), arms, strict=True):
            _line(axes, arm, label, colour)
        axes.set(
            title="Validation accuracy during training",
            xlabel=f"Training steps\n{_described(spec)}",
            ylabel="Accuracy",
            ylim=(0, 1),
            yticks=[tenth / 10 for tenth in range(11)],
        )
        axes.set_xlim(0, max(spec.training_batches, 1))
        axes.grid(True, alpha=0.4)
        axes.legend(loc="lower right")
        canvas = FigureCanvasAgg(figure) if format == "png" else FigureCanvasSVG(figure)
        picture = io.BytesIO()
        canvas.print_figure(picture, format=format, metadata={"Date": None} if format == "svg" else None)
    return picture.getvalue()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    if not _drawing.acquire(timeout=PATIENCE_S):
        raise Unavailable("Too many pictures are being drawn; try again in a moment.")
    try:
        yield
    finally:
        _drawing.release()


def _line(axes: Axes, arm: ArmCurve, label: str, colour: str) -> None:
    marker = "o" if len(arm.steps) == 1 else None  # a single point would be no line
    axes.plot(arm.steps, arm.mean, label=label, color=colour, marker=marker)
    if len(arm.replicates) > 1:
        axes.fill_between(arm.steps, arm.min, arm.max, color=colour, alpha=0.2)


def _described(spec: ResolvedSpec) -> str:
    """Return the setting in as few lines as fit."""
    layers = "-".join(str(units) for units in spec.hidden_layers)
    return textwrap.fill(
        f"{spec.activation}, learning rate {spec.learning_rate:g}, weight scale {spec.weight_scale:g}, "
        f"layers {layers}, batches of {spec.batch_size}, {spec.dataset}, seed {spec.seed}",
        CAPTION_CHARACTERS,
    )
