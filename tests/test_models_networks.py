"""Trained networks in the database: they come back bit for bit, or are refused as damaged, and are found by state."""

import hashlib
import json
from collections.abc import Callable
from uuid import UUID, uuid4

import numpy as np
import pytest
from builders import (
    TEN_UNITS,
    WITH,
    WITHOUT,
    arm_ids,
    cancelled,
    claimed,
    failed,
    network_row,
    running,
    submitted,
    succeeded,
)
from safetensors.numpy import load, save
from sqlalchemy import select, update

from models import arms, networks
from models.arrays import Arrays
from models.database import Database
from models.errors import (
    BnlabError,
    NetworkDamaged,
    NetworkDiverged,
    NothingTrained,
    NotTrainedYet,
    UnknownExperiment,
    UnknownReplicate,
)
from models.spec import ArmName
from models.tables import Network
from models.trained import starting_arrays

SPEC = TEN_UNITS.resolve("mnist-5k")


def read(database: Database, experiment_id: UUID, arm: ArmName = WITH, replicate: int = 0) -> networks.StoredNetwork:
    with database.read() as session:
        return networks.read(session, experiment_id, arm, replicate)


def refused(database: Database, experiment_id: UUID, arm: ArmName = WITH, replicate: int = 0) -> BnlabError:
    with pytest.raises(BnlabError) as raised:
        read(database, experiment_id, arm, replicate)
    return raised.value


def stored(database: Database, arm_id: UUID) -> bytes:
    with database.read() as session:
        return session.scalars(select(Network.arrays).where(Network.arm_id == arm_id)).one()


def overwrite(database: Database, arm_id: UUID, content: bytes, sha256: str | None = None) -> None:
    """Replace the bytes behind the back of the code, with their own SHA-256 or with the old one."""
    values = {"arrays": content} if sha256 is None else {"arrays": content, "arrays_sha256": sha256}
    with database.write() as session:
        session.execute(update(Network).where(Network.arm_id == arm_id).values(**values))


def test_a_network_comes_back_bit_for_bit(database: Database) -> None:
    odd = starting_arrays(SPEC, WITH, 0)
    odd["hidden_1/beta"][:4] = np.array([-0.0, 1e-45, 3.4028235e38, np.nan], np.float32)
    experiment_id = succeeded(database, TEN_UNITS, {WITH: odd})
    trained = read(database, experiment_id)
    assert (trained.experiment_id, trained.arm, trained.replicate) == (experiment_id, WITH, 0)
    assert (trained.network.spec, trained.network.arm) == (SPEC, WITH)
    assert set(trained.network.arrays) == set(odd)
    for name, array in odd.items():
        assert trained.network.arrays[name].tobytes() == array.tobytes()


def test_each_arm_has_its_own_network(database: Database) -> None:
    experiment_id = succeeded(database, TEN_UNITS)
    for arm in ArmName:
        assert read(database, experiment_id, arm).network.arm is arm


def test_one_changed_byte_is_found(database: Database) -> None:
    experiment_id = succeeded(database, TEN_UNITS)
    arm_id = arm_ids(database, experiment_id)[WITH]
    whole = stored(database, arm_id)
    for place in (0, 9, len(whole) // 2, len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        overwrite(database, arm_id, bytes(changed))
        assert isinstance(refused(database, experiment_id), NetworkDamaged)
    overwrite(database, arm_id, whole)
    read(database, experiment_id)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:-1],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole + b"\0",
        lambda whole: b"\xff" * 8 + whole[8:],
        lambda whole: b"\x80\x04]\x94.",  # a pickle is never read
        lambda whole: save({}),
    ],
    ids=["empty", "one byte short", "half", "one byte more", "endless head", "pickle", "no arrays"],
)
def test_bytes_that_are_no_arrays_are_refused_even_with_their_own_sha256(
    database: Database, damage: Callable[[bytes], bytes]
) -> None:
    experiment_id = succeeded(database, TEN_UNITS)
    arm_id = arm_ids(database, experiment_id)[WITH]
    damaged = damage(stored(database, arm_id))
    overwrite(database, arm_id, damaged, hashlib.sha256(damaged).hexdigest())
    assert isinstance(refused(database, experiment_id), NetworkDamaged)


