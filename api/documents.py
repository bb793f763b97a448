"""Routes that tell of the others: the OpenAPI document, and for people, at `/docs`, a page to try things out on.

The page's script and style come from where FastAPI has them, byte for byte, and nothing else is loaded or run.
"""

import base64
import hashlib
import re

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

router = APIRouter(include_in_schema=False)

LIBRARY = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.35.0/"
#: A browser takes these bytes and no others, whoever sends them: the SHA-384 of each file, as base64.
HASHES = {
    "swagger-ui-bundle.js": "sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9",
    "swagger-ui.css": "sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I",
}


@router.get("/")
async def home() -> RedirectResponse:
    """Lead to the documents."""
    return RedirectResponse("/docs")


@router.get("/openapi.json")
async def document(request: Request) -> Response:
    """Show the document; it is written once, for it is large, and anybody may ask for it."""
    state = request.app.state
    if not hasattr(state, "document"):
        state.document = JSONResponse(request.app.openapi()).body
    return Response(state.document, media_type="application/json")


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Show the OpenAPI document."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="bnlab",
        swagger_js_url=f"{LIBRARY}swagger-ui-bundle.js",
        swagger_css_url=f"{LIBRARY}swagger-ui.css",
        swagger_favicon_url="data:,",
    )
    text = bytes(page.body).decode()
    for name, digest in HASHES.items():
        address = f'"{LIBRARY}{name}"'
        text = text.replace(address, f'{address} integrity="{digest}" crossorigin="anonymous"')
    return HTMLResponse(text, headers={"Content-Security-Policy": policy(text)})


def policy(page: str) -> str:
    """Return the policy that lets this page work: its own inline script is named by its hash."""
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src {LIBRARY} 'sha256-{digest}'; style-src {LIBRARY} 'unsafe-inline'; "
        "img-src data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
