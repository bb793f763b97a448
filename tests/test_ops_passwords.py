"""`make secrets`: passwords that are fit, for the containers' users and nobody else, and never written over."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.passwords import read_password
from ops.passwords import NAMES, ROOT, make_passwords, make_profiles


@pytest.fixture(params=[0o000, 0o077])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
def test_each_password_is_new_fit_and_closed_to_other_users_of_the_machine(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    make_passwords(folder)
    assert {file.name for file in folder.iterdir()} == set(NAMES)
    assert len({read_password(folder / name) for name in NAMES}) == len(NAMES)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}  # in a container, to its user


def test_what_is_there_is_never_written_over(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    (folder / NAMES[0]).write_text("mine")
    said = make_passwords(folder)
    assert (folder / NAMES[0]).read_text() == "mine"
    assert sum("is there already" in line for line in said) == 1
    assert folder.stat().st_mode & 0o777 == 0o700
    before = [(folder / name).read_text() for name in NAMES]
    make_passwords(folder)
    assert [(folder / name).read_text() for name in NAMES] == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "COMPOSE_PROFILES=cpu\n"),
        ("API_PORT=80", "API_PORT=80\nCOMPOSE_PROFILES=cpu\n"),
        ("COMPOSE_PROFILES=gpu,observe\nGPUS=2\n", "COMPOSE_PROFILES=gpu,observe\nGPUS=2\n"),
    ],
)
def test_workers_without_a_gpu_are_chosen_unless_there_is_a_choice(
    before: str | None, after: str, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    if before is not None:
        file.write_text(before)
    make_profiles(file)
    assert file.read_text() == after


def test_it_needs_nothing_but_a_python(tmp_path: Path) -> None:
    bare = [sys.executable, "-S", "-c", "import ops.passwords"]  # without any installed package
    assert subprocess.run(bare, cwd=ROOT, check=False, timeout=30).returncode == 0
