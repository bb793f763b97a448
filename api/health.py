"""Routes of health: alive, and ready, which says what is missing."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from api.dependencies import BellsDep, DatabaseDep
from api.errors import responses
from api.readiness import Readiness
from models.errors import NotReady

router = APIRouter(prefix="/health", tags=["health"])


class Live(BaseModel):
    """The process runs."""

    status: Literal["live"]


class Ready(BaseModel):
    """Experiments can be accepted and answered."""

    status: Literal["ready"]


@router.head("/live", include_in_schema=False)  # load balancers ask so
@router.get("/live")
async def live() -> Live:
    """Say that the process runs; needs no thread, so it answers however busy they are."""
    return Live(status="live")


@router.head("/ready", include_in_schema=False)
@router.get("/ready", responses=responses(503))
async def ready(request: Request, database: DatabaseDep, bells: BellsDep) -> Ready:
    """Say that the database, its tables and the broker are there; if not, 503 names all that is `missing`.

    The answer may be a second old.
    """
    readiness: Readiness = request.app.state.readiness
    if missing := await readiness.missing(database, bells):
        raise NotReady(missing=missing)
    return Ready(status="ready")
