"""`bnlab up` as tests start it: on a free port, with a state folder of its own and nothing replaced."""

import re
import sys
from pathlib import Path

from stack import ROOT

from bnlab.client import Client
from faults.processes import Process, Processes
from faults.servers import free_port

READY = re.compile(
    r"bnlab is ready at (http://127\.0\.0\.1:\d+) \(a page for your browser; API: /docs\), 2 workers, "
    r"data set mnist-5k, state in (.+); Ctrl-C"
)
TOLD = {
    "BNLAB_DATASET": "mnist-5k",
    "BNLAB_DEVICE": "cpu",  # on a machine with a GPU too
    "BNLAB_LEASE_S": "3",
    "BNLAB_BELL_INTERVAL_S": "0.5",
    "BNLAB_WRITE_INTERVAL_S": "0.1",
}


class Up(Processes):
    """`bnlab up` on a state folder of its own; it can be started again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.state_dir = folder / "state"
        self.running: Process
        self.url = ""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "bnlab", "up", "--port", str(free_port()), "--state-dir", str(self.state_dir)]

    def start_up(self) -> None:
        """Start it and wait for the line that says it is ready."""
        self.running = up = self.start("up", self.command(), ROOT, TOLD)
        up.wait_until(lambda: READY.search(up.said()) is not None)
        match = READY.search(up.said())
        assert match is not None
        assert match[2] == str(self.state_dir)
        self.url = match[1]

    @property
    def client(self) -> Client:
        return Client(self.url)

    def print_logs(self) -> None:
        super().print_logs()
        for log in sorted((self.state_dir / "logs").glob("*.log")):
            print(f"--- {log.name} ---\n{log.read_text(errors='replace')}")
