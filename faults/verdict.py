"""The verdict: what the database holds after the faults, beside what users were told and undisturbed runs gave."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from uuid import UUID

from sqlalchemy import func, select

from faults.service import ServiceUnderTest
from faults.work import SPECS, Ledger, Outcome, outcome
from models import events
from models.arms import Sample
from models.spec import FINISHED, ArmName, Reason, Status
from models.tables import Arm, ArmEvent, CheckpointPart, Experiment

#: What a worker writes into its log when its fence is no longer the current one.
REFUSED = "is no longer held here"


@dataclass
class Verdict:
    """Counts, each of which should be as its name says."""

    accepted: int = 0
    ended: int = 0
    lost: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    duplicated_effects: int = 0
    points_expected: int = 0
    points_identical: int = 0
    networks_expected: int = 0
    networks_identical: int = 0
    claims: int = 0
    rescues: int = 0
    refused_writes: int = 0
    complaints: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing was lost, nothing done twice, and all bits are the same."""
        identical = self.points_identical == self.points_expected and self.networks_identical == self.networks_expected
        return identical and not (self.lost or self.duplicated_effects or self.complaints)


def judge(service: ServiceUnderTest, ledger: Ledger, references: Sequence[Outcome], before: int) -> Verdict:
    """Look at every experiment that was accepted; `before` is how many there were before the faults."""
    verdict = Verdict(accepted=len(ledger.accepted), duplicated_effects=len(ledger.contradictions))
    verdict.refused_writes = service.logs().count(REFUSED)
    with service.database.read() as session:
        there = session.scalars(select(func.count(Experiment.id))).one() - before
        left = session.scalars(select(func.count()).select_from(CheckpointPart)).one()
    if there != len(ledger.accepted):
        verdict.duplicated_effects += abs(there - len(ledger.accepted))
        verdict.complaints.append(f"{there} experiments are there, {len(ledger.accepted)} were accepted")
    if left:
        verdict.complaints.append(f"{left} checkpoints of ended arms are left")
    for id, number in ledger.accepted.items():
        _judge_experiment(verdict, service, id, references[number], SPECS[number].get("replicates", 1))
    for id in ledger.accepted.keys() - ledger.to_be_cancelled:
        if not _has_status(service, id, Status.SUCCEEDED):
            verdict.complaints.append(f"{id} has not succeeded, though nobody cancelled it")
    return verdict


def _has_status(service: ServiceUnderTest, id: str, status: Status) -> bool:
    with service.database.read() as session:
        return session.scalars(select(Experiment.status).where(Experiment.id == UUID(id))).one_or_none() is status


def _judge_experiment(
    verdict: Verdict, service: ServiceUnderTest, id: str, reference: Outcome, replicates: int
) -> None:
    with service.database.read() as session:
        rows = {arm.name: arm for arm in session.scalars(select(Arm).where(Arm.experiment_id == UUID(id)))}
        history = list(events.read(session, UUID(id))) if rows else []
    if len(rows) != len(ArmName) or any(arm.status not in FINISHED for arm in rows.values()):
        verdict.lost += 1
        verdict.complaints.append(f"{id} is lost: {[arm.status.value for arm in rows.values()]}")
        return
    verdict.ended += 1
    found = outcome(service.database, id)
    for name, arm in rows.items():
        verdict.statuses[arm.status.value] += 1
        _judge_history(verdict, id, arm, [event for of, event in history if of is name])
        _judge_bits(verdict, id, arm, found[name], reference[name], replicates)


def _judge_history(verdict: Verdict, id: str, arm: Arm, history: Sequence[ArmEvent]) -> None:
    """Check that an arm ended once, and that each change begins where the last one ended."""
    ends = sum(event.to_status in FINISHED for event in history)
    verdict.duplicated_effects += max(0, ends - 1)
    claims = [event for event in history if (event.from_status, event.to_status) == (Status.QUEUED, Status.RUNNING)]
    fences = [event.fence for event in claims]
    verdict.claims += len(fences)
    verdict.rescues += sum(event.reason in (Reason.LEASE_EXPIRED, Reason.PROCESS_LOST) for event in history)
    chained = all(one.to_status is other.from_status for one, other in pairwise(history))
    if ends != 1 or history[-1].to_status is not arm.status or not chained or fences != list(range(1, len(fences) + 1)):
        verdict.complaints.append(f"{id}, {arm.name.value}: its history does not hold together")


def _judge_bits(
    verdict: Verdict,
    id: str,
    arm: Arm,
    found: tuple[list[Sample], list[str]],
    reference: tuple[list[Sample], list[str]],
    replicates: int,
) -> None:
    """Compare the points, of a cancelled arm those it has, and the hashes of the networks."""
    points, hashes = found
    right, right_hashes = reference
    whole = arm.status is Status.SUCCEEDED
    expected = right if whole else right[: len(points)]
    verdict.points_expected += len(expected)
    verdict.points_identical += sum(one == other for one, other in zip(points, expected, strict=False))
    if len(points) > len(expected):
        verdict.complaints.append(f"{id}, {arm.name.value}: more points than there are")
    verdict.networks_expected += replicates if whole else 0
    verdict.networks_identical += sum(one == other for one, other in zip(hashes, right_hashes, strict=False))
    if not whole and hashes:
        verdict.duplicated_effects += 1
        verdict.complaints.append(f"{id}, {arm.name.value}: cancelled, but with networks")
