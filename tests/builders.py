"""Experiments in every state without training one, through the true queries; and what every answer must be like."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from conftest import TINY_SPEC

from models import arms, datasets, dense, experiments, networks
from models.arms import Claim, Sample
from models.database import Database
from models.dense import Arrays
from models.results import NetworkResult, SinglePredictions, TestResult
from models.spec import ArmName, ResolvedSpec, Spec

WITHOUT, WITH = ArmName.WITHOUT_BATCH_NORM, ArmName.WITH_BATCH_NORM

#: Ten hidden units: small enough to be read, and the output can be the hidden layer itself.
TEN_UNITS = TINY_SPEC.model_copy(update={"hidden_layers": (10,)})

# --------------------------------------------------------------------------------------- experiments by state


def submitted(database: Database, spec: Spec = TINY_SPEC) -> UUID:
    """Accept an experiment: both arms are queued."""
    with database.write() as session:
        return experiments.create(session, spec.resolve("mnist-5k"), datasets.SHA256["mnist-5k"]).id


def arm_ids(database: Database, experiment_id: UUID) -> dict[ArmName, UUID]:
    with database.read() as session:
        return {arm.name: arm.id for arm in experiments.read(session, experiment_id).arms}


def claimed(database: Database, experiment_id: UUID, arm: ArmName) -> Claim:
    """Take an arm as a worker does."""
    arm_id = arm_ids(database, experiment_id)[arm]
    with database.write() as session:
        held = arms.claim(session, arm_id, "test")
    assert held is not None
    return held


def samples(spec: ResolvedSpec) -> list[Sample]:
    """Return a curve that climbs."""
    return [Sample(step, (50 + 10 * i,), 500) for i, step in enumerate(spec.sampled_steps())]


def running(database: Database) -> UUID:
    """Leave an experiment whose arm without batch normalization has two points, while the other one waits."""
    experiment_id = submitted(database)
    held = claimed(database, experiment_id, WITHOUT)
    with database.write() as session:
        arms.record(session, held, 6, 123.5, samples(held.spec)[:2])
    return experiment_id


def succeeded(
    database: Database,
    spec: Spec = TINY_SPEC,
    arrays: Mapping[ArmName, Arrays] | None = None,
    diverged_at: Mapping[ArmName, int] | None = None,
) -> UUID:
    """Carry an experiment to its end; its networks are the given arrays, else the starting weights."""
    experiment_id = submitted(database, spec)
    for arm in ArmName:
        held = claimed(database, experiment_id, arm)
        kept = (arrays or {}).get(arm) or dense.starting_arrays(held.spec, arm, 0)
        row = networks.to_row(held.arm_id, 0, kept, (diverged_at or {}).get(arm), result(arm))
        with database.write() as session:
            arms.record(session, held, held.spec.training_batches, 1000.0, samples(held.spec))
            arms.succeed(session, held, [row])
    return experiment_id


def failed(database: Database) -> UUID:
    """Let the arm with batch normalization fail after its first point; the other one succeeds."""
    experiment_id = submitted(database)
    without = claimed(database, experiment_id, WITHOUT)
    row = networks.to_row(without.arm_id, 0, dense.starting_arrays(without.spec, WITHOUT, 0), None, result(WITHOUT))
    held = claimed(database, experiment_id, WITH)
    with database.write() as session:
        arms.succeed(session, without, [row])
        arms.record(session, held, 1, None, samples(held.spec)[:1])
        arms.fail(session, held, "out_of_memory", "The network is too large for this worker.")
    return experiment_id


def cancelled(database: Database) -> UUID:
    experiment_id = submitted(database)
    with database.write() as session:
        experiments.cancel(session, experiment_id)
    return experiment_id


def result(arm: ArmName) -> NetworkResult:
    """Return an examination with round numbers: 0.8 of validation, 0.75 of the test, 0.5 of four single images."""
    population = TestResult(
        correct=750, total=1000, single_predictions=SinglePredictions(correct=2, answers=(7, 2, 1, 0))
    )
    batch = TestResult(correct=740, total=1000, single_predictions=SinglePredictions(correct=1, answers=(3, 3, 3, 3)))
    return NetworkResult(
        validation_correct=400, validation_total=500, population=population, batch=batch if arm is WITH else None
    )


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
