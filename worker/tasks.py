"""The task: claim an arm, train it, write its points as they come, mark its end. No mathematics here."""

import logging
import time
from typing import TYPE_CHECKING
from uuid import UUID

from models import arms, networks
from models.arms import Claim, Sample
from models.broker import TRAIN_ARM
from models.database import Database
from models.dense import DenseNetwork
from models.errors import BnlabError, FenceLost
from models.tables import Network
from worker import process
from worker.app import app
from worker.examination import examine

if TYPE_CHECKING:
    from worker.training import Progress, Trained

log = logging.getLogger(__name__)

OUT_OF_MEMORY = "Training needs more memory than this worker has; try fewer units or a smaller batch."
UNEXPECTED = "Training stopped on an unexpected error of the service; the worker's log has the details."


@app.task(name=TRAIN_ARM)
def train_arm(arm_id: object) -> None:
    """Train the arm this bell rings for, if it still waits; any other bell does nothing."""
    try:
        waiting = UUID(str(arm_id))
    except ValueError:
        log.warning("A message names no arm.", extra={"action": "ignore_message"})
        return
    if process.stopping().is_set():
        return
    database = process.database()
    with database.write() as session:
        held = arms.claim(session, waiting, process.identity())
    if held is not None:
        train_and_end(database, held)


def train_and_end(database: Database, held: Claim) -> None:
    """Train a held arm and mark how it ended; nothing is raised, whatever happens."""
    try:
        train_held(database, held)
    except FenceLost:
        log.warning("Arm %s is no longer held here.", held.arm_id, extra={"action": "fence_lost"})
    except Exception as error:
        log.exception("Arm %s failed.", held.arm_id, extra={"action": "fail_arm"})
        code, message = reason(error)
        with database.write() as session:
            arms.fail(session, held, code, message)


def reason(error: Exception) -> tuple[str, str]:
    """Return the code and the sentence a user gets; the trace is for the log only."""
    if isinstance(error, BnlabError):
        return error.code, error.message
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
        return "out_of_memory", OUT_OF_MEMORY
    return "unexpected_error", UNEXPECTED


def train_held(database: Database, held: Claim) -> None:
    """Train a held arm to its end, to a cancel, or to the word that this worker stops."""
    from worker.tensorflow_setup import prepare_tensorflow

    prepare_tensorflow(process.settings().threads)
    from worker.training import train  # TensorFlow: after the fork, never at import

    log.info("Arm %s (%s) starts.", held.arm_id, held.name.value, extra={"action": "start_arm"})
    recorder = _Recorder(database, held)
    for progress in train(held.spec, held.name, process.resident_data(held.spec.dataset)):
        if process.stopping().is_set() and progress.trained is None:
            with database.write() as session:
                arms.give_back(session, held)
            log.info("Arm %s goes back to the queue.", held.arm_id, extra={"action": "give_back_arm"})
            return
        if recorder.cancelled_at(progress):
            log.info("Arm %s is cancelled.", held.arm_id, extra={"action": "cancel_arm"})
            return
        if progress.trained is not None:
            rows = _examined(held, progress.trained)
            with database.write() as session:
                arms.succeed(session, held, rows)
            log.info("Arm %s ends.", held.arm_id, extra={"action": "finish_arm"})


class _Recorder:
    """Writes an arm's points and progress: the first at once, then every `write_interval_s`, then the last."""

    def __init__(self, database: Database, held: Claim) -> None:
        self._database, self._held = database, held
        self._unwritten: list[Sample] = []
        self._written_at: float | None = None

    def cancelled_at(self, progress: "Progress") -> bool:
        """Take note of a chunk, write if it is time; return True once the arm is ended as cancelled."""
        if progress.sample is not None:
            self._unwritten.append(progress.sample)
        now = time.monotonic()
        waited = self._written_at is None or now - self._written_at >= process.settings().write_interval_s
        if not waited and progress.trained is None:
            return False
        with self._database.write() as session:
            cancel = arms.record(
                session, self._held, progress.batches_done, progress.batches_per_second, self._unwritten
            )
            if cancel:
                arms.mark_cancelled(session, self._held)
        self._unwritten, self._written_at = [], now
        return cancel


def _examined(held: Claim, trained: "Trained") -> list[Network]:
    """Return the rows of the trained networks, each with how it did."""
    dataset = process.dataset(held.spec.dataset)
    rows = []
    for number, replicate in enumerate(trained):
        network = DenseNetwork(held.spec, held.name, replicate.arrays)
        rows.append(
            networks.to_row(
                held.arm_id,
                number,
                replicate.arrays,
                starting_weights_sha256=replicate.starting_weights_sha256,
                reached_90_percent_after=replicate.reached_90_percent_after,
                diverged_at=replicate.diverged_at,
                result=examine(network, dataset, replicate.validation_correct),
            )
        )
    return rows
