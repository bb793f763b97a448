"""The API beside its own document: Schemathesis makes requests of it, valid and not, and checks the answers."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.api import store_a_network
from bench.server import ROOT, running_api
from faults.processes import bare_environment
from models import keys, networks
from models.database import Database
from models.scopes import Scope

SEED = 1
EXAMPLES = 60
CONFIGURATION = ROOT / "bench" / "schemathesis.toml"
CASES = re.compile(r"^ *(\d+) generated, ", re.MULTILINE)

#: Nothing is to be refused for being too much.
NO_LIMITS = {
    "keys": "required",
    "requests_per_minute": 10_000_000,
    "wrong_keys_per_minute": 10_000_000,
    "max_active_experiments": 1_000_000,
    "max_queued_experiments": 1_000_000,
}


def main() -> None:
    """Make some thousand requests and print what Schemathesis says of the answers; exit code 1 if it finds a fault."""
    with tempfile.TemporaryDirectory() as folder:
        code, said = fuzz(Path(folder), EXAMPLES)
    print(said)
    if code:
        sys.exit(1)


def fuzz(folder: Path, examples: int) -> tuple[int, str]:
    """Return Schemathesis's exit code and words about an API that has a trained network, asked with an admin's key."""
    with running_api(folder, **NO_LIMITS) as server:
        store_a_network(folder)
        database = Database(f"sqlite:///{folder / 'bnlab.sqlite3'}")
        with database.write() as session:
            _, key = keys.create(session, "fuzz", Scope.ADMIN)
            trained = networks.newest_succeeded(session, None)
        database.close()
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "run"]
        command += [f"{server.url}/openapi.json", "--checks", "all", "--header", f"Authorization: Bearer {key}"]
        command += ["--max-examples", str(examples), "--seed", str(SEED), "--continue-on-failure", "--no-color"]
        told = {**bare_environment(folder), "TRAINED_EXPERIMENT": str(trained)}
        done = subprocess.run(command, cwd=folder, env=told, capture_output=True, text=True)
        said = server.process.said()
    if "Traceback" in said:
        return 1, f"{done.stdout}\nThe log has a trace:\n{said[said.index('Traceback') :][:5_000]}"
    return done.returncode, done.stdout + done.stderr


def cases(said: str) -> int:
    """Return how many requests were made."""
    return int(CASES.findall(said)[-1])
