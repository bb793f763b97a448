"""`python -m ops.check [FILE …]` refuses to go on while a setting, or a password in one of the files, is not fit."""

import sys
from pathlib import Path

from models.passwords import read_password
from models.settings import read_settings


def main(files: list[str]) -> None:
    """Read what the service would read, and nothing else: no store and no network is needed."""
    read_settings()
    for file in files:
        try:
            read_password(Path(file))
        except ValueError as error:
            sys.exit(f"{error}.")
    print("The settings and the passwords are fit.")


if __name__ == "__main__":
    main(sys.argv[1:])
