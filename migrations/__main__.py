"""`python -m migrations` brings the database to the newest tables; it may be run again at any time."""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from models.settings import read_settings


def configuration() -> Config:
    """Return Alembic's configuration, whatever the working directory."""
    return Config(toml_file=Path(__file__).parents[1] / "pyproject.toml")


def main() -> None:
    """Upgrade to the newest revision."""
    settings = read_settings()
    if settings.database_url.startswith("sqlite"):
        settings.state_dir.mkdir(parents=True, exist_ok=True)
    try:
        command.upgrade(configuration(), "head")
    except (
        ArgumentError,
        ModuleNotFoundError,
        NoSuchModuleError,
        OperationalError,
    ) as error:  # no address, no driver, no answer
        reason = str(error.orig) if isinstance(error, OperationalError) else "it is no address this version can use"
        sys.exit(f"The database cannot be used: check BNLAB_DATABASE_URL ({reason.strip().splitlines()[0]}).")


if __name__ == "__main__":
    main()
