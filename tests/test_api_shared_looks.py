"""One look for all who ask the same at one moment, and never an answer older than its question."""

import asyncio
import threading
from itertools import count

import pytest

from api.shared_looks import SharedLooks

ASKERS = 30


async def all_begun() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_all_who_ask_at_one_moment_share_one_look() -> None:
    looks: SharedLooks[int] = SharedLooks()
    numbers = count()

    async def ask() -> list[int]:
        return await asyncio.gather(*(looks.find("newest", numbers.__next__) for _ in range(ASKERS)))

    assert asyncio.run(ask()) == [0] * ASKERS
    assert asyncio.run(ask()) == [1] * ASKERS


def test_who_asks_while_a_look_is_under_way_is_told_by_one_that_began_later() -> None:
    looks: SharedLooks[str] = SharedLooks()
    truth = "old"
    has_looked, may_end = threading.Event(), threading.Event()

    def slow() -> str:
        seen = truth
        has_looked.set()
        assert may_end.wait(10)
        return seen

    async def ask() -> list[str]:
        nonlocal truth
        first = asyncio.create_task(looks.find("newest", slow))
        assert await asyncio.to_thread(has_looked.wait, 10)
        truth = "new"
        others = [asyncio.create_task(looks.find("newest", slow)) for _ in range(ASKERS)]
        await all_begun()
        may_end.set()
        return await asyncio.gather(first, *others)

    assert asyncio.run(ask()) == ["old"] + ["new"] * ASKERS


def test_different_things_do_not_wait_for_each_other() -> None:
    looks: SharedLooks[str] = SharedLooks()
    may_end = threading.Event()

    async def ask() -> str:
        held = asyncio.create_task(looks.find("one", lambda: str(may_end.wait(10))))
        other = await asyncio.wait_for(looks.find("other", lambda: "at once"), 5)
        may_end.set()
        await held
        return other

    assert asyncio.run(ask()) == "at once"


def test_a_look_that_fails_fails_for_all_who_wait_for_it_and_for_nobody_later() -> None:
    looks: SharedLooks[int] = SharedLooks()

    def fail() -> int:
        raise LookupError

    async def ask() -> list[int | BaseException]:
        return await asyncio.gather(*(looks.find("newest", fail) for _ in range(3)), return_exceptions=True)

    assert [type(each) for each in asyncio.run(ask())] == [LookupError] * 3
    assert asyncio.run(looks.find("newest", lambda: 7)) == 7


@pytest.mark.parametrize("gone", [1, ASKERS])
def test_whoever_goes_away_takes_nothing_from_the_others(gone: int) -> None:
    looks: SharedLooks[int] = SharedLooks()

    async def ask() -> list[int | BaseException]:
        asked = [asyncio.create_task(looks.find("newest", lambda: 7)) for _ in range(ASKERS)]
        await all_begun()
        for each in asked[:gone]:
            each.cancel()
        return await asyncio.gather(*asked[gone:], looks.find("newest", lambda: 7))

    assert asyncio.run(ask()) == [7] * (ASKERS - gone + 1)
