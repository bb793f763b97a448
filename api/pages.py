"""The pages of a list, and the cursor: where the next one begins, as text that users need not understand."""

import base64
from datetime import UTC, datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from models.errors import FieldError, InvalidInput
from models.experiments import Cursor


class PageRequest(BaseModel):
    """Which part of a list to read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(20, ge=1, le=100, description="How many on one page.")
    cursor: str | None = Field(None, max_length=200, description="`next_cursor` of the page before.")


def encode(cursor: Cursor | None) -> str | None:
    """Return a cursor as text."""
    if cursor is None:
        return None
    created_at, id = cursor
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {id}".encode()).decode()


def decode(text: str | None) -> Cursor | None:
    """Return the cursor. Raises InvalidInput if it is none of ours."""
    if text is None:
        return None
    try:
        created_at, id = base64.urlsafe_b64decode(text.encode()).decode().split(" ")
        moment = datetime.fromisoformat(created_at)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC), UUID(id)
    except (ValueError, OverflowError):  # of base64, of the text, of the moment, of the id
        raise InvalidInput([FieldError("cursor", "next_cursor of the page before", text)]) from None
