"""Turns what was sent into one digit: 784 numbers 0…1, white ink on black, in rows from the top left as in MNIST."""

import io
import struct
import warnings
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import ChunkStream, PngImageFile

from api.drawings import SIDE, normalized
from models.arrays import Array
from models.errors import FieldError, InvalidImage
from models.spec import PIXELS

NUMBERS = struct.Struct(f"{PIXELS}d")
#: Of doubles, read as unsigned integers, those from 0 to 1 are the ones up to here: negative ones and NaN are larger.
BITS_OF_1 = np.float64(1).view(np.uint64)
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG"}
ALLOWED_NUMBERS = "28 rows of 28 numbers, or 784 numbers, each from 0 (black) to 1 (white ink)"
#: Chunks of a PNG that Pillow unpacks, up to a megabyte each: an encoder writes two or three.
PACKED_CHUNKS = (b"iCCP", b"zTXt", b"iTXt")
MOST_PACKED = 8
#: Scans of a JPEG, each of which goes over all pixels: an encoder writes up to a dozen.
SCAN = b"\xff\xda"
MOST_SCANS = 100
SIGNATURE_BYTES = 8
SMALLEST_SIDE, LARGEST_SIDE = 8, 1_024
ALLOWED_PICTURE = f"a still picture of {SMALLEST_SIDE}×{SMALLEST_SIDE} to {LARGEST_SIDE:,}×{LARGEST_SIDE:,} pixels"
ALLOWED_AS_IT_IS = "a picture of 28×28 pixels, or normalize left out or true"
#: Numbers of a normalized picture are rounded so, and used as they are shown.
DECIMALS = 3


class Pixels(NamedTuple):
    """What a picture was made into, [784]; whether it was normalized."""

    pixels: Array
    normalized: bool


def from_many(images: list[Any], *, truths: bool = True) -> Array:
    """Return several images as an array [images, 784]. Raises InvalidImage, naming the first wrong one."""
    return np.stack([from_numbers(image, f"images.{number}", truths=truths) for number, image in enumerate(images)])


def from_numbers(image: Any, field: str = "image", *, truths: bool = True) -> Array:
    """Return numbers as an array [784]. Raises InvalidImage, naming the field.

    Say that there are no `truths` where nothing in it can be true or false, which would pass for numbers: the usual
    lists are then read in a third of the time.
    """
    if not truths and isinstance(image, list):
        with suppress(struct.error, OverflowError, TypeError):  # something that is no number
            pixels = _packed(image)
            if pixels.view(np.uint64).max() <= BITS_OF_1:  # all are from 0 to 1
                return pixels.astype(np.float32)
    return _from_anything(image, field)


def _packed(image: list[Any]) -> NDArray[np.float64]:
    """Return lists of 784 numbers as an array [784]; NumPy would take much longer to look through them."""
    numbers = image
    if len(image) != PIXELS:
        if {*map(len, image)} != {SIDE}:
            raise TypeError
        numbers = list(chain.from_iterable(image))
    return np.frombuffer(NUMBERS.pack(*numbers))


def _from_anything(image: Any, field: str) -> Array:
    """Do the same with whatever has come, and say what is wrong with it."""
    try:
        array = np.asarray(image)
    except ValueError:  # rows of different lengths
        raise _refused(ALLOWED_NUMBERS, "rows of different lengths", field) from None
    if array.dtype.kind not in "iuf":
        raise _refused(ALLOWED_NUMBERS, "something that is not a number", field)
    if array.shape not in ((PIXELS,), (SIDE, SIDE)):
        found = "×".join(str(length) for length in array.shape) or "no list of"
        raise _refused(ALLOWED_NUMBERS, f"{found} numbers", field)
    if bool in map(type, image if array.ndim == 1 else chain.from_iterable(image)):  # NumPy takes true among numbers
        raise _refused(ALLOWED_NUMBERS, "something that is not a number", field)
    # NaN is neither smaller nor larger: ask for what is right, not for what is wrong
    inside = (array >= 0) & (array <= 1)
    if not inside.all():
        raise _refused(ALLOWED_NUMBERS, float(array[~inside][0]), field)
    return array.reshape(PIXELS).astype(np.float32)


