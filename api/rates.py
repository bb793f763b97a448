"""How often each caller has asked in the last minute, and the headers that tell of it.

Each process of the API counts by itself, in its own memory: behind two of them, a key has up to twice its limit.
"""

import math
import time
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from models.errors import TooManyRequests

WINDOW_S = 60

#: While so many counts are kept, addresses that are new share one of them. It bounds the memory.
MOST_COUNTS = 2_000


@dataclass(frozen=True)
class Allowance:
    """What is left of a limit after a request: so many more until, in so many seconds, there is room again."""

    limit: int
    remaining: int
    reset_s: int

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that say so (draft-ietf-httpapi-ratelimit-headers)."""
        return [
            (b"ratelimit-policy", f'"default";q={self.limit};w={WINDOW_S}'.encode()),
            (b"ratelimit", f'"default";r={self.remaining};t={self.reset_s}'.encode()),
        ]


class Rates:
    """The counts of one process: two numbers for each caller of the last two minutes."""

    def __init__(self) -> None:
        self._storage = MemoryStorage()
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)

    def count(self, who: str, limit: int) -> tuple[bool, Allowance]:
        """Count a request, and return whether it is within the limit, and what is left of that."""
        item = _per_minute(limit)
        within = self._limiter.hit(item, who)
        reset_time, remaining = self._limiter.get_window_stats(item, who)
        reset_s = min(max(math.ceil(reset_time - time.time()), 1), WINDOW_S)
        return within, Allowance(limit, remaining if within else 0, reset_s)

    def count_wrong_key(self, address: str | None, limit: int) -> None:
        """Count a request without a valid key by where it came from. Raises TooManyRequests."""
        who = network_of(address)
        if len(self._storage.storage) >= MOST_COUNTS and self._is_new(who, limit):
            who = "any other"
        within, allowance = self.count(who, limit)
        if not within:
            message = (
                f"More than {limit} requests without a valid API key came from this address within a minute; "
                f"wait {allowance.reset_s} s."
            )
            raise TooManyRequests(message, retry_after_s=allowance.reset_s)

    def _is_new(self, who: str, limit: int) -> bool:
        return self._limiter.get_window_stats(_per_minute(limit), who).remaining == limit


@lru_cache(maxsize=256)
def _per_minute(limit: int) -> RateLimitItemPerMinute:
    return RateLimitItemPerMinute(limit)


def network_of(address: str | None) -> str:
    """Return what is counted as one address: of IPv6 the /64 network, which is what one subscriber has."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return "unknown"
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
