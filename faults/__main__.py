"""`python -m faults`: breaks running services on purpose, on both set-ups, and counts what is lost: nothing."""

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

from faults.recovery import percentile
from faults.report import bound_s, print_report
from faults.run import Plan, Result, embedded, production
from faults.servers import redis_program

WHOLE = Plan(experiments=105, faults=80, recoveries=6)


def main() -> None:
    """Run both set-ups with one seed, print the table, and end with 1 if anything is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="repeats the faults of another run")
    seed = parser.parse_args().seed
    begin = time.monotonic()

    def say(sentence: str) -> None:
        print(f"[{time.monotonic() - begin:5.0f} s] {sentence}", flush=True)

    say(f"seed {seed}")
    results = []
    with tempfile.TemporaryDirectory(prefix="bnlab-faults-") as folder:
        results.append(embedded(_made(Path(folder) / "embedded"), WHOLE, seed, say))
        if program := redis_program():
            results.append(production(_made(Path(folder) / "production"), program, WHOLE, seed, say))
        else:
            say("NOT RUN: Postgres and Redis, because there is no Redis server for this Python")
    print_report(results, seed)
    if not all(map(_good, results)):
        sys.exit("Not everything is as it should be.")


def _good(result: Result) -> bool:
    return result.verdict.good and percentile(result.recovery.all, 0.95) <= bound_s(result)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
