"""The lesson's picture: validation accuracy of both arms over training steps, as PNG or SVG; alone, or many small."""

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from api.answers import ArmCurve, Comparison, CurveAnswer, ExperimentAnswer
from api.spreads import Difference
from models.errors import Unavailable
from models.spec import ResolvedSpec

#: Blue and orange: told apart by the colour-blind, and in grey.
LINES = {"Without batch norm": "#1f77b4", "With batch norm": "#e6730b"}
CAPTION_CHARACTERS = 110
SIZE_INCHES, DOTS_PER_INCH, FONT_SIZE = (8.0, 5.0), 100, 10

#: Of the small multiples.
COLUMNS, PANEL_INCHES, HEADING_INCHES, PANEL_CHARACTERS, SMALL_FONT_SIZE = 4, (3.0, 2.1), 0.3, 40, 7

#: How long a request waits for those before it: threads that wait for pictures serve nobody else.
PATIENCE_S = 3.0

_drawing = Lock()  # Matplotlib's fonts and settings are shared by all threads


@dataclass(frozen=True)
class Panel:
    """One small picture among many."""

    title: str
    experiment: ExperimentAnswer
    curve: CurveAnswer


def draw_curve(curve: CurveAnswer, experiment: ExperimentAnswer, format: Literal["png", "svg"]) -> bytes:
    """Return the picture: a line per arm, and a dot for its accuracy after the last batch.

    With replicates, the line is their mean, in a band from least to most.
    """
    with _one_at_a_time(FONT_SIZE):
        figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
        axes = figure.add_subplot()
        _curves(axes, curve, experiment)
        axes.set(
            title="Validation accuracy during training",
            xlabel=f"Training steps\n{_described(experiment.spec, experiment.comparison)}",
            ylabel="Accuracy",
        )
        axes.legend(loc="lower right")
        return _rendered(figure, format)


def draw_panels(panels: Sequence[Panel], first: int, total: int, format: Literal["png", "svg"]) -> bytes:
    """Return small multiples, in rows: the experiments from number `first` (from 0) of so many."""
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    with _one_at_a_time(SMALL_FONT_SIZE):
        figure = Figure(
            figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + HEADING_INCHES),
            dpi=DOTS_PER_INCH,
            layout="constrained",
        )
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _curves(axes, panel.curve, panel.experiment)
            axes.set_title("\n".join(textwrap.wrap(panel.title, PANEL_CHARACTERS)))
            axes.xaxis.set_major_locator(MaxNLocator(3))
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_axis_off()
        lines, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(lines, labels, loc="outside upper right", ncols=2)
        figure.suptitle(
            f"Validation accuracy over training steps, {first + 1} to {first + len(panels)} of {total}",
            x=0.01,
            ha="left",
        )
        return _rendered(figure, format)


def _rendered(figure: Figure, format: Literal["png", "svg"]) -> bytes:
    canvas = FigureCanvasAgg(figure) if format == "png" else FigureCanvasSVG(figure)
    picture = io.BytesIO()
    canvas.print_figure(picture, format=format, metadata={"Date": None} if format == "svg" else None)
    return picture.getvalue()


@contextmanager
def _one_at_a_time(font_size: int) -> Iterator[None]:
    if not _drawing.acquire(timeout=PATIENCE_S):
        raise Unavailable("Too many pictures are being drawn; try again in a moment.")
    try:
        with rc_context({"svg.hashsalt": "bnlab", "svg.fonttype": "none", "font.size": font_size}):
            yield
    finally:
        _drawing.release()


def _line(axes: Axes, arm: ArmCurve, label: str, colour: str) -> None:
    marker = "o" if len(arm.steps) == 1 else None  # a single point would be no line
    axes.plot(arm.steps, arm.mean, label=label, color=colour, marker=marker)
    if len(arm.replicates) > 1:
        axes.fill_between(arm.steps, arm.min, arm.max, color=colour, alpha=0.2)


def _curves(axes: Axes, curve: CurveAnswer, experiment: ExperimentAnswer) -> None:
    """Draw both arms, accuracy from 0 to 1 in tenths."""
    arms = (
        (curve.arms.without_batch_norm, experiment.arms.without_batch_norm),
        (curve.arms.with_batch_norm, experiment.arms.with_batch_norm),
    )
    batches = experiment.spec.training_batches
    for (label, colour), (points, arm) in zip(LINES.items(), arms, strict=True):
        _line(axes, points, label, colour)
        if arm.final_validation_accuracy:
            axes.plot([batches], [arm.final_validation_accuracy.mean], "o", color=colour, clip_on=False, markersize=4)
    if not any(points.steps for points, _ in arms):
        axes.text(0.5, 0.5, experiment.status.value, transform=axes.transAxes, ha="center")
    axes.set(ylim=(0, 1), yticks=[tenth / 10 for tenth in range(11)])
    axes.set_xlim(0, max(batches, 1))
    axes.grid(True, alpha=0.4)


def _described(spec: ResolvedSpec, comparison: Comparison | None) -> str:
    """Return the setting, and how the arms differ if that is known, in as few lines as fit."""
    setting = (
        f"{spec.activation}, learning rate {spec.learning_rate:g}, weight scale {spec.weight_scale:g}, "
        f"{_size(spec)}, batches of {spec.batch_size}, {spec.dataset}, seed {spec.seed}"
    )
    lines = [textwrap.fill(setting, CAPTION_CHARACTERS)]
    if spec.replicates > 1:
        lines.append(f"{spec.replicates} replicates: their mean, and a band from the least to the most")
    difference = comparison.final_validation_accuracy if comparison else None
    if difference is not None:
        lines.append(f"At the end, with minus without batch norm: {difference.mean:+.4f}{_interval(difference)}")
    return "\n".join(lines)


def _size(spec: ResolvedSpec) -> str:
    """Return how large the network is, and of which kind if it is not dense."""
    if spec.network == "convolutional":
        maps, side = "-".join(map(str, spec.feature_maps)), spec.kernel_size
        return f"convolutional {maps}, kernels of {side}×{side}"
    if spec.network == "recurrent":
        return f"LSTM of {spec.units}"
    return f"layers {'-'.join(map(str, spec.hidden_layers))}"


def _interval(difference: Difference) -> str:
    interval = difference.confidence_interval_95
    return f" (95 % confidence: {interval.low:+.4f} to {interval.high:+.4f})" if interval else ""
