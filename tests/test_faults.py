"""`make faults`, the short form: both set-ups as real processes, some faults of each kind, and nothing is lost."""

import pytest
from conftest import USED, redis_or_skip

from faults.run import Plan, Result, embedded, production

SEED = 20_261_123
SPECS = 3  # of each kind of network one

EMBEDDED = (
    "kill the process that trains",
    "freeze the process that trains beyond its lease",
    "kill a worker and the process that trains",
    "disk full",
    "kill at succeed_before_commit",
    "one key, eight threads",
    "kill the API",
    "racing cancel",
)
PRODUCTION = (
    "freeze the process that trains beyond its lease",
    "restart Postgres at once",
    "kill at record_after_commit",
    "end all connections of Postgres",
    "freeze Redis",
    "empty the broker",
    "garbage and twenty bells too many",
    "clock an hour ahead",
)


@pytest.fixture(scope="module", params=["embedded", "production"])
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What came of the faults."""
    folder = tmp_path_factory.mktemp("faults")
    if request.param == "embedded":
        found = embedded(folder, _plan(EMBEDDED), SEED, print)
    else:
        found = production(folder, redis_or_skip(), _plan(PRODUCTION), SEED, print)
    USED[f"faults, {request.param}"] = f"{found.faults.total()} on {found.setup}"
    return found


def _plan(faults: tuple[str, ...]) -> Plan:
    return Plan(experiments=10, faults=len(faults), pause_s=0.5, only=faults, specs=SPECS)


def test_whatever_strikes_nothing_is_lost_nothing_done_twice_and_every_bit_is_the_same(result: Result) -> None:
    verdict = result.verdict
    assert verdict.complaints == []
    assert verdict.accepted >= 10
    assert verdict.ended == verdict.accepted
    assert (verdict.lost, verdict.duplicated_effects) == (0, 0)
    assert verdict.points_identical == verdict.points_expected > 0
    assert verdict.networks_identical == verdict.networks_expected > 0


def test_a_worker_that_wakes_up_after_its_lease_is_refused(result: Result) -> None:
    assert result.faults["freeze the process that trains beyond its lease"] >= 1
    assert result.verdict.refused_writes >= 1
