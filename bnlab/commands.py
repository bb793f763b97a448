"""The commands that `bnlab up` runs: two steps, then the API and the workers, all from the repository."""

import sys
from dataclasses import dataclass
from pathlib import Path

from bnlab.errors import NeedsRepository

Command = list[str]


@dataclass(frozen=True)
class Commands:
    """What to run: two steps one after the other, then the API and the workers side by side."""

    datasets: Command
    migrations: Command
    api: Command
    workers: list[Command]
    recovery: Command | None = None  # after a crash, on a database of its own


def repository_commands(host: str, port: int, workers: int) -> Commands:
    """Return the commands that run the service from its repository, with the Python that runs this."""
    python = [sys.executable, "-m"]
    worker = [*python, "celery", "-A", "worker.app", "worker", "--pool", "prefork", "--concurrency", "1"]
    # One machine, no peers: what workers tell each other would only be files in the broker's folder.
    alone = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
    return Commands(
        datasets=[*python, "models.datasets"],
        migrations=[*python, "migrations"],
        api=[*python, "api", "--host", host, "--port", str(port)],
        recovery=[*python, "models.recovery"],
        workers=[[*worker, "--hostname", f"worker-{number}@%h", *alone] for number in range(1, workers + 1)],
    )


def repository_root(package: Path) -> Path:
    """Return the folder the package lies in. Raises NeedsRepository if it is not the repository."""
    root = package.absolute().parent
    if not (root / "api").is_dir():
        raise NeedsRepository(root=root)
    return root
