"""One look at the database for all who ask the same at one moment, and never an answer older than its question."""

import asyncio
from collections.abc import Callable, Hashable
from functools import partial
from typing import Generic, TypeVar

from anyio import to_thread

Found = TypeVar("Found")


class SharedLooks(Generic[Found]):
    """The looks that are under way, and for each the one that comes after it: those who ask meanwhile share that."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[Found]] = {}
        self._coming: dict[Hashable, asyncio.Task[Found]] = {}

    async def find(self, what: Hashable, look: Callable[[], Found]) -> Found:
        """Return what a look finds, taken in a thread; or raise what it raises. Looks for the same thing are equal."""
        coming = self._coming.get(what)
        if coming is None:
            coming = self._coming[what] = asyncio.create_task(self._take(what, look))
            coming.add_done_callback(partial(self._ended, what))
        return await asyncio.shield(coming)  # whoever goes away does not take it from the others

    async def _take(self, what: Hashable, look: Callable[[], Found]) -> Found:
        if what in self._running:  # it began before somebody asked: what it finds may be out of date
            await asyncio.wait({self._running[what]})
        mine = self._running[what] = self._coming.pop(what)
        try:
            return await to_thread.run_sync(look)
        finally:
            if self._running.get(what) is mine:
                del self._running[what]

    def _ended(self, what: Hashable, look: asyncio.Task[Found]) -> None:
        if self._coming.get(what) is look:  # it was cancelled before it began
            del self._coming[what]
        if not look.cancelled():
            look.exception()  # told to those who wait; if nobody is left, to nobody
