"""Trained networks at rest: as bytes (safetensors, never code), in the database, and back again."""

from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session, undefer

from models import stored_arrays
from models.arrays import Arrays
from models.errors import (
    NetworkDiverged,
    NothingTrained,
    NotTrainedYet,
    UnknownExperiment,
    UnknownReplicate,
)
from models.kind_fields import KIND_FIELDS
from models.owners import owned
from models.results import NetworkResult
from models.spec import ArmName, ResolvedSpec, Status
from models.tables import Arm, Experiment, Network
from models.trained import TrainedNetwork

#: Built once: to build them takes four times as long as to ask them.
_NEWEST_SUCCEEDED = (
    select(Experiment.id)
    .join(Arm)
    .where(Arm.status == Status.SUCCEEDED, Arm.finished_at.is_not(None), Experiment.status == Status.SUCCEEDED)
    .order_by(Arm.finished_at.desc())
    .limit(1)
)
_NEWEST_OF_OWNER = _NEWEST_SUCCEEDED.where(Arm.owner_id == bindparam("owner"))


@dataclass(frozen=True)
class StoredNetwork:
    """A network that was trained to its end, and whose it is; one that diverged cannot answer."""

    experiment_id: UUID
    owner_id: UUID | None
    arm: ArmName
    replicate: int
    network: TrainedNetwork
    arrays_sha256: str
    starting_weights_sha256: str | None
    diverged_at: int | None

    @cached_property
    def multiplications(self) -> int:
        """How many the answer to one image takes."""
        spec = self.network.spec
        return KIND_FIELDS[spec.network].multiplications(dict(spec))


def to_row(
    arm_id: UUID,
    replicate: int,
    arrays: Arrays,
    *,
    starting_weights_sha256: str,
    reached_90_percent_after: int | None,
    diverged_at: int | None,
    result: NetworkResult,
) -> Network:
    """Return the row that keeps a trained network."""
    stored, sha256 = stored_arrays.to_bytes(arrays)
    return Network(
        arm_id=arm_id,
        replicate=replicate,
        arrays=stored,
        arrays_sha256=sha256,
        starting_weights_sha256=starting_weights_sha256,
        reached_90_percent_after=reached_90_percent_after,
        diverged_at=diverged_at,
        result=result.model_dump(mode="json"),
    )


def newest_succeeded(session: Session, owner: UUID | None = None) -> UUID:
    """Return the experiment that succeeded last, of this owner or of all. Raises NothingTrained if none has."""
    found = session.scalars(_NEWEST_SUCCEEDED if owner is None else _NEWEST_OF_OWNER, {"owner": owner})
    newest = found.one_or_none()
    if newest is None:
        raise NothingTrained
    return newest


def read(
    session: Session, experiment_id: UUID, arm: ArmName, replicate: int, owner: UUID | None = None
) -> StoredNetwork:
    """Return a network that can answer. Raises what `read_stored` raises, and NetworkDiverged."""
    stored = read_stored(session, experiment_id, arm, replicate, owner)
    if stored.diverged_at is not None:
        raise NetworkDiverged(arm=arm.value, replicate=replicate, diverged_at=stored.diverged_at)
    return stored


def read_stored(
    session: Session, experiment_id: UUID, arm: ArmName, replicate: int, owner: UUID | None = None
) -> StoredNetwork:
    """Return a trained network, whether it can answer or not.

    Raises UnknownExperiment, also for what is not this owner's, UnknownReplicate, NotTrainedYet, and NetworkDamaged
    when the bytes are not those that were stored.
    """
    found = session.execute(
        select(Experiment.spec, Experiment.owner_id, Arm.status, Network)
        .join(Arm, Arm.experiment_id == Experiment.id)
        .outerjoin(Network, (Network.arm_id == Arm.id) & (Network.replicate == replicate))
        .where(Experiment.id == experiment_id, Arm.name == arm, owned(Experiment.owner_id, owner))
        .options(undefer(Network.arrays))
    ).one_or_none()
    if found is None:
        raise UnknownExperiment(experiment_id=str(experiment_id))
    spec = ResolvedSpec.model_validate(found.spec, strict=False)
    if replicate >= spec.replicates:
        message = f"This experiment has no replicate {replicate}; it has {spec.replicates}, counted from 0."
        raise UnknownReplicate(message, replicate=replicate, replicates=spec.replicates)
    if found.Network is None:
        raise NotTrainedYet(arm=arm.value, arm_status=found.status.value)
    return StoredNetwork(
        experiment_id,
        found.owner_id,
        arm,
        replicate,
        _from_row(found.Network, spec, arm),
        arrays_sha256=found.Network.arrays_sha256,
        starting_weights_sha256=found.Network.starting_weights_sha256,
        diverged_at=found.Network.diverged_at,
    )


def _from_row(row: Network, spec: ResolvedSpec, arm: ArmName) -> TrainedNetwork:
    return TrainedNetwork(spec, arm, stored_arrays.from_bytes(row.arrays, row.arrays_sha256))
