"""Named arrays as bytes: safetensors, never code, with their SHA-256; bytes that are not those are found out."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.errors import NetworkDamaged

AnyArrays = Mapping[str, NDArray[Any]]


def to_bytes(arrays: AnyArrays) -> tuple[bytes, str]:
    """Return arrays as bytes, and the SHA-256 of these."""
    # save() takes for granted that arrays lie row by row, and would mix up the numbers of any other.
    stored: bytes = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return stored, hashlib.sha256(stored).hexdigest()


def from_bytes(stored: bytes, sha256: str) -> dict[str, NDArray[Any]]:
    """Return the arrays. Raises NetworkDamaged when the bytes are not those that were stored."""
    if hashlib.sha256(stored).hexdigest() != sha256:
        raise NetworkDamaged
    try:
        arrays: dict[str, NDArray[Any]] = load(stored)
    except SafetensorError as error:
        raise NetworkDamaged from error
    return arrays
