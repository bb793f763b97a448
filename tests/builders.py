"""Experiments in every state without training one, through the true queries; and what every answer must be like."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from uuid import UUID

from conftest import TINY_SPEC, RecordingBells
from sqlalchemy import event, select, update

from models import arms, clock, datasets, experiments, networks, sweeps
from models.arms import Claim, Fingerprint, Sample
from models.arrays import Arrays
from models.database import Database
from models.grid import SweepRequest
from models.lanes import Lane
from models.results import NetworkResult, SinglePredictions, TestResult
from models.spec import ArmName, Device, ResolvedSpec, Spec, Status
from models.tables import Arm, Network
from models.trained import starting_arrays, weights_sha256

WITHOUT, WITH = ArmName.WITHOUT_BATCH_NORM, ArmName.WITH_BATCH_NORM

#: Images of the validation set; and how many of them a network here has right, unless it is said.
VALIDATION_TOTAL, USUALLY_CORRECT = 500, 400

#: Ten hidden units: small enough to be read, and the output can be the hidden layer itself.
TEN_UNITS = TINY_SPEC.model_copy(update={"hidden_layers": (10,)})

#: What a worker in these tests says of itself, and how long it holds an arm.
FINGERPRINT: Fingerprint = {"versions": {"bnlab": "test"}, "threads": 1, "device": "CPU", "processor": "test"}
LEASE_S = 60.0


@contextmanager
def selects(database: Database) -> Iterator[list[str]]:
    """Note the looks that are sent meanwhile."""
    sent: list[str] = []

    def note(*about: object) -> None:
        if str(about[2]).startswith(("SELECT", "WITH")):
            sent.append(str(about[2]))

    event.listen(database.engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine, "before_cursor_execute", note)


# --------------------------------------------------------------------------------------- experiments by state


def submitted(database: Database, spec: Spec = TINY_SPEC) -> UUID:
    """Accept an experiment: both arms are queued."""
    with database.write() as session:
        return experiments.create(session, spec.resolve("mnist-5k"), datasets.SHA256["mnist-5k"]).id


def arm_ids(database: Database, experiment_id: UUID) -> dict[ArmName, UUID]:
    with database.read() as session:
        return {arm.name: arm.id for arm in experiments.read(session, experiment_id).arms}


def claimed(
    database: Database,
    experiment_id: UUID,
    arm: ArmName,
    *,
    worker: str = "test",
    fingerprint: Fingerprint = FINGERPRINT,
    lane: Lane = "cpu",
) -> Claim:
    """Take a certain arm as a worker does: for that moment all others that wait are put off."""
    arm_id = arm_ids(database, experiment_id)[arm]
    with database.write() as session:
        others = (Arm.status == Status.QUEUED) & (Arm.id != arm_id)
        before = session.execute(select(Arm.id, Arm.not_before).where(others)).all()
        session.execute(update(Arm).where(others).values(not_before=clock.in_seconds(60)))
        held = arms.claim(session, worker, fingerprint, LEASE_S, lane)
        if before:
            session.execute(update(Arm), [{"id": id, "not_before": not_before} for id, not_before in before])
    assert held is not None
    assert held.arm_id == arm_id
    return held


def samples(spec: ResolvedSpec) -> list[Sample]:
    """Return a curve that climbs; each replicate has one image more right than the one before."""
    return [
        Sample(step, tuple(50 + 10 * i + r for r in range(spec.replicates)), VALIDATION_TOTAL)
        for i, step in enumerate(spec.sampled_steps())
    ]


def running(database: Database) -> UUID:
    """Leave an experiment whose arm without batch normalization has two points, while the other one waits."""
    experiment_id = submitted(database)
    held = claimed(database, experiment_id, WITHOUT)
    with database.write() as session:
        arms.record(session, held, LEASE_S, 6, 123.5, samples(held.spec)[:2])
    return experiment_id


def succeeded(
    database: Database,
    spec: Spec = TINY_SPEC,
    arrays: Mapping[ArmName, Arrays] | None = None,
    diverged_at: Mapping[ArmName, int] | None = None,
    correct: Mapping[ArmName, Sequence[int]] | None = None,
) -> UUID:
    """Carry an experiment to its end; see `finish`."""
    experiment_id = submitted(database, spec)
    finish(database, experiment_id, arrays, diverged_at, correct)
    return experiment_id


def finish(
    database: Database,
    experiment_id: UUID,
    arrays: Mapping[ArmName, Arrays] | None = None,
    diverged_at: Mapping[ArmName, int] | None = None,
    correct: Mapping[ArmName, Sequence[int]] | None = None,
) -> None:
    """Carry a queued experiment to its end.

    Its networks are the given arrays, else the starting weights; the last replicate of an arm may have diverged;
    `correct` are the validation images, of 500, that each replicate has right.
    """
    for arm in ArmName:
        held = claimed(database, experiment_id, arm)
        rows = []
        for r in range(held.spec.replicates):
            last = r == held.spec.replicates - 1
            row = network_row(
                held,
                r,
                (arrays or {}).get(arm),
                diverged_at=(diverged_at or {}).get(arm) if last else None,
                correct=correct[arm][r] if correct else USUALLY_CORRECT,
            )
            rows.append(row)
        with database.write() as session:
            arms.record(session, held, LEASE_S, held.spec.training_batches, 1000.0, samples(held.spec))
            arms.succeed(session, held, rows)


def failed(database: Database) -> UUID:
    """Let the arm with batch normalization fail after its first point; the other one succeeds."""
    experiment_id = submitted(database)
    without = claimed(database, experiment_id, WITHOUT)
    row = network_row(without)
    held = claimed(database, experiment_id, WITH)
    with database.write() as session:
        arms.succeed(session, without, [row])
        arms.record(session, held, LEASE_S, 1, None, samples(held.spec)[:1])
        arms.fail(session, held, "out_of_memory", "The network is too large for this worker.")
    return experiment_id


def cancelled(database: Database) -> UUID:
    experiment_id = submitted(database)
    with database.write() as session:
        experiments.cancel(session, experiment_id)
    return experiment_id


def network_row(
    held: Claim,
    replicate: int = 0,
    arrays: Arrays | None = None,
    *,
    diverged_at: int | None = None,
    correct: int = USUALLY_CORRECT,
) -> Network:
    """Return the row of a trained network: the given arrays, else its starting ones."""
    start = starting_arrays(held.spec, held.name, replicate)
    return networks.to_row(
        held.arm_id,
        replicate,
        arrays or start,
        starting_weights_sha256=weights_sha256(start),
        reached_90_percent_after=held.spec.training_batches if correct * 10 >= VALIDATION_TOTAL * 9 else None,
        diverged_at=diverged_at,
        result=result(held.name, correct),
    )


def result(arm: ArmName, correct: int = USUALLY_CORRECT) -> NetworkResult:
    """Return an examination with round numbers: 0.8 of validation, 0.75 of the test, 0.5 of four single images.

    With more or less of validation right, as much more or less of the test is.
    """
    test = 2 * (correct - USUALLY_CORRECT)
    population = TestResult(
        correct=750 + test, total=1000, single_predictions=SinglePredictions(correct=2, answers=(7, 2, 1, 0))
    )
    batch = TestResult(
        correct=740 + test, total=1000, single_predictions=SinglePredictions(correct=1, answers=(3, 3, 3, 3))
    )
    return NetworkResult(
        validation_correct=correct,
        validation_total=VALIDATION_TOTAL,
        population=population,
        batch=batch if arm is WITH else None,
    )


# ------------------------------------------------------------------------------------------------------ sweeps


def swept(database: Database, request: SweepRequest) -> tuple[UUID, list[UUID]]:
    """Accept a sweep; return its id and those of its experiments, in its order."""
    specs = [spec.resolve("mnist-5k") for spec in request.specs()]
    with database.write() as session:
        sweep_id = sweeps.create(session, request, [(spec, datasets.SHA256[spec.dataset]) for spec in specs])
        return sweep_id, [experiment.id for experiment in sweeps.experiments_of(session, sweep_id)]


def waiting(database: Database) -> list[UUID]:
    """Return the arms that wait, the one that has waited longest first."""
    with database.read() as session:
        return list(session.scalars(select(Arm.id).where(arms.waits()).order_by(Arm.created_at, Arm.id)))


class BellsThatLook(RecordingBells):
    """A bell that notes which arms wait in the database at the moment it rings, as another connection sees them."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self.waiting: list[UUID] = []

    def ring(self, count: int, device: Device) -> None:
        super().ring(count, device)
        self.waiting = waiting(self._database)


