"""`python -m ops.keys` as an operator runs it."""

import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import ROOT
from typer.testing import CliRunner

from models import keys
from models.database import Database
from models.scopes import Scope
from ops.keys import app


def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BNLAB_DATABASE_URL": url, "COLUMNS": "200"}
    command = [sys.executable, "-m", "ops.keys", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_key_is_made_shown_once_listed_and_revoked(database_url: str, database: Database) -> None:
    made = run(database_url, "create", "Anna", "--scope", "write", "--expires-in", "30d", "--requests-per-minute", "9")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()  # nothing else: it can be piped
    with database.read() as session:
        found = keys.find(session, key)
    assert found is not None
    assert (found.name, found.scope, found.requests_per_minute) == ("Anna", Scope.WRITE, 9)
    assert "shown this once" in made.stderr
    assert key not in made.stderr
    listed = run(database_url, "list")
    assert key not in listed.stdout
    assert [word in listed.stdout for word in ("Anna", "write", key[:12], "valid")] == [True] * 4
    revoked = run(database_url, "revoke", key[:12])
    assert revoked.returncode == 0
    assert "is revoked" in revoked.stdout
    with database.read() as session:
        assert keys.find(session, key) is None
    assert "was revoked before" in run(database_url, "revoke", str(found.id)).stdout
    assert "revoked" in run(database_url, "list").stdout


def test_one_more_key_is_made_for_an_owner_even_of_a_revoked_one(new_sqlite_url: str) -> None:
    first = json.loads(run(new_sqlite_url, "create", "Anna", "--scope", "write", "--json").stdout)
    assert first["owner_id"] == first["id"]
    run(new_sqlite_url, "revoke", first["id"])
    again = run(new_sqlite_url, "create", "Anna 2", "--scope", "write", "--for", first["beginning"], "--json")
    other = run(
        new_sqlite_url, "create", "her class", "--scope", "read", "--for", json.loads(again.stdout)["id"], "--json"
    )
    assert json.loads(again.stdout)["owner_id"] == json.loads(other.stdout)["owner_id"] == first["id"]
    nobody = run(new_sqlite_url, "create", "x", "--scope", "read", "--for", "bnlab_nobody1")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "There is no key 'bnlab_nobody'" in nobody.stderr


def test_a_key_expires_by_the_databases_clock(new_sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = time.time
    monkeypatch.setattr(
        time, "time", lambda: right() + 7 * 86_400
    )  # which is SQLite's clock: now another one than ours
    monkeypatch.setenv("BNLAB_DATABASE_URL", new_sqlite_url)
    made = CliRunner().invoke(app, ["create", "Anna", "--scope", "read", "--expires-in", "12h", "--json"])
    created, expires = (datetime.fromisoformat(json.loads(made.stdout)[name]) for name in ("created_at", "expires_at"))
    assert abs(expires - created - timedelta(hours=12)) <= timedelta(minutes=1)


def test_scripts_get_json(new_sqlite_url: str) -> None:
    assert json.loads(run(new_sqlite_url, "list", "--json").stdout) == {"keys": []}
    made = json.loads(run(new_sqlite_url, "create", "a robot", "--scope", "read", "--json").stdout)
    (listed,) = json.loads(run(new_sqlite_url, "list", "--json").stdout)["keys"]
    key = made.pop("key")
    assert keys.PATTERN.fullmatch(key)
    assert listed == {**made, "state": "valid"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "", "--scope", "read"), "name: allowed is 1 to 100 printable characters; received ''."),
        (("create", "a", "--scope", "owner"), "'owner' is not one of 'read', 'write', 'admin'"),
        (("create", "a", "--scope", "read", "--expires-in", "soon"), "allowed is a number of hours, days or weeks"),
        (("create", "a", "--scope", "read", "--max-active-experiments", "0"), "a number from 1 to"),
        (("revoke", "bnlab_nobody1"), "There is no key 'bnlab_nobody'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(new_sqlite_url: str, arguments: tuple[str, ...], said: str) -> None:
    done = run(new_sqlite_url, *arguments)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://nobody@127.0.0.1:1/none", "does not answer"),
        ("nonsense", "is no address this version can use"),
        ("sqlite:///{folder}/empty.sqlite3", "run `python -m migrations`"),
        ("sqlite:///{folder}/none.sqlite3", "there is no file"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line(tmp_path: Path, url: str, said: str) -> None:
    (tmp_path / "empty.sqlite3").touch()
    for command in (["list"], ["create", "a", "--scope", "read"], ["revoke", "bnlab_x"]):
        done = run(url.format(folder=tmp_path), *command)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
