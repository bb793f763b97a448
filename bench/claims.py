"""How many arms per second two workers claim and finish on one Postgres and one Redis, and where the time of one goes.

The arms are as small as can be: 8 hidden units, one batch. So what is measured is all that is not training.
"""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from celery import Celery
from kombu import Connection, Producer
from sqlalchemy import func, select, text

from bench import arm_parts
from bench.report import keep, print_table
from bnlab.commands import repository_commands
from faults.processes import Processes, parents, with_descendants
from faults.servers import Postgres, Redis, redis_program
from models import datasets, experiments
from models.database import Database
from models.spec import Reason, Spec, Status
from models.tables import Arm, ArmEvent

ROOT = Path(__file__).parents[1]
EXPERIMENTS, WORKERS, PATIENCE_S = 500, 2, 900.0
TASKS = 3_000
TINY = Spec(hidden_layers=(8,), training_batches=1, batches_per_sample=1, seed=1).resolve("mnist-5k")


def main() -> None:
    """Measure the rate with real workers, then the parts in this process; nothing is left."""
    program = redis_program()
    if program is None:
        sys.exit("There is no redis-server on this machine, and no package with one for this Python.")
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        server = opened.enter_context(Postgres())
        redis = opened.enter_context(Redis(program, folder))
        url = server.new_database()
        told = {"BNLAB_DATABASE_URL": url, "BNLAB_STATE_DIR": str(folder), "BNLAB_DATASET": "mnist-5k"}
        database = Database(url)
        opened.callback(database.close)
        with Processes(folder) as processes:
            migrations = processes.start("migrations", [sys.executable, "-m", "migrations"], ROOT, told)
            assert migrations.wait(60) == 0, migrations.said()
            workers = [
                processes.start(f"worker-{number}", command, ROOT, {**told, "BNLAB_BROKER_URL": redis.url}).pid
                for number, command in enumerate(repository_commands("127.0.0.1", 0, WORKERS).workers)
            ]
            arms_per_second = _measure_rate(database, workers, server.version)
        tasks_per_second = _empty_tasks(redis, folder)
        share = arms_per_second / tasks_per_second
        print_table(
            f"Beside {WORKERS} bare Celery workers on the same Redis, and {TASKS:,} tasks that do nothing",
            ("arms per second", "tasks per second", "share"),
            [(f"{arms_per_second:.0f}", f"{tasks_per_second:,.0f}", f"{share:.2f}")],
        )
        keep("claims", {"arms_per_second": arms_per_second, "empty_tasks_per_second": tasks_per_second})
        os.environ.update(told)
        arm_parts.measure(lambda count: submit(database, count))


def submit(database: Database, count: int) -> None:
    """Submit so many of the smallest experiments at once; no bell is rung: idle workers look for themselves."""
    now, sha256 = datetime.now(UTC), datasets.SHA256["mnist-5k"]
    with database.write() as session:
        queued = [
            experiments.queued(
                TINY.model_copy(update={"seed": number}), sha256, now + number * timedelta(microseconds=1)
            )
            for number in range(count)
        ]
        experiments.insert(session, queued)


def _empty_tasks(redis: Redis, folder: Path) -> float:
    """Return how many tasks that do nothing so many bare workers end in a second."""
    told = {"BROKER": redis.url}
    command = [sys.executable, "-m", "celery", "-A", "bench.peers.celery_nothing", "worker", "--concurrency", "1"]
    with Processes(folder) as processes, Connection(redis.url) as broker:
        nothing = Celery(broker=redis.url).signature("bench.peers.celery_nothing.nothing", ignore_result=True)
        for number in range(WORKERS):
            processes.start(f"bare-{number}", [*command, "--hostname", f"bare-{number}"], ROOT, told)
        channel = broker.default_channel

        def done(count: int) -> float:
            begin = time.perf_counter()
            with Producer(channel) as producer:
                for _ in range(count):
                    nothing.apply_async(producer=producer)
            while channel.client.llen("celery") or channel.client.hlen("unacked"):
                time.sleep(0.005)
            return count / (time.perf_counter() - begin)

        done(100)  # both are there
        return done(TASKS)


def _measure_rate(database: Database, workers: Sequence[int], version: str) -> float:
    while len(_arms_of_workers(database, 0)) < WORKERS:  # until each has imported TensorFlow and compiled
        submit(database, 10)
        _wait(database)
    with database.read() as session:
        warm_up = session.scalars(select(func.count()).select_from(Arm)).one()
        postgres = [parents()[session.scalars(text("SELECT pg_backend_pid()")).one()]]
    busy = [-_processor_seconds(workers), -_processor_seconds(postgres)]
    submit(database, EXPERIMENTS)
    _wait(database)
    busy = [busy[0] + _processor_seconds(workers), busy[1] + _processor_seconds(postgres)]
    shares = _arms_of_workers(database, warm_up)
    with database.read() as session:
        new = select(Arm).order_by(Arm.created_at, Arm.id).offset(warm_up)
        arms = session.scalars(new).all()
        claimed = select(func.count()).where(ArmEvent.reason == Reason.CLAIMED).group_by(ArmEvent.arm_id)
        claims = session.scalars(claimed).all()
    span = max(arm.finished_at for arm in arms if arm.finished_at) - min(
        arm.started_at for arm in arms if arm.started_at
    )
    arms_per_second = len(arms) / span.total_seconds()
    print_table(
        f"{len(arms):,} arms of one batch, {WORKERS} worker processes, {version}, Redis",
        ("", ""),
        [
            ("arms per second, from the first claim to the last end", f"{arms_per_second:.1f}"),
            ("succeeded", f"{sum(arm.status is Status.SUCCEEDED for arm in arms):,}"),
            ("most claims of an arm; highest fence", f"{max(claims)}; {max(arm.fence for arm in arms)}"),
            ("arms of each worker", " and ".join(str(share) for share in shares)),
            (
                "processor time of an arm: of the workers, of Postgres, ms",
                " and ".join(f"{seconds / len(arms) * 1_000:.1f}" for seconds in busy),
            ),
        ],
    )
    return arms_per_second


def _wait(database: Database) -> None:
    """Wait until no arm waits or runs."""
    end = time.monotonic() + PATIENCE_S
    unfinished = select(func.count()).where(Arm.status.in_((Status.QUEUED, Status.RUNNING)))
    while True:
        with database.read() as session:
            if session.scalars(unfinished).one() == 0:
                return
        assert time.monotonic() < end, "the workers do not come to an end"
        time.sleep(0.2)


def _arms_of_workers(database: Database, but_the_first: int) -> list[int]:
    """Return how many arms each worker process has had."""
    newest = select(Arm.worker).order_by(Arm.created_at, Arm.id).offset(but_the_first).subquery()
    with database.read() as session:
        return list(session.scalars(select(func.count()).select_from(newest).group_by(newest.c.worker)))


def _processor_seconds(roots: Sequence[int]) -> float:
    """Return the processor time of these processes and of all that they have started and that live."""
    ticks = 0
    for pid in {pid for root in roots for pid in with_descendants(root)}:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
