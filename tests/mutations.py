"""A plugin for pytest that switches one safeguard off, named by BNLAB_MUTATION, before any test is read.

`tests/test_mutations.py` runs parts of the suite under each: they must turn red, or they prove nothing.
"""

import os
from collections.abc import Callable, Sequence
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from models import arms, checkpoints, leases, owners, streams
from models.arms import Claim, Sample
from models.checkpoints import Checkpoint
from models.lanes import Lane, taken_by
from models.spec import Device, Status
from models.tables import Arm


def fencing() -> None:
    """Let every worker write that once held the arm."""

    def held(held: Claim) -> tuple[ColumnElement[bool], ...]:
        return Arm.id == held.arm_id, Arm.status == Status.RUNNING

    arms._held = held


def reconciler() -> None:
    """Leave arms with the workers that are gone."""

    def nothing(*_: object, **__: object) -> int:
        return 0

    leases.return_expired = leases.return_lost = nothing


def checkpoint_transaction() -> None:
    """Write a checkpoint in a transaction of its own, before that of its points."""
    together = arms.record

    def apart(
        session: Session,
        held: Claim,
        lease_s: float,
        batches_done: int,
        batches_per_second: float | None,
        samples: Sequence[Sample],
        checkpoint: Checkpoint | None = None,
    ) -> bool:
        if checkpoint is not None:
            with Session(session.get_bind()) as own, own.begin():
                checkpoints.write(own, held.arm_id, checkpoint)
        return together(session, held, lease_s, batches_done, batches_per_second, samples)

    arms.record = apart


def batch_order() -> None:
    """Draw the order of the batches in passing, not from seed and step."""
    ordered, chance = streams.batch_indices, np.random.default_rng()

    def drawn(seed: int, replicate: int, first: int, count: int, batch_size: int, images: int) -> NDArray[np.int32]:
        return ordered(seed, replicate, first + int(chance.integers(100)), count, batch_size, images)

    streams.batch_indices = drawn


def ownership() -> None:
    """Let every owner find everybody's rows."""

    def anybodys(owner_id: InstrumentedAttribute[UUID | None], owner: UUID | None) -> ColumnElement[bool]:
        return true()

    # The function itself is changed, for each module has its own name for it.
    owners.owned.__code__ = anybodys.__code__


def lanes() -> None:
    """Let a worker without a GPU take what asks for one."""

    def everything(lane: Lane) -> tuple[Device, ...]:
        return ("auto", "cpu", "gpu")

    taken_by.__code__ = everything.__code__


MUTATIONS: dict[str, Callable[[], None]] = {
    mutation.__name__: mutation
    for mutation in (fencing, reconciler, checkpoint_transaction, batch_order, ownership, lanes)
}

if name := os.environ.get("BNLAB_MUTATION"):
    MUTATIONS[name]()
