"""An API process as it is shipped, on a free port and with a new database: what measurements and tests speak to."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.processes import Process, Processes

ROOT = Path(__file__).parents[1]
LISTENING = re.compile(r"Listening at \S+, port (\d+)")


class Server:
    """The process, and where it listens."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.port = int(LISTENING.findall(process.said())[-1])
        self.url = f"http://127.0.0.1:{self.port}"

    def resident_mb(self, name: str = "VmRSS") -> float:
        """Return its memory; with `VmHWM`, the most that it has been."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1_024


@contextmanager
def running_api(folder: Path, **settings: object) -> Iterator[Server]:
    """Serve until the end of the block, with these settings; migrate the database before, unless it is there."""
    told = {f"BNLAB_{name.upper()}": str(value) for name, value in settings.items()}
    told = {"BNLAB_STATE_DIR": str(folder), "BNLAB_DATASET": "mnist-5k", **told}
    with Processes(folder) as processes:
        if not (folder / "bnlab.sqlite3").exists():
            migrations = processes.start("migrations", [sys.executable, "-m", "migrations"], ROOT, told)
            assert migrations.wait(60) == 0, migrations.said()
        api = processes.start("api", [sys.executable, "-m", "api", "--port", "0"], ROOT, told)
        api.wait_until(lambda: "startup complete" in api.said())
        yield Server(api)