def from_picture(content: bytes | bytearray, media_type: str, normalize: bool | None = None) -> Pixels:
    """Return what a PNG or JPEG shows; its size is read from its head before anything is unpacked.

    One of 28×28 is taken as it is, what is transparent as black, and any other normalized, unless `normalize` says
    which is to be done. Raises InvalidImage, naming the field `image`.
    """
    packed = sum(map(content.count, PACKED_CHUNKS))
    if packed > MOST_PACKED:
        raise _refused(f"a picture with at most {MOST_PACKED} profiles and texts", packed)
    scans = content.count(SCAN)
    if media_type == "image/jpeg" and scans > MOST_SCANS:
        raise _refused(f"a picture with at most {MOST_SCANS} scans", scans)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd details that do not matter here
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=(FORMATS[media_type],)) as picture:
                normalize = picture.size != (SIDE, SIDE) if normalize is None else normalize
                _check_head(picture, normalize)
                if isinstance(picture, PngImageFile):
                    _check_sums(content)
                grey = _grey(picture, normalize)
    except InvalidImage:
        raise
    except UnidentifiedImageError:
        raise _refused(f"a picture of the kind {media_type}", "something else") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise _refused(ALLOWED_PICTURE, "many millions of pixels") from None
    except Exception:  # a decoder answers damaged bytes with errors of every kind
        raise _refused(f"a whole picture of the kind {media_type}", "a damaged one") from None
    if normalize:
        return Pixels(normalized(grey).round(DECIMALS), normalized=True)
    return Pixels(grey.reshape(PIXELS), normalized=False)


def shown(pixels: Array) -> list[list[float]]:
    """Return normalized pixels [784] as 28 rows of numbers; sent as `image`, they are those pixels again."""
    rows: list[list[float]] = pixels.astype(float).round(DECIMALS).reshape(SIDE, SIDE).tolist()
    return rows


def _check_head(picture: Image.Image, normalize: bool) -> None:
    """Raise InvalidImage unless a picture has a size that can be taken and does not move."""
    size = "×".join(str(length) for length in picture.size) + " pixels"
    if not SMALLEST_SIDE <= min(picture.size) <= max(picture.size) <= LARGEST_SIDE:
        raise _refused(ALLOWED_PICTURE, size)
    if not normalize and picture.size != (SIDE, SIDE):
        raise _refused(ALLOWED_AS_IT_IS, size)
    if getattr(picture, "n_frames", 1) != 1:
        raise _refused(ALLOWED_PICTURE, "an animation")


def _check_sums(content: bytes | bytearray) -> None:
    """Raise an error of Pillow's unless every checksum of a PNG is right, to the end; nothing is unpacked for it."""
    file = io.BytesIO(content)
    file.seek(SIGNATURE_BYTES)
    ChunkStream(file).verify()


def _grey(picture: Image.Image, drawn: bool) -> Array:
    """Return a picture of any mode as grey 0…1, [height, width], laid over black; a drawing in dark ink over white."""
    if picture.mode.startswith("I;16"):  # Pillow would cut 16 bits off at 255
        return np.asarray(picture).astype(np.float32) / np.float32(65_535)
    picture.draft("L", picture.size)  # a JPEG is unpacked without its colours
    if drawn:
        picture = ImageOps.exif_transpose(picture)  # a camera writes down how it was held
    if picture.mode != "L" or picture.has_transparency_data:
        coloured = picture.convert("RGBA")
        paper = "white" if drawn and _is_dark(coloured) else "black"
        picture = Image.alpha_composite(Image.new("RGBA", coloured.size, paper), coloured).convert("L")
    return np.asarray(picture, np.float32) / np.float32(255)


def _is_dark(coloured: Image.Image) -> bool:
    """Return whether what is not transparent is nearer to black than to white."""
    counts = np.array(coloured.convert("L").histogram(coloured.getchannel("A")))  # [256]
    return bool(counts @ np.arange(256) < counts.sum() * 255 / 2)


def _refused(allowed: str, received: Any, field: str = "image") -> InvalidImage:
    return InvalidImage([FieldError(field, allowed, received)])
