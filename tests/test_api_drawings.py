"""Drawings: whatever the canvas, the pen and the paper, a digit becomes the same 784 numbers, made as MNIST's were."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import TEN_UNITS, fields, problem, strict_json, succeeded
from fastapi.testclient import TestClient
from hypothesis import assume, given
from hypothesis import strategies as st
from picture_memory import growth_kb
from PIL import Image, ImageDraw, ImageFilter

from api.drawings import FAINTEST, normalized
from api.images import from_picture, shown
from models.arrays import Array
from models.database import Database
from models.errors import InvalidImage

PNG, JPEG = {"Content-Type": "image/png"}, {"Content-Type": "image/jpeg"}
#: How far the numbers of what is the same drawing may lie apart.
NEARLY = 1e-3

SEVEN = ((2, 2), (18, 2), (9, 28))
Corners = tuple[tuple[float, float], ...]


def drawn(corners: Corners = SEVEN, pen: int = 3, side: int = 30) -> Array:
    """Return white lines on black, 0…1, [side, side], their edges soft."""
    large = Image.new("L", (side * 4, side * 4))
    ImageDraw.Draw(large).line([(x * 4, y * 4) for x, y in corners], 255, pen * 4, joint="curve")
    return np.asarray(large.reduce(4), np.float32) / np.float32(255)


def on_canvas(drawing: Array, side: int, x: int, y: int) -> Array:
    canvas = np.zeros((side, side), np.float32)
    canvas[y : y + drawing.shape[0], x : x + drawing.shape[1]] = drawing
    return canvas


def enlarged(drawing: Array, factor: int) -> Array:
    return np.kron(drawing, np.ones((factor, factor), np.float32))


def centre(pixels: Array) -> tuple[float, float]:
    """Return the centre of mass, column and row; the first ones are 0."""
    image = pixels.reshape(28, 28)
    places = np.arange(28)
    return float(image.sum(axis=0) @ places / image.sum()), float(image.sum(axis=1) @ places / image.sum())


def extent(pixels: Array, more_than: float = 0.2) -> tuple[int, int]:
    """Return how many columns and rows have ink, but for a trace at the edge of a line."""
    inked = pixels.reshape(28, 28) > more_than
    return int(inked.any(axis=0).sum()), int(inked.any(axis=1).sum())


def gap(one: Array, other: Array) -> float:
    return float(np.abs(one - other).max())


coordinates = st.floats(3, 27)
lines = st.lists(st.tuples(coordinates, coordinates), min_size=2, max_size=6, unique=True).map(tuple)


# --------------------------------------------------------------------------------------------- place and size


@given(lines, st.integers(1, 4), st.integers(1, 5), st.data())
def test_moved_and_enlarged_it_is_the_same_drawing(
    corners: Corners, pen: int, factor: int, data: st.DataObject
) -> None:
    drawing = drawn(corners, pen)
    larger = enlarged(drawing, factor)
    side = data.draw(st.integers(len(larger) + 2, 300))
    x, y = (data.draw(st.integers(1, side - len(larger) - 1)) for _ in range(2))
    assert gap(normalized(on_canvas(drawing, 40, 5, 5)), normalized(on_canvas(larger, side, x, y))) < NEARLY


def test_a_width_of_half_a_fine_pixel_is_rounded_alike_in_every_size() -> None:
    drawing = drawn(((7, 26), (15, 11)), 2)  # 16 rows and 10 columns: 100 and 62.5 fine pixels
    sizes = [normalized(on_canvas(enlarged(drawing, factor), 160, 1, 1)) for factor in range(1, 6)]
    assert max(gap(sizes[0], other) for other in sizes) < NEARLY


@given(lines, st.integers(1, 8))
def test_its_box_is_20_pixels_and_its_centre_of_mass_is_where_mnists_are(corners: Corners, pen: int) -> None:
    pixels = normalized(on_canvas(drawn(corners, pen), 60, 10, 20))
    assert pixels.shape == (784,)
    assert pixels.dtype == np.float32
    assert 0 <= pixels.min() < 0.01 < 0.9 < pixels.max() <= 1
    assert max(extent(pixels)) <= 21
    assert max(extent(pixels, more_than=0.01)) >= 19  # the round end of an oblique line touches its box with a trace
    column, row = centre(pixels)
    touches = [bool(edge.any()) for edge in (pixels[:28], pixels[-28:], pixels[::28], pixels[27::28])]
    if not any(touches):  # a centre far to one side gives way: nothing is cut off
        assert (column, row) == pytest.approx((14, 14), abs=0.05)


def test_mnists_own_centres_of_mass_are_there(full_mnist: Any) -> None:
    images = full_mnist.test_images[:2_000].astype(np.float32)
    centres = np.array([centre(image) for image in images])
    assert centres.mean(axis=0) == pytest.approx([14, 14], abs=0.05)
    assert np.abs(centres - 14).max() < 1


def test_mnists_own_digits_hardly_change(full_mnist: Any) -> None:
    images = full_mnist.test_images[:500].astype(np.float32) / np.float32(255)
    gaps = [np.abs(normalized(image.reshape(28, 28)) - image).mean() for image in images]
    assert np.mean(gaps) < 0.05  # and a shift by one pixel changes them by more than that
    moved = [np.abs(np.roll(image.reshape(28, 28), 1, axis=1).ravel() - image).mean() for image in images]
    assert np.mean(moved) > np.mean(gaps)


def test_the_aspect_ratio_is_kept() -> None:
    narrow = normalized(on_canvas(drawn(((10, 2), (10, 28)), 2), 90, 50, 5))
    assert extent(narrow)[0] <= 4
    assert extent(narrow)[1] >= 19
    lying = normalized(on_canvas(drawn(((2, 10), (28, 10)), 2), 90, 5, 50))
    assert gap(lying.reshape(28, 28).T.ravel(), narrow) < 0.02


@pytest.mark.parametrize("side", [8, 9, 27, 28, 29, 511, 513, 777, 1_024])
def test_any_size_of_canvas_gives_nearly_the_same(side: int) -> None:
    large = drawn(((200, 200), (800, 200), (500, 850)), 100, 1_024)
    grey = Image.fromarray((large * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BOX)
    pixels = normalized(np.asarray(grey, np.float32) / np.float32(255))
    assert np.abs(pixels - normalized(large)).mean() < (0.02 if side > 100 else 0.03 if side > 20 else 0.1)


def test_a_canvas_may_be_wide_or_high() -> None:
    square = normalized(on_canvas(drawn(), 40, 5, 5))
    for shape in ((40, 700), (700, 40), (35, 45)):
        canvas = np.zeros(shape, np.float32)
        canvas[2:32, 3:33] = drawn()
        assert gap(normalized(canvas), square) < NEARLY


# ----------------------------------------------------------------------------------------------- pen and ink


@pytest.mark.parametrize("pen", [1, 2, 4, 8, 16, 40])
def test_pens_of_every_width_draw_lines_as_wide_as_mnists(pen: int) -> None:
    drawing = drawn(((40, 40), (220, 40), (120, 260)), pen, 280)
    pixels = normalized(drawing).reshape(28, 28)
    across = pixels[14:20].sum(axis=1)  # the slanted line, row by row
    assert 2 <= across.mean() <= 4
    assert pixels.max() > 0.9


def test_fine_and_broad_pens_draw_nearly_the_same_digit() -> None:
    fine, broad = (normalized(drawn(((60, 60), (200, 60), (120, 220)), pen, 280)) for pen in (2, 30))
    assert np.corrcoef(fine, broad)[0, 1] > 0.9


@given(lines, st.integers(1, 4))
def test_dark_ink_on_light_paper_is_light_ink_on_dark_paper(corners: Corners, pen: int) -> None:
    canvas = on_canvas(drawn(corners, pen), 50, 10, 10)
    assert gap(normalized(1 - canvas), normalized(canvas)) < NEARLY


@given(lines, st.floats(0.05, 1), st.floats(0, 1))
def test_faint_ink_on_any_paper_is_full_ink(corners: Corners, ink: float, paper: float) -> None:
    canvas = on_canvas(drawn(corners), 50, 10, 10)
    strength = ink * max(paper, 1 - paper)
    assume(canvas.max() * strength > 1.1 * FAINTEST)  # a dab that is too short to be full ink may be too faint as well
    faint = paper + canvas * (strength if paper < 0.5 else -strength)
    assert gap(normalized(faint.astype(np.float32)), normalized(canvas)) < 0.02


def test_a_broken_line_is_all_kept() -> None:
    whole, broken = drawn(), drawn()
    broken[12:14] = 0
    pixels = normalized(on_canvas(broken, 60, 20, 20))
    assert np.corrcoef(pixels, normalized(on_canvas(whole, 60, 20, 20)))[0, 1] > 0.95


@pytest.mark.parametrize("value", [0, 1, 0.5, 0.49])
def test_without_ink_it_is_refused(value: float) -> None:
    for shape in ((28, 28), (100, 30), (8, 8), (1_024, 1_024)):
        with pytest.raises(InvalidImage) as raised:
            normalized(np.full(shape, value, np.float32))
        (error,) = raised.value.errors
        assert (error.field, error.allowed, error.received) == ("image", "a picture with some ink", "an empty picture")


# ---------------------------------------------------------------------------------------- paper of photographs


def photographed(canvas: Array, noise: float = 0.02) -> Array:
    """Return dark ink on grey paper that is lit from one side, with the grain of a camera."""
    height, width = canvas.shape
    light = np.linspace(0.8, 0.6, width)[np.newaxis, :] - np.linspace(0, 0.1, height)[:, np.newaxis]
    grain = np.random.default_rng(1).normal(0, noise, canvas.shape)
    return np.clip(light * (1 - 0.8 * canvas) + grain, 0, 1).astype(np.float32)


def test_the_paper_of_a_photograph_is_not_ink() -> None:
    canvas = on_canvas(drawn(((20, 20), (90, 20), (60, 130)), 8, 150), 200, 30, 20)
    clean, photo = normalized(canvas), normalized(photographed(canvas))
    assert np.corrcoef(clean, photo)[0, 1] > 0.97
    assert photo.reshape(28, 28)[:3].max() == 0


@pytest.mark.parametrize("noise", [0, 0.01, 0.03])
def test_a_photograph_of_empty_paper_is_refused(noise: float) -> None:
    with pytest.raises(InvalidImage):
        normalized(photographed(np.zeros((200, 300), np.float32), noise))


def test_specks_are_not_part_of_the_digit() -> None:
    canvas = on_canvas(drawn(((20, 20), (90, 20), (60, 130)), 8, 150), 280, 100, 100)
    specked = canvas.copy()
    for x, y in ((5, 5), (270, 9), (140, 272), (3, 200)):
        specked[y : y + 3, x : x + 3] = 1
    assert gap(normalized(specked), normalized(canvas)) < NEARLY
    assert gap(normalized(1 - specked), normalized(canvas)) < NEARLY


def test_ink_that_reaches_the_edge_does_not_change_the_paper() -> None:
    canvas = drawn(((20, 2), (90, 2), (60, 140)), 8, 150)
    canvas[0, 20:90] = 1
    with_room = normalized(on_canvas(canvas, 250, 50, 50))
    assert gap(normalized(canvas), with_room) < NEARLY
    assert gap(normalized(1 - canvas), with_room) < NEARLY


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 256]))
def test_no_picture_breaks_it(seed: int, height: int, width: int, levels: int) -> None:
    chance = np.random.default_rng(seed)
    grey = chance.integers(0, levels, (height, width)).astype(np.float32) / np.float32(255)
    try:
        pixels = normalized(grey)
    except InvalidImage:
        return
    assert pixels.shape == (784,)
    assert ((pixels >= 0) & (pixels <= 1)).all()
    assert pixels.any()


# -------------------------------------------------------------------------------------------------- the route


def picture(drawing: Array, format: str = "PNG", mode: str = "L", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray((drawing * 255).astype(np.uint8)).convert(mode).save(file, format, **options)
    return file.getvalue()


CANVAS = on_canvas(drawn(((20, 20), (90, 20), (60, 130)), 8, 150), 280, 100, 60)


@pytest.fixture
def trained(database: Database) -> None:
    succeeded(database, TEN_UNITS)


@pytest.mark.usefixtures("trained")
def test_a_drawing_is_answered_with_the_numbers_that_were_used(api: TestClient) -> None:
    for content, headers in ((picture(CANVAS), PNG), (picture(1 - CANVAS, "JPEG", "RGB"), JPEG)):
        for choice in ({}, {"arm": "without_batch_norm"}, {"normalize": "true", "statistics": "batch"}):
            answer = api.post("/predict", params=choice, content=content, headers=headers)
            body = strict_json(answer.text)
            choice.pop("normalize", None)
            again = strict_json(api.post("/predict", json={"image": body["image"], **choice}).text)
            used = np.array(body["image"])
            assert used.shape == (28, 28)
            assert used.max() > 0.9
            assert used.tolist() == used.round(3).tolist()
            assert again.pop("image") is None
            assert body.pop("image") is not None
            assert again == body


@pytest.mark.usefixtures("trained")
def test_a_picture_of_28_by_28_is_taken_as_it_is_unless_it_is_to_be_normalized(api: TestClient) -> None:
    small = picture(on_canvas(drawn(((2, 2), (9, 2), (5, 12)), 2, 15), 28, 0, 0))

    def ask(**choice: str) -> Any:
        return api.post("/predict", params=choice, content=small, headers=PNG).json()

    assert ask() == ask(normalize="false")
    assert ask()["image"] is None
    used = np.array(ask(normalize="true")["image"], np.float32)
    assert centre(used.ravel()) == pytest.approx((14, 14), abs=0.05)


def test_other_sizes_are_refused_where_nothing_is_to_be_normalized(door: TestClient) -> None:
    for content, headers in ((picture(CANVAS), PNG), (picture(CANVAS, "JPEG"), JPEG)):
        answer = door.post("/predict", params={"normalize": "false"}, content=content, headers=headers)
        (error,) = problem(answer, 422, "invalid_image")["errors"]
        assert error["field"] == "image"
        assert error["received"] == "280×280 pixels"
        assert "28×28" in error["allowed"]
        assert "normalize" in error["allowed"]


def test_an_empty_canvas_is_refused(door: TestClient) -> None:
    for level in (0, 1):
        blank = picture(np.full((280, 280), level, np.float32))
        answer = door.post("/predict", content=blank, headers=PNG)
        assert fields(answer, code="invalid_image") == ["image"]
        assert answer.json()["errors"][0]["received"] == "an empty picture"


@pytest.mark.usefixtures("trained")
def test_several_images_have_no_picture_of_their_own(api: TestClient) -> None:
    assert "image" not in api.post("/predict", json={"images": [[0.0] * 784]}).json()


def test_the_numbers_shown_are_the_numbers_used() -> None:
    every = np.resize(np.arange(1_001), (2, 784)) / 1_000
    for pixels in every.astype(np.float32):
        np.testing.assert_array_equal(np.array(shown(pixels)).astype(np.float32).ravel(), pixels.round(3))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_drawing_is_the_same_in_every_mode(mode: str) -> None:
    two_levels = (CANVAS > 0.5).astype(np.float32)
    expected = from_picture(picture(two_levels), "image/png").pixels
    assert gap(from_picture(picture(1 - two_levels, mode=mode), "image/png").pixels, expected) < 2e-3


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_of_a_drawing_is_the_same_up_to_its_losses(mode: str) -> None:
    expected = from_picture(picture(CANVAS), "image/png").pixels
    found = from_picture(picture(CANVAS, "JPEG", mode, quality=80), "image/jpeg").pixels
    assert np.corrcoef(found, expected)[0, 1] > 0.99


@pytest.mark.parametrize("ink", ["white", "black", "blue", "yellow"])
def test_ink_of_any_colour_on_a_transparent_canvas_is_seen(ink: str) -> None:
    canvas = Image.new("RGBA", (280, 280), ink)
    canvas.putalpha(Image.fromarray((CANVAS * 255).astype(np.uint8)))
    file = io.BytesIO()
    canvas.save(file, "PNG")
    expected = from_picture(picture(CANVAS), "image/png").pixels
    assert gap(from_picture(file.getvalue(), "image/png").pixels, expected) < 0.05


def test_a_drawing_of_16_bits_is_read_as_finely_as_it_is_written() -> None:
    file = io.BytesIO()
    Image.fromarray((CANVAS * 0.05 * 65_535).astype(np.uint16)).save(file, "PNG")
    expected = from_picture(picture(CANVAS), "image/png").pixels
    assert gap(from_picture(file.getvalue(), "image/png").pixels, expected) < 0.02


def test_the_largest_pictures_take_a_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "sent").mkdir()
    (tmp_path / "small.png").write_bytes(picture(drawn()))
    large = enlarged(drawn(((50, 50), (150, 50), (100, 200)), 20, 256), 4)
    for mode in ("1", "L", "RGB", "RGBA", "P"):
        (tmp_path / "sent" / f"{mode}.png").write_bytes(picture(large, mode=mode))
    Image.fromarray((large * 65_535).astype(np.uint16)).save(tmp_path / "sent" / "16.png")
    for mode in ("L", "RGB", "CMYK"):
        soft = Image.fromarray((large * 255).astype(np.uint8)).convert(mode).filter(ImageFilter.GaussianBlur(2))
        soft.save(tmp_path / "sent" / f"{mode}.jpeg", progressive=True)
    grown, refused = growth_kb(tmp_path / "small.png", tmp_path / "sent")
    assert grown < 40_000
    assert refused == 0


def test_a_photograph_is_read_as_the_camera_was_held() -> None:
    upright = Image.open(io.BytesIO(picture(CANVAS)))
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    held = Image.Exif()
    held[0x0112] = 6  # the camera was turned: the picture is to be turned back by a quarter
    file = io.BytesIO()
    turned.save(file, "JPEG", quality=95, exif=held)
    as_held = from_picture(file.getvalue(), "image/jpeg").pixels
    np.testing.assert_allclose(as_held, from_picture(picture(CANVAS), "image/png").pixels, atol=0.1)
