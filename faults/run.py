"""One set-up from its start to the verdict: undisturbed runs, then the faults, then a quiet time, then the count."""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from faults import recovery, verdict
from faults.chaos import Chaos
from faults.recovery import Recovery
from faults.servers import Postgres, Redis
from faults.service import AS_SHIPPED, HURRIED, ServiceUnderTest
from faults.verdict import Verdict
from faults.work import SPECS, Feeder, Ledger, references
from models.spec import FINISHED
from models.tables import Arm, Experiment

#: For everything to be accepted, and then to end.
PATIENCE_S = 600.0


@dataclass(frozen=True)
class Plan:
    """How much is done to one set-up."""

    experiments: int
    faults: int
    recoveries: int = 0  # of each kind
    pause_s: float = 2.0  # the longest between two faults
    only: tuple[str, ...] = ()  # these faults, in this order; else all, shuffled
    specs: int = len(SPECS)  # so many of the settings


@dataclass
class Result:
    """What came of it."""

    setup: str
    faults: Counter[str]
    verdict: Verdict
    recovery: Recovery
    seconds: float


Say = Callable[[str], object]


def embedded(folder: Path, plan: Plan, seed: int, say: Say) -> Result:
    """Run the plan on `bnlab up` as it comes: a file of SQLite, a broker of files."""

    def service(name: str, told: Mapping[str, str]) -> ServiceUnderTest:
        return ServiceUnderTest(folder / name, None, None, told)

    return _run("embedded: SQLite, files", service, plan, random.Random(seed), say, None, None)


def production(folder: Path, redis_program: str, plan: Plan, seed: int, say: Say) -> Result:
    """Run the plan on a Postgres and a Redis."""
    with Postgres() as postgres, Redis(redis_program, folder) as redis:

        def service(name: str, told: Mapping[str, str]) -> ServiceUnderTest:
            return ServiceUnderTest(folder / name, postgres.new_database(), redis.url, told)

        name = f"production: {postgres.version}, Redis {redis.version}"
        return _run(name, service, plan, random.Random(seed), say, postgres, redis)


def _run(
    name: str,
    new_service: Callable[[str, Mapping[str, str]], ServiceUnderTest],
    plan: Plan,
    chance: random.Random,
    say: Say,
    postgres: Postgres | None,
    redis: Redis | None,
) -> Result:
    begin, recovered = time.monotonic(), Recovery()
    say(name)
    if plan.recoveries:
        say("  recovery, as it is shipped, one kill at a time")
        with new_service("shipped", AS_SHIPPED) as service:
            recovered = recovery.measure(service, chance, plan.recoveries)
    with new_service("hurried", HURRIED) as service:
        say("  undisturbed runs, each setting twice")
        expected = references(service, plan.specs)
        before = _count(service)
        ledger = Ledger(plan.specs)
        say(f"  {plan.faults} faults while {plan.experiments} experiments run")
        struck = _strike(Chaos(service, ledger, chance, postgres, redis), plan, say)
        say("  quiet, until everything has ended")
        _wait_for_the_end(service)
        judged = verdict.judge(service, ledger, expected, before)
    return Result(name, struck, judged, recovered, time.monotonic() - begin)


def _strike(chaos: Chaos, plan: Plan, say: Say) -> Counter[str]:
    """Let the faults strike while experiments are fed in; return how often each met something."""
    struck: Counter[str] = Counter()
    feeder = Feeder(chaos.service, chaos.ledger, plan.experiments)
    try:
        for name, fault in chaos.deck(plan.only):
            if struck.total() >= plan.faults:
                break
            if fault():
                struck[name] += 1
                say(f"    {struck.total()}: {name}")
            time.sleep(chaos.random.uniform(0.0, plan.pause_s))
        end = time.monotonic() + PATIENCE_S
        while not feeder.done and time.monotonic() < end:
            time.sleep(0.2)
    finally:
        feeder.stop()
    return struck


def _count(service: ServiceUnderTest) -> int:
    with service.database.read() as session:
        return session.scalars(select(func.count(Experiment.id))).one()


def _wait_for_the_end(service: ServiceUnderTest) -> None:
    """Wait until every arm has ended, or no longer: then the verdict says which have not."""
    unfinished = select(func.count(Arm.id)).where(Arm.status.not_in(FINISHED))
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with service.database.read() as session:
            if session.scalars(unfinished).one() == 0:
                return
        time.sleep(0.2)
