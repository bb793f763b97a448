"""Training beside its peers: ours, JAX, Keras, the lesson's own way, and the floor, the same work in turn in one run.

All start from the same weights, take the same batches and evaluate as often. Each is a process of its own that stays,
compiled and loaded, while the others work; with one thread, all have the same core.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.contestants import Contestant, interpreter
from bench.report import in_words, keep, print_table
from models import datasets
from models.settings import Settings
from models.spec import ArmName, ResolvedSpec, Spec
from models.streams import batch_indices
from models.trained import starting_arrays

ROUNDS = 7
BATCHES, SLOW_BATCHES = 4_000, 1_000
#: An evaluation takes as long as thirty batches: measured as the lesson has it, and with one at the end alone.
PER_SAMPLE = (500, BATCHES)
THREADS = (1, 2)


Train = Callable[..., Iterator[Any]]


@dataclass(frozen=True)
class Entry:
    """A contestant: what it is called, its module, the packages it needs, whether it is so slow that it does less."""

    name: str
    module: str
    peer: str | None = None
    slow: bool = False


OURS, FLOOR = "bnlab", "floor: the products alone"
ENTRIES = (
    Entry(OURS, "bnlab_train"),
    Entry("JAX, lax.scan", "jax_scan", "jax"),
    Entry("Keras, fit", "keras_fit", slow=True),
    Entry("the lesson's session, fed", "lesson_session", slow=True),
    Entry(FLOOR, "blas_floor"),
)


def spec(batches: int, **fields: Any) -> ResolvedSpec:
    """Return the setting that is measured: the lesson's, a sample every 500 batches unless said otherwise."""
    given = {"training_batches": batches, "batches_per_sample": 500, "seed": 1}
    return Spec.model_validate({**given, **fields}).resolve(Settings().dataset)


def prepared(threads: int) -> tuple[Any, Train]:
    """Return the data set on the device, and the training function, with TensorFlow told its threads."""
    from worker.tensorflow_setup import prepare_tensorflow

    prepare_tensorflow(threads)
    from worker.resident import ResidentData
    from worker.training import train

    settings = Settings()
    return ResidentData(datasets.load(settings.dataset, settings.data_dir)), train


def main() -> None:
    """Measure, and print batches per second beside ours and the floor."""
    for threads, per_sample in product(THREADS, PER_SAMPLE):
        found = measure(threads, per_sample)
        print_table(
            f"Batches per second, {threads} thread{'s' * (threads > 1)}, an evaluation every {per_sample} batches; "
            f"medians of {ROUNDS}",
            ("", "without BN", "of ours", "of the floor", "with BN", "of ours", "of the floor", "accuracies"),
            [_row(name, found) for name in found],
        )
        figures = {name: {arm: speeds for arm, (speeds, _) in arms.items()} for name, arms in found.items()}
        keep(f"training_{threads}_{per_sample}", figures)


Found = dict[str, dict[str, tuple[list[float], float]]]


def measure(threads: int, per_sample: int) -> Found:
    """Return of each contestant and arm the batches per second of all rounds, and the accuracy at the end."""
    found: Found = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        running: dict[str, Contestant] = {}
        for entry in ENTRIES:
            python = interpreter(entry.peer)
            if python is None:
                print(f"NOT MEASURED: {entry.name}: `make peers` installs it.")
                continue
            work = write_work(Path(folder), SLOW_BATCHES if entry.slow else BATCHES, per_sample)
            running[entry.name] = stack.enter_context(Contestant(entry.module, work, python, threads))
            found[entry.name] = {arm.value: ([], 0.0) for arm in ArmName}
        for _ in range(ROUNDS):
            for arm in ArmName:
                for name, contestant in running.items():
                    speed, accuracy = contestant.ask(arm.value)
                    found[name][arm.value] = ([*found[name][arm.value][0], speed], accuracy)
    return found


def write_work(folder: Path, batches: int, per_sample: int) -> Path:
    """Write the work of so many batches into a file, once, and return its path."""
    path = folder / f"work_{batches}.npz"
    if path.exists():
        return path
    settings, resolved = Settings(), spec(batches)
    dataset = datasets.load(settings.dataset, settings.data_dir)
    arrays = starting_arrays(resolved, ArmName.WITHOUT_BATCH_NORM, 0)
    weights = [array for name, array in arrays.items() if name.endswith("/weights")]
    matrices: dict[str, Any] = {f"weights_{layer}": array for layer, array in enumerate(weights)}
    np.savez(
        path,
        train_images=dataset.train_images,
        train_labels=dataset.train_labels.astype(np.int32),
        validation_images=dataset.validation_images,
        validation_labels=dataset.validation_labels.astype(np.int32),
        batches=batch_indices(resolved.seed, 0, 0, batches, resolved.batch_size, len(dataset.train_labels)),
        layers=len(weights),
        learning_rate=resolved.learning_rate,
        batches_per_sample=per_sample,
        **matrices,
    )
    return path


def _row(name: str, found: Found) -> tuple[str, ...]:
    cells = [name]
    for arm in ArmName:
        speeds = found[name][arm.value][0]
        for beside in (OURS, FLOOR):
            shares = np.array(speeds) / np.array(found[beside][arm.value][0])  # round by round
            cells += [in_words(speeds)] * (beside == OURS) + [f"{np.median(shares):.2f}"]
    accuracies = (f"{found[name][arm.value][1]:.3f}" for arm in ArmName)
    return (*cells, "" if name == FLOOR else ", ".join(accuracies))