def without_beta(arrays: Arrays) -> Arrays:
    return {name: array for name, array in arrays.items() if name != "hidden_1/beta"}


@pytest.mark.parametrize(
    "damage",
    [
        without_beta,
        lambda arrays: {**arrays, "extra": np.zeros(1, np.float32)},
        lambda arrays: {**arrays, "hidden_1/beta": np.zeros(11, np.float32)},
        lambda arrays: {**arrays, "hidden_1/beta": np.zeros(10, np.float64)},
    ],
    ids=["missing", "extra", "wrong shape", "wrong type"],
)
def test_arrays_that_do_not_fit_the_experiments_spec_are_refused(
    database: Database, damage: Callable[[Arrays], Arrays]
) -> None:
    experiment_id = succeeded(database, TEN_UNITS)
    arm_id = arm_ids(database, experiment_id)[WITH]
    damaged = save(damage(load(stored(database, arm_id))))
    overwrite(database, arm_id, damaged, hashlib.sha256(damaged).hexdigest())
    assert isinstance(refused(database, experiment_id), NetworkDamaged)


def test_a_network_that_is_not_there_says_why(database: Database) -> None:
    assert isinstance(refused(database, uuid4()), UnknownExperiment)
    experiment_id = succeeded(database)
    beyond = refused(database, experiment_id, replicate=1)
    assert isinstance(beyond, UnknownReplicate)
    assert beyond.details == {"replicate": 1, "replicates": 1}
    for state, make in {"queued": submitted, "failed": failed, "cancelled": cancelled}.items():
        early = refused(database, make(database))
        assert isinstance(early, NotTrainedYet)
        assert early.details == {"arm": "with_batch_norm", "arm_status": state}
    assert isinstance(refused(database, running(database), WITHOUT), NotTrainedYet)


def test_an_arm_that_succeeded_answers_though_the_other_one_failed(database: Database) -> None:
    assert read(database, failed(database), WITHOUT).arm is WITHOUT


@pytest.mark.parametrize("step", [0, 17])
def test_a_diverged_network_says_when_and_its_twin_still_answers(database: Database, step: int) -> None:
    experiment_id = succeeded(database, diverged_at={WITHOUT: step})
    error = refused(database, experiment_id, WITHOUT)
    assert isinstance(error, NetworkDiverged)
    assert error.details == {"arm": "without_batch_norm", "replicate": 0, "diverged_at": step}
    read(database, experiment_id, WITH)


def test_the_newest_is_the_one_that_succeeded_last_not_the_one_submitted_last(database: Database) -> None:
    def newest() -> UUID:
        with database.read() as session:
            return networks.newest_succeeded(session)

    for unfit in (submitted, running, failed, cancelled):
        unfit(database)
    with pytest.raises(NothingTrained):
        newest()
    slow, quick = submitted(database), succeeded(database)
    assert newest() == quick
    for arm in ArmName:
        assert newest() == quick  # half an experiment has not succeeded
        held = claimed(database, slow, arm)
        row = network_row(held)
        with database.write() as session:
            arms.succeed(session, held, [row])
    assert newest() == slow
    failed(database)
    assert newest() == slow


def test_a_stored_result_holds_whole_numbers_only(database: Database) -> None:
    arm_id = arm_ids(database, succeeded(database))[WITH]
    with database.read() as session:
        kept = session.scalars(select(Network.result).where(Network.arm_id == arm_id)).one()
    assert "." not in json.dumps(kept)
    assert kept["population"] == {
        "correct": 750,
        "total": 1000,
        "single_predictions": {"correct": 2, "answers": [7, 2, 1, 0]},
    }
