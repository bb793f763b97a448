"""Event streams: what a hundred open ones cost the others, in time, memory and database statements; how soon they end.

Two parts. A real API process on SQLite, whose experiments this process trains in name: it writes their points, twice a
second. What the database is asked is counted in this process, at the feed itself: from outside, statements of an SQLite
file cannot be seen.
"""

import asyncio
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
from sqlalchemy import event

from api.answers import ExperimentAnswer
from api.feed import Feed
from api.stream_events import NOTHING
from bench.api import store_a_network, times_of
from bench.report import print_table
from bench.server import Server, running_api
from models import arms, datasets, experiments, news
from models.arms import Claim, Sample
from models.database import Database
from models.spec import Spec

STREAMS, EXPERIMENTS = 100, 5
ROUNDS, PREDICTIONS = 5, 1_000  # of each round, half without streams and half with them
WRITE_INTERVAL_S = 0.5
LOOKS_S = 10.0
LEASE_S = 3_600.0
SPEC = Spec(training_batches=1_000_000, batches_per_sample=1_000, seed=1).resolve("mnist-5k")

#: What must be reached.
MOST_STATEMENTS, MOST_GROWTH_MB, MOST_RATIO, MOST_EXIT_S = 1.0, 50.0, 1.5, 3.0


@dataclass(frozen=True)
class Figures:
    """What was seen of the API process."""

    without_ms: list[float]
    with_ms: list[float]
    memory_without_mb: float
    memory_with_mb: float
    memory_most_mb: float
    events: int
    exit_s: float
    exit_code: int

    @property
    def ratio(self) -> float:
        """How much longer a prediction takes while streams are open, by the medians."""
        return float(np.median(self.with_ms) / np.median(self.without_ms))


