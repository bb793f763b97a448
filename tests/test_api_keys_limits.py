"""How much the holder of a key may have and ask, and how often anybody may try keys."""

import re
import time
from ipaddress import IPv6Address
from uuid import UUID, uuid4

import pytest
from builders import problem
from conftest import TINY_SPEC, RecordingBells
from httpx2 import Response
from hypothesis import given
from hypothesis import strategies as st
from keyholders import Holder, holder, keyed_api

from api import rates
from api.rates import Rates, network_of
from models.database import Database
from models.errors import TooManyRequests
from models.settings import Settings

TINY = TINY_SPEC.model_dump(mode="json")
WINDOW_S = 60


def early_in_a_minute() -> None:
    """Wait, if need be, so that a few requests fall into one minute of the clock, by which they are counted."""
    if time.time() % WINDOW_S > WINDOW_S - 10:
        time.sleep(WINDOW_S - time.time() % WINDOW_S + 0.1)


def sweep_of(who: Holder, experiments: int) -> Response:
    return who.post("/sweeps", {"base": TINY, "grid": {"seed": list(range(experiments))}})


# ------------------------------------------------------------------------------------------------------- quotas


def test_a_key_may_have_so_many_experiments_that_wait_or_run(
    settings: Settings, database: Database, bells: RecordingBells
) -> None:
    with keyed_api(settings, bells, max_active_experiments=2) as api:
        one, other = holder(api, database), holder(api, database, max_active_experiments=3)
        first, _ = (one.post("/experiments", TINY).json()["id"] for _ in range(2))
        for answer in (one.post("/experiments", TINY), sweep_of(one, 1)):
            body = problem(answer, 429, "quota_used_up", ["active", "limit"])
            assert (body["active"], body["limit"]) == (2, 2)
            assert int(answer.headers["Retry-After"]) > 0
        assert sweep_of(other, 3).status_code == 202  # a limit of its own, and nobody else's experiments count
        assert other.post("/experiments", TINY).status_code == 429
        assert len(bells.rung) == 3
        one.post(f"/experiments/{first}/cancel")
        assert one.post("/experiments", TINY).status_code == 202


def test_a_sweep_larger_than_the_quota_is_told_that_it_never_fits(settings: Settings, database: Database) -> None:
    with keyed_api(settings, max_active_experiments=2) as api:
        body = problem(sweep_of(holder(api, database), 3), 422)
    (error,) = body["errors"]
    assert error["received"] == 3
    assert "at most 2 experiments" in error["allowed"]


def test_a_request_sent_again_is_answered_though_the_quota_is_used_up(settings: Settings, database: Database) -> None:
    with keyed_api(settings, max_active_experiments=1) as api:
        one = holder(api, database)
        header = {"Idempotency-Key": "once"}
        first, again = (one.post("/experiments", TINY, **header) for _ in range(2))
    assert (first.status_code, again.content) == (202, first.content)


# -------------------------------------------------------------------------------------------------------- rates


def test_every_answer_tells_what_is_left_and_beyond_that_a_key_must_wait(
    settings: Settings, database: Database
) -> None:
    early_in_a_minute()
    with keyed_api(settings, requests_per_minute=4) as api:
        one, other = holder(api, database), holder(api, database, requests_per_minute=7)
        answers = [one.get(path) for path in ("/presets", "/experiments?limit=0", f"/sweeps/{UUID(int=0)}", "/presets")]
        assert [answer.status_code for answer in answers] == [200, 422, 404, 200]
        for number, answer in enumerate(answers, 1):
            assert answer.headers["RateLimit-Policy"] == '"default";q=4;w=60'
            assert re.fullmatch(rf'"default";r={4 - number};t=([1-9]|[1-5]\d|60)', answer.headers["RateLimit"])
        refused = one.get("/presets")
        body = problem(refused, 429, "too_many_requests", ["limit", "retry_after_s"])
        assert body["limit"] == 4
        assert 1 <= body["retry_after_s"] == int(refused.headers["Retry-After"]) <= WINDOW_S
        assert refused.headers["RateLimit"].startswith('"default";r=0;')
        assert other.get("/presets").headers["RateLimit-Policy"] == '"default";q=7;w=60'
        assert api.get("/health/live").status_code == 200


def test_who_tries_many_keys_is_told_to_wait_but_a_right_one_is_taken(settings: Settings, database: Database) -> None:
    early_in_a_minute()
    with keyed_api(settings, wrong_keys_per_minute=3) as api:
        right = holder(api, database)
        wrong = Holder(api, uuid4(), "bnlab_wrong")
        assert [wrong.get("/presets").status_code for _ in range(3)] == [401] * 3
        for answer in (wrong.get("/presets"), api.get("/presets")):
            problem(answer, 429, "too_many_requests", ["retry_after_s"])
            assert 1 <= int(answer.headers["Retry-After"]) <= WINDOW_S
        assert right.get("/presets").status_code == 200


def test_addresses_are_counted_apart_and_never_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    early_in_a_minute()
    monkeypatch.setattr(rates, "MOST_COUNTS", 20)
    counted = Rates()
    for number in range(20):
        counted.count_wrong_key(f"10.0.0.{number}", 2)
    counted.count_wrong_key("10.0.0.7", 2)  # known: it has a count of its own
    for number in range(2):
        counted.count_wrong_key(f"10.1.0.{number}", 2)
    with pytest.raises(TooManyRequests):
        counted.count_wrong_key("10.1.0.2", 2)  # the others share one
    counted.count_wrong_key("10.0.0.8", 2)


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_a_whole_network_of_ipv6_counts_as_one_address(address: IPv6Address, host: int) -> None:
    network = int(address) >> 64 << 64
    if network:  # else it may hold an address of IPv4
        assert network_of(str(address)) == network_of(str(IPv6Address(network + host)))


def test_an_address_of_ipv4_is_the_same_however_it_is_written() -> None:
    assert network_of("::ffff:10.1.2.3") == network_of("10.1.2.3") != network_of("10.1.2.4")
    assert network_of(None) == network_of("a socket file") == "unknown"


def test_an_error_that_nobody_expected_tells_of_the_limit_too(settings: Settings, database: Database) -> None:
    with keyed_api(settings) as api:
        who = holder(api, database)
        experiment = who.post("/experiments", {}).json()["id"]
        api.app.state.networks = None  # type: ignore[attr-defined]
        answer = who.post("/predict", {"image": [0.0] * 784, "experiment": experiment})
    assert answer.status_code == 500
    assert "RateLimit" in answer.headers
    assert "RateLimit-Policy" in answer.headers
