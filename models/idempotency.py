"""Requests that carry a key: sent again, they get the same answer and have no second effect.

Each owner has keys of its own: equal ones of two owners never meet.
"""

import zlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from models.errors import FieldError, KeyReused
from models.tables import IdempotencyKey

#: How long a key is known.
KEPT_FOR = timedelta(hours=48)


def answered(session: Session, key: str, request_sha256: str, owner: UUID | None = None) -> bytes | None:
    """Take a key for this request and return None, or return what the same request was answered before.

    The key is taken in the caller's transaction: it is known if and only if what the request did is. Who sends the
    same key at the same moment waits here for the first to commit. Raises KeyReused.
    """
    now = datetime.now(UTC)
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now - KEPT_FOR))
    insert = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgres_insert
    row = {
        "owner": _word(owner),
        "key": key,
        "request_sha256": request_sha256,
        "created_at": now,
        "answer": zlib.compress(b""),
    }
    taken = session.execute(
        insert(IdempotencyKey).values(row).on_conflict_do_nothing().returning(IdempotencyKey.key)
    ).scalar_one_or_none()
    if taken is not None:
        return None
    known = session.scalars(select(IdempotencyKey).where(_this(owner, key))).one()
    if known.request_sha256 != request_sha256:
        raise KeyReused([FieldError("Idempotency-Key", "a key that came with no other request", key)])
    return zlib.decompress(known.answer)


def remember(session: Session, key: str, answer: bytes, owner: UUID | None = None) -> None:
    """Keep the answer, compressed, for when the request comes again; of a large sweep it has megabytes."""
    kept = zlib.compress(answer)
    session.execute(update(IdempotencyKey).where(_this(owner, key)).values(answer=kept))


def _this(owner: UUID | None, key: str) -> ColumnElement[bool]:
    return and_(IdempotencyKey.owner == _word(owner), IdempotencyKey.key == key)


def _word(owner: UUID | None) -> str:
    """Return an owner as the column has it: in a primary key nothing may be null."""
    return "" if owner is None else str(owner)
