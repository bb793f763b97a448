"""The two ways to `/predict`: what the direct one takes gets the answer that the ordinary one gives, good or bad."""

import gc
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from builders import TEN_UNITS, WITH, WITHOUT, succeeded
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from api.direct import Direct
from api.images import from_numbers
from api.predictions import to_numbers_alone
from models.database import Database
from models.errors import InvalidImage
from models.tracing import Tracer
from models.trained import starting_arrays

NETWORKS = {arm: starting_arrays(TEN_UNITS.resolve("mnist-5k"), arm, 0) for arm in (WITHOUT, WITH)}
DIGIT = np.random.default_rng(0).uniform(0, 1, (28, 28)).round(4).tolist()
#: No encoding, said aloud: the direct way leaves it to the ordinary one.
ORDINARILY = {"Content-Encoding": "identity"}


def scope(**other: Any) -> dict[str, Any]:
    plain = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": []}
    return {**plain, **other}


def test_plain_requests_find_the_direct_way_and_no_others() -> None:
    direct = Direct(passed_on, "/predict", to_numbers_alone, Tracer("nobody"))
    as_json = [(b"content-type", b"Application/JSON; charset=utf-8")]
    for taken in (scope(), scope(headers=as_json)):
        assert direct.takes(taken)
    for left in (
        scope(type="websocket"),
        scope(method="GET"),
        scope(path="/predict/"),
        scope(query_string=b"arm=without_batch_norm"),
        scope(headers=[(b"content-type", b"image/png")]),
        scope(headers=[*as_json, (b"content-encoding", b"gzip")]),
    ):
        assert not direct.takes(left)


async def passed_on(*_: object) -> None:
    """Stand for the application."""


def deep(lists: int) -> list[Any]:
    """Return lists in lists: more of them can be read than written."""
    return [deep(lists - 1)] if lists else []


REQUESTS: list[Any] = [
    {"image": DIGIT},
    {"image": np.ravel(DIGIT).tolist()},
    {"image": [0] * 783 + [1]},
    {"images": [DIGIT, DIGIT], "statistics": "batch"},
    {"image": DIGIT, "arm": "without_batch_norm", "replicate": 0},
    {"image": DIGIT, "arm": "without_batch_norm", "statistics": "batch"},
    {"image": DIGIT, "replicate": 1},
    {"image": DIGIT, "replicate": 1.5, "colour": "red"},
    {"image": DIGIT, "experiment": "the last one"},
    {"image": DIGIT, "experiment": "00000000-0000-0000-0000-000000000000"},
    {"image": DIGIT, "images": [DIGIT]},
    {"image": DIGIT, "experiment": deep(300)},
    {"image": None},
    {"images": []},
    {"images": None},
    {"images": [DIGIT, DIGIT[:27]]},
    {"image": [[True] * 28] * 28},
    {"image": [*DIGIT[:27], ["0"] * 28]},
    {"image": [*DIGIT[:27], [10**400, *[0] * 27]]},
    {"image": [*DIGIT[:27], [float("nan"), *[0] * 27]]},
    {"image": [*DIGIT[:27], [1 + 1e-12, *[0] * 27]]},
    {"image": [*DIGIT[:27], [-1e-300, *[0] * 27]]},
    {"image": [*DIGIT[:27], 5]},
    {"image": "a digit"},
    {},
    [DIGIT],
]
NOT_JSON = ["", "{", '{"image": [0, 0', '{"image": 1, "image": [[0]]}', "\udcff"]


@pytest.mark.parametrize("body", [*map(json.dumps, REQUESTS), *NOT_JSON])
def test_both_ways_give_one_answer(body: str, api: TestClient, database: Database) -> None:
    succeeded(database, TEN_UNITS, NETWORKS)
    content = body.encode(errors="surrogateescape")
    directly, ordinarily = (api.post("/predict", content=content, headers=headers) for headers in ({}, ORDINARILY))
    assert directly.status_code == ordinarily.status_code < 500
    assert directly.json() == {**ordinarily.json(), **_own(directly.json())}
    for name in ("content-type", "cache-control", "x-content-type-options", "content-security-policy"):
        assert directly.headers[name] == ordinarily.headers[name]


def test_the_direct_way_leads_past_the_applications_routes(api: TestClient, database: Database) -> None:
    succeeded(database, TEN_UNITS, NETWORKS)
    api.app.router.routes.clear()  # type: ignore[attr-defined]
    directly, ordinarily = (api.post("/predict", json={"image": DIGIT}, headers=each) for each in ({}, ORDINARILY))
    assert (directly.status_code, ordinarily.status_code) == (200, 404)


@pytest.fixture
def collected_by_hand() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collected_by_hand")
@pytest.mark.parametrize("named", [{}, {"experiment": "00000000-0000-0000-0000-000000000000"}])
def test_what_a_refused_request_has_brought_is_gone_with_it(api: TestClient, named: dict[str, str]) -> None:
    """An error whose frames hold the numbers must not be part of a cycle."""
    body = json.dumps({"images": [DIGIT] * 300, **named}).encode()  # 300 images are 1 MB of numbers

    def refused(times: int) -> int:
        for _ in range(times):
            assert api.post("/predict", content=body).status_code in (404, 409)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = refused(3)
        assert refused(10) - before < 3_000_000
    finally:
        tracemalloc.stop()


def _own(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what two equal requests do not share."""
    return {name: answer[name] for name in ("instance", "request_id") if name in answer}


numbers = st.one_of(st.floats(), st.integers(), st.sampled_from([0, 1, -0.0, 0.5, 1.0, "0", None, [0.5]]))


@given(st.lists(st.tuples(st.integers(0, 783), numbers), max_size=4), st.booleans())
def test_numbers_are_read_alike_by_the_quick_way_and_the_patient_one(
    changes: list[tuple[int, Any]], in_rows: bool
) -> None:
    image: list[Any] = [0.25] * 784
    for place, value in changes:
        image[place] = value
    sent = [image[begin : begin + 28] for begin in range(0, 784, 28)] if in_rows else image

    def said(truths: bool) -> Any:
        try:
            return from_numbers(sent, truths=truths).tolist()
        except InvalidImage as error:
            return [(one.field, one.allowed, str(one.received)) for one in error.errors]

    assert said(truths=False) == said(truths=True)
