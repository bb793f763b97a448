"""Turns a drawn or photographed digit of any size into 784 numbers as MNIST's were made: white ink on black, centred.

MNIST's images were scaled, their aspect ratio kept, into a box of 20×20 pixels, and placed by their centre of mass into
28×28 (LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, 1998, section III.A).
Its lines are 2 to 3 of those pixels wide. A fine pen's would become a faint hair and a thick one's close its loops, so
the lines get that width too. Pixels are resampled by area alone: a drawing moved, or enlarged by a whole factor, gives
the same numbers.
"""

import numpy as np

from models.arrays import Array
from models.errors import FieldError, InvalidImage

SIDE, BOX = 28, 20
#: Where MNIST's centres of mass are, from the left or upper edge: in the middle of the 15th pixel, on average ±0.02.
MIDDLE = 14.5
#: So many pixels of a picture are worked on; of more, two by two become one until that is true.
MOST_PIXELS = 512 * 512
#: The least difference from paper that is ink: as a share of black to white; and how many times the paper's noise.
FAINTEST, NOISE_SHARE = 0.03, 5.0
#: From this share of the darkest ink on, a pixel belongs to a line.
IN_A_LINE = 0.3
#: A spot with less than this share of the largest one's ink is dirt, not a part of a broken line.
SPECK = 0.03
#: The drawing in between has its longer side of BOX times so many pixels, in which lines are measured and widened.
FINE = 5
#: Lines are made as wide as MNIST's, in pixels of the box: half of those are between 1.9 and 2.7, most below 3.5.
THINNEST_LINE, THICKEST_LINE = 2.4, 3.2

_ALLOWED = "a picture with some ink"


def normalized(grey: Array) -> Array:
    """Return grey pixels 0…1, [height, width], as [784]: what differs from the paper at the edge is ink, and white.

    Raises InvalidImage, naming the field `image`, if nothing does.
    """
    while grey.size > MOST_PIXELS and min(grey.shape) > 1:
        grey = _halved(grey)
    drawing = _fine(_lines(_ink(grey)))  # its longer side is BOX × FINE
    radius = _missing(_line_width(drawing))
    redrawn = _widened(drawing, radius) if radius > 0 else 1 - _widened(1 - drawing, -radius, around=1)
    if redrawn.any():  # and it is, unless what came is no drawing
        return _placed(redrawn, FINE + 2 * radius / BOX).reshape(SIDE * SIDE)
    return _placed(drawing, FINE).reshape(SIDE * SIDE)


def _halved(grey: Array) -> Array:
    """Return half as many pixels each way, each the mean of four; an odd last row or column is left out."""
    height, width = (length // 2 * 2 for length in grey.shape)
    whole = grey[:height, :width]
    halves: Array = (whole[0::2, 0::2] + whole[0::2, 1::2] + whole[1::2, 0::2] + whole[1::2, 1::2]) / np.float32(4)
    return halves


def _ink(grey: Array) -> Array:
    """Return how much each pixel differs from the paper, 0…1 where 1 is full ink, on paper 0."""
    difference = grey - _paper(grey)
    edge = _edge(difference)
    noise = 1.4826 * float(np.median(np.abs(edge)))  # of a normal distribution, its standard deviation
    least = max(FAINTEST, NOISE_SHARE * noise)
    if -difference.min() > difference.max():  # darker than its paper
        difference = -difference
    if difference.max() < least:
        raise InvalidImage([FieldError("image", _ALLOWED, "an empty picture")])
    lines = difference[difference > difference.max() / 2]
    floor = min(least, float(difference.max()) / 2) if noise else 0.0
    ink: Array = np.clip((difference - floor) / (np.median(lines) - floor), 0, 1).astype(np.float32)
    return ink


def _paper(grey: Array) -> Array:
    """Return the paper's brightness, [height, width]: the plane through the picture's edge, as light falls from a side.

    Ink that reaches the edge is left out, as what is far from the edge's median.
    """
    height, width = grey.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    values, places = _edge(grey), np.stack([np.ones(len(_edge(x)), np.float32), _edge(x), _edge(y)], axis=1)
    away = np.abs(values - np.median(values))
    paper = away <= 3 * np.median(away) + 1e-6
    plane = np.linalg.lstsq(places[paper], values[paper], rcond=None)[0]
    fitted: Array = (plane[0] + plane[1] * x + plane[2] * y).astype(np.float32)
    return fitted


def _edge(pixels: Array) -> Array:
    """Return the pixels around a picture."""
    return np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])


