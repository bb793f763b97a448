"""The experiments under test: eight settings, what each gives undisturbed, and a ledger of what was accepted."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select

from bnlab.errors import ApiProblem, ServerUnreachable
from faults.service import ServiceUnderTest
from models import curves
from models.arms import Sample
from models.database import Database
from models.spec import ArmName
from models.tables import Arm, Network

_SHAPE = {"hidden_layers": [32, 32], "dataset": "mnist-5k", "learning_rate": 0.05}
_CONVOLUTIONAL = {"network": "convolutional", "feature_maps": [4, 8], "dataset": "mnist-5k"}
_RECURRENT = {"network": "recurrent", "units": 16, "dataset": "mnist-5k"}
SPECS: list[dict[str, Any]] = [
    {**_SHAPE, "seed": 1, "training_batches": 2_000, "batches_per_sample": 50},
    {**_CONVOLUTIONAL, "seed": 7, "training_batches": 400, "batches_per_sample": 20},
    {**_RECURRENT, "seed": 8, "training_batches": 400, "batches_per_sample": 20},
    {**_SHAPE, "seed": 2, "training_batches": 8_000, "batches_per_sample": 200},
    {**_SHAPE, "seed": 3, "training_batches": 20_000, "batches_per_sample": 500},
    {**_SHAPE, "seed": 4, "training_batches": 4_000, "batches_per_sample": 200, "replicates": 2},
    {**_SHAPE, "seed": 5, "training_batches": 8_000, "batches_per_sample": 100, "activation": "sigmoid"},
    {**_SHAPE, "seed": 6, "training_batches": 1_000, "batches_per_sample": 20, "learning_rate": 5.0},
]
#: So long that whatever is done to it happens in its middle.
LONG: dict[str, Any] = {**_SHAPE, "seed": 9, "training_batches": 1_000_000, "batches_per_sample": 250}

SUBMITTING_S = 120.0

#: For each arm its points and the hashes of its networks.
Outcome = dict[ArmName, tuple[list[Sample], list[str]]]


def outcome(database: Database, experiment_id: str) -> Outcome:
    """Return what an experiment has come to, to the bit."""
    found: Outcome = {}
    with database.read() as session:
        curve = curves.read(session, UUID(experiment_id))
        for name in ArmName:
            hashes = (
                select(Network.arrays_sha256)
                .join(Arm, Arm.id == Network.arm_id)
                .where(Arm.experiment_id == UUID(experiment_id), Arm.name == name)
                .order_by(Network.replicate)
            )
            found[name] = (curve[name], list(session.scalars(hashes)))
    return found


def references(service: ServiceUnderTest, specs: int) -> list[Outcome]:
    """Train so many of SPECS twice each, undisturbed, and return what each gives. Raises if two differ."""
    with service.client as client:
        pairs = [[str(client.submit(**spec)["id"]) for _ in range(2)] for spec in SPECS[:specs]]
        for id in (id for pair in pairs for id in pair):
            assert client.wait(id, timeout_s=300)["status"] == "succeeded"
    found = [[outcome(service.database, id) for id in pair] for pair in pairs]
    assert all(one == other for one, other in found), "two undisturbed runs differ"
    return [one for one, _ in found]


@dataclass
class Ledger:
    """What users were told: each accepted experiment's id, its setting, and whether somebody asked to cancel it."""

    specs: int  # so many of SPECS are submitted
    accepted: dict[str, int] = field(default_factory=dict)  # id: which of SPECS
    to_be_cancelled: set[str] = field(default_factory=set)
    contradictions: list[str] = field(default_factory=list)  # one key, two answers

    def submit(self, service: ServiceUnderTest, number: int, key: str | None = None, threads: int = 1) -> str | None:
        """Submit one of SPECS until it is accepted, by several threads with one key; return its id.

        None if the service did not accept it in a long time.
        """
        key = key or uuid4().hex
        with ThreadPoolExecutor(threads) as pool:
            ids = set(pool.map(lambda _: _submitted(service, SPECS[number], key), range(threads))) - {None}
        if len(ids) > 1:
            self.contradictions.append(f"{key}: {ids}")
        for id in ids:
            assert id is not None
            self.accepted[id] = number
        return next(iter(ids), None)

    def cancel(self, service: ServiceUnderTest, id: str) -> None:
        """Ask for an experiment's end, until the service has heard it."""
        self.to_be_cancelled.add(id)
        end = time.monotonic() + SUBMITTING_S
        while time.monotonic() < end:
            try:
                with service.client as client:
                    client.cancel(id)
                return
            except ApiProblem as problem:
                if problem.status == 409:  # it has ended before
                    return
            except ServerUnreachable:
                pass
            time.sleep(0.2)


def _submitted(service: ServiceUnderTest, spec: dict[str, Any], key: str) -> str | None:
    end = time.monotonic() + SUBMITTING_S
    while time.monotonic() < end:
        try:
            with service.client as client:
                return str(client.submit(idempotency_key=key, **spec)["id"])
        except (ServerUnreachable, ApiProblem) as error:
            if isinstance(error, ApiProblem) and error.status not in (429, 502, 503, 504):
                raise
            time.sleep(0.2)
    return None


class Feeder:
    """A thread that keeps some experiments waiting until so many have been accepted."""

    def __init__(self, service: ServiceUnderTest, ledger: Ledger, count: int, waiting: int = 4) -> None:
        self._service, self._ledger, self._count, self._waiting = service, ledger, count, waiting
        self._ended = threading.Event()
        self.refused = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether all have been accepted."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Accept no more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        for number in range(self._count):
            while self._unfinished() >= self._waiting and not self._ended.wait(0.2):
                pass
            if self._ended.is_set():
                return
            if self._ledger.submit(self._service, number % self._ledger.specs) is None:
                self.refused += 1

    def _unfinished(self) -> int:
        try:
            with self._service.client as client:
                page = client.experiments(limit=100)["experiments"]
        except (ServerUnreachable, ApiProblem):
            return self._waiting
        return sum(experiment["status"] in ("queued", "running") for experiment in page)
