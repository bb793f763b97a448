"""`python -m ops.check`: what docker-compose.yml asks before anything starts."""

import subprocess
import sys
from pathlib import Path

from faults.processes import bare_environment
from ops.passwords import ROOT


def checked(folder: Path, *files: Path, **told: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.check", *map(str, files)],
        cwd=ROOT,
        env={**bare_environment(folder), **told},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_what_is_fit_is_passed_on(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("f3a9c0d1e2b45678f3a9\n")
    done = checked(tmp_path, file, BNLAB_BROKER_URL="redis://broker", BNLAB_BROKER_PASSWORD_FILE=str(file))
    assert (done.returncode, done.stdout) == (0, "The settings and the passwords are fit.\n")


def test_a_file_or_a_setting_that_is_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "grafana_password"
    file.write_text("admin")
    for done, named in (
        (checked(tmp_path, file), str(file)),
        (checked(tmp_path, tmp_path / "none"), str(tmp_path / "none")),
        (checked(tmp_path, BNLAB_THREADS="0"), "BNLAB_THREADS"),
    ):
        assert done.returncode == 1
        assert named in done.stderr
        assert len(done.stderr.splitlines()) == 1
