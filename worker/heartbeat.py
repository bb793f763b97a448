"""Lets it be known that this worker lives, and on what it trains: a row that its parent writes every few seconds."""

import logging
import time

from models import workers
from models.database import DATABASE_AWAY, said
from models.workers import BEAT_S
from worker import process

log = logging.getLogger(__name__)

#: A worker that takes no arms says so in its log, so often.
COMPLAINT_S = 60.0
#: At its end a worker waits at most so long for its row to go; one that stays falls silent.
GOODBYE_S = 2.0


def run(processes: int) -> None:
    """Beat until the worker stops; then its row goes."""
    devices = process.devices()
    where = f"on GPU {', '.join(devices.gpus) or '?'}" if devices.lane == "gpu" else "without a GPU"
    log.info("%d processes train %s.", processes, where, extra={"action": "start"})
    next_complaint = time.monotonic() + BEAT_S  # by then its processes know
    while True:
        try:
            beat(processes)
        except DATABASE_AWAY as error:
            log.warning("This worker cannot be heard of: %s", said(error), extra={"action": "beat"})
        except Exception:  # whatever it is, the next beat may succeed
            log.exception("This worker cannot be heard of.", extra={"action": "beat"})
        if time.monotonic() >= next_complaint and complain(processes):
            next_complaint = time.monotonic() + COMPLAINT_S
        if process.stopping().wait(BEAT_S):
            break
    say_goodbye()


def beat(processes: int) -> None:
    """Write this worker's row; those of workers that are long gone go."""
    crew = process.slots().crew(processes)
    with process.database().write() as session:
        workers.beat(session, process.worker(), process.devices().lane, crew.device_names, crew.able)
        workers.forget_silent(session)


def complain(processes: int) -> bool:
    """Say in the log if some processes take no arms, and return whether there are any."""
    crew = process.slots().crew(processes)
    if crew.able == processes:
        return False
    what = "; ".join(dict.fromkeys(crew.device_names))
    log.error(
        "Only %d of %d processes of this worker take arms: %s.",
        *(crew.able, processes, what),
        extra={"action": "complain"},
    )
    return True


def say_goodbye() -> None:
    """Take this worker's row away."""
    try:
        with process.database().write() as session:
            workers.gone(session, process.worker())
    except Exception:  # it will fall silent
        log.warning("This worker stops unheard.", extra={"action": "beat"})
