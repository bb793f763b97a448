"""Back up, and restore: the commands of docs/operations.md, as they stand there, keep every row and lose no arm."""

import hashlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from arm_states import HERE, TWINS, history, let_expire, let_wait, row, steps, take, train
from builders import cancelled, claimed, failed, finish, running, submitted, succeeded, swept
from conftest import LOOPBACK, ROOT, TINY_SPEC, RecordingBells, wait_until
from fastapi.testclient import TestClient
from sqlalchemy import MetaData, delete, make_url, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import undefer

from api.app import create_app
from faults.servers import Postgres
from models import clock, keys, leases, schema
from models.database import Database
from models.grid import SweepRequest
from models.scopes import Scope
from models.settings import Settings
from models.spec import ArmName, Status
from models.tables import Arm, ArmEvent, Experiment, Network

DOCUMENT = (ROOT / "docs" / "operations.md").read_text()


def commands(heading: str) -> str:
    """Return what the document tells its reader to type below a heading."""
    below = DOCUMENT.partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    found = re.findall(r"^```sh\n(.*?)^```$", below, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"docs/operations.md has {len(found)} blocks of commands below {heading!r}"
    return str(found[0])


@dataclass
class Place:
    """Where the reader of the document sits: a folder, an environment, and a database before and after."""

    kind: str
    folder: Path
    environment: dict[str, str]
    database: Database
    restored_url: str

    @property
    def url(self) -> str:
        """The address of the database that is backed up."""
        return self.database.engine.url.render_as_string(hide_password=False)

    def type(self, heading: str) -> None:
        """Type the commands below a heading."""
        done = subprocess.run(
            ["sh", "-e", "-c", commands(f"{self.kind}: {heading}")],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture(params=["SQLite", "Postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    make = _on_sqlite if request.param == "SQLite" else _on_postgres
    yield from make(request, tmp_path)


def _on_sqlite(request: pytest.FixtureRequest, folder: Path) -> Iterator[Place]:
    template: Path = request.getfixturevalue("migrated_sqlite")
    (folder / ".bnlab").mkdir()
    file = folder / ".bnlab" / "bnlab.sqlite3"
    file.write_bytes(template.read_bytes())
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    opened = Database(f"sqlite:///{file}")
    yield Place("SQLite", folder, {**os.environ, "PATH": path}, opened, f"sqlite:///{file}")
    opened.close()


def _on_postgres(request: pytest.FixtureRequest, folder: Path) -> Iterator[Place]:
    server: Postgres = request.getfixturevalue("postgres_server")
    url = request.getfixturevalue("new_postgres_url")
    address = make_url(url)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join((str(server.programs), os.environ["PATH"])),
        "PGHOST": str(address.query["host"]),
        "PGUSER": str(address.username),
        "PGDATABASE": str(address.database),
    }
    opened = Database(url)
    yield Place("Postgres", folder, environment, opened, server.address.format("bnlab_restored"))
    opened.close()
    server.execute("DROP DATABASE IF EXISTS bnlab_restored WITH (FORCE)")


@pytest.fixture
def api_of(tmp_path: Path, bells: RecordingBells) -> Callable[[str], TestClient]:
    """A maker of an API on a database."""

    def make(url: str) -> TestClient:
        app = create_app(Settings(state_dir=tmp_path / "api", database_url=url, dataset="mnist-5k"))
        app.state.bells = bells
        return TestClient(app, base_url=LOOPBACK)

    return make


def full(database: Database) -> UUID:
    """Leave an experiment in every state, a sweep and a key; return an arm that trains and has a checkpoint."""
    _, ids = swept(database, SweepRequest(base=TINY_SPEC.model_dump(exclude={"seed"}), grid={"seed": [1, 2]}))
    finish(database, ids[0])
    succeeded(database, TWINS)
    failed(database)
    cancelled(database)
    running(database)
    held = claimed(database, submitted(database, TWINS), ArmName.WITH_BATCH_NORM, fingerprint=HERE)
    with database.write() as session:
        keys.create(session, "ada", Scope.READ)
        train(session, held, 0, 10)
    return held.arm_id


def everything(database: Database) -> dict[str, list[Any]]:
    """Return every row of every table there is."""
    tables = MetaData()
    tables.reflect(database.engine)
    with database.read() as session:
        return {
            table.name: sorted((tuple(one) for one in session.execute(select(table))), key=repr)
            for table in tables.sorted_tables
        }


def refuses_what_is_final(database: Database) -> None:
    ended = update(Arm).where(Arm.status == Status.SUCCEEDED).values(status=Status.QUEUED)
    for change, refusal in (
        (ended, "an arm that has ended stays so"),
        (update(ArmEvent).values(actor="nobody"), "an event is never altered"),
    ):
        with pytest.raises(IntegrityError, match=refusal), database.write() as session:
            session.execute(change.execution_options(synchronize_session=False))


def answers(api: TestClient) -> dict[str, Any]:
    """Return what users can see, of everything; not the speed of what runs."""
    found = {}
    for experiment in api.get("/experiments?limit=100").json()["experiments"]:
        id = experiment["id"]
        paths = [f"/experiments/{id}{part}" for part in ("", "/curve", "/history")]
        paths += [f"/experiments/{id}/networks/{arm}" for arm in ArmName]
        for path in paths:
            found[path] = api.get(path).json()
        for arm in ArmName:
            asked = {"image": [0.5] * 784, "experiment": id, "arm": arm}
            found[f"{id} {arm}"] = api.post("/predict", json=asked).json()
    found["sweeps"] = [api.get(f"/sweeps/{one['id']}").json() for one in api.get("/sweeps").json()["sweeps"]]
    return found


def test_what_is_restored_is_what_was_backed_up(place: Place, api_of: Callable[[str], TestClient]) -> None:
    running_arm = full(place.database)
    before = everything(place.database)
    with api_of(place.url) as api:
        answered = answers(api)
    assert len(answered["sweeps"]) == 1
    assert sum("probabilities" in answer for answer in answered.values()) == 5
    place.type("back up")
    with place.database.write() as session:  # what comes after the backup is not in it
        session.execute(delete(Experiment))
    place.type("restore")
    restored = Database(place.restored_url)
    assert everything(restored) == before
    refuses_what_is_final(restored)
    with restored.read() as session:
        assert schema.is_current(session)
        for network in session.scalars(select(Network).options(undefer(Network.arrays))):
            assert hashlib.sha256(network.arrays).hexdigest() == network.arrays_sha256
    with api_of(place.restored_url) as api:
        assert answers(api) == answered
        assert api.post("/experiments", json={"training_batches": 20, "batches_per_sample": 5}).status_code == 202
    goes_on(restored, running_arm, place.kind)
    restored.close()


def goes_on(database: Database, arm_id: UUID, kind: str) -> None:
    """Check that an arm that ran in the backup is claimed again and goes on from its checkpoint."""
    if kind == "SQLite":  # as `bnlab up` does
        environment = {**os.environ, "BNLAB_DATABASE_URL": database.engine.url.render_as_string(hide_password=False)}
        recovered = [sys.executable, "-m", "models.recovery"]
        done = subprocess.run(recovered, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
        assert done.stdout == "2 unfinished arms of the last run are back in the queue.\n", done.stderr
    else:  # as every worker does
        with database.write() as session:
            let_expire(session, [arm_id])
            assert leases.return_expired(session, "a worker", 3) == 1
            let_wait(session, [arm_id], -1)
    with database.write() as session:
        session.execute(update(Arm).where(Arm.id != arm_id).values(not_before=clock.in_seconds(60)))
        held = take(session)
        assert held.arm_id == arm_id
        assert row(session, arm_id).batches_done == 10
        train(session, held, 10, 20)
        assert steps(session, arm_id) == [0, 5, 10, 15]


def test_a_backup_of_a_service_at_work_is_one_moment(place: Place) -> None:
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            succeeded(place.database)

    working = threading.Thread(target=work)
    working.start()
    try:
        wait_until(lambda: len(everything(place.database)["networks"]) > 4)
        place.type("back up")
    finally:
        ended.set()
        working.join(60)
    if place.kind == "SQLite":
        place.database.close()
    place.type("restore")
    restored = Database(place.restored_url)
    with restored.read() as session:
        arms = session.scalars(select(Arm)).all()
        assert len(arms) >= 4
        for arm in arms:  # what is written in one transaction is there as a whole
            whole = arm.status is Status.SUCCEEDED
            assert len(steps(session, arm.id)) == (4 if whole else 0)
            assert len(history(session, arm.id)) == (3 if whole else 1 + arm.fence)
            assert len(session.scalars(select(Network.replicate).where(Network.arm_id == arm.id)).all()) == whole
    restored.close()


@pytest.mark.parametrize("place", ["SQLite"], indirect=True)
def test_a_backup_of_sqlite_is_not_overwritten_by_the_next(place: Place) -> None:
    place.type("back up")
    with pytest.raises(AssertionError, match="already exists"):
        place.type("back up")


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^bnlab .*$", DOCUMENT, re.MULTILINE))))
def test_each_command_of_bnlab_that_the_document_names_is_understood(
    command: str, new_sqlite_url: str, tmp_path: Path
) -> None:
    bnlab = str(Path(sys.executable).parent / "bnlab")
    given = {"BNLAB_STATE_DIR": str(tmp_path), "BNLAB_DATABASE_URL": new_sqlite_url}
    done = subprocess.run(
        [bnlab, *command.split()[1:]],
        cwd=tmp_path,
        env={**os.environ, **given},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "No such" not in done.stderr
    assert "Traceback" not in done.stderr
    asks = "prune" in command and "--dry-run" not in command
    assert done.returncode == 2 if asks else done.returncode in (0, 1), done.stderr
