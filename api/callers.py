"""Who asks: the holder of an API key, or, while keys are off, this machine's user, who may do everything.

A route asks for a `ReaderDep`, `WriterDep` or `AdminDep`, before anything that reads the request's body.
"""

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.exc import SQLAlchemyError

from api.errors import responses
from api.headers import ASIDE
from api.known_keys import KnownKeys
from api.rates import Allowance, Rates
from api.this_machine import refuse_strangers
from models.admission import Quota
from models.database import Database
from models.errors import KeyNeeded, ScopeTooSmall, TooManyRequests
from models.keys import Key
from models.scopes import Scope
from models.settings import Settings

log = logging.getLogger(__name__)

#: The OpenAPI entries of what a caller may be told.
REFUSED = responses(401, 403, 429)

_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    description="`Authorization: Bearer bnlab_…`, a key that the service's operator has made. A service that listens "
    "to its own machine alone needs none.",
)


@dataclass(frozen=True)
class Caller:
    """Who asks; without a key, this machine's user."""

    key: Key | None = None

    @property
    def owner(self) -> UUID | None:
        """Whose is what is made now; None: nobody's."""
        return self.key.owner_id if self.key else None

    @property
    def sees(self) -> UUID | None:
        """Whose things are found; None: everybody's."""
        return None if self.key is None or self.key.scope is Scope.ADMIN else self.key.owner_id

    @property
    def in_logs(self) -> dict[str, str]:
        """Who it is, as a line of the log has it."""
        return {"key_id": str(self.key.id)} if self.key else {}

    def quota(self, settings: Settings) -> Quota | None:
        """Return how many of its experiments may be active; None: as many as there is room for."""
        if self.key is None:
            return None
        return Quota(self.key.owner_id, self.key.max_active_experiments or settings.max_active_experiments)


class Callers:
    """Knows callers by their keys, and counts their requests."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._known = KnownKeys(database)
        self._rates = Rates()
        self._wrong_keys = Rates()

    def close(self) -> None:
        """End what it has begun."""
        self._known.close()

    async def who(self, request: Request, text: str | None) -> Caller:
        """Return who asks. Raises KeyNeeded, RequestForbidden and TooManyRequests."""
        if self._settings.keys != "required":
            refuse_strangers(request)
            return Caller()
        key = await self._known.find(text) if text else None
        if key is None:
            address = request.client.host if request.client else None
            self._wrong_keys.count_wrong_key(address, self._settings.wrong_keys_per_minute)  # bounds the lines below
            log.info("A request without a valid key is refused.", extra={"action": "refuse", "address": address})
            raise KeyNeeded
        limit = key.requests_per_minute or self._settings.requests_per_minute
        within, allowance = self._rates.count(str(key.id), limit)
        setattr(request.state, ASIDE, allowance.headers())
        if not within:
            raise _too_many(allowance)
        return Caller(key)

    async def still_may(self, request: Request) -> bool:
        """Return False once the key of a request that was let in is known to be valid no longer; nothing is counted."""
        if self._settings.keys != "required":
            return True
        text = _key_in(request)
        try:
            return text is not None and await self._known.find(text) is not None
        except SQLAlchemyError:  # then it cannot be known, and there is nothing that could be told
            return True


def _too_many(allowance: Allowance) -> TooManyRequests:
    message = f"This API key may send {allowance.limit} requests in a minute; wait {allowance.reset_s} s."
    return TooManyRequests(message, limit=allowance.limit, retry_after_s=allowance.reset_s)


async def caller(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)] = None
) -> Caller:
    """Return who asks, once for each request: whatever is wrong with a key, it gets the same answer."""
    callers: Callers = request.app.state.callers
    return await callers.who(request, _key_in(request))


def _key_in(request: Request) -> str | None:
    """Return what stands behind `Bearer` in the one header for it; None where there is no such, or more than one."""
    found = [value for name, value in request.scope["headers"] if name == b"authorization"]
    if len(found) != 1:
        return None
    scheme, _, text = found[0].decode("latin-1").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None


def _with(needed: Scope) -> Callable[[Caller], Coroutine[Any, Any, Caller]]:
    async def check(found: Annotated[Caller, Depends(caller)]) -> Caller:
        return _checked(found, needed)

    return check


def _checked(found: Caller, needed: Scope) -> Caller:
    if found.key is not None and not found.key.scope.includes(needed):
        log.info("A key of scope %s is refused.", found.key.scope, extra={"action": "refuse", **found.in_logs})
        message = f"This needs an API key of scope {needed}, and this one has scope {found.key.scope}."
        raise ScopeTooSmall(message, needed=needed.value, scope=found.key.scope.value)
    return found


async def reader(request: Request) -> Caller:
    """Return who asks and may read, to a route that has no dependencies."""
    return _checked(await caller(request), Scope.READ)


ReaderDep = Annotated[Caller, Depends(_with(Scope.READ))]
WriterDep = Annotated[Caller, Depends(_with(Scope.WRITE))]
AdminDep = Annotated[Caller, Depends(_with(Scope.ADMIN))]