def main() -> None:
    """Measure both parts, and print what was seen beside what must be reached."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
        looks, statements = statements_per_look(Path(folder))
    growth = found.memory_with_mb - found.memory_without_mb
    rows = [
        (f"/predict, JSON, one connection, no stream, ms; n = {len(found.without_ms):,}", *_p50_p99(found.without_ms)),
        (f"the same, {STREAMS} streams, ms; n = {len(found.with_ms):,}", *_p50_p99(found.with_ms)),
        ("ratio of the medians", f"{found.ratio:.2f}", f"<= {MOST_RATIO}"),
        ("memory without streams, MB", f"{found.memory_without_mb:.0f}", ""),
        ("its growth with them, MB", f"{growth:.1f}", f"< {MOST_GROWTH_MB:.0f}"),
        ("the most memory of all (with predictions), MB", f"{found.memory_most_mb:.0f}", ""),
        ("events that came to all streams meanwhile", f"{found.events:,}", ""),
        (f"statements per look, {looks} looks", f"{statements / looks:.2f}", f"<= {MOST_STATEMENTS:.0f}"),
        (f"from Ctrl-C to the end, {STREAMS} streams open, s", f"{found.exit_s:.2f}", f"<= {MOST_EXIT_S:.0f}"),
        ("exit code", str(found.exit_code), "0"),
    ]  # fmt: skip
    title = f"{STREAMS} event streams of {EXPERIMENTS} experiments, of which points come each {WRITE_INTERVAL_S:g} s"
    print_table(f"{title}; SQLite", ("", "median, or measured", "p99, or must be"), rows)


def measure(folder: Path) -> Figures:
    """Return the figures of an API process of its own; rounds with and without streams take turns."""
    without, with_ = list[float](), list[float]()
    with running_api(folder) as server, training(folder) as watched:
        store_a_network(folder)
        _predictions(server, PREDICTIONS)  # everything is loaded
        memory_without, came = server.resident_mb(), 0
        for _ in range(ROUNDS):
            without += _predictions(server, PREDICTIONS)
            with Readers(server, watched) as readers:
                with_ += _predictions(server, PREDICTIONS)
                memory_with = server.resident_mb()
            came += readers.events
        most = server.resident_mb("VmHWM")
        with Readers(server, watched):
            begin = time.perf_counter()
            server.process.send(signal.SIGINT)
            code = server.process.wait(60)
            exit_s = time.perf_counter() - begin
    return Figures(without, with_, memory_without, memory_with, most, came, exit_s, code)


class Readers:
    """Clients that follow experiments: one thread takes what comes, and counts the events."""

    def __init__(self, server: Server, experiment_ids: list[UUID]) -> None:
        self.events = 0
        self._over = threading.Event()
        self._server, self._ids = server, experiment_ids
        self._thread = threading.Thread(target=self._read)
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> "Readers":
        for number in range(STREAMS):
            client = socket.create_connection(("127.0.0.1", self._server.port), timeout=30)
            path = f"/experiments/{self._ids[number % len(self._ids)]}/events"
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
            client.setblocking(False)
            self._sockets.append(client)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for client in self._sockets:
            client.close()

    def _read(self) -> None:
        while not self._over.wait(0.1):
            for client in self._sockets:
                try:
                    self.events += client.recv(1_048_576).count(b"event: ")
                except BlockingIOError:
                    continue


@contextmanager
def training(folder: Path) -> Iterator[list[UUID]]:
    """Let experiments run, one more point each half a second for one arm of each, until the end of the block."""
    database = Database(f"sqlite:///{folder / 'bnlab.sqlite3'}")
    held = [_held(database) for _ in range(EXPERIMENTS)]
    over = threading.Event()
    thread = threading.Thread(target=_write_until, args=(database, held, over))
    thread.start()
    try:
        yield [each.experiment_id for each in held]
    finally:
        over.set()
        thread.join()
        database.close()


def _held(database: Database) -> Claim:
    with database.write() as session:
        experiments.create(session, SPEC, datasets.SHA256["mnist-5k"])
    with database.write() as session:
        arms.claim(session, "bench", {}, LEASE_S, "cpu")  # its other arm runs, and has no points
        held = arms.claim(session, "bench", {}, LEASE_S, "cpu")
    assert held is not None
    return held


def _write_until(database: Database, held: list[Claim], over: threading.Event) -> None:
    step = 0
    while not over.wait(WRITE_INTERVAL_S):
        for each in held:
            with database.write() as session:
                arms.record(session, each, LEASE_S, step + 1, 1_000.0, [Sample(step, (4_000,), 5_000)])
        step += SPEC.batches_per_sample


def _predictions(server: Server, count: int) -> list[float]:
    """Return how many milliseconds each of so many predictions took, over one connection."""
    asked: dict[str, object] = {"image": np.random.default_rng(0).uniform(0, 1, (28, 28)).round(4).tolist()}
    return [1_000 * seconds for seconds in times_of(server.port, asked, count)]


def statements_per_look(folder: Path) -> tuple[int, int]:
    """Return how often a feed has looked in some seconds, for a hundred watchers, and its statements that ask."""
    database = Database(f"sqlite:///{folder / 'bnlab.sqlite3'}")
    sent: list[str] = []
    with training(folder) as watched:
        event.listen(database.engine, "before_cursor_execute", lambda *about: sent.append(about[2]))
        asyncio.run(_watch(database, watched, sent))
    database.close()
    return sent.count("BEGIN"), len(sent) - sent.count("BEGIN")


async def _watch(database: Database, watched: list[UUID], sent: list[str]) -> None:
    feed = Feed(database, WRITE_INTERVAL_S)
    with ExitStack() as opened:
        for number in range(STREAMS):
            id = watched[number % len(watched)]
            opened.enter_context(feed.watch(id))
            with database.read() as session:
                answer = ExperimentAnswer.of(experiments.read(session, id), {})
                found = news.read(session, {id: NOTHING})[id]
            feed.begin(answer, {name: arm.known_after(NOTHING[name]) for name, arm in found.items()})
        sent.clear()
        await asyncio.sleep(LOOKS_S)


def _p50_p99(times: list[float]) -> tuple[str, str]:
    p50, p99 = np.percentile(times, [50, 99])
    return f"{p50:.2f}", f"{p99:.2f}"
