"""Lists of experiments by status: page after page, exactly those that have it, whatever their two arms are like."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

import pytest
from conftest import TINY_SPEC

from models import datasets, experiments, keys
from models.database import Database
from models.scopes import Scope
from models.spec import Status
from models.tables import Experiment

SPEC = TINY_SPEC.resolve("mnist-5k")


@pytest.fixture
def owner(database: Database) -> UUID:
    with database.write() as session:
        return keys.create(session, "somebody", Scope.WRITE)[0].id


@pytest.fixture
def filled(database: Database, owner: UUID) -> Database:
    """Experiments with every pair of statuses, owned by somebody and by nobody, in no order."""
    pairs = list(product(Status, Status, (owner, None)))
    random.Random(1).shuffle(pairs)
    begin = datetime.now(UTC)
    with database.write() as session:
        for number, (first, second, whose) in enumerate(pairs):
            at = begin + timedelta(seconds=number // 3)  # some at the same moment
            experiment = experiments.queued(SPEC, datasets.SHA256["mnist-5k"], at, owner=whose)
            for arm, status in zip(experiment.arms, (first, second), strict=True):
                arm.status = status
            experiments.insert(session, [experiment])
    return database


def listed(database: Database, limit: int, status: Status | None, owner: UUID | None) -> Iterator[Experiment]:
    """Yield what the pages have, one after the other."""
    cursor = None
    while True:
        with database.read() as session:
            found, cursor = experiments.page(session, limit, cursor, status, owner)
        yield from found
        if cursor is None:
            return


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_the_pages_of_a_status_are_the_list_without_the_others(
    filled: Database, owner: UUID, status: Status, limit: int
) -> None:
    for whose in (None, owner):
        whole = list(listed(filled, 100, None, whose))
        assert len(whole) == (50 if whose is None else 25)
        expected = [experiment.id for experiment in whole if experiment.status is status]
        assert [experiment.id for experiment in listed(filled, limit, status, whose)] == expected
        assert expected
