"""How many curve points per second a database takes from workers: one in each write, and many, on both databases."""

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from bench.report import print_table
from faults.servers import Postgres
from models import arms, datasets, experiments
from models.arms import Claim, Sample
from models.database import Database
from models.spec import Spec

SPEC = Spec(training_batches=1_000_000, batches_per_sample=1_000, seed=1).resolve("mnist-5k")
SECONDS = 5.0
POINTS_OF_A_WRITE = (1, 50)
WRITERS = (1, 4)


def main() -> None:
    """Let writers, each with an arm and a connection of its own, record for some seconds, and print the rates."""
    with tempfile.TemporaryDirectory() as folder, Postgres() as server:
        rows = []
        for url in (f"sqlite:///{Path(folder) / 'bnlab.sqlite3'}", server.new_database()):
            environment = {**os.environ, "BNLAB_DATABASE_URL": url, "BNLAB_STATE_DIR": folder}
            subprocess.run([sys.executable, "-m", "migrations"], env=environment, check=True)
            database = Database(url)
            for points in POINTS_OF_A_WRITE:
                for writers in WRITERS:
                    writes = _writes_per_second(database, points, writers)
                    rows.append(
                        (
                            database.engine.dialect.name,
                            str(points),
                            str(writers),
                            f"{writes:,.0f}",
                            f"{writes * points:,.0f}",
                        )
                    )
            database.close()
    columns = ("", "points in a write", "writers", "writes per second", "points per second")
    print_table(f"Writes of points and progress, each to the disk, {SECONDS:g} s each", columns, rows)


def _writes_per_second(database: Database, points: int, writers: int) -> float:
    held = [_held(database) for _ in range(writers)]
    end = time.perf_counter() + SECONDS
    with ThreadPoolExecutor(writers) as pool:
        writes = sum(pool.map(lambda each: _record_until(database, each, points, end), held))
    for each in held:
        with database.write() as session:
            arms.fail(session, each, "not_measured", "")
    return writes / SECONDS


def _held(database: Database) -> Claim:
    with database.write() as session:
        experiments.insert(session, [experiments.queued(SPEC, datasets.SHA256["mnist-5k"], datetime.now(UTC))])
    with database.write() as session:
        held = arms.claim(session, "bench", {}, 60.0, "cpu")
    assert held is not None
    return held


def _record_until(database: Database, held: Claim, points: int, end: float) -> int:
    writes = 0
    while time.perf_counter() < end:
        first = writes * points
        samples = [Sample((first + number) * SPEC.batches_per_sample, (4_000,), 5_000) for number in range(points)]
        with database.write() as session:
            arms.record(session, held, 60.0, samples[-1].step + 1, 1_000.0, samples)
        writes += 1
    return writes
