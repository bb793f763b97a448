"""Tells of the experiments that are watched: one look at the database for all of them, however many watch."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field
from uuid import UUID

from anyio import to_thread
from fastapi.sse import ServerSentEvent
from sqlalchemy.exc import SQLAlchemyError

from api.answers import ExperimentAnswer
from api.stream_events import EndEvent, Position, ProgressEvent, event, points
from api.waiting import heard_for
from models import experiments, news
from models.database import Database, said
from models.errors import TooManyStreams
from models.news import News
from models.spec import FINISHED, ArmName, Status

log = logging.getLogger(__name__)

#: Each is a connection of its own, and some tens of thousands of bytes.
MOST_STREAMS = 1_000
#: Of one owner's keys, so that others find room.
MOST_OF_ONE_OWNER = 200

#: What a watcher gets: an event; None: there is nothing more to be told.
Told = ServerSentEvent | None
Statuses = dict[ArmName, Status]


@dataclass
class _Watched:
    """An experiment that is watched: what was told of it, and who is to be told more."""

    queues: set[asyncio.Queue[Told]] = field(default_factory=set)
    experiment: ExperimentAnswer | None = None  # as it was told last; None: nobody has looked yet
    statuses: Statuses = field(default_factory=dict)  # of its arms, as all know them; none: not all know the same
    position: Position = field(default_factory=dict)
    batches_done: int = 0

    def join(self, experiment: ExperimentAnswer, position: Position) -> None:
        """Stand where the one stands who comes; where others are, at what all of them know.

        Looks overtake each other: of two that come together, the second one may have looked first.
        """
        statuses, done = _statuses(experiment), experiment.progress.batches_done
        if self.experiment is None:
            self.experiment, self.statuses, self.position, self.batches_done = experiment, statuses, position, done
            return
        known_to_all = {name: min(known, position[name]) for name, known in self.position.items()}
        if known_to_all != self.position:
            self.position = known_to_all
        if statuses != self.statuses:
            self.statuses = {}
        self.batches_done = min(done, self.batches_done)

    def tell(self, told: Told) -> None:
        for queue in self.queues:
            queue.put_nowait(told)


class Feed:
    """The watched experiments of one process. It belongs to the event loop; only its looks are made in a thread."""

    def __init__(self, database: Database, interval_s: float) -> None:
        self._database, self._interval_s = database, interval_s
        self._watched: dict[UUID, _Watched] = {}
        self._looking: asyncio.Task[None] | None = None
        self._streams = 0
        self._of_owner: Counter[UUID | None] = Counter()
        self._closed = False
        self._answers = True

    @property
    def streams(self) -> int:
        """How many watch; a thread may ask."""
        return self._streams

    @contextmanager
    def watch(self, experiment_id: UUID, owner: UUID | None = None) -> Iterator[asyncio.Queue[Told]]:
        """Gather what is told of an experiment; nothing is before `begin`. Raises TooManyStreams.

        `owner` is whose key it is that watches; None: keys are off.
        """
        if self._streams >= MOST_STREAMS or (owner is not None and self._of_owner[owner] >= MOST_OF_ONE_OWNER):
            raise TooManyStreams
        queue: asyncio.Queue[Told] = asyncio.Queue()
        watched = self._watched.setdefault(experiment_id, _Watched())
        watched.queues.add(queue)
        self._streams += 1
        self._of_owner[owner] += 1
        if self._closed:
            queue.put_nowait(None)
        try:
            yield queue
        finally:
            self._streams -= 1
            self._of_owner[owner] -= 1
            if not self._of_owner[owner]:
                del self._of_owner[owner]
            watched.queues.discard(queue)
            if not watched.queues and self._watched.get(experiment_id) is watched:
                del self._watched[experiment_id]

    def begin(self, experiment: ExperimentAnswer, position: Position) -> None:
        """Tell of an experiment whatever changes from where it is here on."""
        watched = self._watched.get(experiment.id)
        if watched is None:  # all is told by now
            return
        watched.join(experiment, position)
        if self._looking is None or self._looking.done():  # it is of no one request: it has none's id in the log
            self._looking = asyncio.create_task(self._look_while_somebody_watches(), context=Context())

    def close(self) -> None:
        """Let everybody who watches go; who comes later is let go at once."""
        self._closed = True
        self._let_all_go()

    async def _look_while_somebody_watches(self) -> None:
        while self._watched:
            await asyncio.sleep(self._interval_s)
            begun = {id: watched for id, watched in self._watched.items() if watched.experiment is not None}
            if not begun:
                continue
            positions = {id: watched.position for id, watched in begun.items()}
            statuses = {id: watched.statuses for id, watched in begun.items()}
            try:
                found, changed = await to_thread.run_sync(self._look, positions, statuses)
            except SQLAlchemyError as error:
                self._note(error)
                continue
            except Exception:  # who comes back is answered by the route
                log.exception("Event streams met an error that nobody expected.", extra={"action": "end_streams"})
                self._let_all_go()
                continue
            self._answers = True
            for id, watched in begun.items():
                if watched.position is positions[id]:  # else somebody has come who knows less: at the next look
                    self._tell(id, watched, found.get(id), changed.get(id))

    def _look(
        self, positions: dict[UUID, Position], statuses: dict[UUID, Statuses]
    ) -> tuple[dict[UUID, News], dict[UUID, ExperimentAnswer]]:
        """Return what is new, and whole those experiments of which an arm has another status.

        One that cannot be read, because a newer version wrote it, is left out: only its own streams end.
        """
        with self._database.read() as session:
            found = news.read(session, positions)
            changed = {}
            for id, arms in list(found.items()):
                if {name: arm.status for name, arm in arms.items()} == statuses[id]:
                    continue
                try:
                    experiment = experiments.read(session, id)
                    changed[id] = ExperimentAnswer.of(experiment, heard_for(session, [experiment]))
                except ValueError:
                    log.exception("Experiment %s cannot be read.", id, extra={"action": "end_streams"})
                    del found[id]
        return found, changed

    def _tell(self, id: UUID, watched: _Watched, arms: News | None, changed: ExperimentAnswer | None) -> None:
        """Tell of one experiment what is new, in an order in which each event is true when it comes."""
        if arms is None or watched.experiment is None:  # it was removed, or cannot be read
            self._let_go(id, watched)
            return
        for name, arm in arms.items():
            known = watched.position[name]
            restarted = arm.generation != known.generation
            watched.position = {**watched.position, name: arm.known_after(known)}
            if arm.samples or restarted:
                watched.tell(event("points", points(name, arm.samples, restarted), watched.position))
        done = sum(arm.batches_done for arm in arms.values())
        if changed is not None:
            watched.experiment, watched.statuses = changed, _statuses(changed)
            watched.tell(event("experiment", changed, watched.position))
            if changed.status in FINISHED:
                watched.tell(event("end", EndEvent(status=changed.status), watched.position))
                self._let_go(id, watched)
        elif done != watched.batches_done:
            watched.tell(event("progress", ProgressEvent.of(watched.experiment, arms), watched.position))
        watched.batches_done = done

    def _let_all_go(self) -> None:
        for watched in self._watched.values():
            watched.tell(None)
        self._watched.clear()

    def _let_go(self, id: UUID, watched: _Watched) -> None:
        watched.tell(None)
        if self._watched.get(id) is watched:
            del self._watched[id]

    def _note(self, error: SQLAlchemyError) -> None:
        """Say once that the database does not answer: streams stay open, and go on when it does."""
        if self._answers:
            log.warning("Event streams wait for the database: %s", said(error), extra={"action": "wait_for_database"})
        self._answers = False


def _statuses(experiment: ExperimentAnswer) -> Statuses:
    return {name: getattr(experiment.arms, name.value).status for name in ArmName}
