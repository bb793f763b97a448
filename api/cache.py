"""The trained networks that are ready to answer; the least recently asked one leaves first."""

from collections import OrderedDict
from functools import partial
from threading import Lock
from uuid import UUID

from api.shared_looks import SharedLooks
from models import networks
from models.database import Database
from models.networks import StoredNetwork
from models.spec import ArmName

#: Whose network: the experiment's, its arm, which repeat.
Place = tuple[UUID, ArmName, int]


class NetworkCache:
    """A few loaded networks, at least the last one. A stored network never changes, so a cached one is never stale."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._ready: OrderedDict[Place, StoredNetwork] = OrderedDict()
        self._lock = Lock()
        self._loading = Lock()
        self._looks: SharedLooks[UUID] = SharedLooks()

    async def newest(self, database: Database, owner: UUID | None = None) -> UUID:
        """Return the experiment that succeeded last, of this owner or of all. Raises NothingTrained if none has."""
        return await self._looks.find(owner, partial(_newest, database, owner))

    def ready(self, place: Place, owner: UUID | None = None) -> StoredNetwork | None:
        """Return the network if it is loaded, and if it is this owner's; of None, everybody's are."""
        with self._lock:
            found = self._ready.get(place)
            if found is None or owner not in (None, found.owner_id):
                return None
            self._ready.move_to_end(place)
            return found

    def load(self, database: Database, place: Place, owner: UUID | None = None) -> StoredNetwork:
        """Return the network, read from the database if need be; raises what `models.networks.read` raises."""
        with self._loading:  # one after the other: many at once would each take the memory of a network
            found = self.ready(place, owner)
            if found is not None:
                return found
            with database.read() as session:
                found = networks.read(session, *place, owner)
            with self._lock:
                self._ready[place] = found
                while len(self._ready) > 1 and self._bytes() > self._most_bytes:
                    self._ready.popitem(last=False)
            return found

    def _bytes(self) -> int:
        return sum(trained.network.size_bytes for trained in self._ready.values())


def _newest(database: Database, owner: UUID | None) -> UUID:
    with database.read() as session:
        return networks.newest_succeeded(session, owner)
