"""Files for a browser: read and compressed once, when first asked for, and sent again only where they have changed."""

import gzip
import hashlib
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from fastapi import Request, Response

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Asset:
    """One file, as it is when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._media_type = MEDIA_TYPES[path.suffix]

    @cached_property
    def text(self) -> bytes:
        """What is in it."""
        return self._path.read_bytes()

    @cached_property
    def _compressed(self) -> bytes:
        return gzip.compress(self.text, mtime=0)

    @cached_property
    def _etag(self) -> str:
        return f'"{hashlib.sha256(self.text).hexdigest()[:32]}"'

    def answer(self, request: Request, headers: dict[str, str] | None = None) -> Response:
        """Return the file; 304 to who has it, and compressed to who can read that."""
        told = {"ETag": self._etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding", **(headers or {})}
        known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if self._etag in known:
            return Response(status_code=304, headers=told)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self._compressed, media_type=self._media_type, headers=told | {"Content-Encoding": "gzip"})
        return Response(self.text, media_type=self._media_type, headers=told)


def in_package(package: str, path: str) -> Path:
    """Return where a file of an installed package lies; the package is not imported."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"The package {package} is not installed; `make setup` installs it.")
    return Path(spec.submodule_search_locations[0]) / path
