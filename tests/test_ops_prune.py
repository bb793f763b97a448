"""`bnlab prune`: what ended long ago goes as a whole, what waits or runs stays, and others get their turn meanwhile."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from arm_states import all_of
from builders import cancelled, failed, finish, running, submitted, succeeded, swept
from conftest import LOOPBACK, ROOT, TINY_SPEC, RecordingBells, wait_until
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, select, text, update
from sqlalchemy.exc import OperationalError
from typer import BadParameter

from api.app import create_app
from models import retention
from models.database import Database
from models.grid import SweepRequest
from models.retention import Amount
from models.settings import Settings
from models.spec import FINISHED
from models.tables import Arm, Base, Experiment, IdempotencyKey, Sweep
from ops.prune import removed, would_go
from ops.times import seconds

GRID = SweepRequest(base=TINY_SPEC.model_dump(exclude={"seed"}), grid={"seed": [1, 2, 3]})


def long_ago(database: Database, days: float, experiment_ids: Sequence[UUID]) -> None:
    """Let these experiments, and their ends, be so many days older."""
    earlier = timedelta(days=days)
    with database.write() as session:
        for experiment in session.scalars(select(Experiment).where(Experiment.id.in_(experiment_ids))):
            experiment.created_at -= earlier
        for arm in session.scalars(select(Arm).where(Arm.experiment_id.in_(experiment_ids))):
            arm.created_at -= earlier
            arm.finished_at = arm.finished_at and arm.finished_at - earlier


def before(database: Database, days: float = 30) -> datetime:
    with database.read() as session:
        return retention.moment(session, days * 86_400)


def prune(database: Database, days: float = 30) -> Amount:
    return sum(removed(database, before(database, days), pause_s=0), start=Amount())


def there(database: Database) -> set[UUID]:
    with database.read() as session:
        return set(session.scalars(select(Experiment.id)))


def rows(database: Database) -> dict[str, int]:
    with database.read() as session:
        return {
            name: len(session.execute(select(*table.primary_key.columns)).all())
            for name, table in Base.metadata.tables.items()
        }


def run_prune(database: Database, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.prune", *options],
        cwd=ROOT,
        env=environment(database),
        capture_output=True,
        text=True,
        timeout=60,
        **more,
    )


def environment(database: Database) -> dict[str, str]:
    return {**os.environ, "BNLAB_DATABASE_URL": database.engine.url.render_as_string(hide_password=False)}


# ----------------------------------------------------------------------------------------------- what goes, what stays


def test_what_ended_long_ago_goes_with_all_that_belongs_to_it(database: Database) -> None:
    old = [succeeded(database), failed(database), cancelled(database)]
    long_ago(database, 31, old)
    expected = would_go(database, before(database))
    assert (expected.experiments, expected.networks, expected.sweeps) == (3, 3, 0)
    assert expected.networks_bytes > 3 * 25_000
    assert prune(database) == expected
    assert not any(rows(database).values())


def test_what_waits_or_runs_or_ended_lately_stays_to_the_last_byte(database: Database) -> None:
    stay = [submitted(database), running(database), succeeded(database), succeeded(database)]
    long_ago(database, 400, stay[:2])
    long_ago(database, 29, stay[2:3])
    kept = all_of(database)
    gone = succeeded(database)
    long_ago(database, 30.01, [gone])
    assert prune(database).experiments == 1
    assert there(database) == set(stay)
    assert all_of(database) == kept


def test_an_experiment_with_one_arm_that_goes_on_stays(database: Database) -> None:
    experiment_id = succeeded(database)
    long_ago(database, 31, [experiment_id])
    with database.write() as session:
        arm = session.scalars(select(Arm).where(Arm.experiment_id == experiment_id)).first()
        assert arm is not None
        session.execute(update(Arm).where(Arm.id == arm.id).values(finished_at=datetime.now(UTC)))
    assert prune(database) == Amount()
    assert there(database) == {experiment_id}


def test_a_sweep_goes_as_a_whole_or_not_at_all(database: Database) -> None:
    _, ids = swept(database, GRID)
    partly, others = swept(database, GRID)
    for experiment_id in (*ids, *others[:2]):
        finish(database, experiment_id)
    long_ago(database, 31, [*ids, *others])
    expected = would_go(database, before(database))
    assert (expected.experiments, expected.sweeps) == (3, 1)
    assert prune(database) == expected
    assert there(database) == set(others)
    with database.read() as session:
        assert session.scalars(select(Sweep.id)).all() == [partly]


def test_idempotency_keys_go_when_they_are_known_no_more(database: Database) -> None:
    now = datetime.now(UTC)
    with database.write() as session:
        for hours in (1, 47, 49, 1_000):
            made = now - timedelta(hours=hours)
            session.add(IdempotencyKey(owner="", key=str(hours), request_sha256="", created_at=made, answer=b""))
    assert prune(database) == Amount(idempotency_keys=2)
    assert rows(database)["idempotency_keys"] == 2


@settings(
    max_examples=8,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_whatever_there_is_only_what_ended_in_time_goes(database: Database, data: st.DataObject) -> None:
    with database.write() as session:
        session.execute(delete(Experiment))
        session.execute(delete(Sweep))
    makers = st.sampled_from((submitted, running, succeeded, failed, cancelled))
    made = [maker(database) for maker in data.draw(st.lists(makers, max_size=4))]
    if data.draw(st.booleans()):
        _, ids = swept(database, SweepRequest(base=TINY_SPEC.model_dump(exclude={"seed"}), grid={"seed": [1, 2]}))
        for experiment_id in data.draw(st.sets(st.sampled_from(ids))):
            finish(database, experiment_id)
        made += ids
    for experiment_id in made:
        long_ago(database, data.draw(st.sampled_from((0, 29, 31, 100))), [experiment_id])
    moment = before(database)
    with database.read() as session:
        arms = session.scalars(select(Arm)).all()
        sweeps = dict(session.execute(select(Experiment.id, Experiment.sweep_id)).all())
    late = {arm.experiment_id for arm in arms if not (arm.status in FINISHED and arm.finished_at < moment)}  # type: ignore[operator]
    late_sweeps = {sweeps[one] for one in late} - {None}
    stay = {one for one, sweep in sweeps.items() if one in late or sweep in late_sweeps}
    expected = would_go(database, moment)
    assert sum(removed(database, moment, pause_s=0), start=Amount()) == expected
    assert there(database) == stay
    with database.read() as session:
        assert set(session.scalars(select(Sweep.id))) == {sweeps[one] for one in stay} - {None}
    assert would_go(database, moment) == Amount()


# ------------------------------------------------------------------------------------------------------ half-way


def test_stopped_half_way_everything_answers_and_a_second_run_ends_it(
    database: Database, settings: Settings, bells: RecordingBells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.prune.AT_ONCE", 2)
    sweep_id, ids = swept(database, GRID)
    for experiment_id in ids:
        finish(database, experiment_id)
    kept = succeeded(database)
    long_ago(database, 31, ids)
    going = removed(database, before(database), pause_s=0)
    app = create_app(settings)
    app.state.bells = bells
    with TestClient(app, base_url=LOOPBACK) as api:
        for left in (3, 3, 1):  # the keys go, then the sweep, then two of what were its experiments
            next(going)
            for listed in (api.get("/sweeps"), api.get(f"/sweeps/{sweep_id}"), api.get("/experiments")):
                assert listed.status_code in (200, 404)
            assert len(api.get("/experiments").json()["experiments"]) == left + 1
        assert api.get("/sweeps").json()["sweeps"] == []
        assert api.get(f"/sweeps/{sweep_id}").status_code == 404
        assert prune(database).experiments == 1
        assert api.get(f"/experiments/{ids[0]}").status_code == 404
        assert api.get(f"/experiments/{kept}").json()["status"] == "succeeded"
        assert api.post("/predict", json={"image": [0] * 784}).json()["experiment"] == str(kept)


def test_a_transaction_that_fails_takes_nothing_away(database: Database) -> None:
    ids = [succeeded(database) for _ in range(2)]
    long_ago(database, 31, ids)
    kept = all_of(database)

    @event.listens_for(database.engine, "commit")
    def _fail(_: object) -> None:
        raise OperationalError("commit", {}, Exception("the disk is full"))

    with pytest.raises(OperationalError):
        prune(database)
    event.remove(database.engine, "commit", _fail)
    assert all_of(database) == kept
    assert prune(database).experiments == 2


def test_two_at_once_remove_everything_once(database: Database) -> None:
    ids = [cancelled(database) for _ in range(30)] + [succeeded(database) for _ in range(10)]
    long_ago(database, 31, ids)
    moment, found = before(database), list[Amount]()
    whole = would_go(database, moment)
    both = [
        threading.Thread(target=lambda: found.append(sum(removed(database, moment, 0.01), start=Amount())))
        for _ in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert len(found) == 2
    assert sum(found, start=Amount()) == whole, "what one has removed, the other does not report"
    assert not any(rows(database).values())


def test_what_another_takes_meanwhile_is_not_reported(new_postgres_url: str) -> None:
    database = Database(new_postgres_url)
    ids = [succeeded(database) for _ in range(4)]
    long_ago(database, 31, ids)
    moment, found = before(database), list[Amount]()
    late = threading.Thread(target=lambda: found.extend(removed(database, moment, 0)))

    def it_waits() -> bool:
        with database.read() as session:
            return session.execute(text("SELECT bool_or(NOT granted) FROM pg_locks")).scalar_one() is True

    with database.write() as session:
        retention.remove(session, ids[:3], moment)
        late.start()  # it finds all four
        wait_until(it_waits)
    late.join(60)
    assert sum(found, start=Amount()).experiments == 1
    assert there(database) == set()
    database.close()


def test_others_write_meanwhile(database: Database) -> None:
    long_ago(database, 31, [succeeded(database) for _ in range(25)])
    slowest, ended = [0.0], threading.Event()

    def write() -> None:
        while not ended.wait(0.01):
            begin = time.monotonic()
            submitted(database)
            slowest.append(time.monotonic() - begin)

    writing = threading.Thread(target=write)
    writing.start()
    gone = sum(removed(database, before(database)), start=Amount())
    ended.set()
    writing.join(30)
    assert gone.experiments == 25
    assert len(slowest) > 2
    assert max(slowest) < 5
    assert len(there(database)) == len(slowest) - 1


# ------------------------------------------------------------------------------------------- on the command line


def test_it_says_what_would_go_and_removes_it_when_told(database: Database) -> None:
    long_ago(database, 31, [succeeded(database)])
    would = run_prune(database, "--older-than", "30d", "--dry-run")
    assert (would.returncode, would.stderr) == (0, "")
    assert re.search(r"^Would go: 1 experiments with \d+ points and 2 networks \(\d+(\.\d+)? kB\)", would.stdout)
    assert len(there(database)) == 1
    done = run_prune(database, "--older-than", "4w", "--yes")
    assert done.returncode == 0
    assert done.stdout.startswith(would.stdout.strip().replace("Would go", "Gone"))
    assert "docs/operations.md" in done.stdout
    assert there(database) == set()
    again = run_prune(database, "--older-than", "4w", "--yes")
    assert (again.returncode, again.stdout) == (0, "Gone: nothing.\n")


def test_without_a_terminal_it_wants_to_be_told(database: Database) -> None:
    long_ago(database, 31, [cancelled(database)])
    done = run_prune(database, "--older-than", "30d", stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert len(there(database)) == 1


@pytest.mark.parametrize(("answer", "left"), [("n\n", 1), ("\n", 1), ("y\n", 0)])
def test_at_a_terminal_it_asks(database: Database, answer: str, left: int) -> None:
    long_ago(database, 31, [cancelled(database)])
    here, terminal = pty.openpty()
    command = [sys.executable, "-m", "ops.prune", "--older-than", "30d"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(database), stdin=terminal, stdout=subprocess.PIPE, text=True
    )
    os.close(terminal)
    os.write(here, answer.encode())
    said, _ = process.communicate(timeout=60)
    os.close(here)
    assert "Remove them for ever?" in said
    assert process.returncode == (1 if left else 0)
    assert len(there(database)) == left


def test_ctrl_c_says_how_far_it_came(new_sqlite_url: str) -> None:
    database = Database(new_sqlite_url)
    ids = [cancelled(database) for _ in range(200)]
    long_ago(database, 31, ids)
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.prune", "--older-than", "30d", "--yes"],
        cwd=ROOT,
        env=environment(database),
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: len(there(database)) < 200)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.startswith("\nStopped. Gone so far: ")
    left = len(there(database))
    assert f"{200 - left} experiments" in said
    assert prune(database).experiments == left
    database.close()


def test_a_database_that_cannot_be_used_is_one_line(tmp_path: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops.prune", "--older-than", "30d", "--yes"],
        cwd=ROOT,
        env={**os.environ, "BNLAB_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Nothing more is removed: there is no file")
    assert len(done.stderr.splitlines()) == 1


@given(st.integers(1, 36_500), st.sampled_from("hdw"))
def test_a_time_is_a_number_of_hours_days_or_weeks(number: int, unit: str) -> None:
    hours = number * {"h": 1, "d": 24, "w": 168}[unit]
    if hours <= 36_500 * 24:
        assert seconds(f"{number}{unit}") == hours * 3_600
    else:
        with pytest.raises(BadParameter):
            seconds(f"{number}{unit}")


@pytest.mark.parametrize("wrong", ["", "30", "d", "30 days", "-1d", "0d", "1.5d", "1m", "1y", "99999999d", "٣d"])
def test_another_time_is_refused_with_what_is_allowed(wrong: str) -> None:
    with pytest.raises(BadParameter, match="such as 12h, 30d or 8w") as refused:
        seconds(wrong)
    assert repr(wrong) in refused.value.message
