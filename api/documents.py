"""Routes that tell of the others: the OpenAPI document, and for people, at `/docs`, a page to try things out on."""

import base64
import hashlib
import re

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse

router = APIRouter(include_in_schema=False)


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
        swagger_js_url="/page/swagger-ui.js",
        swagger_css_url="/page/swagger-ui.css",
        swagger_favicon_url="/page/icon.svg",
    )
    text = bytes(page.body).decode()
    return HTMLResponse(text, headers={"Content-Security-Policy": policy(text)})


def policy(page: str) -> str:
    """Return the policy that lets this page work: its own inline script is named by its hash."""
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
