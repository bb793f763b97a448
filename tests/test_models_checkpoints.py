"""Checkpoints: what is read is to the bit what was written, and what is damaged is never read."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from arm_states import TWINS, accept_one, checkpoint, checkpointed, take, train
from builders import WITH, WITHOUT
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from safetensors.numpy import load, save
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session, undefer

from models import arms, checkpoints
from models.arms import Claim
from models.checkpoints import KEPT, Checkpoint, TrainingState
from models.database import Database
from models.spec import ArmName
from models.tables import Arm, CheckpointPart
from models.trained import starting_arrays

SPEC = TWINS.resolve("mnist-5k")


def bits(state: Checkpoint) -> list[object]:
    """Return everything in a checkpoint as bytes and words, so that NaN equals NaN and −0 is not 0."""
    return [
        state.batches_done,
        *(
            (
                {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in one.arrays.items()},
                one.diverged_at,
                one.reached_90_percent_after,
            )
            for one in state.replicates
        ),
    ]


def newest(session: Session, held: Claim) -> Checkpoint | None:
    return checkpoints.newest(session, held.arm_id, held.spec, held.name)


def held_arm(session: Session) -> Claim:
    accept_one(session)
    return take(session)


def damage(
    session: Session, held: Claim, batches_done: int, change: Callable[[bytes], bytes], *, rehash: bool = False
) -> None:
    """Change the bytes of a checkpoint's last part behind its back; `rehash`: with a hash that fits them."""
    part = session.scalars(
        select(CheckpointPart)
        .where(
            CheckpointPart.arm_id == held.arm_id,
            CheckpointPart.batches_done == batches_done,
            CheckpointPart.replicate == 1,
        )
        .options(undefer(CheckpointPart.arrays))
    ).one()
    part.arrays = change(part.arrays)
    if rehash:
        part.arrays_sha256 = hashlib.sha256(part.arrays).hexdigest()
    session.flush()
    session.expire_all()


# ------------------------------------------------------------------------------------------------- round trip

number = st.none() | st.integers(0, 2**31)


@st.composite
def states(draw: st.DrawFn, arm: ArmName) -> TrainingState:
    """A network with any bits whatever in one of its arrays, the others as they start."""
    arrays = starting_arrays(SPEC, arm, 0)
    name = draw(st.sampled_from(sorted(arrays)))
    patterns = arrays_of.arrays(np.uint32, arrays[name].shape, elements=st.integers(0, 2**32 - 1), fill=st.just(7))
    arrays[name] = draw(patterns).view(np.float32)
    return TrainingState(arrays, draw(number), draw(number))


def test_what_is_read_is_to_the_bit_what_was_written(database: Database) -> None:
    with database.write() as session:
        arm_ids = {arm: accept_one(session) for arm in ArmName}

    @settings(max_examples=25)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        arm = data.draw(st.sampled_from(ArmName))
        written = Checkpoint(data.draw(st.integers(0, 10**6)), [data.draw(states(arm)) for _ in range(2)])
        with database.write() as session:
            checkpoints.write(session, arm_ids[arm], written)
            read = checkpoints.newest(session, arm_ids[arm], SPEC, arm)
            assert read is not None
            assert bits(read) == bits(written)
            session.rollback()

    holds()


def test_numbers_that_are_none_come_back_as_they_went(database: Database) -> None:
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38, 1.0], np.float32)
    arrays = starting_arrays(SPEC, WITH, 0)
    arrays["hidden_1/gamma"] = special
    arrays["hidden_1/weights"] = np.asfortranarray(arrays["hidden_1/weights"])  # another order in memory
    arrays["hidden_2/weights"] = np.stack([arrays["hidden_2/weights"]] * 2)[1]  # a replicate's share of a stack
    written = Checkpoint(7, [TrainingState(arrays, 0, None), TrainingState(arrays, None, 0)])
    with database.write() as session:
        arm_id = accept_one(session)
        checkpoints.write(session, arm_id, written)
    with database.read() as session:
        read = checkpoints.newest(session, arm_id, SPEC, WITH)
    assert read is not None
    assert bits(read) == bits(written)


# --------------------------------------------------------------------------------------------------- which stay


def test_the_last_two_are_kept_and_the_newest_is_read(database: Database) -> None:
    with database.write() as session:
        held = held_arm(session)
        assert newest(session, held) is None
        for done in range(1, 6):
            train(session, held, done - 1, done)
            assert sorted(set(checkpointed(session, held.arm_id))) == list(range(max(1, done + 1 - KEPT), done + 1))
            read = newest(session, held)
            assert read is not None
            assert bits(read) == bits(checkpoint(held.spec, held.name, done))


def test_one_that_is_written_again_takes_its_own_place(database: Database) -> None:
    with database.write() as session:
        held = held_arm(session)
        for done in (1, 2, 2):
            checkpoints.write(session, held.arm_id, checkpoint(held.spec, held.name, done))
        assert checkpointed(session, held.arm_id) == [1, 1, 2, 2]


def test_checkpoints_of_other_arms_are_left_alone(database: Database) -> None:
    with database.write() as session:
        held, other = held_arm(session), held_arm(session)
        for done in (1, 2, 3):
            train(session, held, done - 1, done)
        train(session, other, 0, 5)
        checkpoints.remove(session, held.arm_id)
        assert checkpointed(session, held.arm_id) == []
        assert checkpointed(session, other.arm_id) == [5, 5]


