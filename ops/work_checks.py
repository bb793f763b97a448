"""Checks of the work: that somebody trains, that what waits can be trained, that nothing stands still."""

from collections import Counter
from collections.abc import Iterator

from models import condition, figures
from models.lanes import taken_by
from models.settings import Settings
from models.spec import Status
from models.workers import SILENT_S, lanes, living
from ops.database import opened
from ops.finding import Finding, in_words, ok, problem, warning

#: An arm whose lease has been over for so long was passed over by every worker: none looks.
STUCK_S = 60.0
#: From this share of the room on, submitting may soon be refused.
NEARLY_FULL = 0.9

START = "Start one: `bnlab up`, or a worker as docs/operations.md says"


def workers(settings: Settings) -> Iterator[Finding]:
    """See who trains, and whether what waits has somebody to train it."""
    with opened(settings) as there, there.read() as session:
        found, taken, counted = living(session), lanes(session), figures.read(session)
    devices = Counter(worker.device for worker in found)
    named = ", ".join(f"{count} on {device}" for device, count in sorted(devices.items()))
    for device, waiting in sorted(counted.queued_arms.items()):
        if waiting and not any(device in taken_by(lane) for lane in taken):
            on = "" if device == "auto" else f" with a {device.upper()}"
            sentence = f"{waiting} arms wait for a worker{on}, and none has been heard of for {SILENT_S:.0f} s."
            yield problem("workers", sentence, f"{START}.")
    if found:
        yield ok("workers", f"Heard of in the last {SILENT_S:.0f} s: {named}.")
    elif not sum(counted.queued_arms.values()):
        yield warning("workers", f"No worker has been heard of for {SILENT_S:.0f} s; nothing waits.", f"{START}.")


def queue(settings: Settings) -> Iterator[Finding]:
    """See how much waits, and for how long."""
    with opened(settings) as there, there.read() as session:
        counted, waiting = figures.read(session), condition.waiting_experiments(session)
    arms = counted.arms.get(Status.QUEUED, 0)
    sentence = f"{arms} arms of {waiting} experiments wait"
    if arms:
        sentence += f", the first for {in_words(counted.queue_age_s)}"
    if waiting >= NEARLY_FULL * settings.max_queued_experiments:
        full = f"{sentence}; at {settings.max_queued_experiments} submitting is refused."
        yield warning("queue", full, "Start more workers, or raise BNLAB_MAX_QUEUED_EXPERIMENTS.")
    else:
        yield ok("queue", f"{sentence}.")


def arms(settings: Settings) -> Iterator[Finding]:
    """See whether an arm stands still."""
    with opened(settings) as there, there.read() as session:
        running = figures.read(session).arms.get(Status.RUNNING, 0)
        stuck = condition.stuck(session, STUCK_S)
    if not stuck:
        yield ok("arms", f"{running} arms are in training; none stands still.")
        return
    sentence = f"{stuck} of {running} running arms have had no worker for more than {in_words(STUCK_S)}."
    yield problem("arms", sentence, f"Any living worker takes them back. {START}.")
