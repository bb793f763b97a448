"""How Postgres finds what is asked for among thousands of experiments: by an index, and without passing the others."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from builders import FINGERPRINT, LEASE_S
from sqlalchemy import event
from sqlalchemy.orm import Session

from bench import filling
from faults.servers import as_administrator
from models import (
    admission,
    arms,
    checkpoints,
    curves,
    datasets,
    events,
    experiments,
    idempotency,
    leases,
    networks,
    news,
    sweeps,
)
from models.admission import Quota
from models.arms import Sample
from models.checkpoints import Checkpoint, TrainingState
from models.database import Database
from models.news import Known
from models.spec import ArmName, Status
from models.tables import Experiment
from models.trained import starting_arrays

EXPERIMENTS = 4_000

#: The tables that grow with the experiments; the smallest has 4,000 rows.
LARGE = {"experiments", "arms", "arm_events", "curve_points", "networks", "idempotency_keys"}

#: So many rows of a large table one statement may pass. The queue has 168 arms.
MOST_ROWS = 400

#: What it costs to plan anew, in the units of plans, with room: by so much a plan for any parameters may be dearer.
PLANNING = 25.0

PAGE, SWEEPS_PAGE = 20, 1  # of a page of sweeps, each with 25 experiments, it would be right to read many arms
SUCCEEDED, QUEUED = filling.experiment_id(2_001), filling.experiment_id(EXPERIMENTS)
WATCHED = range(3_901, 3_921)  # the last of those that succeeded, those that run, and one that waits
OWNER_OF_OLDEST, OWNER = filling.key_id(0), filling.key_id(1)


def page(session: Session, status: Status | None = None, owner: UUID | None = None) -> object:
    return experiments.page(session, PAGE, status=status, owner=owner)


def later_page(session: Session, status: Status | None = None) -> object:
    created_at = session.get_one(Experiment, SUCCEEDED).created_at
    return experiments.page(session, PAGE, (created_at, SUCCEEDED), status)


def train_one(session: Session) -> None:
    """Do what a worker does with an arm, from the claim to its end."""
    held = arms.claim(session, "host:1:0/1", FINGERPRINT, LEASE_S, "cpu")
    assert held is not None
    checkpoints.newest(session, held.arm_id, held.spec, held.name)
    arms.renew(session, held, LEASE_S)
    arrays = starting_arrays(held.spec, held.name, 0)
    state = Checkpoint(1, [TrainingState(arrays, None, None)])
    arms.record(session, held, LEASE_S, 1, 1.0, [Sample(0, (500,), 5_000)], state)
    arms.succeed(session, held, [])


def admit(session: Session) -> None:
    admission.admit(session, 1, 10_000, Quota(OWNER, 10_000))
    assert idempotency.answered(session, "new", "0" * 64, OWNER) is None
    experiments.create(session, filling.SPEC, datasets.SHA256["mnist"], OWNER)
    idempotency.remember(session, "new", b"answer", OWNER)


def watch(session: Session) -> None:
    """Look for what is new of experiments of which somebody has almost all points."""
    known = {name: Known(1, 48_000) for name in ArmName}
    found = news.read(session, {filling.experiment_id(number): known for number in WATCHED})
    assert len(found) == len(WATCHED)
    assert 0 < sum(len(arm.samples) for arms in found.values() for arm in arms.values()) < MOST_ROWS


LOOKS: Mapping[str, Callable[[Session], object]] = {
    "the first page": page,
    "a later page": later_page,
    "an owner's page": partial(page, owner=OWNER_OF_OLDEST),
    "the sweeps": lambda session: sweeps.page(session, SWEEPS_PAGE),
    "an owner's sweeps": lambda session: sweeps.page(session, SWEEPS_PAGE, owner=OWNER),
    "an experiment": lambda session: experiments.read(session, SUCCEEDED),
    "a curve": lambda session: curves.read(session, SUCCEEDED),
    "what is new of twenty": watch,
    "a history": lambda session: events.read(session, SUCCEEDED),
    "the newest network": lambda session: networks.read(
        session, networks.newest_succeeded(session), ArmName.WITH_BATCH_NORM, 0
    ),
    "an owner's newest": lambda session: networks.newest_succeeded(session, OWNER),
    "whether an arm waits": lambda session: arms.any_waits(session, "cpu"),
    "expired leases": lambda session: leases.any_to_return(session, "nobody/", lambda _: True),
    "returning expired leases": lambda session: leases.return_expired(session, "test", 3),
    "an arm's training": train_one,
    "a submission": admit,
    "a submission sent again": lambda session: idempotency.answered(session, "key 7", "0" * 64, filling.key_id(0)),
    "a cancel": lambda session: experiments.cancel(session, QUEUED),
    **{f"the first page, {status.value}": partial(page, status=status) for status in Status},
    **{f"a later page, {status.value}": partial(later_page, status=status) for status in Status},
    **{f"an owner's page, {status.value}": partial(page, status=status, owner=OWNER) for status in Status},
}


@pytest.fixture(scope="module")
def filled(postgres: str, migrated_postgres: str) -> Iterator[Database]:
    """A database of thousands of experiments, of which Postgres has taken stock."""
    name = f"test_{uuid4().hex}"
    as_administrator(postgres, f"CREATE DATABASE {name} TEMPLATE {migrated_postgres}")
    database = Database(postgres.format(name))
    filling.fill(database, EXPERIMENTS)
    yield database
    database.close()


@pytest.mark.parametrize("what", LOOKS)
def test_among_thousands_no_statement_reads_a_large_table_or_passes_many_of_its_rows(
    filled: Database, what: str
) -> None:
    with explained(filled) as found, filled.read() as session:
        LOOKS[what](session)  # and it is rolled back
    assert found.statements > 0
    assert found.complaints == []


class Explained:
    """What Postgres does with each statement, as it is asked just before it executes it."""

    def __init__(self) -> None:
        self.statements = 0
        self.complaints: list[str] = []

    def ask(self, cursor: Any, statement: str, parameters: Any) -> None:
        """Explain a statement with its parameters and, where Postgres would come to prefer that plan, for any."""
        self.statements += 1
        given = parameters[0] if isinstance(parameters, list) else parameters
        names = list(given)
        for_any = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", statement)
        with cursor.connection.cursor() as asking:
            asking.execute("SAVEPOINT before")
            generic = asking.execute(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {for_any}").fetchone()
            actual = asking.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", given).fetchone()
            asking.execute("ROLLBACK TO before")
        self._judge(actual[0][0]["Plan"], statement)
        if generic[0][0]["Plan"]["Total Cost"] < actual[0][0]["Plan"]["Total Cost"] + PLANNING:
            self._judge(generic[0][0]["Plan"], statement)

    def _judge(self, plan: dict[str, Any], statement: str) -> None:
        for node in nodes(plan):
            table, passed = node.get("Relation Name"), rows_passed(node)
            if table in LARGE and node["Node Type"] == "Seq Scan":
                self.complaints.append(f"{table} is read as a whole by {statement}")
            if table in LARGE and passed > MOST_ROWS:
                self.complaints.append(f"{passed:.0f} rows of {table} are passed by {statement}")


@contextmanager
def explained(database: Database) -> Iterator[Explained]:
    """Explain what is executed meanwhile."""
    found = Explained()

    def ask(_connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}:
            found.ask(cursor, statement, parameters)

    event.listen(database.engine, "before_cursor_execute", ask)
    yield found
    event.remove(database.engine, "before_cursor_execute", ask)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the nodes of a plan, from the top."""
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def rows_passed(node: dict[str, Any]) -> float:
    """Return how many rows a node has looked at; 0 if it was not executed."""
    removed = sum(node.get(f"Rows Removed by {what}", 0) for what in ("Filter", "Index Recheck"))
    return float((node.get("Actual Rows", 0) + removed) * node.get("Actual Loops", 0))