def test_the_next_worker_finds_what_the_last_one_left(database: Database) -> None:
    with database.write() as session:
        held = held_arm(session)
        train(session, held, 0, 7)
        arms.give_back(session, held)
    with database.write() as session:
        again = take(session)
        read = newest(session, again)
    assert read is not None
    assert bits(read) == bits(checkpoint(held.spec, held.name, 7))


def test_they_go_with_their_experiment(database: Database) -> None:
    with database.write() as session:
        held = held_arm(session)
        train(session, held, 0, 7)
        session.execute(delete(Arm))
        assert checkpointed(session, held.arm_id) == []


# ------------------------------------------------------------------------------------------------------ damage


def without_an_array(stored: bytes) -> bytes:
    arrays = load(stored)
    del arrays["output/bias"]
    return bytes(save(arrays))


def with_array(name: str, array: np.ndarray) -> Callable[[bytes], bytes]:
    return lambda stored: bytes(save({**load(stored), name: array}))


#: What may have become of bytes on their way; the hash tells.
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda stored: stored[:-1],
    "cut in half": lambda stored: stored[: len(stored) // 2],
    "empty": lambda stored: b"",
    "longer": lambda stored: stored + b"\0",
    "of nothing": lambda stored: bytes(len(stored)),
}

#: What another version, or a fault of ours, may have written; the hash fits.
FOREIGN: dict[str, Callable[[bytes], bytes]] = {
    **CHANGES,
    "of another shape": with_array("output/bias", np.zeros(11, np.float32)),
    "of another type": with_array("output/bias", np.zeros(10, np.float64)),
    "with one array more": with_array("output/gamma", np.zeros(10, np.float32)),
    "with one array less": without_an_array,
    "with a list for a number": with_array("diverged_at", np.zeros(2, np.int64)),
    "with a number that is none": with_array("diverged_at", np.array(np.nan, np.float32)),
    "with an endless number": with_array("reached_90_percent_after", np.array(np.inf, np.float64)),
    "with no arrays": lambda stored: bytes(save({"diverged_at": np.array(-1)})),
}


def is_passed_over(session: Session, held: Claim) -> None:
    read = newest(session, held)
    assert read is not None
    assert bits(read) == bits(checkpoint(held.spec, held.name, 5))


def test_one_flipped_bit_anywhere_is_noticed_and_the_one_before_is_used(database: Database) -> None:
    with database.write() as session:
        held = held_arm(session)
        train(session, held, 0, 5)
        train(session, held, 5, 10)
    chance = random.Random(1)
    for _ in range(20):
        with database.write() as session:

            def flip(stored: bytes) -> bytes:
                changed = bytearray(stored)
                changed[chance.randrange(len(stored))] ^= 1 << chance.randrange(8)
                return bytes(changed)

            damage(session, held, 10, flip)
            is_passed_over(session, held)
            session.rollback()


@pytest.mark.parametrize("rehash", [False, True], ids=["hash as it was", "hash that fits"])
def test_bytes_that_are_no_state_of_this_arm_are_passed_over(database: Database, rehash: bool) -> None:
    with database.write() as session:
        held = held_arm(session)
        train(session, held, 0, 5)
        train(session, held, 5, 10)
    for change in (FOREIGN if rehash else CHANGES).values():
        with database.write() as session:
            damage(session, held, 10, change, rehash=rehash)
            is_passed_over(session, held)
            damage(session, held, 5, change, rehash=rehash)
            assert newest(session, held) is None
            session.rollback()


@pytest.mark.parametrize("replicate", [0, 1])
def test_a_checkpoint_that_lacks_a_replicate_is_passed_over(database: Database, replicate: int) -> None:
    with database.write() as session:
        held = held_arm(session)
        train(session, held, 0, 5)
        train(session, held, 5, 10)
        part = (CheckpointPart.batches_done == 10) & (CheckpointPart.replicate == replicate)
        session.execute(delete(CheckpointPart).where(part))
        is_passed_over(session, held)
        session.execute(delete(CheckpointPart).where(CheckpointPart.replicate == replicate))
        assert newest(session, held) is None


def test_a_checkpoint_with_a_replicate_too_many_is_passed_over(database: Database) -> None:
    with database.write() as session:
        held = held_arm(session)
        train(session, held, 0, 5)
        one = checkpoint(held.spec, held.name, 10)
        checkpoints.write(session, held.arm_id, replace(one, replicates=[*one.replicates, one.replicates[0]]))
        is_passed_over(session, held)


def test_a_replicates_bytes_under_another_hash_are_passed_over(database: Database) -> None:
    with database.write() as session:
        held = held_arm(session)
        train(session, held, 0, 5)
        train(session, held, 5, 10)
        session.execute(update(CheckpointPart).where(CheckpointPart.batches_done == 10).values(arrays_sha256="0" * 64))
        is_passed_over(session, held)


def test_the_state_of_one_arm_is_none_of_the_other(database: Database) -> None:
    with database.write() as session:
        arm_id = accept_one(session)
        checkpoints.write(session, arm_id, checkpoint(SPEC, WITH, 5))
        assert checkpoints.newest(session, arm_id, SPEC, WITHOUT) is None


def test_after_a_damaged_one_new_ones_take_its_place(database: Database) -> None:
    with database.write() as session:
        held = held_arm(session)
        train(session, held, 0, 5)
        train(session, held, 5, 10)
        damage(session, held, 10, lambda stored: b"")
        for done in (6, 7, 10, 11):  # trained again from 5
            checkpoints.write(session, held.arm_id, checkpoint(held.spec, held.name, done))
            read = newest(session, held)
            assert read is not None
            assert bits(read) == bits(checkpoint(held.spec, held.name, done))
            assert len(set(checkpointed(session, held.arm_id))) == KEPT
