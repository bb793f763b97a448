"""What is new of watched experiments: the points that are not known, of many experiments by one statement."""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID, uuid4

import pytest
from builders import LEASE_S, WITH, WITHOUT, claimed, running, samples, selects, submitted, succeeded
from conftest import TINY_SPEC
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import arms, news
from models.arms import Sample
from models.database import Database
from models.news import ArmNews, Known, News
from models.spec import ArmName, Status

NOTHING = {name: Known(1, 0) for name in ArmName}
CURVE = samples(TINY_SPEC.resolve("mnist-5k"))


def read(database: Database, known: Mapping[UUID, Mapping[ArmName, Known]]) -> dict[UUID, News]:
    with database.read() as session:
        return news.read(session, known)


def steps(arm: ArmNews) -> list[int]:
    return [sample.step for sample in arm.samples]


def test_who_knows_nothing_gets_every_point_by_step_and_how_both_arms_stand(database: Database) -> None:
    experiment = succeeded(database)
    found = read(database, {experiment: NOTHING})
    assert set(found) == {experiment}
    assert set(found[experiment]) == {WITHOUT, WITH}
    for arm in found[experiment].values():
        assert arm.samples == CURVE
        assert (arm.status, arm.generation, arm.batches_done, arm.batches_per_second) == (
            Status.SUCCEEDED,
            1,
            TINY_SPEC.training_batches,
            1000.0,
        )


def test_only_the_points_that_are_not_known_come_of_each_arm(database: Database) -> None:
    experiment = succeeded(database)
    behind = Known(1, CURVE[1].step + 1)
    found = read(database, {experiment: {WITHOUT: behind, WITH: Known(1, CURVE[-1].step + 1)}})[experiment]
    assert found[WITHOUT].samples == CURVE[2:]
    assert found[WITH].samples == []


def test_both_arms_come_also_without_a_point(database: Database) -> None:
    begun, waits = running(database), submitted(database)
    found = read(database, {begun: NOTHING, waits: NOTHING})
    assert {name: arm.status for name, arm in found[begun].items()} == {WITHOUT: Status.RUNNING, WITH: Status.QUEUED}
    assert steps(found[begun][WITHOUT]) == [sample.step for sample in CURVE[:2]]
    assert found[begun][WITHOUT].batches_per_second == 123.5
    assert [arm.samples for arm in found[waits].values()] == [[], []]


@pytest.mark.parametrize("known", [Known(0, 1_000), Known(2, 1_000), Known(2, 0)])
def test_of_an_arm_in_another_generation_every_point_is_new(database: Database, known: Known) -> None:
    experiment = succeeded(database)
    found = read(database, {experiment: {WITHOUT: known, WITH: Known(1, 1_000)}})[experiment]
    assert found[WITHOUT].samples == CURVE
    assert found[WITHOUT].known_after(known) == Known(1, CURVE[-1].step + 1)
    assert found[WITH].samples == []


def test_an_arm_that_has_begun_again_and_has_no_point_yet_is_known_up_to_none(database: Database) -> None:
    experiment = submitted(database)
    held = claimed(database, experiment, WITH)
    with database.write() as session:
        arms.record(session, held, LEASE_S, 6, None, CURVE[:2])
    known = {
        name: arm.known_after(NOTHING[name]) for name, arm in read(database, {experiment: NOTHING})[experiment].items()
    }
    with database.write() as session:
        arms.begin_anew(session, held)
    arm = read(database, {experiment: known})[experiment][WITH]
    assert (arm.generation, arm.samples, arm.batches_done) == (2, [], 0)
    assert arm.known_after(known[WITH]) == Known(2, 0)


def test_an_experiment_that_is_not_there_is_left_out(database: Database) -> None:
    experiment = running(database)
    assert set(read(database, {experiment: NOTHING, uuid4(): NOTHING})) == {experiment}
    assert read(database, {uuid4(): NOTHING}) == {}


def test_many_experiments_are_one_statement_and_keep_apart(database: Database) -> None:
    there = [running(database) for _ in range(10)]
    known = {id: {WITHOUT: Known(1, CURVE[i % 2].step + 1), WITH: Known(1, 0)} for i, id in enumerate(there)}
    known.update({uuid4(): NOTHING for _ in range(990)})
    with selects(database) as sent:
        found = read(database, known)
    assert len(sent) == 1
    assert set(found) == set(there)
    assert [steps(found[id][WITHOUT]) for id in there] == [[CURVE[1].step], []] * 5


@pytest.fixture
def sqlite(new_sqlite_url: str) -> Iterator[Database]:
    database = Database(new_sqlite_url)
    yield database
    database.close()


#: What a worker does with its arm, again and again: write so many points, or begin at batch 0 again.
WORK = st.lists(st.one_of(st.integers(0, 3), st.just("begin anew")), max_size=8)


@given(work=WORK, looks=st.sets(st.integers(0, 8)))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_who_hands_back_what_is_known_misses_no_point_and_gets_none_twice(
    sqlite: Database, work: Sequence[int | str], looks: set[int]
) -> None:
    experiment = submitted(sqlite)
    held = claimed(sqlite, experiment, WITH)
    known: Mapping[ArmName, Known] = NOTHING
    gathered: list[Sample] = []
    written: list[Sample] = []
    for moment in range(len(work) + 1):
        if moment in looks or moment == len(work):
            arm = read(sqlite, {experiment: known})[experiment][WITH]
            gathered = arm.samples if arm.generation != known[WITH].generation else [*gathered, *arm.samples]
            known = {**known, WITH: arm.known_after(known[WITH])}
            assert gathered == written
        if moment < len(work):
            written = _worked(sqlite, held, written, work[moment])
    with sqlite.write() as session:
        arms.fail(session, held, "test", "It is over.")


def _worked(database: Database, held: arms.Claim, written: list[Sample], what: int | str) -> list[Sample]:
    """Return the points that are there after a piece of work."""
    with database.write() as session:
        if isinstance(what, str):
            arms.begin_anew(session, held)
            return []
        first = len(written)
        added = [Sample(5 * number, (number,), 500) for number in range(first, first + what)]
        arms.record(session, held, LEASE_S, 5 * (first + what), None, added)
    return [*written, *added]