# ---------------------------------------------------------------------------------------------------- answers


class Answer(Protocol):
    """As much of an HTTP response as is looked at here."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def text(self) -> str: ...


MEMBERS = {"type", "title", "status", "detail", "code", "errors"}
#: Words of the inside; none of them may leave the service.
SECRETS = ("traceback", 'file "', "site-packages", "sqlalchemy", "sqlite", "psycopg", "postgres", "select ", "insert ")


def strict_json(text: str) -> Any:
    """Return JSON, but refuse NaN and Infinity, which Python would let pass."""

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def problem(
    response: Answer, status: int, code: str = "invalid_input", extensions: Sequence[str] = ()
) -> dict[str, Any]:
    """Return an error's body, after checking that it has the one shape of all errors and leaks nothing."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = strict_json(response.text)
    assert set(body) == MEMBERS | set(extensions)
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:bnlab:problem:{code}"
    assert body["title"]
    assert body["detail"].endswith((".", ")")) or body["detail"] == body["title"]
    for error in body["errors"]:
        assert set(error) == {"field", "allowed", "received"}
        assert isinstance(error["field"], str)
        assert error["allowed"]
        assert len(json.dumps(error)) < 1_500
    assert not [word for word in SECRETS if word in response.text.lower()]
    return body


def fields(response: Answer, status: int = 422, code: str = "invalid_input") -> list[str]:
    """Return the fields an error names."""
    return [error["field"] for error in problem(response, status, code)["errors"]]
