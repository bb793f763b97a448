"""A database of 100,000 experiments beside one of 1,000, both on one Postgres: how long each look takes, and the bytes.

`bench/filling.py` says what is in them. Each look is one call of a function of `models/`, or one request to the API in
this process; the two databases take turns.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from api.app import create_app
from bench import filling
from bench.report import print_table
from faults.servers import Postgres
from models import admission, arms, curves, events, experiments, figures, leases, networks, sweeps
from models.admission import Quota
from models.database import Database
from models.experiments import Cursor
from models.settings import Settings
from models.spec import ArmName, Status
from models.tables import Experiment

SMALL, LARGE = 1_000, 100_000
WARM_UP, ROUNDS = 10, 100
PAGE = 20


@dataclass(frozen=True)
class Volume:
    """A filled database, the API before it, and some experiments and cursors to ask for, at random."""

    count: int
    database: Database
    api: TestClient
    ids: list[UUID]
    cursors: list[Cursor]

    def id(self) -> UUID:
        """Return an experiment, any."""
        return random.choice(self.ids)

    def cursor(self) -> Cursor:
        """Return where some later page begins."""
        return random.choice(self.cursors)


Look = Callable[[Session, Volume], object]


def _by_status(status: Status) -> Look:
    return lambda session, _: experiments.page(session, PAGE, status=status)


LOOKS: Mapping[str, Look] = {
    "list, first page": lambda session, _: experiments.page(session, PAGE),
    "list, a later page": lambda session, volume: experiments.page(session, PAGE, volume.cursor()),
    **{f"list, {status.value}": _by_status(status) for status in Status},
    "list of the owner of the oldest": lambda session, _: experiments.page(session, PAGE, owner=filling.key_id(0)),
    "list, cancelled, of one owner": lambda session, _: experiments.page(
        session, PAGE, status=Status.CANCELLED, owner=filling.key_id(1)
    ),
    "list of sweeps": lambda session, _: sweeps.page(session, PAGE),
    "get": lambda session, volume: experiments.read(session, volume.id()),
    "curve": lambda session, volume: curves.read(session, volume.id()),
    "history": lambda session, volume: events.read(session, volume.id()),
    "newest that succeeded": lambda session, _: networks.newest_succeeded(session),
    "newest that succeeded, of the owner of the oldest": lambda session, _: networks.newest_succeeded(
        session, filling.key_id(0)
    ),
    "a network to predict with": lambda session, _: networks.read(
        session, networks.newest_succeeded(session), ArmName.WITH_BATCH_NORM, 0
    ),
    "claim, rolled back": lambda session, _: arms.claim(session, "bench", {}, 15, "cpu"),
    "admission's count": lambda session, _: admission.admit(session, 1, 10_000),
    "admission's count, with a quota": lambda session, _: admission.admit(
        session, 1, 10_000, Quota(filling.key_id(1), 1_000)
    ),
    "figures for the metrics": lambda session, _: figures.read(session),
    "expired leases": lambda session, _: leases.any_to_return(session, "nobody/", lambda _: True),
    "whether an arm waits": lambda session, _: arms.any_waits(session, "cpu"),
    "API: GET /experiments": lambda _, volume: _asked(volume, "/experiments"),
    "API: GET /experiments/{id}": lambda _, volume: _asked(volume, f"/experiments/{volume.id()}"),
    "API: GET …/curve": lambda _, volume: _asked(volume, f"/experiments/{volume.id()}/curve"),
}


def main() -> None:
    """Fill both databases, measure in turn, print the times and the bytes; nothing is left."""
    with tempfile.TemporaryDirectory() as folder, Postgres() as server, ExitStack() as opened:
        small, large = (opened.enter_context(_filled(server, count, Path(folder))) for count in (SMALL, LARGE))
        times = _times(small, large)
        rows = []
        for name in LOOKS:
            p50, p95 = np.percentile(times[name], [50, 95], axis=1) * 1_000
            shown = (f"{p50[0]:.2f}", f"{p95[0]:.2f}", f"{p50[1]:.2f}", f"{p95[1]:.2f}")
            rows.append((name, *shown, f"{p50[1] / p50[0]:.2f}", f"{p95[1] / p95[0]:.2f}"))
        print_table(
            f"{SMALL:,} experiments beside {LARGE:,}, {server.version}, {ROUNDS} looks each, milliseconds",
            ("", "p50 of few", "p95", "p50 of many", "p95", "p50 × so many", "p95 × so many"),
            rows,
        )
        _print_bytes(large)


@contextmanager
def _filled(server: Postgres, count: int, folder: Path) -> Iterator[Volume]:
    url = server.new_database()
    environment = {**os.environ, "BNLAB_DATABASE_URL": url}
    subprocess.run([sys.executable, "-m", "migrations"], env=environment, check=True)
    database = Database(url)
    begin = time.perf_counter()
    filling.fill(database, count)
    print(f"{count:,} experiments were made in {time.perf_counter() - begin:.0f} s.")
    numbers = random.Random(count).sample(range(1, count + 1), 500)
    ids = [filling.experiment_id(number) for number in numbers]
    with database.read() as session:
        cursors = [(session.get_one(Experiment, id).created_at, id) for id in ids]
    app = create_app(Settings(database_url=url, state_dir=folder, dataset="mnist-5k"))
    with TestClient(app, base_url="http://127.0.0.1") as api:
        yield Volume(count, database, api, ids, cursors)
    database.close()


def _times(*volumes: Volume) -> dict[str, list[list[float]]]:
    """Return, of each look, the seconds in each volume."""
    times: dict[str, list[list[float]]] = {name: [[] for _ in volumes] for name in LOOKS}
    for number in range(WARM_UP + ROUNDS):
        for name, look in LOOKS.items():
            for place, volume in enumerate(volumes):
                begin = time.perf_counter()
                with volume.database.read() as session:  # what a look writes is rolled back
                    look(session, volume)
                if number >= WARM_UP:
                    times[name][place].append(time.perf_counter() - begin)
    return times


def _asked(volume: Volume, path: str) -> None:
    response = volume.api.get(path)
    assert response.status_code == 200, response.text


def _print_bytes(volume: Volume) -> None:
    """Print what a row of each table takes, with its share of the indexes."""
    rows = []
    with volume.database.read() as session:
        for table in ("experiments", "arms", "arm_events", "curve_points", "networks"):
            count, heap, indexes, whole = session.execute(
                text(
                    f"SELECT count(*), pg_relation_size('{table}'), pg_indexes_size('{table}'), "
                    f"pg_total_relation_size('{table}') FROM {table}"
                )
            ).one()
            rows.append((table, f"{count:,}", *(f"{size / count:,.0f}" for size in (heap, indexes, whole))))
        whole = session.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
    rows.append(("all", "", "", "", f"{whole / volume.count:,.0f} an experiment"))
    print_table("Bytes a row, of its table and of its indexes", ("", "rows", "table", "indexes", "in all"), rows)
