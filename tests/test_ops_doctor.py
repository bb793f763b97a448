"""`bnlab doctor`: what it says of a set-up that is well, and of each thing that is not; nothing hides anything else."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from arm_states import accept, let_expire, take
from conftest import ROOT
from redis import Redis as RedisClient
from sqlalchemy import text, update

from models import keys, workers
from models.broker import prepare_folders
from models.database import Database
from models.scopes import Scope
from models.settings import Settings
from models.tables import Arm
from ops import doctor
from ops.doctor import examine
from ops.finding import Finding, Level, in_bytes, in_words, ok

PASSWORD = "vN4hQ8sLw2Zx7Tb9"


@pytest.fixture
def well(settings: Settings, database: Database) -> Settings:
    """A set-up that lacks nothing: a worker lives, the broker's folder is there."""
    prepare_folders(settings)
    with database.write() as session:
        workers.beat(session, "here:1:a", "cpu", ["a processor"], 1)
    return settings


def by_check(found: list[Finding]) -> dict[str, list[Finding]]:
    return {check: [one for one in found if one.check == check] for check in doctor.CHECKS}


def only(settings: Settings, check: str) -> Finding:
    """Return the one finding of a check."""
    (found,) = examine(settings, {check: doctor.CHECKS[check]})
    return found


def bad(found: list[Finding]) -> dict[str, Level]:
    return {one.check: one.level for one in found if one.level is not Level.OK and one.check != "disk"}


def altered(settings: Settings, **changed: Any) -> Settings:
    return Settings(**{**settings.model_dump(), **changed})


