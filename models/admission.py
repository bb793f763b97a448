"""How many experiments may wait, and of one owner may be active: asked before one is accepted, in its transaction."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import Session

from models.errors import FieldError, InvalidInput, QueueFull, QuotaUsedUp
from models.spec import Status
from models.tables import Arm

#: Any number that nothing else in this database locks.
_DOOR = 0x626E6C6162


@dataclass(frozen=True)
class Quota:
    """How many experiments of one owner may wait or run."""

    owner: UUID
    limit: int


def admit(session: Session, count: int, limit: int, quota: Quota | None = None) -> None:
    """Let so many new experiments in, or raise QueueFull: with them, more than `limit` would wait.

    Raises QuotaUsedUp where the owner would have more than its quota, and InvalidInput if so many could never be let
    in. One at a time passes here until its transaction ends, so no two count the same free place. An experiment waits,
    or is active, as long as one of its arms is.
    """
    _refuse_what_never_fits(count, limit, quota)
    if session.get_bind().dialect.name == "postgresql":  # on SQLite there is one writer as it is
        session.execute(text("SELECT pg_advisory_xact_lock(:door)"), {"door": _DOOR})
    if quota is not None:
        # An arm ends with this moment; asked like this, the owner's index has the answer.
        active = _experiments(session, Arm.owner_id == quota.owner, Arm.finished_at.is_(None))
        if active + count > quota.limit:
            message = (
                f"{active} experiments of this API key wait or run, and at most {quota.limit} may; submit this again "
                "when some have ended."
            )
            raise QuotaUsedUp(message, active=active, limit=quota.limit)
    waiting = waiting_experiments(session)
    if waiting + count > limit:
        message = f"{waiting} experiments wait, and at most {limit} may; submit this again when some have begun."
        raise QueueFull(message, queued=waiting, limit=limit)


def waiting_experiments(session: Session) -> int:
    """Return how many experiments wait."""
    return _experiments(session, Arm.status == Status.QUEUED)


def _experiments(session: Session, *of: ColumnElement[bool]) -> int:
    """Return how many experiments have such an arm."""
    return session.scalars(select(func.count(Arm.experiment_id.distinct())).where(*of)).one()


def _refuse_what_never_fits(count: int, limit: int, quota: Quota | None) -> None:
    if count > limit:
        allowed = f"at most {limit} experiments at once, which is all that may wait on this server"
        raise InvalidInput([FieldError("", allowed, count)])
    if quota is not None and count > quota.limit:
        allowed = f"at most {quota.limit} experiments at once, which is all of this API key that may wait or run"
        raise InvalidInput([FieldError("", allowed, count)])
