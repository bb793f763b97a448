"""The health of a worker's container, asked as the container is asked: exit code 0, or 1 and a sentence."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from builders import WITH, WITHOUT, claimed, submitted
from conftest import ROOT, TINY_SPEC
from sqlalchemy import delete, insert, select, update

from models import clock, workers
from models.database import Database
from models.lanes import Lane
from models.spec import Status
from models.tables import Arm, ArmEvent, Worker
from worker.health import look, problem

HOST = "container"
NAME = f"{HOST}:1:ab"


def beat(database: Database, name: str = NAME, lane: Lane = "cpu", processes: int = 1) -> None:
    with database.write() as session:
        names = ["Some Processor"] if processes else ["none: TensorFlow finds no GPU"]
        workers.beat(session, name, lane, names, processes)


def said(database: Database) -> str | None:
    return problem(database, HOST, second_look_after_s=0)


def let_wait_long(database: Database) -> None:
    """Let all that has happened have happened a minute ago."""
    with database.write() as session:
        then = session.scalars(select(clock.in_seconds(-60))).one()
        rows = [dict(row) for row in session.execute(select(*ArmEvent.__table__.columns)).mappings()]
        session.execute(delete(ArmEvent))
        session.execute(insert(ArmEvent), [{**row, "at": then} for row in rows])


def test_an_idle_worker_that_is_heard_of_is_well(database: Database) -> None:
    beat(database)
    assert said(database) is None


def test_a_host_without_a_word_is_not_well_whoever_else_is(database: Database) -> None:
    beat(database, f"{HOST}2:1:ab")
    assert said(database) == f"No worker of this host, {HOST}, has been heard of for 30 s."


def test_a_worker_that_fell_silent_is_not_well(database: Database) -> None:
    beat(database)
    with database.write() as session:
        session.execute(update(Worker).values(seen_at=clock.in_seconds(-31)))
    assert "has been heard of" in (said(database) or "")


def test_a_worker_that_can_take_no_arms_is_not_well(database: Database) -> None:
    beat(database, lane="gpu", processes=0)
    assert said(database) == f"The worker {NAME} takes no arms: none: TensorFlow finds no GPU."


def test_a_worker_that_leaves_an_arm_waiting_while_it_is_free_is_not_well(database: Database) -> None:
    beat(database)
    id = submitted(database)
    assert said(database) is None  # the arms have just come
    let_wait_long(database)
    assert f"The worker {NAME} has a free process" in (said(database) or "")
    claimed(database, id, WITHOUT, worker=f"{NAME}/2")
    assert said(database) is None  # it trains; the other arm waits for its end
    beat(database, processes=2)
    assert "waited for more than 20 s" in (said(database) or "")
    claimed(database, id, WITH, worker=f"{NAME}/3")
    assert said(database) is None


def test_a_busy_worker_that_takes_the_arm_between_two_looks_is_well(database: Database) -> None:
    beat(database)
    submitted(database)
    let_wait_long(database)
    first = look(database, HOST)
    assert first is not None
    assert first.arm_id is not None
    with database.write() as session:  # it has trained that one and is free again; now another arm heads the queue
        session.execute(update(Arm).where(Arm.id == first.arm_id).values(status=Status.SUCCEEDED))
    second = look(database, HOST)
    assert second is not None
    assert second.arm_id not in (None, first.arm_id)


def test_arms_of_the_other_lane_are_none_of_its_business(database: Database) -> None:
    beat(database, lane="gpu")
    submitted(database, TINY_SPEC.model_copy(update={"device": "cpu"}))
    let_wait_long(database)
    assert said(database) is None


def asked(url: str, folder: Path) -> tuple["subprocess.CompletedProcess[str]", float]:
    environment = {**os.environ, "BNLAB_DATABASE_URL": url, "BNLAB_STATE_DIR": str(folder)}
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "worker.health"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    return done, time.monotonic() - begin


def test_the_command_exits_with_0_or_with_1_and_a_sentence(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    done, _ = asked(database_url, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"No worker of this host, {socket.gethostname()}, has been heard of for 30 s.\n"
    beat(database, f"{socket.gethostname()}:1:ab")
    done, seconds = asked(database_url, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert seconds < 20  # about one, on a machine with nothing else to do


def test_a_database_that_does_not_answer_is_said_in_a_sentence(tmp_path: Path) -> None:
    done, _ = asked("postgresql+psycopg://bnlab@127.0.0.1:9/bnlab", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "The database does not answer: OperationalError.\n"


def test_the_question_loads_no_tensorflow_and_no_queue() -> None:
    code = "import sys, worker.health; print([m for m in ('tensorflow', 'celery') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
