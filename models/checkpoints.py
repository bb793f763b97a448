"""Checkpoints: everything that changes while an arm trains, after some batch, as bytes; the last two are kept."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session, undefer

from models import stored_arrays
from models.arrays import Arrays
from models.errors import NetworkDamaged
from models.spec import ArmName, ResolvedSpec
from models.tables import CheckpointPart
from models.trained import TrainedNetwork

log = logging.getLogger(__name__)

#: What stands beside a network's arrays; −1 for what has not happened.
DIVERGED_AT, REACHED_90 = "diverged_at", "reached_90_percent_after"

KEPT = 2


@dataclass(frozen=True)
class TrainingState:
    """One replicate in the middle of its training."""

    arrays: Arrays
    diverged_at: int | None  # first batch whose loss was not finite
    reached_90_percent_after: int | None  # batches, by the evaluated ones


@dataclass(frozen=True)
class Checkpoint:
    """All replicates of an arm after `batches_done` batches."""

    batches_done: int
    replicates: Sequence[TrainingState]


def write(session: Session, arm_id: UUID, checkpoint: Checkpoint) -> None:
    """Store a checkpoint and let go of those before the last two; the caller's transaction holds the arm's fence."""
    stored = sorted(_stored(session, arm_id) - {checkpoint.batches_done})
    outdated = [*stored[: 1 - KEPT], checkpoint.batches_done]  # the same one: its commit's outcome was unknown
    session.execute(
        delete(CheckpointPart).where(CheckpointPart.arm_id == arm_id, CheckpointPart.batches_done.in_(outdated))
    )
    for replicate, state in enumerate(checkpoint.replicates):
        arrays, arrays_sha256 = _to_bytes(state)
        row = {
            "arm_id": arm_id,
            "batches_done": checkpoint.batches_done,
            "replicate": replicate,
            "arrays_sha256": arrays_sha256,
            "arrays": arrays,
        }
        session.execute(insert(CheckpointPart).values(row))


def newest(session: Session, arm_id: UUID, spec: ResolvedSpec, arm: ArmName) -> Checkpoint | None:
    """Return the newest checkpoint whose bytes are those that were stored, or None; a damaged one is passed over."""
    for batches_done in sorted(_stored(session, arm_id), reverse=True):
        parts = session.scalars(
            select(CheckpointPart)
            .where(CheckpointPart.arm_id == arm_id, CheckpointPart.batches_done == batches_done)
            .order_by(CheckpointPart.replicate)
            .options(undefer(CheckpointPart.arrays))
        ).all()
        try:
            if [part.replicate for part in parts] != list(range(spec.replicates)):
                raise NetworkDamaged
            return Checkpoint(batches_done, [_from_part(part, spec, arm) for part in parts])
        except NetworkDamaged:
            log.error(
                "The checkpoint of arm %s after %d batches is damaged.",
                arm_id,
                batches_done,
                extra={"action": "skip_checkpoint"},
            )
    return None


def newest_batches(session: Session, arm_id: UUID) -> int:
    """Return how far the newest checkpoint of an arm is; 0 if there is none."""
    return max(_stored(session, arm_id), default=0)


def remove(session: Session, arm_id: UUID) -> None:
    """Let go of all checkpoints of an arm."""
    session.execute(delete(CheckpointPart).where(CheckpointPart.arm_id == arm_id))


def _stored(session: Session, arm_id: UUID) -> set[int]:
    return set(session.scalars(select(CheckpointPart.batches_done).where(CheckpointPart.arm_id == arm_id)))


def _to_bytes(state: TrainingState) -> tuple[bytes, str]:
    numbers = {DIVERGED_AT: state.diverged_at, REACHED_90: state.reached_90_percent_after}
    # of one dimension: ascontiguousarray makes no less
    beside = {name: np.array([-1 if number is None else number], np.int64) for name, number in numbers.items()}
    return stored_arrays.to_bytes({**state.arrays, **beside})


def _from_part(part: CheckpointPart, spec: ResolvedSpec, arm: ArmName) -> TrainingState:
    """Return a replicate. Raises NetworkDamaged."""
    arrays = stored_arrays.from_bytes(part.arrays, part.arrays_sha256)
    try:
        numbers = {name: int(arrays.pop(name).item()) for name in (DIVERGED_AT, REACHED_90)}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise NetworkDamaged from error
    TrainedNetwork(spec, arm, arrays)  # has these shapes, or raises
    diverged_at, reached = (None if number < 0 else number for number in numbers.values())
    return TrainingState(arrays, diverged_at, reached)
