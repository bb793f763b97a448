"""The cache of networks: a loaded one answers without the database, and the least recently asked one leaves first."""

from concurrent.futures import ThreadPoolExecutor
from math import prod
from uuid import UUID

import pytest
from builders import WITH, WITHOUT, cancelled, submitted, succeeded
from conftest import TINY_SPEC
from sqlalchemy import delete

from api.cache import NetworkCache, Place
from models import dense
from models.database import Database
from models.errors import BnlabError, NotTrainedYet, UnknownExperiment
from models.tables import Network

#: Bytes of one network of the arm with batch normalization.
SIZE = 2 * sum(4 * prod(shape) for shape in dense.shapes(TINY_SPEC.resolve("mnist-5k"), WITH).values())


def keys(database: Database, count: int) -> list[Place]:
    return [(succeeded(database), WITH, 0) for _ in range(count)]


def forget(database: Database) -> None:
    """Take the networks out of the database: who answers now answers from memory."""
    with database.write() as session:
        session.execute(delete(Network))


def test_what_was_loaded_is_ready_and_needs_no_database(database: Database) -> None:
    cache = NetworkCache(2 * SIZE)
    (key,) = keys(database, 1)
    assert cache.ready(key) is None
    loaded = cache.load(database, key)
    forget(database)
    assert cache.ready(key) is loaded
    assert cache.load(database, key) is loaded


def test_each_arm_of_an_experiment_is_a_network_of_its_own(database: Database) -> None:
    cache = NetworkCache(2 * SIZE)
    experiment_id = succeeded(database)
    for arm in (WITH, WITHOUT):
        assert cache.load(database, (experiment_id, arm, 0)).arm is arm
    for arm in (WITH, WITHOUT):
        ready = cache.ready((experiment_id, arm, 0))
        assert ready is not None
        assert ready.arm is arm


def test_the_least_recently_asked_one_leaves_first(database: Database) -> None:
    cache = NetworkCache(2 * SIZE)
    first, second, third = keys(database, 3)
    cache.load(database, first)
    cache.load(database, second)
    assert cache.ready(first)  # asked again: now the second one waits longest
    cache.load(database, third)
    assert [cache.ready(key) is not None for key in (first, second, third)] == [True, False, True]


def test_the_last_one_stays_however_large_it_is(database: Database) -> None:
    cache = NetworkCache(SIZE - 1)
    first, second = keys(database, 2)
    cache.load(database, first)
    assert cache.ready(first)
    cache.load(database, second)
    assert [cache.ready(key) is not None for key in (first, second)] == [False, True]


def test_a_refusal_is_not_remembered(database: Database) -> None:
    cache = NetworkCache(2 * SIZE)
    experiment_id = cancelled(database)
    refusals: list[tuple[Place, type[BnlabError]]] = [
        ((experiment_id, WITH, 0), NotTrainedYet),
        ((submitted(database), WITH, 0), NotTrainedYet),
        ((UUID(int=0), WITH, 0), UnknownExperiment),
    ]
    for key, error in refusals:
        for _ in range(2):
            with pytest.raises(error):
                cache.load(database, key)
        assert cache.ready(key) is None


def test_many_threads_may_ask_at_once_and_the_cache_stays_small(database: Database) -> None:
    cache = NetworkCache(3 * SIZE)
    wanted = keys(database, 5)

    def ask(number: int) -> bool:
        key = wanted[number % len(wanted)]
        return cache.load(database, key).experiment_id == key[0]

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(200)))
    assert sum(cache.ready(key) is not None for key in wanted) == 3
