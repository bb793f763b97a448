"""`bnlab keys`, `doctor` and `prune`: they become the operator's programs, in the caller's folder and terminal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import migrate
from typer import BadParameter

from bnlab.options import split_integers

BNLAB = str(Path(sys.executable).parent / "bnlab")


def bnlab(folder: Path, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BNLAB, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_state_folder_is_the_callers_wherever_it_is_named(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path / 'bnlab.sqlite3'}")
    (tmp_path / "state").mkdir()
    (tmp_path / "bnlab.sqlite3").rename(tmp_path / "state" / "bnlab.sqlite3")
    named = (
        bnlab(tmp_path, "doctor", "--json", "--state-dir", "state"),
        bnlab(tmp_path, "doctor", "--state-dir", "state", "--json"),
        bnlab(tmp_path, "doctor", "--json", BNLAB_STATE_DIR="state"),
        bnlab(tmp_path, "doctor", "--json", BNLAB_DATABASE_URL="sqlite:///state/bnlab.sqlite3"),
    )
    for done in named:
        found = {one["check"]: one["level"] for one in json.loads(done.stdout)}
        assert found["database"] == found["migrations"] == "ok", done.stdout
        assert done.returncode == ("problem" in found.values())


def test_arguments_and_exit_codes_are_passed_on(tmp_path: Path) -> None:
    (tmp_path / ".bnlab").mkdir()
    migrate(f"sqlite:///{tmp_path / '.bnlab' / 'bnlab.sqlite3'}")
    wrong = bnlab(tmp_path, "prune", "--older-than", "a month", "--dry-run")
    assert wrong.returncode == 2
    assert "days or weeks" in " ".join(wrong.stderr.replace("│", " ").split())
    right = bnlab(tmp_path, "prune", "--older-than", "30d", "--dry-run")
    assert (right.returncode, right.stdout, right.stderr) == (0, "Would go: nothing.\n", "")
    made = bnlab(tmp_path, "keys", "create", "ada", "--scope", "write")
    assert made.returncode == 0, made.stderr
    assert "bnlab_" in made.stdout
    assert "ada" in bnlab(tmp_path, "keys", "list").stdout


@pytest.mark.parametrize(("command", "word"), [("keys", "revoke"), ("doctor", "--json"), ("prune", "--older-than")])
def test_help_is_the_programs_own(command: str, word: str, tmp_path: Path) -> None:
    done = bnlab(tmp_path, command, "--help")
    assert done.returncode == 0
    assert word in done.stdout
    assert command in bnlab(tmp_path, "--help").stdout


def test_a_module_in_the_callers_folder_is_not_taken_for_one_of_the_repository(tmp_path: Path) -> None:
    for name in ("ops", "models"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('this is the wrong one')")
    done = bnlab(tmp_path, "doctor")
    assert "wrong one" not in done.stdout + done.stderr
    assert "there is no file" in done.stdout


@pytest.mark.parametrize("text", ["64,32", "[64,32]", " [64, 32] ", "64, 32"])
def test_hidden_layers_may_be_written_as_in_a_grid(text: str) -> None:
    assert split_integers(text) == [64, 32]


@pytest.mark.parametrize("text", ["[64", "64]", "[]", "[[64]]", "", "64;32"])
def test_other_hidden_layers_are_refused(text: str) -> None:
    with pytest.raises(BadParameter, match="100,100,100"):
        split_integers(text)
