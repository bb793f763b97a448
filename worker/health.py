"""Says whether the worker of this host takes work; a container is asked so for its health: `python -m worker.health`.

Exit code 0: it was heard of lately, and no arm that it may train waits while it has a free process. 1: not so, and a
sentence says why. It looks into the database only; TensorFlow and the broker are left alone.
"""

import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from models import arms, workers
from models.database import Database
from models.settings import read_settings
from models.tables import Worker
from models.workers import SILENT_S

#: Idle workers ring for waiting arms every second or so: one that waits so long is not being taken.
TAKEN_WITHIN_S = 20.0

#: Between two arms a busy worker is free for a moment, and another arm heads the queue: so it is looked at twice.
SECOND_LOOK_AFTER_S = 1.0


@dataclass(frozen=True)
class Finding:
    """What is wrong, in a sentence; and the arm that waits, if one does."""

    sentence: str
    arm_id: UUID | None = None


def problem(database: Database, host: str, second_look_after_s: float = SECOND_LOOK_AFTER_S) -> str | None:
    """Return what is wrong with the worker of this host, in a sentence; None: nothing."""
    found = look(database, host)
    if found is None or found.arm_id is None:
        return found.sentence if found else None
    time.sleep(second_look_after_s)
    again = look(database, host)
    if again is None or again.arm_id not in (None, found.arm_id):  # it was taken
        return None
    return again.sentence


def look(database: Database, host: str) -> Finding | None:
    """Return what looks wrong at this moment with the worker of this host."""
    with database.read() as session:
        here = [worker for worker in workers.living(session) if workers.host(worker) == host]
        if not here:
            return Finding(f"No worker of this host, {host}, has been heard of for {SILENT_S:.0f} s.")
        useless = [worker for worker in here if not worker.processes]
        if useless:
            what = ", ".join(useless[0].device_names)
            return Finding(f"The worker {useless[0].name} takes no arms: {what}.")
        return _not_taken(session, here)


def _not_taken(session: Session, here: Sequence[Worker]) -> Finding | None:
    training = workers.arms_in_training(session)
    for worker in here:
        if training[worker.name] >= worker.processes:
            continue
        if arm_id := arms.neglected(session, workers.lane(worker), TAKEN_WITHIN_S):
            sentence = (
                f"The worker {worker.name} has a free process, but an arm that it may train has waited for more than "
                f"{TAKEN_WITHIN_S:.0f} s."
            )
            return Finding(sentence, arm_id)
    return None


def main() -> str | None:
    """Return what is wrong, None if nothing is; a database that does not answer is wrong too."""
    database = Database(read_settings().database_url)
    try:
        return problem(database, socket.gethostname())
    except SQLAlchemyError as error:
        return f"The database does not answer: {type(error).__name__}."
    finally:
        database.close()


if __name__ == "__main__":
    sys.exit(main())
