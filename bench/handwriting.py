"""Digits drawn by a program as people draw them: any way of writing, canvas, place, size, pen, and either polarity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bench.strokes import WAYS, Stroke
from models.arrays import Array

SEED, DIGITS = 2_026, 200
#: Side of a canvas in pixels; height of a digit, of the canvas; width of a pen, of the canvas and at most of the digit.
CANVAS_PIXELS, HEIGHT, PEN, THICKEST = (140, 560), (0.2, 0.9), (0.008, 0.08), 0.15
#: The smallest and largest shear and turn, in radians; the deviation of a point, in units of the strokes (10 × 14).
SLANT, TURN, JITTER = (-0.1, 0.3), 0.12, 0.3
GAPPED, GAP = 0.3, (0.03, 0.06)  # the share of drawings with breaks in their lines; how long those are, of a stroke
FINE = 2  # drawn so many times larger, then made smaller: a pen's edge is smooth

Points = NDArray[np.float64]  # [points, 2], x and y


@dataclass(frozen=True)
class Drawing:
    """A digit, and its canvas: grey 0…1, [side, side]; `on_black` if its ink is white."""

    digit: int
    canvas: Array
    on_black: bool


def drawings(count: int = DIGITS, seed: int = SEED) -> list[Drawing]:
    """Return so many drawings, of each digit the same number; equal seeds give equal ones."""
    chance = np.random.default_rng(seed)
    return [draw(number % 10, chance) for number in range(count)]


def draw(digit: int, chance: np.random.Generator) -> Drawing:
    """Return a digit as somebody might draw it: in one of its ways, anywhere, of any size, with any pen."""
    side = int(chance.integers(*CANVAS_PIXELS))
    ways = WAYS[digit]
    lines = _written(ways[chance.integers(len(ways))], chance)
    everything = np.concatenate(lines)
    low, extent = everything.min(axis=0), np.ptp(everything, axis=0)
    height = side * np.exp(chance.uniform(*np.log(HEIGHT)))
    scale = height / extent.max()
    pen = max(2.0, min(side * np.exp(chance.uniform(*np.log(PEN))), THICKEST * height))
    room = np.maximum(0, side - scale * extent - pen - 2)  # [2]
    place = chance.uniform(0, 1, 2) * room + pen / 2 + 1
    on_canvas = [(line - low) * scale + place for line in lines]
    coverage = _rendered(on_canvas, side, pen)
    ink, on_black = chance.uniform(0.6, 1), bool(chance.integers(2))
    canvas = coverage * ink if on_black else 1 - coverage * ink
    return Drawing(digit, canvas.astype(np.float32), on_black)


def _written(way: tuple[Stroke, ...], chance: np.random.Generator) -> list[Points]:
    """Return the lines of a way in a hand of its own: shaken, stretched, slanted, turned, perhaps broken."""
    width, slant, turn = chance.uniform(0.75, 1.2), chance.uniform(*SLANT), chance.uniform(-TURN, TURN)
    hand = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) @ [[width, 0], [-slant, 1]]
    shaken: dict[tuple[float, float], Points] = {}  # strokes that meet still do
    lines = []
    for stroke in way:
        for point in stroke:
            shaken.setdefault(point, np.array(point) + chance.normal(0, JITTER, 2))
        lines.append(_smooth(np.stack([shaken[point] for point in stroke])) @ hand)
    return [part for line in lines for part in _broken(line, chance)] if chance.random() < GAPPED else lines


def _smooth(points: Points, steps: int = 24) -> Points:
    """Return a Catmull-Rom spline, which passes through all points."""
    before, after = 2 * points[0] - points[1], 2 * points[-1] - points[-2]
    knots = np.concatenate([[before], points, [after]])
    t = np.linspace(0, 1, steps)[:, np.newaxis]
    pieces = []
    for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:], strict=False):
        pieces.append(b + t * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * (b - c) + d - a))) / 2)
    return np.concatenate(pieces)


def _broken(line: Points, chance: np.random.Generator) -> list[Points]:
    """Return a line with a short piece missing."""
    length = max(1, int(len(line) * chance.uniform(*GAP)))
    begin = int(chance.integers(len(line) // 5, len(line) * 4 // 5))
    return [line[:begin], line[begin + length :]]


def _rendered(lines: list[Points], side: int, pen: float) -> Array:
    """Return lines drawn with a round pen, 0…1, [side, side]."""
    picture = Image.new("L", (side * FINE, side * FINE))
    brush, radius = ImageDraw.Draw(picture), pen * FINE / 2
    for line in lines:
        corners = [(float(x) * FINE, float(y) * FINE) for x, y in line]
        brush.line(corners, 255, max(1, round(pen * FINE)))
        for x, y in corners:
            brush.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
    smaller = picture.resize((side, side), Image.Resampling.BOX)
    return np.asarray(smaller, np.float32) / np.float32(255)
