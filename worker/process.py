"""What one worker process keeps: its settings, its database, the data sets it has loaded, and the word to stop."""

import logging
import multiprocessing
import os
import socket
from functools import cache
from multiprocessing.synchronize import Event
from typing import TYPE_CHECKING
from uuid import UUID

from celery import Celery
from celery.worker import state

from models import arms, datasets
from models.broker import TRAIN_ARM, prepare_folders
from models.database import Database
from models.datasets import Dataset
from models.settings import Settings
from models.spec import DatasetName

if TYPE_CHECKING:
    from worker.resident import ResidentData

log = logging.getLogger(__name__)


@cache
def settings() -> Settings:
    """Return the settings of this process."""
    return Settings()


@cache
def stopping() -> Event:
    """Return the flag that the parent sets when the worker is told to stop.

    It is made before the fork, so the child that trains sees it too and gives its arm back.
    """
    return multiprocessing.Event()


def database() -> Database:
    """Return the database of this process: parent and child each make their own, connections never cross a fork."""
    return _database(os.getpid())


@cache
def _database(_pid: int) -> Database:
    return Database(settings().database_url)


@cache
def dataset(name: DatasetName) -> Dataset:
    """Return a data set, fetched if need be. Raises DatasetUnavailable."""
    if name == "mnist":
        datasets.fetch_mnist(settings().data_dir, settings().mnist_mirrors, lambda *_: None)
    return datasets.load(name, settings().data_dir)


@cache
def resident_data(name: DatasetName) -> "ResidentData":
    """Return a data set on the device. Raises DatasetUnavailable."""
    from worker.resident import ResidentData  # TensorFlow: after the fork, never at import

    return ResidentData(dataset(name))


@cache
def identity() -> str:
    """Return this worker's name in the database: host and parent process; the parent asks first, before it forks."""
    return f"{socket.gethostname()}:{os.getpid()}"


def warm_up() -> None:
    """Do what the first arm would otherwise wait for: import TensorFlow, load the default data set."""
    from worker.tensorflow_setup import prepare_tensorflow

    try:
        prepare_tensorflow(settings().threads)
        resident_data(settings().dataset)
    except Exception:  # the arm that needs it will fail with a reason
        log.exception("This worker could not warm up.", extra={"action": "warm_up"})


def fail_lost_arm(arm_id: object) -> None:
    """End the arm whose process was killed under it; the parent does, for the child no longer can."""
    try:
        with database().write() as session:
            arms.fail_lost(session, UUID(str(arm_id)), identity())
    except Exception:  # the worker goes on with a new child
        log.exception("Arm %s was lost with its process.", arm_id, extra={"action": "fail_lost_arm"})


def ring_for_waiting_arms(celery: Celery) -> None:
    """Ring again, until the worker stops, for the arm that has waited longest, whenever this worker is idle.

    So a lost message costs seconds, never a result. It is one bell per look, however long the queue is, and a bell
    for an arm that is taken does nothing.
    """
    while not stopping().wait(settings().bell_interval_s):
        try:
            prepare_folders(settings())  # sweeps
            if state.reserved_requests:  # it trains, or is about to
                continue
            with database().read() as session:
                waiting = arms.queued(session, limit=1)
            for arm_id in waiting:
                celery.send_task(TRAIN_ARM, args=[str(arm_id)])
        except Exception:  # the database or the broker is away: look again later
            log.exception("Could not look for waiting arms.", extra={"action": "ring"})
