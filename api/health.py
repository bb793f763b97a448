"""Routes of health: alive, and ready, which says what is missing."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from api.dependencies import BellsDep, DatabaseDep
from models import schema

router = APIRouter(prefix="/health", tags=["health"])


class Live(BaseModel):
    """The process runs."""

    status: Literal["live"]


class Ready(BaseModel):
    """Whether experiments can be accepted and answered, and what is missing."""

    status: Literal["ready", "not_ready"]
    missing: list[str] = Field(description="One sentence for each thing that is missing; empty when ready.")


@router.get("/live")
def live() -> Live:
    """Say that the process runs."""
    return Live(status="live")


@router.get("/ready", responses={503: {"model": Ready, "description": "Something is missing."}})
def ready(database: DatabaseDep, bells: BellsDep, response: Response) -> Ready:
    """Say whether the database, its tables and the broker are there."""
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
        response.status_code = 503
    return Ready(status="not_ready" if missing else "ready", missing=missing)
