"""Who may do what with which key: every operation of the OpenAPI document, with every kind of key."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from builders import finish, problem
from conftest import TINY_SPEC, RecordingBells
from fastapi.testclient import TestClient
from httpx2 import Response
from keyholders import Holder, another_of, expired, holder, keyed_api, revoked

from api.app import create_app
from models import keys
from models.database import Database
from models.scopes import Scope
from models.settings import Settings
from models.tables import Base

TINY = TINY_SPEC.model_dump(mode="json")
IMAGE = [0.0] * 784

READ, WRITE = Scope.READ, Scope.WRITE


@dataclass(frozen=True)
class Things:
    """What somebody has made, or ids of things that never were."""

    succeeded: UUID
    waiting: UUID
    sweep: UUID


NOTHING = Things(uuid4(), uuid4(), uuid4())

Ask = Callable[[Holder, Things], Response]


@dataclass(frozen=True)
class Case:
    """An operation: the scope it needs, how it is asked, what it answers, and what to one who has made nothing."""

    needs: Scope | None
    ask: Ask
    status: int = 200
    to_others: int = 200


def get(path: str, needs: Scope | None = READ, to_others: int = 404) -> Case:
    return Case(needs, lambda who, things: who.get(path.format(**vars(things))), 200, to_others)


def cancel(path: str) -> Case:
    return Case(WRITE, lambda who, things: who.post(path.format(**vars(things))), 202, 404)


CASES: dict[str, Case] = {
    "POST /experiments": Case(WRITE, lambda who, _: who.post("/experiments", TINY), 202, 202),
    "GET /experiments": get("/experiments", to_others=200),
    "GET /experiments/{experiment_id}": get("/experiments/{succeeded}"),
    "POST /experiments/{experiment_id}/cancel": cancel("/experiments/{waiting}/cancel"),
    "GET /experiments/{experiment_id}/curve": get("/experiments/{succeeded}/curve"),
    "GET /experiments/{experiment_id}/events": get("/experiments/{succeeded}/events"),
    "GET /experiments/{experiment_id}/history": get("/experiments/{succeeded}/history"),
    "GET /experiments/{experiment_id}/networks/{arm}": get("/experiments/{succeeded}/networks/with_batch_norm"),
    "POST /sweeps": Case(WRITE, lambda who, _: who.post("/sweeps", {"base": TINY, "grid": {"seed": [1]}}), 202, 202),
    "GET /sweeps": get("/sweeps", to_others=200),
    "GET /sweeps/{sweep_id}": get("/sweeps/{sweep}"),
    "GET /sweeps/{sweep_id}/curves": get("/sweeps/{sweep}/curves"),
    "POST /sweeps/{sweep_id}/cancel": cancel("/sweeps/{sweep}/cancel"),
    "GET /presets": get("/presets", to_others=200),
    "POST /predict": Case(
        READ,
        lambda who, things: who.post("/predict", {"image": IMAGE, "experiment": str(things.succeeded)}),
        to_others=404,
    ),
    "GET /workers": get("/workers", to_others=200),
    "GET /digits": get("/digits", to_others=200),
    "GET /health/live": get("/health/live", needs=None, to_others=200),
    "GET /health/ready": get("/health/ready", needs=None, to_others=200),
}


def operations(settings: Settings) -> set[str]:
    paths: dict[str, dict[str, Any]] = create_app(settings).openapi()["paths"]
    return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


@pytest.fixture
def keyed(settings: Settings, bells: RecordingBells) -> Iterator[TestClient]:
    with keyed_api(settings, bells, wrong_keys_per_minute=10_000) as client:
        yield client


def made(who: Holder, database: Database) -> Things:
    """Let somebody make an experiment that succeeds, one that waits, and a sweep."""
    succeeded, waiting = (UUID(who.post("/experiments", TINY).json()["id"]) for _ in range(2))
    finish(database, succeeded)
    sweep = who.post("/sweeps", {"base": TINY, "grid": {"seed": [1, 2]}}).json()["id"]
    return Things(succeeded, waiting, UUID(sweep))


def rows(database: Database) -> list[list[Any]]:
    """Return everything in the database but when keys were used."""
    with database.read() as session:
        tables = [table for name, table in Base.metadata.tables.items() if name != "api_keys"]
        return [sorted(session.execute(table.select()).all(), key=repr) for table in tables]


def without_ids(answer: Response, things: Things) -> str:
    text = answer.text
    for id in vars(things).values():
        text = text.replace(str(id), "ID")
    return text


def test_every_operation_is_in_the_matrix(settings: Settings) -> None:
    assert set(CASES) == operations(settings)


def test_who_has_no_valid_key_gets_one_and_the_same_answer_and_changes_nothing(
    keyed: TestClient, database: Database
) -> None:
    owner = holder(keyed, database, Scope.ADMIN)
    things = made(owner, database)
    before = rows(database)
    wrong = ["", "x", "bnlab_", f"bnlab_{'A' * 43}", owner.key[:-1], f"{owner.key}A", owner.key.upper(), "=" * 60]
    callers = [Holder(keyed, uuid4(), text) for text in wrong] + [revoked(keyed, database), expired(keyed, database)]
    answers = {(name, who.key): case.ask(who, things) for name, case in CASES.items() if case.needs for who in callers}
    for scheme in (f"Basic {owner.key}", owner.key, f"Bearer{owner.key}", "Bearer"):
        for name in (name for name, case in CASES.items() if case.needs):
            method, _, path = name.partition(" ")
            path = path.replace("{arm}", "with_batch_norm")
            answers[name, scheme] = keyed.request(method, path, headers={"Authorization": scheme})
    for which, answer in answers.items():
        assert answer.status_code == 401, which
        problem(answer, 401, "key_needed")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert not [header for header in answer.headers if header.lower().startswith("ratelimit")]
    assert len({answer.text for answer in answers.values()}) == 1
    assert rows(database) == before


def test_what_needs_no_key_is_answered_whatever_key_comes(keyed: TestClient, database: Database) -> None:
    for name, case in CASES.items():
        if case.needs is None:
            for who in (Holder(keyed, uuid4(), "x"), revoked(keyed, database), holder(keyed, database, READ)):
                assert case.ask(who, NOTHING).status_code == case.status, name


def test_a_key_of_too_small_a_scope_is_told_so_and_changes_nothing(keyed: TestClient, database: Database) -> None:
    things = made(holder(keyed, database), database)
    reader = holder(keyed, database, READ)
    before = rows(database)
    for name, case in CASES.items():
        if case.needs is WRITE:
            answer = case.ask(reader, things)
            assert answer.status_code == 403, name
            body = problem(answer, 403, "scope_too_small", ["needed", "scope"])
            assert (body["needed"], body["scope"]) == ("write", "read")
    assert rows(database) == before


def test_what_somebody_has_made_does_not_exist_for_others(keyed: TestClient, database: Database) -> None:
    owner = holder(keyed, database)
    things = made(owner, database)
    assert CASES["POST /predict"].ask(owner, things).status_code == 200  # its network is in the cache now
    for name, case in CASES.items():
        other = holder(keyed, database)
        before = rows(database)
        theirs, of_nothing = case.ask(other, things), case.ask(other, NOTHING)
        assert (theirs.status_code, of_nothing.status_code) == (case.to_others, case.to_others), name
        if case.to_others == 404:
            assert without_ids(theirs, things) == without_ids(of_nothing, NOTHING), name
        if case.to_others != 202:
            assert rows(database) == before, name
            assert not [id for id in vars(things).values() if case.to_others == 200 and str(id) in theirs.text], name


def test_the_right_key_may_and_so_may_that_of_an_admin(keyed: TestClient, database: Database) -> None:
    owner, admin = holder(keyed, database), holder(keyed, database, Scope.ADMIN)
    for who in (owner, admin):
        things = made(owner, database)
        for name, case in CASES.items():
            answer = case.ask(who, things)
            assert answer.status_code == case.status, (name, answer.text)
            assert ("RateLimit" in answer.headers) is (case.needs is not None), name
            if name in ("GET /experiments", "GET /sweeps"):
                assert [id for id in vars(things).values() if str(id) in answer.text], name


def test_a_key_that_only_reads_sees_its_own_things_alone(keyed: TestClient, database: Database) -> None:
    reader = holder(keyed, database, READ)
    made(holder(keyed, database), database)
    assert reader.get("/experiments").json()["experiments"] == []
    problem(reader.post("/predict", {"image": IMAGE}), 409, "nothing_trained")


def test_keys_of_one_owner_share_what_he_made_and_each_does_what_its_scope_allows(
    keyed: TestClient, database: Database
) -> None:
    first = holder(keyed, database)
    things = made(first, database)
    reads, writes = (another_of(first, database, scope) for scope in (READ, WRITE))
    for name, case in CASES.items():
        if case.needs is READ:
            assert case.ask(reads, things).status_code == case.status, name
        elif case.needs is WRITE:
            assert case.ask(reads, things).status_code == 403, name
    with database.write() as session:  # a lost key is replaced, and nothing is lost with it
        assert keys.revoke(session, first.id)
    assert writes.post(f"/experiments/{things.waiting}/cancel").status_code == 202
    assert len(writes.get("/experiments").json()["experiments"]) == len(reads.get("/experiments").json()["experiments"])
    assert writes.get("/experiments").json()["experiments"]


def test_two_keys_in_one_request_are_none(keyed: TestClient, database: Database) -> None:
    one, other = holder(keyed, database), holder(keyed, database)
    both = [("Authorization", f"Bearer {who.key}") for who in (one, other)]
    problem(keyed.get("/experiments", headers=both), 401, "key_needed")


def test_pages_of_ones_own_things_miss_none_and_repeat_none(keyed: TestClient, database: Database) -> None:
    one, other = holder(keyed, database), holder(keyed, database)
    made_in_turn = [who.post("/experiments", TINY).json()["id"] for _ in range(5) for who in (one, other)]
    own = made_in_turn[::2]
    seen, cursor = [], ""
    while cursor is not None:
        page = one.get(f"/experiments?limit=2{cursor and f'&cursor={cursor}'}").json()
        seen += [experiment["id"] for experiment in page["experiments"]]
        cursor = page["next_cursor"]
    assert seen == own[::-1]


def test_the_newest_that_answers_is_ones_own(keyed: TestClient, database: Database) -> None:
    one, other, admin = (holder(keyed, database, scope) for scope in (WRITE, WRITE, Scope.ADMIN))
    first, second = made(one, database), made(other, database)
    answered = [who.post("/predict", {"image": IMAGE}).json()["experiment"] for who in (one, other, admin)]
    assert answered == [str(first.succeeded), str(second.succeeded), str(second.succeeded)]


def test_what_was_made_while_keys_were_off_is_an_admins(api: TestClient, keyed: TestClient, database: Database) -> None:
    ownerless = UUID(api.post("/experiments", json=TINY).json()["id"])
    finish(database, ownerless)
    admin = holder(keyed, database, Scope.ADMIN)
    assert admin.get(f"/experiments/{ownerless}").status_code == 200
    assert holder(keyed, database).get(f"/experiments/{ownerless}").status_code == 404
    owned = made(admin, database)
    assert api.get(f"/experiments/{owned.succeeded}").status_code == 200  # without keys everything is everybody's
    assert len(api.get("/experiments").json()["experiments"]) == 5


def test_equal_idempotency_keys_of_two_owners_do_not_meet(keyed: TestClient, database: Database) -> None:
    one, other = holder(keyed, database), holder(keyed, database)
    header = {"Idempotency-Key": "the-same"}
    first, second, again = (who.post("/experiments", TINY, **header) for who in (one, other, one))
    assert first.json()["id"] != second.json()["id"]
    assert again.content == first.content
    assert "Idempotency-Replayed" not in second.headers
    assert again.headers["Idempotency-Replayed"] == "true"


def test_a_key_is_asked_for_before_the_request_is_read(keyed: TestClient) -> None:
    for answer in (
        keyed.post("/experiments", content=b"{" * 100),
        keyed.post("/sweeps", content=b"x" * 2_000_000),
        keyed.get("/experiments/no-id?unknown=1"),
        keyed.get("/experiments?limit=x"),
        keyed.post("/predict?unknown=1", content=b""),
    ):
        problem(answer, 401, "key_needed")


def test_the_page_and_the_documents_need_no_key(keyed: TestClient) -> None:
    for path in ("/", "/page/main.js", "/page/plotly.js", "/docs", "/openapi.json", "/health/live", "/health/ready"):
        assert keyed.get(path).status_code == 200
