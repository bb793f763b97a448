"""The task: claim the arm that has waited longest, train it, write what comes, mark its end; until none waits.

No mathematics here.
"""

import logging
from typing import TYPE_CHECKING

from models import arms, checkpoints, logs, networks
from models.arms import Claim
from models.broker import TRAIN_WAITING_ARMS
from models.checkpoints import Checkpoint
from models.database import DATABASE_AWAY, Database, said
from models.errors import BnlabError, FenceLost, PointsDiffer
from models.spec import Status
from models.tables import Network
from models.trained import TrainedNetwork
from worker import metrics, process
from worker.app import app
from worker.examination import examine
from worker.lease import Lease
from worker.metrics import ENDED
from worker.recorder import Recorder

if TYPE_CHECKING:
    from worker.training import Trained

log = logging.getLogger(__name__)

OUT_OF_MEMORY = "Training needs more memory than this worker has; try fewer units or a smaller batch."
UNEXPECTED = "Training stopped on an unexpected error of the service; the worker's log has the details."


@app.task(name=TRAIN_WAITING_ARMS)
def train_waiting_arms(*_: object, **__: object) -> None:
    """Train arms, one after the other, as long as some wait; what a message says is of no account."""
    if not process.prepare():  # before the claim: what is claimed is trained at once, and its set-up is known
        return
    database, lane = process.database(), process.devices().lane
    while not process.stops():
        try:
            with database.write() as session:
                held = arms.claim(session, process.name(), process.fingerprint(), process.settings().lease_s, lane)
        except DATABASE_AWAY as error:
            sentence = "Nothing is claimed, the database takes nothing now: %s"
            log.warning(sentence, said(error), extra={"action": "claim"})
            return
        if held is None:
            return
        train_and_end(database, held)


def train_and_end(database: Database, held: Claim) -> None:
    """Train a held arm and mark how it ended; nothing is raised, whatever happens. It is told of as a span."""
    experiment_id, arm, tracer = str(held.experiment_id), held.name.value, process.tracer()
    parent = {"traceparent": held.traceparent} if held.traceparent else {}
    device = arms.device_name(process.fingerprint()) or "unknown"
    about = {"bnlab.experiment_id": experiment_id, "bnlab.arm": arm, "bnlab.device": device}
    with logs.bound(request_id=held.request_id, experiment_id=experiment_id, arm=arm, worker=held.worker):
        with tracer.span("train arm", "consumer", parent, about):
            left = _train_or_let_go(database, held)
            outcome = {"bnlab.outcome": left.value if left else "lost"}
            tracer.note(outcome, error=left is Status.FAILED)
        if left in ENDED:
            metrics.counters().add(ENDED[left])


def _train_or_let_go(database: Database, held: Claim) -> Status | None:
    """Return the status in which the arm is left; None: it is no longer held here, or nobody can say."""
    settings = process.settings()
    lease = Lease(database, held, settings.lease_s, settings.hang_limit_s, process.end_at_once)
    try:
        with lease:
            return _train_or_fail(database, held, lease)
    except FenceLost:  # whether by a cancel, the lease knows now that its thread has ended
        how, action = ("is cancelled", "cancel") if lease.cancelled else ("is no longer held here", "fence_lost")
        log.warning("Arm %s %s.", held.arm_id, how, extra={"action": action})
        return Status.CANCELLED if lease.cancelled else None
    except DATABASE_AWAY:  # its lease ends, and it is tried again
        log.exception("Arm %s is left to another worker.", held.arm_id, extra={"action": "leave_arm"})
        return None


def _train_or_fail(database: Database, held: Claim, lease: Lease) -> Status:
    try:
        return train_held(database, held, lease)
    except (FenceLost, *DATABASE_AWAY):
        raise
    except Exception as error:
        log.exception("Arm %s failed.", held.arm_id, extra={"action": "fail_arm"})
        code, message = reason(error)
        with database.write() as session:
            return arms.fail(session, held, code, message)


def reason(error: Exception) -> tuple[str, str]:
    """Return the code and the sentence a user gets; the trace is for the log only."""
    if isinstance(error, BnlabError):
        return error.code, error.message
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
        return "out_of_memory", OUT_OF_MEMORY
    return "unexpected_error", UNEXPECTED


def train_held(database: Database, held: Claim, lease: Lease) -> Status:
    """Train a held arm to its end, to a cancel, or to the word that this worker stops; return how it is left."""
    try:
        return _train(database, held, lease)
    except PointsDiffer:  # the same set-up gave other bits: no curve is made of two trainings
        log.exception("Arm %s begins anew.", held.arm_id, extra={"action": "begin_anew"})
        with database.write() as session:
            arms.begin_anew(session, held)
        return _train(database, held, lease)


def _train(database: Database, held: Claim, lease: Lease) -> Status:
    from worker.training import train  # TensorFlow: after the fork, never at import

    resumed = _newest_checkpoint(database, held) if held.batches_done else None
    done = resumed.batches_done if resumed else 0
    log.info("Arm %s (%s) starts after %d batches.", held.arm_id, held.name.value, done, extra={"action": "start_arm"})
    recorder = Recorder(database, held, lease, process.settings(), process.stops)
    counted, tracer = metrics.Training(metrics.counters(), held.name, done), process.tracer()
    for progress in train(held.spec, held.name, process.resident_data(held.spec.dataset, held.spec.network), resumed):
        lease.advanced()
        counted.advanced(progress.batches_done)
        tracer.note({"bnlab.batches_done": progress.batches_done})
        if process.stops() and progress.trained is None:
            status = recorder.give_back(progress)
            log.info("Arm %s goes back to the queue.", held.arm_id, extra={"action": "give_back_arm"})
            return status
        if recorder.cancelled_at(progress):
            log.info("Arm %s is cancelled.", held.arm_id, extra={"action": "cancel_arm"})
            return Status.CANCELLED
        if progress.trained is not None:
            status = recorder.succeed(progress, _examined(held, progress.trained, lease))
            counted.advanced(progress.batches_done)
            log.info("Arm %s ends.", held.arm_id, extra={"action": "finish_arm"})
            return status
    raise AssertionError("a training ends with its last batch")


def _newest_checkpoint(database: Database, held: Claim) -> Checkpoint | None:
    with database.read() as session:
        return checkpoints.newest(session, held.arm_id, held.spec, held.name)


def _examined(held: Claim, trained: "Trained", lease: Lease) -> list[Network]:
    """Return the rows of the trained networks, each with how it did."""
    dataset = process.dataset(held.spec.dataset)
    rows = []
    for number, replicate in enumerate(trained):
        network = TrainedNetwork(held.spec, held.name, replicate.arrays)
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
        lease.advanced()
    return rows
