"""Routes for a browser: the page at `/`, its parts, and the libraries that it and the documents use, all from here."""

from functools import cache
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

from api.assets import Asset, in_package

router = APIRouter(include_in_schema=False)

PARTS = Path(__file__).parent / "page"

#: What comes inside an installed package: its name here, the package, where it lies there.
LIBRARIES = {
    "plotly.js": ("plotly", "package_data/plotly.min.js"),
    "swagger-ui.js": ("fastapi_offline", "static/swagger-ui-bundle.js"),
    "swagger-ui.css": ("fastapi_offline", "static/swagger-ui.css"),
}

#: Nothing runs or is shown that does not come from here, and no script or style stands inside the page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


@router.head("/")
@router.get("/")
def page(request: Request) -> Response:
    """Show the page."""
    return _assets()["index.html"].answer(request, {"Content-Security-Policy": POLICY})


@router.head("/page/{name}")
@router.get("/page/{name}")
def part(name: str, request: Request) -> Response:
    """Send a part of the page, or a library."""
    asset = _assets().get(name)
    if asset is None:
        raise HTTPException(404, f"The page has no part named {name[:80]}.")
    return asset.answer(request)


@cache
def _assets() -> dict[str, Asset]:
    """Return everything that may be sent, by its name: what is not among it is not looked for."""
    parts = {path.name: Asset(path) for path in sorted(PARTS.iterdir())}
    return parts | {name: Asset(in_package(*where)) for name, where in LIBRARIES.items()}
