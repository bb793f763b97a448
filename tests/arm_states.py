"""Arms step by step: accepted, claimed, trained, left alone; and all that the database knows of them."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from conftest import TINY_SPEC
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from models import arms, clock, datasets, experiments
from models.arms import Claim, Fingerprint, Sample
from models.checkpoints import Checkpoint, TrainingState
from models.database import Database
from models.spec import ArmName, ResolvedSpec, Spec
from models.tables import Arm, ArmEvent, Base
from models.trained import starting_arrays

LEASE_S = 600.0
HERE: Fingerprint = {"threads": 1, "options": {"XLA_FLAGS": "x"}}
ELSEWHERE: Fingerprint = {"threads": 2, "options": {"XLA_FLAGS": "x"}}

#: Two replicates of small networks: a checkpoint has two parts.
TWINS = TINY_SPEC.model_copy(update={"replicates": 2})

#: Everything an arm's life leaves behind.
TABLES = ("arms", "arm_events", "curve_points", "checkpoints", "networks")


def accept(session: Session, spec: Spec = TWINS) -> list[UUID]:
    """Accept an experiment and return its arms."""
    experiment = experiments.create(session, spec.resolve("mnist-5k"), datasets.SHA256["mnist-5k"])
    return [arm.id for arm in experiment.arms]


def accept_one(session: Session, spec: Spec = TWINS) -> UUID:
    """Accept an experiment and leave it one arm, so that a claim can only be of that one."""
    arm_id, other = accept(session, spec)
    session.execute(delete(Arm).where(Arm.id == other).execution_options(synchronize_session=False))
    session.expire_all()
    return arm_id


def take(session: Session, worker: str = "host:1:a/2", fingerprint: Fingerprint = HERE) -> Claim:
    """Claim the arm that has waited longest."""
    held = arms.claim(session, worker, fingerprint, LEASE_S, "cpu")
    assert held is not None
    return held


def let_expire(session: Session, arm_ids: Iterable[UUID]) -> None:
    """Let the leases of these arms be over."""
    _set(session, arm_ids, lease_expires_at=clock.in_seconds(-1))


def let_wait(session: Session, arm_ids: Iterable[UUID], seconds: float) -> None:
    """Let these arms wait for so long before they may be claimed; less than 0: they have."""
    _set(session, arm_ids, not_before=clock.in_seconds(seconds))


def _set(session: Session, arm_ids: Iterable[UUID], **values: Any) -> None:
    session.execute(
        update(Arm).where(Arm.id.in_(list(arm_ids))).values(values).execution_options(synchronize_session=False)
    )


def sampled(spec: ResolvedSpec, first: int, last: int, salt: int = 0) -> list[Sample]:
    """Return the points that the batches `first` … `last − 1` give."""
    return [
        Sample(step, tuple((step + salt + r) % 501 for r in range(spec.replicates)), 500)
        for step in spec.sampled_steps()
        if first <= step < last
    ]


def checkpoint(spec: ResolvedSpec, arm: ArmName, batches_done: int) -> Checkpoint:
    """Return a state that is another after each batch."""
    replicates = []
    for r in range(spec.replicates):
        arrays = starting_arrays(spec, arm, r)
        arrays["output/bias"] = np.full_like(arrays["output/bias"], batches_done)
        replicates.append(TrainingState(arrays, None, None))
    return Checkpoint(batches_done, replicates)


def train(session: Session, held: Claim, first: int, last: int, keep: bool = True) -> bool:
    """Write what the batches `first` … `last − 1` give, with a checkpoint after them if it is to be kept."""
    state = checkpoint(held.spec, held.name, last) if keep else None
    return arms.record(session, held, LEASE_S, last, 10.0, sampled(held.spec, first, last), state)


def row(session: Session, arm_id: UUID) -> Arm:
    """Return the arm as the database has it now."""
    return session.scalars(select(Arm).where(Arm.id == arm_id).execution_options(populate_existing=True)).one()


def history(session: Session, arm_id: UUID) -> Sequence[ArmEvent]:
    return session.scalars(select(ArmEvent).where(ArmEvent.arm_id == arm_id).order_by(ArmEvent.id)).all()


def steps(session: Session, arm_id: UUID) -> list[int]:
    """Return the steps of the points that are there."""
    return _column(session, "curve_points", arm_id, "step")


def checkpointed(session: Session, arm_id: UUID) -> list[int]:
    """Return after how many batches there is a checkpoint, once for each of its parts."""
    return _column(session, "checkpoints", arm_id, "batches_done")


def _column(session: Session, table: str, arm_id: UUID, column: str) -> list[int]:
    columns = Base.metadata.tables[table].c
    return list(session.scalars(select(columns[column]).where(columns["arm_id"] == arm_id).order_by(columns[column])))


def everything(session: Session, *without: str) -> dict[str, list[Any]]:
    """Return all rows of all arms, byte by byte, but for some columns."""
    found = {}
    for name in TABLES:
        columns = [column for column in Base.metadata.tables[name].columns if column.name not in without]
        found[name] = sorted((tuple(one) for one in session.execute(select(*columns))), key=repr)
    return found


def all_of(database: Database, *without: str) -> dict[str, list[Any]]:
    """Return what `everything` does, as a new connection sees it."""
    with database.read() as session:
        return everything(session, *without)
