"""Headers of every answer: what keeps a browser from misusing it, and what its request has put aside for it.

Strict-Transport-Security is not among them: only the proxy that speaks TLS knows that it may be promised.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import Scope

#: A name in small letters, and its value.
Header = tuple[bytes, bytes]

#: No content of ours is to be taken for another kind, told of elsewhere, or embedded in another site's page.
ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]

#: An answer loads nothing and is shown in no frame; a page sets its own policy. And it is true for a moment only.
UNLESS_SET = [
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
]


#: Where headers wait in a request's state until its answer begins, whatever that will be.
ASIDE = "headers"


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first header of a request with this name, in small letters; None: it has none."""
    return next((value for each, value in scope["headers"] if each == name), None)


def completed(own: Iterable[Header], state: Mapping[str, Any]) -> list[Header]:
    """Return the headers of an answer: its own, those that every answer has, those its request has put aside."""
    own = list(own)
    names = {name for name, _ in own}
    unset = [each for each in UNLESS_SET if each[0] not in names]
    return [*own, *ALWAYS, *unset, *state.get(ASIDE, ())]