def _lines(ink: Array) -> Array:
    """Return the ink cut to its lines, without the spots that are too small to be part of one."""
    from scipy.ndimage import label  # half a second, not before the first drawing

    spots, _ = label(ink > IN_A_LINE, np.ones((3, 3)))  # pixels that touch, also at a corner, are one spot
    masses = np.bincount(spots.ravel(), ink.ravel())
    dirt = masses < SPECK * masses[1:].max()
    dirt[0] = False  # the paper, with what a pen's soft edge left on it
    lines = (spots > 0) & ~dirt[spots]
    rows, columns = np.flatnonzero(lines.any(axis=1)), np.flatnonzero(lines.any(axis=0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return np.where(dirt[spots[window]], np.float32(0), ink[window])


def _fine(ink: Array) -> Array:
    """Return the ink with a longer side of BOX × FINE pixels; the thinnest line is full ink again."""
    height, width = ink.shape
    longer = max(height, width)
    rows, columns = (max(1, round(side * BOX * FINE / longer)) for side in (height, width))  # equal for equal shapes
    pixel = longer / (BOX * FINE)
    fine = _areas(rows, 0, pixel, height) @ ink @ _areas(columns, 0, pixel, width).T
    lines = fine[fine > fine.max() / 2]
    full: Array = np.clip(fine / np.median(lines), 0, 1)
    return full


def _areas(count: int, begin: float, length: float, pixels: int) -> Array:
    """Return which share of a new pixel each old one covers, [count, pixels]; new ones have this length."""
    edges = begin + length * np.arange(count + 1)[:, np.newaxis]  # [count + 1, 1]
    old = np.arange(pixels)  # [pixels]
    covered = np.clip(np.minimum(edges[1:], old + 1) - np.maximum(edges[:-1], old), 0, None)
    shares: Array = (covered / length).astype(np.float32)
    return shares


def _line_width(drawing: Array) -> float:
    """Return the mean width of the lines, in pixels: twice their area over their circumference.

    The circumference is Crofton's: how often straight lines in four directions cross the edge, each by what it changes.
    """
    around = np.pad(drawing, 1)
    straight = np.abs(np.diff(around, axis=0)).sum() + np.abs(np.diff(around, axis=1)).sum()
    oblique = np.abs(around[1:, 1:] - around[:-1, :-1]).sum() + np.abs(around[1:, :-1] - around[:-1, 1:]).sum()
    circumference = np.pi / 8 * (straight + oblique / np.sqrt(2))
    return float(2 * drawing.sum() / circumference)


def _missing(width: float) -> float:
    """Return by how much a line is to be widened on each side (or, below 0, narrowed), in pixels as its width is.

    Then, with the whole scaled back into the box, it is as wide as MNIST's.
    """
    wanted = float(np.clip(width / FINE, THINNEST_LINE, THICKEST_LINE))
    return BOX * (wanted * FINE - width) / (2 * (BOX - wanted))


def _widened(drawing: Array, radius: float, around: float = 0) -> Array:
    """Return the drawing as a round pen makes it that is thicker by this radius, in a frame that much larger.

    What lies around the drawing is this bright.
    """
    reach = int(np.ceil(radius))
    rows, columns = drawing.shape
    framed = np.pad(drawing, 2 * reach, constant_values=np.float32(around))
    widened = np.zeros((rows + 2 * reach, columns + 2 * reach), np.float32)
    for down in range(2 * reach + 1):
        for right in range(2 * reach + 1):
            share = np.float32(min(1.0, radius + 1 - np.hypot(down - reach, right - reach)))  # of a pen's soft edge
            if share > 0:
                moved = framed[down : down + widened.shape[0], right : right + widened.shape[1]]
                np.maximum(widened, moved * share, out=widened)
    return widened


def _placed(drawing: Array, scale: float) -> Array:
    """Return the drawing with its centre of mass in the middle, [28, 28]; `scale` are its pixels for one of these.

    Where that would push a part of it over the edge, the part stays inside.
    """
    resampled = []
    for axis in (0, 1):
        masses = drawing.sum(axis=1 - axis)
        inked = np.flatnonzero(masses)
        centre = float(masses @ (np.arange(len(masses)) + 0.5) / masses.sum())
        before = float(np.clip(MIDDLE * scale - centre, -inked[0], SIDE * scale - inked[-1] - 1))
        resampled.append(_areas(SIDE, -before, scale, len(masses)))
    placed: Array = np.clip(resampled[0] @ drawing @ resampled[1].T, 0, 1)
    return placed