def run_doctor(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ops.doctor", *options]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )


# ------------------------------------------------------------------------------------------------- all is well


def test_a_set_up_that_lacks_nothing_is_said_to_be_well(well: Settings) -> None:
    found = examine(well)
    assert bad(found) == {}
    assert [one.check for one in found] == list(doctor.CHECKS)
    assert all(one.sentence.endswith(".") for one in found)


def test_on_the_command_line_it_ends_with_0_and_speaks_json_to_scripts(well: Settings) -> None:
    given = {
        "BNLAB_STATE_DIR": str(well.state_dir),
        "BNLAB_DATABASE_URL": well.database_url,
        "BNLAB_DATASET": "mnist-5k",
    }
    done = run_doctor("--json", **given)
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert {"check": "migrations", "level": "ok"}.items() <= found[2].items()
    spoken = run_doctor(**given)
    assert (spoken.returncode, spoken.stderr) == (0, "")
    assert len(spoken.stdout.splitlines()) >= len(doctor.CHECKS) + 1


def test_looking_changes_nothing(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "none")
    found = by_check(examine(settings))
    assert found["database"][0].level is Level.PROBLEM
    assert "there is no file" in found["database"][0].sentence
    assert "bnlab up" in (found["database"][0].mend or "")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------ one broken thing hides no other


def test_without_a_database_the_rest_is_looked_at_all_the_same(tmp_path: Path) -> None:
    address = f"postgresql+psycopg://u:{PASSWORD}@127.0.0.1:9/x"
    done = run_doctor("--json", BNLAB_STATE_DIR=str(tmp_path), BNLAB_DATABASE_URL=address, BNLAB_LEASSE_S="3")
    assert done.returncode == 1
    assert PASSWORD not in done.stdout + done.stderr
    found = {one["check"]: one for one in json.loads(done.stdout)}
    assert found.keys() == doctor.CHECKS.keys()
    assert found["database"]["level"] == "problem"
    assert "BNLAB_DATABASE_URL" in found["database"]["mend"]
    for check in ("migrations", "clock", "keys", "workers", "queue", "arms"):
        assert found[check]["level"] == "warning"
        assert found[check]["sentence"] == "Not known without the database."
    assert "perhaps BNLAB_LEASE_S is meant" in found["settings"]["sentence"]
    assert found["disk"]["sentence"]


def test_what_is_not_known_without_the_database_is_one_line_for_people(tmp_path: Path) -> None:
    spoken = run_doctor(BNLAB_STATE_DIR=str(tmp_path), BNLAB_DATABASE_URL="postgresql+psycopg://127.0.0.1:9/x")
    lines = spoken.stdout.splitlines()
    assert sum("127.0.0.1:9" in line for line in lines) == 1
    (line,) = (line for line in lines if "Not known" in line)
    assert line.endswith("Not known without the database: migrations, clock, keys, workers, queue, arms.")
    assert lines[-1].startswith("1 problem and ")


@pytest.mark.parametrize(
    "address", ["garbage", "mysql://x/y", "sqlite://", f"postgresql+psycopg://bnlab:{PASSWORD}@127.0.0.1:notaport/db"]
)
def test_an_address_that_is_none_is_a_finding(tmp_path: Path, address: str) -> None:
    found = examine(Settings(state_dir=tmp_path, database_url=address))
    (database,) = by_check(found)["database"]
    assert database.level is Level.PROBLEM
    assert "BNLAB_" in (database.mend or "")
    assert not [one for one in found if "could not be checked" in one.sentence]
    assert PASSWORD not in repr(found)


@pytest.mark.parametrize(
    "address",
    [
        f"bnlab:{PASSWORD}@h/db",
        f"postgresql+psycopg:/bnlab:{PASSWORD}@h/db",
        f"redis//:{PASSWORD}@h",
        f"postgresql+psycopg://bnlab:a@{PASSWORD}@h.invalid/db",
    ],
)
def test_an_address_that_is_misspelt_is_said_without_its_password(tmp_path: Path, address: str) -> None:
    given = {"BNLAB_STATE_DIR": str(tmp_path), "BNLAB_DATABASE_URL": address, "BNLAB_BROKER_URL": address}
    done = run_doctor(**given)
    assert done.returncode == 1
    assert PASSWORD not in done.stdout + done.stderr
    assert "BNLAB_DATABASE_URL" in done.stdout
    assert "BNLAB_BROKER_URL" in done.stdout


def test_a_wrong_setting_is_said_as_the_findings_are(tmp_path: Path) -> None:
    wrong = {"BNLAB_STATE_DIR": str(tmp_path), "BNLAB_LEASE_S": "abc", "BNLAB_THREADS": "0"}
    done = run_doctor("--json", **wrong)
    assert (done.returncode, done.stderr) == (1, "")
    for found, name in zip(json.loads(done.stdout), ("BNLAB_THREADS", "BNLAB_LEASE_S"), strict=True):
        assert found.keys() == {"check", "level", "sentence", "mend"}
        assert (found["check"], found["level"]) == ("settings", "problem")
        assert found["sentence"].startswith(f"{name}: ")
    spoken = run_doctor(**wrong)
    assert (spoken.returncode, spoken.stdout.splitlines()[-1]) == (1, "2 problems.")


def test_a_check_that_hangs_or_fails_is_said_and_hides_no_other(tmp_path: Path) -> None:
    released = threading.Event()

    def hang(_: Settings) -> Iterator[Finding]:
        released.wait(60)
        yield ok("hang", "never")

    def fail(_: Settings) -> Iterator[Finding]:
        yield ok("fail", "this is kept from nobody")
        raise RuntimeError("something new\nwith a second line")

    def work(_: Settings) -> Iterator[Finding]:
        yield ok("work", "well")

    begin = time.monotonic()
    hung, failed, works = examine(Settings(state_dir=tmp_path), {"hang": hang, "fail": fail, "work": work}, 0.5)
    assert time.monotonic() - begin < 20
    released.set()  # its thread does not stay behind
    assert (hung.level, hung.sentence) == (Level.PROBLEM, "No answer within 0.5 s.")
    assert (failed.level, works) == (Level.PROBLEM, ok("work", "well"))
    assert "RuntimeError: something new." in failed.sentence


def test_a_locked_sqlite_file_holds_it_up_no_longer_than_its_limit(new_sqlite_url: str, tmp_path: Path) -> None:
    holder = sqlite3.connect(new_sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    found = by_check(examine(Settings(state_dir=tmp_path, database_url=new_sqlite_url), limit_s=1))
    holder.execute("ROLLBACK")
    holder.close()
    assert "No answer within 1 s." in found["database"][0].sentence
    assert found["settings"][0].level is Level.OK


# -------------------------------------------------------------------------------------- each thing that is wrong


def test_old_tables_are_a_problem_and_newer_ones_a_warning(well: Settings, database: Database) -> None:
    for revision, level in (("2026112309", Level.PROBLEM), ("2099010100", Level.WARNING)):
        with database.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})
        found = only(well, "migrations")
        assert (found.level, revision in found.sentence) == (level, True)


def test_waiting_arms_that_no_living_worker_can_train_are_a_problem(well: Settings, database: Database) -> None:
    with database.write() as session:
        session.execute(update(Arm).where(Arm.id.in_(accept(session))).values(device="gpu"))
    wanting, heard = by_check(examine(well))["workers"]
    assert (wanting.level, heard.level) == (Level.PROBLEM, Level.OK)
    assert "2 arms wait for a worker with a GPU" in wanting.sentence
    with database.write() as session:
        workers.beat(session, "there:1:a", "gpu", ["a GPU"], 1)
    found = only(well, "workers")
    assert (found.level, "1 on cpu, 1 on gpu" in found.sentence) == (Level.OK, True)


def test_a_worker_that_takes_no_arms_is_named_with_its_reason_whether_or_not_anything_waits(
    well: Settings, database: Database
) -> None:
    with database.write() as session:
        workers.beat(session, "there:1:a", "gpu", ["none: TensorFlow finds no GPU"], 0)
    useless, heard = by_check(examine(well))["workers"]
    assert (useless.level, heard.level) == (Level.WARNING, Level.OK)
    assert useless.sentence == "The worker there:1:a takes no arms: TensorFlow finds no GPU."
    assert "1 on cpu." in heard.sentence
    with database.write() as session:
        session.execute(update(Arm).where(Arm.id.in_(accept(session))).values(device="gpu"))
    wanting, *_ = by_check(examine(well))["workers"]
    assert wanting.level is Level.PROBLEM
    assert wanting.sentence == (
        "2 arms wait for a worker with a GPU: one is here, but it takes no arms (TensorFlow finds no GPU)."
    )
    assert "Start one" not in (wanting.mend or "")


