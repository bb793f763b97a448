"""Load: one request over and over on so many connections, each waiting for its answer, and what that took."""

import asyncio
import time
from dataclasses import dataclass

import numpy as np

#: The first answers are not counted: connections are made, networks loaded.
WARM_UP_S = 0.5


@dataclass(frozen=True)
class Load:
    """What came of it: answers per second, and milliseconds per answer."""

    per_second: float
    p50_ms: float
    p99_ms: float


def request_of(path: str, body: bytes, media_type: str = "application/json") -> bytes:
    """Return a POST request as it is sent."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def loaded(port: int, request: bytes, connections: int, seconds: float) -> Load:
    """Return how a server at a port bears so many connections. Raises ConnectionError at any answer but 200."""
    return asyncio.run(_loaded(port, request, connections, seconds))


async def _loaded(port: int, request: bytes, connections: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    begin = time.perf_counter() + WARM_UP_S
    clients = [_Client(request, begin, begin + seconds) for _ in range(connections)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*(client.over for client in clients))
    times = np.array([taken for client in clients for taken in client.times]) * 1_000
    p50, p99 = np.percentile(times, [50, 99])
    return Load(len(times) / seconds, float(p50), float(p99))


class _Client(asyncio.Protocol):
    """One connection: sends, waits for the whole answer, sends again."""

    def __init__(self, request: bytes, begin: float, end: float) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.times: list[float] = []
        self._request, self._begin, self._end = request, begin, end
        self._came, self._sent = b"", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, separator, body = self._came.partition(b"\r\n\r\n")
        if not separator or len(body) < _length(head):
            return
        if b" 200 " not in head[:16]:
            self._fail(self._came[:500].decode(errors="replace"))
            return
        now = time.perf_counter()
        if self._begin <= self._sent and now <= self._end:
            self.times.append(now - self._sent)
        if now < self._end:
            self._came = b""
            self._send()
        elif not self.over.done():
            self.over.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection ended")

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def _fail(self, words: str) -> None:
        if not self.over.done():
            self.over.set_exception(ConnectionError(words))


def _length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
