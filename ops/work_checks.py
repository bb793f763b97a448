"""Checks of the work: that somebody trains, that what waits can be trained, that nothing stands still."""

from collections.abc import Iterable, Iterator

from models import admission, condition, figures
from models.lanes import open_to
from models.settings import Settings
from models.spec import Status
from models.tables import Worker
from models.workers import SILENT_S, USELESS, WORKERS, heard, lacking, living, reasons
from ops.database import opened
from ops.finding import Finding, in_words, ok, problem, warning

#: An arm whose lease has been over for so long was passed over by every worker: none looks.
STUCK_S = 60.0
#: From this share of the room on, submitting may soon be refused.
NEARLY_FULL = 0.9

START = "Start one: `bnlab up`, or a worker as docs/operations.md says"
MEND = "See its log, and on its host `nvidia-smi`; without a GPU there, start it with BNLAB_DEVICE=cpu"


def workers(settings: Settings) -> Iterator[Finding]:
    """See who trains, and whether what waits has somebody to train it."""
    with opened(settings) as there, there.read() as session:
        found, taken, counted = living(session), heard(session), figures.read(session)
    for device, what in WORKERS.items():
        waiting, why_not = counted.queued_arms.get(device), lacking(device, taken)
        if waiting and why_not is not None:
            mend = START if taken.keys().isdisjoint(open_to(device)) else MEND
            yield problem("workers", f"{waiting} arms wait for a {what}: {why_not}.", f"{mend}.")
    yield from _useless(found)
    if counted.workers:
        named = ", ".join(f"{count} on {device}" for device, count in sorted(counted.workers.items()))
        yield ok("workers", f"Heard of in the last {SILENT_S:.0f} s: {named}.")
    elif not found and not sum(counted.queued_arms.values()):
        yield warning("workers", f"No worker has been heard of for {SILENT_S:.0f} s; nothing waits.", f"{START}.")


def _useless(found: Iterable[Worker]) -> Iterator[Finding]:
    """See which workers take no arms, or not with all of their processes."""
    for worker in found:
        why = "; ".join(reasons(worker)) or "its log says why"
        useless = sum(name.startswith(USELESS) for name in worker.device_names)
        if not worker.processes:
            yield warning("workers", f"The worker {worker.name} takes no arms: {why}.", f"{MEND}.")
        elif useless:
            some = f"{worker.processes} of {worker.processes + useless} processes of the worker {worker.name}"
            yield warning("workers", f"Only {some} take arms: {why}.", f"{MEND}.")


def queue(settings: Settings) -> Iterator[Finding]:
    """See how much waits, and for how long."""
    with opened(settings) as there, there.read() as session:
        counted, waiting = figures.read(session), admission.waiting_experiments(session)
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
