"""Routes of health: alive, and ready, which says what is missing."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from api.dependencies import BellsDep, DatabaseDep
from api.errors import responses
from models import schema
from models.errors import NotReady

router = APIRouter(prefix="/health", tags=["health"])


class Live(BaseModel):
    """The process runs."""

    status: Literal["live"]


class Ready(BaseModel):
    """Experiments can be accepted and answered."""

    status: Literal["ready"]


@router.get("/live")
async def live() -> Live:
    """Say that the process runs; needs no thread, so it answers however busy they are."""
    return Live(status="live")


@router.get("/ready", responses=responses(503))
def ready(database: DatabaseDep, bells: BellsDep) -> Ready:
    """Say that the database, its tables and the broker are there; if not, 503 names all that is `missing`."""
    missing = []
    try:
        with database.read() as session:
            if not schema.is_current(session):
                missing.append("The database lacks the newest tables: run `python -m migrations`.")
    except SQLAlchemyError:
        missing.append("The database does not answer: check BNLAB_DATABASE_URL and that it runs.")
    if not bells.reachable():
        missing.append("The broker does not answer: check BNLAB_BROKER_URL and that it runs.")
    if missing:
        raise NotReady(missing=missing)
    return Ready(status="ready")
