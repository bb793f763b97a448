"""`python -m ops.passwords` makes what docker-compose.yml needs, once: passwords in files, and `.env`."""

import os
import secrets
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: The secrets of docker-compose.yml.
NAMES = ("database_password", "broker_password", "grafana_password")
PROFILES = "COMPOSE_PROFILES"


def main() -> None:
    """Make what is missing; what is there is never written over."""
    for line in (*make_passwords(ROOT / "secrets"), make_profiles(ROOT / ".env")):
        print(line)


def make_passwords(folder: Path) -> list[str]:
    """Write a random password into each file that is not there; return what happened to each."""
    # Nobody else on this machine gets into the folder, so its files need not be closed: in the containers they are read
    # by users of other numbers.
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return [_make_password(folder / name) for name in NAMES]


def _make_password(file: Path) -> str:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return f"{file} is there already."
    with open(descriptor, "w") as opened:
        os.fchmod(descriptor, 0o644)  # whatever the user's umask is
        opened.write(f"{secrets.token_hex(24)}\n")
    return f"{file} is new."


def make_profiles(file: Path) -> str:
    """Choose workers without a GPU in `.env`, unless it has a choice."""
    text = file.read_text() if file.exists() else ""
    if any(line.split("=")[0].strip() == PROFILES for line in text.splitlines()):
        return f"{file} has {PROFILES} already."
    with file.open("a") as opened:
        opened.write(f"{'' if text.endswith(chr(10)) or not text else chr(10)}{PROFILES}=cpu\n")
    return f"{file} has {PROFILES}=cpu; for a GPU make it {PROFILES}=gpu, for Prometheus and Grafana add observe."


if __name__ == "__main__":
    main()
