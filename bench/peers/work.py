"""The work that every contestant is given, as one file, and how it is asked to do it: by a line, answered by a line.

A contestant runs in a process of its own, alone while it is asked, and may have no package but NumPy and its own.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

#: Of batch normalization, as in the setting.
EPSILON, MOMENTUM = 1e-3, 0.99


@dataclass(frozen=True)
class Work:
    """The lesson's setting: pixels 0…1 [n, 784], labels [n], which images each batch has [batches, 60], weights."""

    train_images: Array
    train_labels: NDArray[np.int32]
    validation_images: Array
    validation_labels: NDArray[np.int32]
    batches: NDArray[np.int32]
    weights: list[Array]  # from input to output
    learning_rate: float
    batches_per_sample: int

    @property
    def chunks(self) -> list[NDArray[np.int32]]:
        """The batches up to each evaluation."""
        return [
            self.batches[at : at + self.batches_per_sample]
            for at in range(0, len(self.batches), self.batches_per_sample)
        ]


def read(path: Path) -> Work:
    """Return the work that a file holds."""
    with np.load(path) as file:
        return Work(
            train_images=file["train_images"].astype(np.float32) / np.float32(255),
            train_labels=file["train_labels"],
            validation_images=file["validation_images"].astype(np.float32) / np.float32(255),
            validation_labels=file["validation_labels"],
            batches=file["batches"],
            weights=[file[f"weights_{layer}"] for layer in range(int(file["layers"]))],
            learning_rate=float(file["learning_rate"]),
            batches_per_sample=int(file["batches_per_sample"]),
        )


def threads() -> int:
    """Return how many threads the contestant may have."""
    return int(os.environ["THREADS"])


def serve(contestant: Callable[[Work, bool], Callable[[], float]]) -> None:
    """Do the work whenever it is asked for: `contestant(work, with BN)` trains once when called, from the start.

    What it returns is the last validation accuracy. The first time, which compiles, is not told of.
    """
    work = read(Path(sys.argv[1]))
    ready: Mapping[bool, Callable[[], float]] = {bn: contestant(work, bn) for bn in (False, True)}
    for train in ready.values():
        train()
    _say({"batches": len(work.batches)})
    for line in sys.stdin:
        begin = time.perf_counter()
        accuracy = ready[line.strip() == "with_batch_norm"]()
        _say({"seconds": time.perf_counter() - begin, "accuracy": accuracy})


def _say(words: dict[str, Any]) -> None:
    print(json.dumps(words), flush=True)
