"""Clients that mean harm, as light as they can be made: slow ones, and ones with bodies of ten megabytes.

`python -m bench.attackers PORT SECONDS HEADER_TIMEOUT_S BODY_TIMEOUT_S` attacks, and prints the answers as JSON.
"""

import asyncio
import json
import os
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import cycle
from typing import Any

SLOW_OF_EACH_KIND = 67
FLOODERS = 6
BODY_BYTES = 10_000_000
PIECE_BYTES = 131_072
REQUESTS_AHEAD = 12

#: What the flood consists of: where to, and a body of ten megabytes.
IMAGE = b"[" + b",".join([b"0.123456789012"] * 784) + b"]"
BODIES: dict[str, tuple[str, bytes]] = {
    "many images": ("/predict", b'{"images":[' + b",".join([IMAGE] * (BODY_BYTES // len(IMAGE) - 1)) + b"]}"),
    "many fields": ("/predict", b"{" + b",".join(b'"%06d":1' % i for i in range(BODY_BYTES // 11)) + b"}"),
    "nested lists": ("/predict", b'{"image":' + b"[" * BODY_BYTES),
    "one text": ("/predict", b'{"arm":"' + b"a" * BODY_BYTES + b'"}'),
    "a spec": ("/experiments", b"{" + b",".join(b'"%06d":1' % i for i in range(BODY_BYTES // 11)) + b"}"),
}


class Attack:
    """Attackers that begin again whenever they are cut, and what became of them."""

    def __init__(self, port: int, seconds: float, header_timeout_s: float, body_timeout_s: float) -> None:
        self._port = port
        self._end = time.monotonic() + seconds
        self._header_timeout_s, self._body_timeout_s = header_timeout_s, body_timeout_s
        self.lives: dict[str, list[float]] = {"slow heads": [], "slow bodies": [], "no reading": []}
        self.survivors = 0
        self.answers: Counter[str] = Counter()

    async def run(self) -> dict[str, Any]:
        """Attack until the end, and tell."""
        kinds = (("slow heads", self._slow_head), ("slow bodies", self._slow_body), ("no reading", self._no_reading))
        slow = [self._repeat(partial(self._live, kind, one)) for kind, one in kinds for _ in range(SLOW_OF_EACH_KIND)]
        kind = cycle(BODIES)
        floods = [self._repeat(lambda: self._flood(next(kind))) for _ in range(FLOODERS)]
        await asyncio.gather(*slow, *floods)
        longest = {kind: max(lives, default=0.0) for kind, lives in self.lives.items()}
        cut = sum(len(lives) for lives in self.lives.values())
        return {"cut": cut, "longest_s": longest, "survivors": self.survivors, "answers": dict(self.answers)}

    async def _repeat(self, once: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(random.uniform(0, self._body_timeout_s))  # not all in step
        while time.monotonic() < self._end:
            try:
                await once()
            except OSError:
                await asyncio.sleep(0.05)

    async def _live(self, kind: str, one: Callable[..., Awaitable[bool]]) -> None:
        async with self._connected() as (reader, writer):
            begin = time.monotonic()
            cut = False
            with suppress(ConnectionError):
                cut = await one(reader, writer)
            cut = cut or reader.at_eof() or writer.is_closing()
        if cut:
            self.lives[kind].append(time.monotonic() - begin)
        else:
            self.survivors += 1

    async def _slow_head(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        return await self._trickle(reader, writer, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"a" * 100)

    async def _slow_body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = b"POST /experiments HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(head + b"Content-Length: 200000\r\n\r\n" + b" " * 100_000)
        return await self._trickle(reader, writer, b" " * 100)

    async def _trickle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bool:
        """Send a byte a second until an answer or an end comes."""
        answer = asyncio.ensure_future(reader.read(100))
        for byte in text:
            writer.write(bytes([byte]))
            done, _ = await asyncio.wait([answer], timeout=1.0)
            if done:
                self.answers[_status(answer.result())] += 1
                return True
        return False

    async def _no_reading(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Ask for much, take nothing for so long that it must have been cut, then see whether all is there."""
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a socket's transport
        writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * REQUESTS_AHEAD)
        await asyncio.sleep(self._body_timeout_s * 1.25 + 1.5)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        whole = await asyncio.wait_for(reader.read(), self._body_timeout_s)
        self.answers["part of an answer" if whole.count(b"HTTP/1.1 200") < REQUESTS_AHEAD else "all answers"] += 1
        return whole.count(b"HTTP/1.1 200") < REQUESTS_AHEAD

    async def _flood(self, kind: str) -> None:
        path, body = BODIES[kind]
        async with self._connected() as (reader, writer):
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
            answer = asyncio.ensure_future(reader.read(100))
            with suppress(ConnectionError):
                for begin in range(0, len(body), PIECE_BYTES):
                    writer.write(body[begin : begin + PIECE_BYTES])
                    await writer.drain()
                    if answer.done():
                        break
            with suppress(ConnectionError):
                self.answers[f"{kind}: {_status(await answer)}"] += 1

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)  # little waits unread on this side
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._port))
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


def _status(answer: bytes) -> str:
    return answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/1.1 ") else "cut"


if __name__ == "__main__":
    os.nice(10)  # what is measured has the first right to the processor
    port, *times = sys.argv[1:]
    print(json.dumps(asyncio.run(Attack(int(port), *map(float, times)).run())))
