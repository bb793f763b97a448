"""What each worker looks after besides its own arm: arms whose worker is gone, and arms whose bell was lost.

It runs in the parent process, in a thread, in every worker; none of them is needed, and all of them may do it at once.
"""

import logging

from celery import Celery
from celery.worker import state

from models import arms, leases
from models.broker import TRAIN_WAITING_ARMS, prepare_folders
from worker import process

log = logging.getLogger(__name__)


def run(celery: Celery) -> None:
    """Look every `bell_interval_s`, until the worker stops."""
    while not process.stopping().wait(process.settings().bell_interval_s):
        try:
            prepare_folders(process.settings())  # sweeps
            return_arms()
            if not state.reserved_requests:  # this worker neither trains nor is about to
                ring(celery)
        except Exception:  # the database or the broker is away: look again later
            log.exception("Could not look after the arms.", extra={"action": "reconcile"})


def return_arms() -> None:
    """Put back into the queue what a killed process of this worker held, and what any worker held for too long."""
    settings, worker = process.settings(), process.worker()
    with process.database().read() as session:
        if not leases.any_to_return(session, f"{worker}/", process.child_lives):
            return
    with process.database().write() as session:
        lost = leases.return_lost(session, f"{worker}/", process.child_lives, worker, settings.max_crashes)
        expired = leases.return_expired(session, worker, settings.max_crashes)
    for count, why in ((lost, "their process was killed"), (expired, "their lease is over")):
        if count:
            log.warning("%d arms are taken back: %s.", count, why, extra={"action": "return_arms"})


def ring(celery: Celery) -> None:
    """Ring if an arm waits: its bell was lost, or it came back to the queue."""
    with process.database().read() as session:
        waits = arms.any_waits(session)
    if waits:
        celery.send_task(TRAIN_WAITING_ARMS)
