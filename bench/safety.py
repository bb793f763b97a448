"""What it costs that nothing is lost: an arm as a worker trains it, beside the bare training and examination."""

import os
import statistics
import tempfile
import time

from bench.report import in_words, print_table
from bench.training import spec
from models.settings import Settings
from models.spec import ArmName, ResolvedSpec

PAIRS = 9
BATCHES = 20_000


def main() -> None:
    """Measure pairs in one process, each half in turn first, and print the share that the service's half costs more.

    The bare half trains and examines; the other one claims the arm, renews its lease, writes history, points,
    progress and checkpoints, each to the disk, and stores the network.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BNLAB_STATE_DIR"] = folder
        from migrations.__main__ import main as migrate
        from worker import process

        migrate()
        process.prepare()
        rows = []
        for arm in ArmName:
            bare, safe = _pairs(arm)
            more = [one / other - 1 for one, other in zip(safe, bare, strict=True)]
            rows.append(
                (
                    arm.value,
                    _ms(bare),
                    _ms(safe),
                    f"{statistics.median(more):+.1%} ({min(more):+.1%} … {max(more):+.1%})",
                )
            )
        process.database().close()
    print_table(
        f"An arm of {BATCHES:,} batches, a sample every 500, one thread, SQLite, {PAIRS} pairs: milliseconds",
        ("", "bare", "as a worker trains it", "more, median of the pairs"),
        rows,
    )


def _pairs(arm: ArmName) -> tuple[list[float], list[float]]:
    setting = spec(BATCHES)
    halves = {_bare: [], _safe: []}  # type: ignore[var-annotated]
    for half in halves:
        half(setting.model_copy(update={"training_batches": 1_000}), arm)  # compiles
    for number in range(PAIRS):
        for half in (_bare, _safe) if number % 2 else (_safe, _bare):
            halves[half].append(half(setting, arm))
    return halves[_bare], halves[_safe]


def _bare(setting: ResolvedSpec, arm: ArmName) -> float:
    from models.trained import TrainedNetwork
    from worker import process
    from worker.examination import examine
    from worker.training import train

    data, dataset = process.resident_data(setting.dataset, setting.network), process.dataset(setting.dataset)
    begin = time.perf_counter()
    for progress in train(setting, arm, data):
        trained = progress.trained
    assert trained is not None
    examine(TrainedNetwork(setting, arm, trained[0].arrays), dataset, trained[0].validation_correct)
    return time.perf_counter() - begin


def _safe(setting: ResolvedSpec, arm: ArmName) -> float:
    from models import arms, datasets, experiments
    from models.spec import Status
    from worker import process
    from worker.tasks import train_and_end

    database, lease_s = process.database(), Settings().lease_s
    with database.write() as session:
        id = experiments.create(session, setting, datasets.SHA256[setting.dataset]).id
        for held in [arms.claim(session, process.name(), process.fingerprint(), lease_s, "cpu") for _ in ArmName]:
            assert held is not None
            arms.give_back(session, held) if held.name is arm else arms.fail(session, held, "not_measured", "")
    begin = time.perf_counter()
    with database.write() as session:
        held = arms.claim(session, process.name(), process.fingerprint(), lease_s, "cpu")
    assert held is not None
    train_and_end(database, held)
    seconds = time.perf_counter() - begin
    with database.read() as session:
        assert [each.status for each in experiments.read(session, id).arms if each.name is arm] == [Status.SUCCEEDED]
    return seconds


def _ms(seconds: list[float]) -> str:
    return in_words([1_000 * each for each in seconds])
