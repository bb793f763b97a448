"""Anything may happen to arms at any moment, in any order: what always holds, and that everything ends, once."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from arm_states import ELSEWHERE, HERE, LEASE_S, accept, checkpoint, let_expire, let_wait, sampled
from builders import network_row
from conftest import TINY_SPEC
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import arms, checkpoints, experiments, leases
from models.arms import Claim, Fingerprint
from models.database import Database
from models.errors import ExperimentFinished, FenceLost
from models.spec import FINISHED, Reason, Status
from models.tables import Arm, ArmEvent, CheckpointPart, CurvePoint

SPEC = TINY_SPEC.resolve("mnist-5k")
MAX_CRASHES = 3


def salt(fingerprint: Fingerprint) -> int:
    """Another set-up gives other points."""
    return int(fingerprint["threads"])


class Process:
    """One that claims and trains; `held` outlives its right to the arm, as it does in one that stood still."""

    def __init__(self, name: str, fingerprint: Fingerprint) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.held: Claim | None = None
        self.done = 0


class Lives(RuleBasedStateMachine):
    """Two experiments, and processes that are born, stand still and die."""

    processes = Bundle("processes")

    def __init__(self, new_database: Callable[[], Database]) -> None:
        super().__init__()
        self.database = new_database()
        self.numbers = count(1)
        self.alive: set[str] = set()
        self.fences: dict[UUID, int] = {}
        self.ended: dict[UUID, Status] = {}
        with self.database.write() as session:
            self.arm_ids = [arm_id for _ in range(2) for arm_id in accept(session, TINY_SPEC)]
            for number, arm_id in enumerate(self.arm_ids):  # a walk taken again meets the arms in the same order
                session.get_one(Arm, arm_id).created_at += timedelta(seconds=number)
            self.experiment_ids = [session.get_one(Arm, self.arm_ids[i]).experiment_id for i in (0, 2)]

    # --------------------------------------------------------------------------------------------- processes

    @rule(target=processes, here=st.booleans())
    def a_process_is_born_and_claims(self, here: bool) -> Process:
        process = Process(f"host:1:a/{next(self.numbers)}", HERE if here else ELSEWHERE)
        self.alive.add(process.name)
        self.claim(process)
        return process

    @rule(process=processes)
    def it_claims_another(self, process: Process) -> None:
        if process.name in self.alive:
            self.claim(process)

    def claim(self, process: Process) -> None:
        with self.database.write() as session:
            held = arms.claim(session, process.name, process.fingerprint, LEASE_S, "cpu")
        if held is None:
            return
        with self.database.read() as session:
            left = checkpoints.newest(session, held.arm_id, held.spec, held.name)
        process.held, process.done = held, left.batches_done if left else 0

    @rule(process=processes, batches=st.integers(1, 8), keep=st.booleans())
    def it_trains(self, process: Process, batches: int, keep: bool) -> None:
        if process.held is None:
            return
        held, first = process.held, process.done
        last = min(first + batches, SPEC.training_batches)
        samples = sampled(SPEC, first, last, salt(process.fingerprint))
        state = checkpoint(SPEC, held.name, last) if keep else None
        if self.by(process, lambda session: arms.record(session, held, LEASE_S, last, 1.0, samples, state)):
            process.done = last

    @rule(process=processes)
    def it_renews(self, process: Process) -> None:
        held = process.held
        if held is not None:
            self.by(process, lambda session: arms.renew(session, held, LEASE_S))

    @rule(process=processes)
    def it_begins_anew(self, process: Process) -> None:
        held = process.held
        if held is None:
            return
        if self.by(process, lambda session: arms.begin_anew(session, held)):
            process.done = 0

    @rule(process=processes, how=st.sampled_from(["succeed", "fail", "cancel", "give back"]))
    def it_is_done(self, process: Process, how: str) -> None:
        held = process.held
        if held is None or (how == "succeed" and process.done < SPEC.training_batches):
            return
        ways: dict[str, Callable[[Session], Any]] = {
            "succeed": lambda session: arms.succeed(session, held, [network_row(held)]),
            "fail": lambda session: arms.fail(session, held, "x", "X."),
            "cancel": lambda session: arms.mark_cancelled(session, held),
            "give back": lambda session: arms.give_back(session, held),
        }
        self.by(process, ways[how])  # it may try once more, as one that does not know how it went

    @rule(process=processes)
    def it_is_killed(self, process: Process) -> None:
        self.alive.discard(process.name)
        process.held = None

    def by(self, process: Process, write: Callable[[Session], Any]) -> bool:
        """Let a process write, and check that it could if and only if it has the arm."""
        held = process.held
        assert held is not None
        with self.database.read() as session:
            arm = session.get_one(Arm, held.arm_id)
            has_it = arm.status is Status.RUNNING and arm.fence == held.fence
        try:
            with self.database.write() as session:
                write(session)
        except FenceLost:
            assert not has_it
            return False
        assert has_it
        return True

    # ------------------------------------------------------------------------------------------------ others

    @rule(which=st.integers(0, 3))
    def a_lease_runs_out(self, which: int) -> None:
        with self.database.write() as session:
            if session.get_one(Arm, self.arm_ids[which]).status is Status.RUNNING:
                let_expire(session, [self.arm_ids[which]])

    @rule()
    def a_reconciler_looks(self) -> None:
        with self.database.write() as session:
            leases.return_lost(session, "host:1:a/", self.alive.__contains__, "reconciler", MAX_CRASHES)
            leases.return_expired(session, "reconciler", MAX_CRASHES)
            self.let_all_wait(session, 100)  # however slow this machine is

    @rule()
    def a_minute_passes(self) -> None:
        with self.database.write() as session:
            self.let_all_wait(session, -1)

    def let_all_wait(self, session: Session, seconds: float) -> None:
        let_wait(session, session.scalars(select(Arm.id).where(Arm.not_before.is_not(None))).all(), seconds)

    @rule(which=st.integers(0, 1))
    def somebody_cancels(self, which: int) -> None:
        try:
            with self.database.write() as session:
                experiments.cancel(session, self.experiment_ids[which])
        except ExperimentFinished:
            ended = [self.status(arm_id) in FINISHED for arm_id in self.arm_ids[2 * which : 2 * which + 2]]
            assert all(ended)

    @rule()
    def everything_is_started_again(self) -> None:
        with self.database.write() as session:
            leases.return_orphans(session, "bnlab up")

    def status(self, arm_id: UUID) -> Status:
        with self.database.read() as session:
            return session.get_one(Arm, arm_id).status

    # ------------------------------------------------------------------------------------------- always holds

    @invariant()
    def every_arm_is_sound(self) -> None:
        with self.database.read() as session:
            for arm_id in self.arm_ids:
                self.is_sound(session, session.get_one(Arm, arm_id))

    def is_sound(self, session: Session, arm: Arm) -> None:
        assert arm.fence >= self.fences.get(arm.id, 0)
        self.fences[arm.id] = arm.fence
        ended, running = arm.status in FINISHED, arm.status is Status.RUNNING
        if ended:
            assert self.ended.setdefault(arm.id, arm.status) is arm.status
        assert arm.id not in self.ended or ended
        assert (arm.finished_at is not None) == ended
        assert (arm.lease_expires_at is not None) == running
        assert not running or arm.worker is not None
        assert not (arm.status is Status.QUEUED and arm.cancel_requested)

        told = session.scalars(select(ArmEvent).where(ArmEvent.arm_id == arm.id).order_by(ArmEvent.id)).all()
        assert told[0].from_status is None
        assert all(before.to_status is after.from_status for before, after in pairwise(told))
        assert all(before.fence <= after.fence for before, after in pairwise(told))
        assert told[-1].to_status is arm.status
        claims = [one.fence for one in told if (one.from_status, one.to_status) == (Status.QUEUED, Status.RUNNING)]
        assert claims == list(range(1, arm.fence + 1))
        assert sum(one.to_status in FINISHED for one in told) == ended
        assert 1 + sum(one.reason is Reason.RESTARTED for one in told) == arm.generation

        points = session.scalars(select(CurvePoint).where(CurvePoint.arm_id == arm.id).order_by(CurvePoint.step)).all()
        steps = [point.step for point in points]
        assert steps == list(SPEC.sampled_steps())[: len(steps)]
        assert all(step in steps for step in SPEC.sampled_steps() if step < arm.batches_done)
        made = sampled(SPEC, 0, 1 + max(steps, default=-1), salt(arm.fingerprint)) if arm.fingerprint else []
        assert [(point.step, tuple(point.correct), point.total) for point in points] == [
            (sample.step, sample.correct, sample.total) for sample in made
        ]

        stored = session.execute(
            select(CheckpointPart.batches_done, func.count())
            .where(CheckpointPart.arm_id == arm.id)
            .group_by(CheckpointPart.batches_done)
        ).all()
        assert len(stored) <= (0 if ended else 2)
        assert all(parts == SPEC.replicates for _, parts in stored)
        assert all(step in steps for done, _ in stored for step in SPEC.sampled_steps() if step < done)

    # ------------------------------------------------------------------------------------------------ the end

    def teardown(self) -> None:
        """Whatever has happened, what is left is trained to its end by one process that is left alone."""
        with self.database.write() as session:
            leases.return_orphans(session, "bnlab up")
        self.a_minute_passes()
        process = Process("the last one", HERE)
        for _ in self.arm_ids:
            process.held = None
            self.claim(process)
            if process.held is not None:
                self.it_trains(process, SPEC.training_batches, True)
                self.it_is_done(process, "succeed")
        self.every_arm_is_sound()
        assert self.ended.keys() == set(self.arm_ids)
        self.database.close()


def test_whatever_happens_every_arm_ends_once_and_its_curve_is_whole(migrated_sqlite: Path, tmp_path: Path) -> None:
    numbers = count()

    def new_database() -> Database:
        path = tmp_path / f"{next(numbers)}.sqlite3"
        return Database(f"sqlite:///{shutil.copy(migrated_sqlite, path)}")

    class LivesHere(Lives):
        def __init__(self) -> None:
            super().__init__(new_database)

    run_state_machine_as_test(LivesHere, settings=settings(max_examples=25, stateful_step_count=35))


def test_a_gap_in_a_curve_would_be_noticed(new_sqlite_url: str) -> None:
    lives = Lives(lambda: Database(new_sqlite_url))
    process = Process("host:1:a/1", HERE)
    lives.claim(process)
    held = process.held
    assert held is not None
    lives.by(process, lambda session: arms.record(session, held, LEASE_S, 3, 1.0, sampled(SPEC, 0, 3, salt(HERE))))
    lives.every_arm_is_sound()
    lives.by(process, lambda session: arms.record(session, held, LEASE_S, 20, 1.0, sampled(SPEC, 10, 20, salt(HERE))))
    with pytest.raises(AssertionError):
        lives.every_arm_is_sound()
    lives.database.close()
