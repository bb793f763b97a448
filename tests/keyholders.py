"""Holders of API keys, and an API that needs them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from conftest import LOOPBACK, RecordingBells
from fastapi.testclient import TestClient
from httpx2 import Response

from api.app import create_app
from models import keys
from models.database import Database
from models.scopes import Scope
from models.settings import Settings


@contextmanager
def keyed_api(settings: Settings, bells: RecordingBells | None = None, **changed: Any) -> Iterator[TestClient]:
    """Give an API that takes no request without a key."""
    app = create_app(settings.model_copy(update={"keys": "required", **changed}))
    app.state.bells = bells or RecordingBells()
    with TestClient(app, base_url=LOOPBACK, raise_server_exceptions=False) as client:
        yield client


@dataclass(frozen=True)
class Holder:
    """Somebody with a key, and an API to use it on."""

    api: TestClient
    id: UUID
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def get(self, path: str) -> Response:
        return self.api.get(path, headers=self.headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Response:
        return self.api.post(path, json=body, headers={**self.headers, **headers})


def holder(api: TestClient, database: Database, scope: Scope = Scope.WRITE, **limits: Any) -> Holder:
    """Make a key, and return who holds it."""
    with database.write() as session:
        row, text = keys.create(session, f"a {scope} key", scope, **limits)
    return Holder(api, row.id, text)


def another_of(one: Holder, database: Database, scope: Scope) -> Holder:
    """Make one more key for its owner, and return who holds it."""
    return holder(one.api, database, scope, owner_id=one.id)


def revoked(api: TestClient, database: Database) -> Holder:
    """Return who holds a key that was revoked."""
    found = holder(api, database, Scope.ADMIN)
    with database.write() as session:
        assert keys.revoke(session, found.id)
    return found


def expired(api: TestClient, database: Database) -> Holder:
    """Return who holds a key that has expired."""
    return holder(api, database, Scope.ADMIN, expires_in_s=-3_600)
