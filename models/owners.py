"""Whose rows a query finds: an owner's own, or everybody's."""

from uuid import UUID

from sqlalchemy import ColumnElement, true
from sqlalchemy.orm import InstrumentedAttribute


def owned(owner_id: InstrumentedAttribute[UUID | None], owner: UUID | None) -> ColumnElement[bool]:
    """Return whether a row is this owner's, as SQL; of None, everybody's are. What nobody owns is no owner's."""
    return true() if owner is None else owner_id == owner
