"""Turns what was sent into one digit: 784 numbers 0…1, white ink on black, in rows from the top left as in MNIST."""

import io
import warnings
from itertools import chain
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import ChunkStream, PngImageFile

from models.dense import Array
from models.errors import FieldError, InvalidImage
from models.spec import PIXELS

SIDE = 28
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG"}
ALLOWED_NUMBERS = "28 rows of 28 numbers, or 784 numbers, each from 0 (black) to 1 (white ink)"
#: Chunks of a PNG that Pillow unpacks, up to a megabyte each: an encoder writes two or three.
PACKED_CHUNKS = (b"iCCP", b"zTXt", b"iTXt")
MOST_PACKED = 8
SIGNATURE_BYTES = 8
ALLOWED_PICTURE = "a still picture of 28×28 pixels, white ink on black"


def from_many(images: list[Any]) -> Array:
    """Return several images as an array [images, 784]. Raises InvalidImage, naming the first wrong one."""
    return np.stack([from_numbers(image, f"images.{number}") for number, image in enumerate(images)])


def from_numbers(image: Any, field: str = "image") -> Array:
    """Return numbers as an array [784]. Raises InvalidImage, naming the field."""
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


def from_picture(content: bytes | bytearray, media_type: str) -> Array:
    """Return a PNG or JPEG as an array [784]; its size is read from its head before anything is unpacked.

    What is transparent is black. Raises InvalidImage, naming the field `image`.
    """
    packed = sum(map(content.count, PACKED_CHUNKS))
    if packed > MOST_PACKED:
        raise _refused(f"a picture with at most {MOST_PACKED} profiles and texts", packed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd details that do not matter here
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=(FORMATS[media_type],)) as picture:
                if picture.size != (SIDE, SIDE):
                    raise _refused(ALLOWED_PICTURE, "×".join(str(length) for length in picture.size) + " pixels")
                if getattr(picture, "n_frames", 1) != 1:
                    raise _refused(ALLOWED_PICTURE, "an animation")
                if isinstance(picture, PngImageFile):
                    _check_sums(content)
                return _grey(picture).reshape(PIXELS)
    except InvalidImage:
        raise
    except UnidentifiedImageError:
        raise _refused(f"a picture of the kind {media_type}", "something else") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise _refused(ALLOWED_PICTURE, "many millions of pixels") from None
    except Exception:  # a decoder answers damaged bytes with errors of every kind
        raise _refused(f"a whole picture of the kind {media_type}", "a damaged one") from None


def _check_sums(content: bytes | bytearray) -> None:
    """Raise an error of Pillow's unless every checksum of a PNG is right, to the end; nothing is unpacked for it."""
    file = io.BytesIO(content)
    file.seek(SIGNATURE_BYTES)
    ChunkStream(file).verify()


def _grey(picture: Image.Image) -> Array:
    """Return a picture of any mode as grey 0…1, [28, 28], laid over black."""
    if picture.mode.startswith("I;16"):  # Pillow would cut 16 bits off at 255
        return np.asarray(picture).astype(np.float32) / np.float32(65_535)
    coloured = picture.convert("RGBA")
    over_black = Image.alpha_composite(Image.new("RGBA", coloured.size, "black"), coloured)
    return np.asarray(over_black.convert("L"), np.float32) / np.float32(255)


def _refused(allowed: str, received: Any, field: str = "image") -> InvalidImage:
    return InvalidImage([FieldError(field, allowed, received)])
