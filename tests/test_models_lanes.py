"""Lanes: what a worker may take and what not, the oldest first, and quickly however much waits for others."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from arm_states import HERE, LEASE_S, accept, let_wait, take
from builders import claimed, running, submitted
from conftest import TINY_SPEC
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from models import arms, clock
from models.database import Database
from models.lanes import LANES, Lane, taken_by
from models.spec import ArmName, Device, Status
from models.tables import Arm, ArmEvent, Experiment

DEVICES: tuple[Device, ...] = ("auto", "cpu", "gpu")


def accept_for(session: Session, device: Device) -> list[UUID]:
    return accept(session, TINY_SPEC.model_copy(update={"device": device}))


def taken(session: Session, lane: Lane) -> list[UUID]:
    """Claim until nothing is left for this lane; return the arms in the order in which they went."""
    ids = []
    while held := arms.claim(session, "host:1:a/2", HERE, LEASE_S, lane):
        ids.append(held.arm_id)
    return ids


def waiting(session: Session, devices: Sequence[str]) -> list[UUID]:
    """Return the arms that wait for one of these, the oldest first."""
    query = select(Arm.id).where(Arm.status == Status.QUEUED, Arm.device.in_(devices))
    return list(session.scalars(query.order_by(Arm.created_at, Arm.id)))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(devices=st.lists(st.sampled_from(DEVICES), max_size=6), order=st.lists(st.sampled_from(LANES), max_size=16))
def test_each_claim_takes_the_oldest_arm_of_those_its_lane_may_take_and_no_other(
    devices: list[Device], order: list[Lane], database: Database
) -> None:
    with database.write() as session:
        session.execute(delete(Arm))
        for device in devices:
            accept_for(session, device)
        for lane in order:
            may = waiting(session, taken_by(lane))
            assert arms.any_waits(session, lane) == bool(may)
            held = arms.claim(session, "host:1:a/2", HERE, LEASE_S, lane)
            assert (held.arm_id if held else None) == next(iter(may), None)
        session.rollback()


def test_an_arm_for_a_gpu_waits_until_a_worker_with_one_comes(database: Database) -> None:
    with database.write() as session:
        ids = accept_for(session, "gpu")
        assert not arms.any_waits(session, "cpu")
        assert taken(session, "cpu") == []
        assert sorted(taken(session, "gpu")) == sorted(ids)


def test_an_arm_for_a_cpu_is_not_taken_by_a_worker_with_a_gpu(database: Database) -> None:
    with database.write() as session:
        ids = accept_for(session, "cpu")
        assert taken(session, "gpu") == []
        assert sorted(taken(session, "cpu")) == sorted(ids)


def test_an_arm_that_is_put_off_holds_up_none_behind_it(database: Database) -> None:
    with database.write() as session:
        first, second = accept_for(session, "cpu"), accept_for(session, "auto")
        let_wait(session, first, 30)
        assert sorted(taken(session, "cpu")) == sorted(second)


def test_workers_that_claim_at_one_moment_never_get_the_same_arm_and_leave_none(database: Database) -> None:
    with database.write() as session:
        ids = [id for device in DEVICES * 4 for id in accept_for(session, device)]

    def claim_all(number: int) -> list[UUID]:
        lane = LANES[number % 2]
        mine: list[UUID] = []
        while True:
            with database.write() as session:
                held = arms.claim(session, f"host:{number}:x/1", HERE, LEASE_S, lane)
                if held is None and not arms.any_waits(session, lane):
                    return mine
            if held:
                mine.append(held.arm_id)

    with ThreadPoolExecutor(6) as pool:
        got = [id for mine in pool.map(claim_all, range(6)) for id in mine]
    assert sorted(got) == sorted(ids)


def test_while_another_worker_takes_the_only_auto_arm_the_one_of_the_lane_is_found(new_postgres_url: str) -> None:
    database = Database(new_postgres_url)
    with database.write() as session:
        first, second = accept_for(session, "auto")
        for_cpu = accept_for(session, "cpu")
    with database.write() as one:
        assert take(one).arm_id in (first, second)
        assert take(one).arm_id in (first, second)
        with database.write() as other:  # sees both as waiting, and both locked
            assert take(other).arm_id in for_cpu
    database.close()


@pytest.fixture
def ten_thousand_for_gpus(database: Database) -> Database:
    """Ten thousand arms that wait for a GPU, and none that may be trained without."""
    with database.write() as session:
        accept_for(session, "gpu")
        one = session.execute(select(Experiment.__table__)).mappings().one()
        experiments = [{**one, "id": uuid4()} for _ in range(4_999)]
        session.execute(insert(Experiment), experiments)
        new = {"device": "gpu", "status": Status.QUEUED, "created_at": one["created_at"]}
        arms_of = [
            {**new, "id": uuid4(), "experiment_id": row["id"], "name": name} for row in experiments for name in ArmName
        ]
        session.execute(insert(Arm), arms_of)
    return database


def test_ten_thousand_arms_for_gpus_do_not_slow_down_a_worker_without_one(ten_thousand_for_gpus: Database) -> None:
    def best_of_ten() -> float:
        seconds = []
        for _ in range(10):
            begin = time.perf_counter()
            with ten_thousand_for_gpus.write() as session:
                assert arms.claim(session, "w", HERE, LEASE_S, "cpu") is None
            seconds.append(time.perf_counter() - begin)
        return min(seconds)

    with ten_thousand_for_gpus.read() as session:
        assert session.scalars(select(func.count()).select_from(Arm)).one() == 10_000
    slow = best_of_ten()
    with ten_thousand_for_gpus.write() as session:
        session.execute(delete(Arm).where(Arm.device == "gpu"))
    assert slow < 5 * best_of_ten() + 0.005


# ------------------------------------------------------------------------------------ what nobody has taken


def test_only_an_arm_that_could_be_claimed_all_the_time_counts_as_left_alone(database: Database) -> None:
    def left_alone(lane: Lane = "cpu") -> bool:
        with database.read() as session:
            return arms.neglected(session, lane, 20) is not None

    assert not left_alone()
    experiment_id = submitted(database, TINY_SPEC.model_copy(update={"device": "cpu"}))
    assert not left_alone()  # it has just come
    _make_older(database, 60)
    assert left_alone()
    assert not left_alone("gpu")
    held = claimed(database, experiment_id, ArmName.WITHOUT_BATCH_NORM)
    with database.write() as session:
        arms.give_back(session, held)
        let_wait(session, [arm_id for arm_id in session.scalars(select(Arm.id)) if arm_id != held.arm_id], 30)
    assert not left_alone()  # it came back just now, and the other one is not due


def test_what_runs_is_not_left_alone(database: Database) -> None:
    running(database)
    with database.write() as session:
        session.execute(delete(Arm).where(Arm.status == Status.QUEUED))
    _make_older(database, 60)
    with database.read() as session:
        assert arms.neglected(session, "cpu", 20) is None


def _make_older(database: Database, seconds: float) -> None:
    """Let everything so far have happened so long ago: with the history written anew, for it is never altered."""
    with database.write() as session:
        then = session.scalars(select(clock.in_seconds(-seconds))).one()
        columns = ArmEvent.__table__.columns
        rows = [dict(row) for row in session.execute(select(*columns)).mappings()]
        session.execute(delete(ArmEvent))
        session.execute(insert(ArmEvent), [{**row, "at": then} for row in rows])
        session.execute(update(Arm).values(created_at=then))
