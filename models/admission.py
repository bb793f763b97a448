"""How many experiments may wait: asked before one is accepted, in its transaction."""

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from models.errors import FieldError, InvalidInput, QueueFull
from models.spec import Status
from models.tables import Arm

#: Any number that nothing else in this database locks.
_DOOR = 0x626E6C6162


def admit(session: Session, count: int, limit: int) -> None:
    """Let so many new experiments in, or raise QueueFull: with them, more than `limit` would wait.

    Raises InvalidInput if so many could never wait. One at a time passes here until its transaction ends, so no two
    count the same free place. An experiment waits as long as one of its arms does.
    """
    if count > limit:
        allowed = f"at most {limit} experiments at once, which is all that may wait on this server"
        raise InvalidInput([FieldError("", allowed, count)])
    if session.get_bind().dialect.name == "postgresql":  # on SQLite there is one writer as it is
        session.execute(text("SELECT pg_advisory_xact_lock(:door)"), {"door": _DOOR})
    queued = select(func.count(Arm.experiment_id.distinct())).where(Arm.status == Status.QUEUED)
    waiting = session.scalars(queued).one()
    if waiting + count > limit:
        message = f"{waiting} experiments wait, and at most {limit} may; submit this again when some have begun."
        raise QueueFull(message, queued=waiting, limit=limit)
