"""Queries on API keys: make one, find one by its text, list them, revoke one. Their texts are stored nowhere."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, insert, or_, select, update
from sqlalchemy.orm import Session

from models import clock
from models.errors import FieldError, InvalidInput
from models.scopes import Scope
from models.tables import ApiKey

PREFIX = "bnlab_"
#: 32 random bytes in base64: nobody guesses them, so no slow hash need guard them.
PATTERN = re.compile(r"bnlab_[A-Za-z0-9_-]{43}")
SHOWN_CHARACTERS = 12

#: A use is noted at most so often.
NOTED_EVERY_S = 60.0

MOST_NAMED, MOST_ALLOWED = 100, 2**31 - 1


@dataclass(frozen=True)
class Key:
    """What a valid key is and may do; where it has no limit of its own, the settings have one."""

    id: UUID
    owner_id: UUID
    name: str
    scope: Scope
    requests_per_minute: int | None
    max_active_experiments: int | None


def create(
    session: Session,
    name: str,
    scope: Scope,
    expires_in_s: float | None = None,
    requests_per_minute: int | None = None,
    max_active_experiments: int | None = None,
    owner_id: UUID | None = None,
) -> tuple[ApiKey, str]:
    """Insert a new key, and return it with its text, which nobody can ever read again. Raises InvalidInput.

    Without an owner it is the first key of a new one.
    """
    _check(name, requests_per_minute, max_active_experiments)
    id, text = uuid4(), PREFIX + secrets.token_urlsafe(32)
    row = {
        "id": id,
        "owner_id": owner_id or id,
        "name": name,
        "key_sha256": sha256(text),
        "beginning": text[:SHOWN_CHARACTERS],
        "scope": scope,
        "created_at": clock.now(),
        "expires_at": None if expires_in_s is None else clock.in_seconds(expires_in_s),
        "requests_per_minute": requests_per_minute,
        "max_active_experiments": max_active_experiments,
    }
    created = session.scalars(insert(ApiKey).values(row).returning(ApiKey)).one()
    return created, text


def find(session: Session, text: str) -> Key | None:
    """Return the key with this text; None if it is unknown, revoked, or expired by the database's clock."""
    if not PATTERN.fullmatch(text):
        return None
    hashed = sha256(text)
    expires = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > clock.now())
    row = session.scalars(
        select(ApiKey).where(ApiKey.key_sha256 == hashed, ApiKey.revoked_at.is_(None), expires)
    ).one_or_none()
    if row is None or not hmac.compare_digest(row.key_sha256, hashed):
        return None
    return Key(row.id, row.owner_id, row.name, row.scope, row.requests_per_minute, row.max_active_experiments)


def use_is_due(session: Session, key_id: UUID) -> bool:
    """Return whether the last use that was noted is so long ago that this one is to be."""
    return session.scalars(select(ApiKey.id).where(ApiKey.id == key_id, _noted_long_ago())).one_or_none() is not None


def note_use(session: Session, key_id: UUID) -> None:
    """Note that a key is used now, unless that was noted within the last minute."""
    session.execute(
        update(ApiKey)
        .where(ApiKey.id == key_id, _noted_long_ago())
        .values(last_used_at=clock.now())
        .execution_options(synchronize_session=False)
    )


def read_all(session: Session) -> Sequence[ApiKey]:
    """Return every key there ever was, the oldest first."""
    return session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)).all()


def expired(session: Session) -> set[UUID]:
    """Return which keys have expired, by the database's clock."""
    return set(session.scalars(select(ApiKey.id).where(ApiKey.expires_at <= clock.now())))


def named(session: Session, id_or_beginning: str) -> Sequence[ApiKey]:
    """Return the keys that a person may mean: by the id, by the first characters, or by the whole text."""
    return [
        row
        for row in read_all(session)
        if id_or_beginning.lower() == str(row.id)
        or (len(id_or_beginning) > len(PREFIX) and row.beginning.startswith(id_or_beginning[:SHOWN_CHARACTERS]))
    ]


def revoke(session: Session, key_id: UUID) -> bool:
    """Revoke a key for ever, and return whether it was not before; what was made with it stays."""
    revoked = session.execute(
        update(ApiKey)
        .where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=clock.now())
        .returning(ApiKey.id)
        .execution_options(synchronize_session=False)
    )
    return revoked.scalar_one_or_none() is not None


def sha256(text: str) -> str:
    """Return what is stored of a key's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _noted_long_ago() -> ColumnElement[bool]:
    return or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < clock.in_seconds(-NOTED_EVERY_S))


def _check(name: str, requests_per_minute: int | None, max_active_experiments: int | None) -> None:
    errors = []
    if not (0 < len(name.strip()) <= len(name) <= MOST_NAMED and name.isprintable()):
        errors.append(FieldError("name", f"1 to {MOST_NAMED} printable characters", name))
    for field, value in (
        ("requests_per_minute", requests_per_minute),
        ("max_active_experiments", max_active_experiments),
    ):
        if value is not None and not 1 <= value <= MOST_ALLOWED:
            errors.append(FieldError(field, f"a number from 1 to {MOST_ALLOWED}", value))
    if errors:
        raise InvalidInput(errors)
