"""Says whether the worker of this host takes work; a container is asked so for its health: `python -m worker.health`.

Exit code 0: it was heard of lately, and no arm that it may train waits while it has a free process. 1: not so, and a
sentence says why. It looks into the database only; TensorFlow and the broker are left alone.
"""

import socket
import sys
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from models import arms, workers
from models.database import Database
from models.settings import read_settings
from models.tables import Worker
from models.workers import SILENT_S

#: Idle workers ring for waiting arms every second or so: one that waits so long is not being taken.
TAKEN_WITHIN_S = 20.0


def problem(session: Session, host: str) -> str | None:
    """Return what is wrong with the worker of this host, in a sentence; None: nothing."""
    here = [worker for worker in workers.living(session) if workers.host(worker) == host]
    if not here:
        return f"No worker of this host, {host}, has been heard of for {SILENT_S:.0f} s."
    useless = [worker for worker in here if not worker.processes]
    if useless:
        return f"The worker {useless[0].name} takes no arms: {', '.join(useless[0].device_names)}."
    return _not_taken(session, here)


def _not_taken(session: Session, here: Sequence[Worker]) -> str | None:
    training = workers.arms_in_training(session)
    for worker in here:
        is_free = training[worker.name] < worker.processes
        if is_free and arms.any_waits_for(session, workers.lane(worker), TAKEN_WITHIN_S):
            return (
                f"The worker {worker.name} has a free process, but an arm that it may train has waited for more than "
                f"{TAKEN_WITHIN_S:.0f} s."
            )
    return None


def main() -> str | None:
    """Return what is wrong, None if nothing is; a database that does not answer is wrong too."""
    database = Database(read_settings().database_url)
    try:
        with database.read() as session:
            return problem(session, socket.gethostname())
    except SQLAlchemyError as error:
        return f"The database does not answer: {type(error).__name__}."
    finally:
        database.close()


if __name__ == "__main__":
    sys.exit(main())
