"""Which representation of a thing is sent: the one asked for by `format`, else the one the Accept header likes best."""

from collections.abc import Sequence
from typing import Literal, TypeVar

from fastapi import HTTPException

Format = Literal["json", "csv", "png", "svg"]
Some = TypeVar("Some", bound=Format)

MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "png": "image/png",
    "svg": "image/svg+xml",
}


def negotiated(accept: str, offered: Sequence[Some]) -> Some:
    """Return the format the Accept header likes best (RFC 9110, 12.5.1), of equals the first; 406 if it likes none."""
    qualities: dict[str, float] = {}
    for choice in accept.split(","):
        media_range, *parameters = (part.strip().lower() for part in choice.split(";"))
        qualities.setdefault(media_range, _quality(parameters))
    if set(qualities) == {""}:  # an empty header asks for nothing
        qualities = {"*/*": 1.0}
    places = list(qualities)

    def liking(name: Some) -> tuple[float, int]:
        """Return the quality of the most specific range that covers a format, and how early that range stands."""
        media_type = MEDIA_TYPES[name]
        for media_range in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
            if media_range in qualities:
                return qualities[media_range], -places.index(media_range)
        return 0.0, 0

    best = max(offered, key=liking)  # of equals the first
    if not liking(best)[0]:
        known = ", ".join(MEDIA_TYPES[name] for name in offered)
        raise HTTPException(406, f"Accept one of {known}; received {accept[:120]}.")
    return best


def _quality(parameters: list[str]) -> float:
    """Return the `q` of a media range: 1 if it has none, 0 if it is no number from 0 to 1."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return quality if 0 <= quality <= 1 else 0.0
    return 1.0