def test_a_worker_some_of_whose_processes_take_no_arms_is_a_warning(well: Settings, database: Database) -> None:
    with database.write() as session:
        workers.beat(session, "there:1:a", "gpu", ["NVIDIA H200", "none: TensorFlow finds no GPU"], 1)
    partly, heard = by_check(examine(well))["workers"]
    assert partly.level is Level.WARNING
    assert partly.sentence == "Only 1 of 2 processes of the worker there:1:a take arms: TensorFlow finds no GPU."
    assert "1 on cpu, 1 on gpu." in heard.sentence


def test_without_a_worker_it_matters_whether_anything_waits(well: Settings, database: Database) -> None:
    with database.write() as session:
        workers.gone(session, "here:1:a")
    assert only(well, "workers").level is Level.WARNING
    with database.write() as session:
        accept(session)
    assert only(well, "workers").level is Level.PROBLEM
    assert "2 arms of 1 experiments wait" in only(well, "queue").sentence


def test_a_queue_that_is_nearly_full_is_a_warning(well: Settings, database: Database) -> None:
    with database.write() as session:
        accept(session)
    found = only(altered(well, max_queued_experiments=1), "queue")
    assert found.level is Level.WARNING
    assert "BNLAB_MAX_QUEUED_EXPERIMENTS" in (found.mend or "")


def test_an_arm_that_nobody_takes_back_is_a_problem(well: Settings, database: Database) -> None:
    with database.write() as session:
        accept(session)
        held = take(session)
    assert only(well, "arms").level is Level.OK
    with database.write() as session:
        let_expire(session, [held.arm_id])
    assert only(well, "arms").level is Level.OK  # a worker looks every second, and one may be about to
    with database.write() as session:
        session.execute(update(Arm).where(Arm.id == held.arm_id).values(lease_expires_at=None))
    found = only(well, "arms")
    assert (found.level, "1 of 1 running arms" in found.sentence) == (Level.PROBLEM, True)


def test_where_keys_are_required_somebody_must_have_one(well: Settings, database: Database) -> None:
    required = altered(well, keys="required")
    assert only(required, "keys").level is Level.PROBLEM
    with database.write() as session:
        keys.create(session, "gone", Scope.ADMIN, expires_in_s=-86_400)
        revoked, _ = keys.create(session, "revoked", Scope.ADMIN)
        keys.revoke(session, revoked.id)
    assert only(required, "keys").level is Level.PROBLEM
    with database.write() as session:
        keys.create(session, "reader", Scope.READ)
    assert only(required, "keys").level is Level.WARNING
    with database.write() as session:
        keys.create(session, "boss", Scope.ADMIN)
    assert only(required, "keys").level is Level.OK


def test_a_data_set_that_is_not_at_hand_is_a_warning_if_it_is_the_default(well: Settings, tmp_path: Path) -> None:
    there_is_none = altered(well, dataset="mnist", data_dir=tmp_path / "none")
    found = only(there_is_none, "data")
    assert (found.level, "mnist-5k" in found.sentence) == (Level.WARNING, True)
    assert only(altered(there_is_none, dataset="mnist-5k"), "data").level is Level.OK


def test_a_broker_of_files_must_be_there_and_be_writable(well: Settings) -> None:
    queue = well.state_dir / "broker" / "queue"
    (queue / "one.msg").write_text("")
    assert "1 wait" in only(well, "broker").sentence
    (queue / "one.msg").unlink()
    queue.rmdir()
    assert only(well, "broker").level is Level.WARNING


def test_a_redis_that_throws_things_away_or_is_not_there_is_said(well: Settings, redis_url: str) -> None:
    on_redis = altered(well, broker_url=redis_url)
    with RedisClient.from_url(redis_url) as client:
        assert only(on_redis, "broker").level is Level.OK
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = only(on_redis, "broker")
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert (found.level, "allkeys-lru" in found.sentence) == (Level.WARNING, True)
    absent = only(altered(well, broker_url=f"redis://:{PASSWORD}@127.0.0.1:9/0"), "broker")
    assert (absent.level, PASSWORD in absent.sentence) == (Level.PROBLEM, False)


def test_a_postgres_with_few_connections_left_is_a_warning(new_postgres_url: str, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, database_url=new_postgres_url)
    held = Database(new_postgres_url)
    with held.read() as session:
        most = session.execute(text("SELECT current_setting('max_connections')::int")).scalar_one()
    assert f"of {most - 3} connections" in only(settings, "database").sentence
    held.close()


@pytest.mark.parametrize(("amount", "words"), [(0, "0 bytes"), (999, "999 bytes"), (2_500_000, "2.5 MB")])
def test_amounts_are_for_people(amount: int, words: str) -> None:
    assert in_bytes(amount) == words
    assert [in_words(seconds) for seconds in (1, 119, 121, 7_300, 200_000)] == [
        "1 s",
        "119 s",
        "2 minutes",
        "2 hours",
        "2 days",
    ]
