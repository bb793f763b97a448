"""`python -m migrations` brings the database to the newest tables; it may be run again at any time."""

from pathlib import Path

from alembic import command
from alembic.config import Config

from models.settings import Settings


def configuration() -> Config:
    """Return Alembic's configuration, whatever the working directory."""
    return Config(toml_file=Path(__file__).parents[1] / "pyproject.toml")


def main() -> None:
    """Upgrade to the newest revision."""
    settings = Settings()
    if settings.database_url.startswith("sqlite"):
        settings.state_dir.mkdir(parents=True, exist_ok=True)
    command.upgrade(configuration(), "head")


if __name__ == "__main__":
    main()
