"""What each worker looks after besides its own arm: arms whose worker is gone, and arms whose bell was lost.

It runs in the parent process, in a thread, in every worker; none of them is needed, and all of them may do it at once.
"""

import logging

from celery import Celery
from celery.worker import state

from models import arms, leases
from models.broker import TRAIN_WAITING_ARMS, prepare_folders
from worker import metrics, process
from worker.metrics import Count

log = logging.getLogger(__name__)


def run(celery: Celery, processes: int) -> None:
    """Look every `bell_interval_s`, until the worker stops; it has so many processes."""
    while not process.stopping().wait(process.settings().bell_interval_s):
        try:
            prepare_folders(process.settings())  # sweeps
            return_arms()
            ring(celery, idle(processes))
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
    metrics.counters().add(Count.PROCESSES_LOST, lost)
    metrics.counters().add(Count.LEASE_EXPIRIES, expired)
    for count, why in ((lost, "their process was killed"), (expired, "their lease is over")):
        if count:
            log.warning("%d arms are taken back: %s.", count, why, extra={"action": "return_arms"})


def idle(processes: int) -> int:
    """Return how many of so many processes neither train nor are about to, and would take an arm."""
    return process.slots().crew(processes).able - len(state.reserved_requests)


def ring(celery: Celery, times: int) -> None:
    """Ring so many times if an arm waits: its bell was lost, or it came back to the queue."""
    if times <= 0:
        return
    with process.database().read() as session:
        waits = arms.any_waits(session, process.devices().lane)
    for _ in range(times if waits else 0):
        celery.send_task(TRAIN_WAITING_ARMS)
