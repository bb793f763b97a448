"""Contestants of a comparison: each a process of its own, asked in turn, with the packages it needs and no others."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[1]
#: Virtual environments of the packages that bnlab itself does not need; `make peers` makes them.
PEERS = ROOT / ".peers"


def interpreter(peer: str | None) -> Path | None:
    """Return the Python that has a peer's packages, ours if it needs none; None where they are not installed."""
    if peer is None:
        return Path(sys.executable)
    found = PEERS / peer / "bin" / "python"
    return found if found.exists() else None


class Contestant:
    """One process that does the same work whenever it is asked (`bench/peers/work.py`)."""

    def __init__(self, module: str, work: Path, python: Path, threads: int) -> None:
        self._command = [str(python), "-m", f"bench.peers.{module}", str(work)]
        self._environment = {**os.environ, **_few_threads(threads), "THREADS": str(threads)}
        self._environment.pop("OPENBLAS_CORETYPE", None)  # the floor's products are the processor's best, not another's
        self._threads = threads

    def __enter__(self) -> "Contestant":
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self._threads == 1:
            os.sched_setaffinity(self._process.pid, {max(os.sched_getaffinity(0))})
        self.batches: int = self._answer()["batches"]
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, arm: str) -> tuple[float, float]:
        """Return batches per second, and the accuracy at the end."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{arm}\n")
        self._process.stdin.flush()
        answer = self._answer()
        return self.batches / answer["seconds"], answer["accuracy"]

    def _answer(self) -> Mapping[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self._command)} ended with {self._process.wait()}")
        answer: Mapping[str, Any] = json.loads(line)
        return answer


def _few_threads(threads: int) -> dict[str, str]:
    """Return the environment that keeps NumPy and JAX to so many threads; TensorFlow is told by itself."""
    alone = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"} if threads == 1 else {}
    return {"OPENBLAS_NUM_THREADS": str(threads), **alone}
