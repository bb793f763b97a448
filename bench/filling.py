"""Fills a migrated Postgres with as many experiments as one likes, by few statements over many rows.

Experiment n, counted from the oldest, 1, is always the same one. The newest 2 % wait, 8 before them run; of the oldest
tenth every second one was cancelled, of the rest every fiftieth failed, all others succeeded. Every second block of 25
is a sweep. Ten API keys share them, an eleventh has only the 30 oldest. Each arm that has begun has a curve of 52
points and its history, each that succeeded a network with a result as long as a real one; of its arrays it has a few
bytes, but the newest have real ones.
"""

import hashlib
import zlib
from uuid import UUID

from sqlalchemy import Connection, text

from models import datasets, stored_arrays
from models.database import Database
from models.results import NetworkResult, SinglePredictions, TestResult
from models.spec import ArmName, Spec
from models.trained import starting_arrays

POINTS_PER_ARM, REAL_NETWORKS, KEYS, RARE, RUNNING = 52, 40, 10, 30, 8

SPEC = Spec(training_batches=50_000, batches_per_sample=50_000 // POINTS_PER_ARM, seed=1).resolve("mnist")

_NUMBERED = """
    CREATE TEMP TABLE numbered AS
    SELECT n, md5('experiment ' || n)::uuid AS id, now() - (:count - n + 60) * interval '1 second' AS created_at,
        md5('key ' || CASE WHEN n <= :rare THEN 0 ELSE 1 + n % :keys END)::uuid AS owner_id,
        CASE WHEN (n - 1) / 25 % 2 = 1 THEN md5('sweep ' || (n - 1) / 25)::uuid END AS sweep_id,
        CASE WHEN (n - 1) / 25 % 2 = 1 THEN (n - 1) % 25 END AS position,
        CASE
            WHEN n > :count - :count / 50 THEN 'queued'
            WHEN n > :count - :count / 50 - :running THEN 'running'
            WHEN n <= :count / 10 AND n % 2 = 0 THEN 'cancelled'
            WHEN n % 50 = 7 THEN 'failed'
            ELSE 'succeeded'
        END AS status
    FROM generate_series(1, :count) AS n
"""
#: Of an experiment that runs, the second arm waits; of one that failed, the first one succeeded.
_NUMBERED_ARMS = """
    CREATE TEMP TABLE numbered_arms AS
    SELECT *, status <> 'queued' AS begun, status NOT IN ('queued', 'running') AS ended
    FROM (
        SELECT n, md5(name || n)::uuid AS id, numbered.id AS experiment_id, name, owner_id, created_at,
            CASE
                WHEN status = 'running' AND name = 'with_batch_norm' THEN 'queued'
                WHEN status = 'failed' AND name = 'without_batch_norm' THEN 'succeeded'
                ELSE status
            END AS status
        FROM numbered, (VALUES ('without_batch_norm'), ('with_batch_norm')) AS names (name)
    ) AS arms
"""
_KEYS = """
    INSERT INTO api_keys (id, owner_id, name, key_sha256, beginning, scope, created_at)
    SELECT md5('key ' || k)::uuid, md5('key ' || k)::uuid, 'key ' || k, encode(sha256(('key ' || k)::bytea), 'hex'),
        'key', 'write', now()
    FROM generate_series(0, :keys) AS k
"""
_SWEEPS = """
    INSERT INTO sweeps (id, owner_id, created_at, request)
    SELECT sweep_id, min(owner_id::text)::uuid, min(created_at), '{}' FROM numbered
    WHERE sweep_id IS NOT NULL GROUP BY sweep_id
"""
_EXPERIMENTS = """
    INSERT INTO experiments (id, owner_id, created_at, spec, dataset_sha256, sweep_id, position)
    SELECT id, owner_id, created_at, jsonb_set(CAST(:spec AS jsonb), '{seed}', to_jsonb(n))::json, :dataset_sha256,
        sweep_id, position
    FROM numbered ORDER BY n
"""
_ARMS = """
    INSERT INTO arms (id, experiment_id, name, owner_id, device, status, fence, cancel_requested, worker,
        lease_renewed_at, lease_expires_at, crash_count, batches_at_crash, generation, fingerprint,
        created_at, started_at, finished_at, batches_done, batches_per_second, error_code, error_message)
    SELECT id, experiment_id, name, owner_id, 'auto', status, begun::int, status = 'cancelled',
        CASE WHEN begun THEN 'host:1:0/' || n % 4 END,
        CASE WHEN status = 'running' THEN now() END,
        CASE WHEN status = 'running' THEN now() + interval '1 day' END,
        0, 0, 1, CASE WHEN begun THEN CAST(:fingerprint AS json) END,
        created_at,
        CASE WHEN begun THEN created_at + interval '1 second' END,
        CASE WHEN ended THEN created_at + interval '20 seconds' END,
        CASE WHEN begun THEN 50000 ELSE 0 END, CASE WHEN begun THEN 2500.0 END,
        CASE WHEN status = 'failed' THEN 'out_of_memory' END, CASE WHEN status = 'failed' THEN 'Too large.' END
    FROM numbered_arms ORDER BY n, name DESC
"""
_EVENTS = """
    INSERT INTO arm_events (arm_id, at, from_status, to_status, reason, fence, batches_done, actor)
    SELECT id, created_at + step * interval '1 second', before, after, reason, sign(step), step / 2 * 50000,
        'host:1:0/1'
    FROM numbered_arms, LATERAL (VALUES (0, NULL, 'queued', 'submitted'), (1, 'queued', 'running', 'claimed'),
        (2, 'running', status, status)) AS steps (step, before, after, reason)
    WHERE step = 0 OR (begun AND step = 1) OR ended ORDER BY n, step
"""
_POINTS = """
    INSERT INTO curve_points (arm_id, step, correct, total)
    SELECT id, step, json_build_array(500 + (n + step) % 4400), 5000
    FROM numbered_arms, generate_series(0, 49999, 50000 / :points) AS step WHERE begun ORDER BY n, step
"""
_NETWORKS = """
    INSERT INTO networks (arm_id, replicate, arrays_sha256, starting_weights_sha256, reached_90_percent_after, result,
        arrays)
    SELECT id, 0, repeat('0', 64), repeat('0', 64), 2000, CAST(:result AS json), repeat('0', 64)::bytea
    FROM numbered_arms WHERE status = 'succeeded' ORDER BY n
"""
_IDEMPOTENCY_KEYS = """
    INSERT INTO idempotency_keys (owner, key, request_sha256, created_at, answer)
    SELECT owner_id::text, 'key ' || n, repeat('0', 64), created_at, :answer
    FROM numbered ORDER BY n
"""
_REAL_NETWORKS = """
    UPDATE networks SET arrays = :arrays, arrays_sha256 = :arrays_sha256
    WHERE arm_id IN (
        SELECT id FROM numbered_arms WHERE status = 'succeeded' AND name = :name ORDER BY n DESC LIMIT :real
    )
"""
_STATEMENTS = (
    *(_NUMBERED, _NUMBERED_ARMS, _KEYS, _SWEEPS, _EXPERIMENTS, _ARMS),
    *(_EVENTS, _POINTS, _NETWORKS, _IDEMPOTENCY_KEYS),
)


def fill(database: Database, count: int) -> None:
    """Make `count` experiments with all that belongs to them, and let Postgres take stock of them."""
    values = {"count": count, "rare": RARE, "keys": KEYS, "running": RUNNING, "points": POINTS_PER_ARM, **_documents()}
    with database.engine.connect() as connection:
        # Nobody checks ten million references, and no trigger runs.
        connection.execute(text("SET session_replication_role = replica; SET statement_timeout = 0"))
        for made in _STATEMENTS:
            _execute(connection, made, values)
        for name in ArmName:
            arrays, arrays_sha256 = stored_arrays.to_bytes(starting_arrays(SPEC, name, 0))
            real = {"arrays": arrays, "arrays_sha256": arrays_sha256, "name": name.value, "real": REAL_NETWORKS}
            _execute(connection, _REAL_NETWORKS, real)
        connection.commit()
    database.close()  # what was set goes with its connection
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM (ANALYZE)"))
    database.close()


def experiment_id(number: int) -> UUID:
    """Return the id of an experiment by its number."""
    return _id(f"experiment {number}")


def key_id(number: int) -> UUID:
    """Return the id of an API key; 0 is the one with only the oldest experiments."""
    return _id(f"key {number}")


def _id(words: str) -> UUID:
    return UUID(hashlib.md5(words.encode(), usedforsecurity=False).hexdigest())


def _execute(connection: Connection, statement: str, values: dict[str, object]) -> None:
    asked = text(statement)
    connection.execute(asked, {name: values[name] for name in asked.compile().params})


def _documents() -> dict[str, object]:
    """Return what is written into each row as it stands: the spec, the fingerprint, the result."""
    single = SinglePredictions(correct=190, answers=tuple(i % 10 for i in range(200)))
    test = TestResult(correct=9_700, total=10_000, single_predictions=single)
    result = NetworkResult(validation_correct=4_850, validation_total=5_000, population=test, batch=test)
    return {
        "spec": SPEC.model_dump_json(),
        "dataset_sha256": datasets.SHA256["mnist"],
        "fingerprint": '{"tensorflow": "2.21", "threads": 1, "device": "CPU", "processor": "of some kind"}',
        "result": result.model_dump_json(),
        "answer": zlib.compress(bytes(range(256))),  # about as long as the one for an experiment
    }
