"""The faults, by name: what is done to a running service, each at a moment drawn from one seed."""

import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from uuid import uuid4

from celery import Celery

from faults.saboteur import POINTS
from faults.servers import Postgres, Redis
from faults.service import LEASE_S, ServiceUnderTest, kill
from faults.verdict import REFUSED
from faults.work import Ledger
from models.broker import TRAIN_WAITING_ARMS, celery_options
from models.settings import Settings

POINT_PATIENCE_S, REFUSAL_PATIENCE_S = 12.0, 15.0
LANE = "cpu"  # the workers here have no GPU
GARBAGE = (b"no JSON", b"{}", b"null", b"\x80\x04\x95", b"[]", b"x" * 100_000)

#: Refuses what a worker writes as a full disk does.
POSTGRES_FULL = """
CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER disk_is_full BEFORE INSERT ON curve_points FOR EACH ROW EXECUTE FUNCTION disk_is_full();
CREATE TRIGGER disk_is_full BEFORE INSERT ON arm_events FOR EACH ROW EXECUTE FUNCTION disk_is_full();
"""
POSTGRES_HAS_SPACE = "DROP FUNCTION IF EXISTS disk_is_full() CASCADE"

#: Does something to the service and returns whether it met anything.
Fault = Callable[[], bool]


@dataclass
class Chaos:
    """One set-up and all that can be done to it."""

    service: ServiceUnderTest
    ledger: Ledger
    random: random.Random
    postgres: Postgres | None = None
    redis: Redis | None = None

    def faults(self) -> dict[str, Fault]:
        """Return every fault that this set-up can have."""
        found: dict[str, Fault] = {
            "kill the process that trains": self.kill_trainer,
            "kill a worker, not the process that trains for it": self.kill_parent,
            "kill a worker and the process that trains": self.kill_worker,
            "kill the API": lambda: kill(self.service.api()),
            "tell a worker to stop": lambda: kill(self.some(self.service.workers()), signal.SIGTERM),
            "freeze the process that trains beyond its lease": self.freeze_trainer,
            "garbage and twenty bells too many": self.ring_in_vain,
            "empty the broker": self.empty_broker,
            "disk full": self.fill_disk,
            "clock an hour ahead": lambda: self.wrong_clock(3_600),
            "clock an hour back": lambda: self.wrong_clock(-3_600),
            "racing cancel": self.race_cancel,
            "one key, eight threads": self.race_keys,
            **{f"kill at {point}": partial(self.kill_at, point) for point in POINTS},
        }
        if self.redis is not None:
            found["kill Redis"] = self.kill_redis
            found["freeze Redis"] = self.freeze_redis
        if self.postgres is not None:
            found["restart Postgres at once"] = self.restart_postgres
            found["end all connections of Postgres"] = self.end_connections
        return found

    def deck(self, only: Sequence[str] = ()) -> Iterator[tuple[str, Fault]]:
        """Yield the faults in a random order, again and again, so that each comes equally often; or those named."""
        while True:
            faults = self.faults()
            names = only or self.random.sample(list(faults), len(faults))
            yield from ((name, faults[name]) for name in names)

    def some(self, pids: list[int]) -> int | None:
        """Return one of some processes, None if there is none."""
        return self.random.choice(pids) if pids else None

    def holder(self) -> int | None:
        """Return a process that trains an arm just now."""
        alive = set(self.service.trainers())
        return self.some(sorted(pid for pid in self.service.holders().values() if pid in alive))

    # ------------------------------------------------------------------------------------------------ processes

    def kill_trainer(self) -> bool:
        """Kill a process that holds an arm."""
        return kill(self.holder())

    def kill_parent(self) -> bool:
        """Kill a worker's parent process; its child finds itself alone."""
        return kill(self.some(self.service.workers()))

    def kill_worker(self) -> bool:
        """Kill both processes of a worker, as the end of its host does."""
        worker, before = self.some(self.service.workers()), self.service.trainers()
        if not kill(worker):
            return False
        for pid in set(before) - set(self.service.trainers()):  # no longer any worker's
            kill(pid)
        return True

    def freeze_trainer(self) -> bool:
        """Stop a process that holds an arm until another has it, and let it go on: it writes, and is refused."""
        pid = self.holder()
        if not kill(pid, signal.SIGSTOP):
            return False
        refused = self.service.logs().count(REFUSED)
        time.sleep(LEASE_S + self.random.uniform(1.5, 3.0))
        if not kill(pid, signal.SIGCONT):
            return False
        end = time.monotonic() + REFUSAL_PATIENCE_S  # it may compile until then, and the next fault may end it
        while time.monotonic() < end and self.service.logs().count(REFUSED) == refused:
            time.sleep(0.1)
        return True

    def kill_at(self, point: str) -> bool:
        """Let the next process that passes a point die there; what leads to it is brought about."""
        self.service.arm_point(point)
        if point.startswith("give_back"):
            kill(self.some(self.service.workers()), signal.SIGTERM)
        elif point.startswith("return"):
            kill(self.holder())
        elif point.startswith("create"):
            Thread(target=self.ledger.submit, args=(self.service, self.random.randrange(self.ledger.specs))).start()
        end = time.monotonic() + POINT_PATIENCE_S
        while time.monotonic() < end and (self.service.levers / "kill" / point).exists():
            time.sleep(0.05)
        return self.service.disarm_point(point)

    # --------------------------------------------------------------------------------------------------- broker

    def ring_in_vain(self) -> bool:
        """Send messages that are none, and twenty bells for nothing."""
        if self.redis is not None:
            for message in GARBAGE:
                self.redis.client.lpush(LANE, message)
        else:
            for message in GARBAGE:
                (self._messages / f"{uuid4().hex}_garbage.{LANE}.msg").write_bytes(message)
        broker = self.redis.url if self.redis else "filesystem://"
        celery = Celery("faults", set_as_current=False)
        celery.conf.update(celery_options(Settings(state_dir=self.service.state_dir, broker_url=broker)))
        for _ in range(20):
            celery.send_task(TRAIN_WAITING_ARMS, queue=LANE)
        return True

    def empty_broker(self) -> bool:
        """Let all messages vanish."""
        if self.redis is not None:
            self.redis.client.flushall()
        else:
            for message in self._messages.iterdir():
                message.unlink(missing_ok=True)
        return True

    def kill_redis(self) -> bool:
        """Kill Redis and start an empty one."""
        assert self.redis is not None
        self.redis.kill_and_restart(self.random.uniform(0.5, 3.0))
        return True

    def freeze_redis(self) -> bool:
        """Let Redis answer nothing for a while."""
        assert self.redis is not None
        self.redis.freeze(self.random.uniform(2.0, 10.0))
        return True

    @property
    def _messages(self) -> Path:
        return self.service.state_dir / "broker" / "queue"

    # ------------------------------------------------------------------------------------- database, disk, clock

    def restart_postgres(self) -> bool:
        """End Postgres as a crash does, and start it again."""
        assert self.postgres is not None
        self.postgres.restart_at_once(self.random.uniform(0.0, 3.0))
        return True

    def end_connections(self) -> bool:
        """End all connections to Postgres."""
        assert self.postgres is not None
        self.postgres.end_connections()
        return True

    def fill_disk(self) -> bool:
        """Let the database find no space for a while."""
        if self.postgres is not None:
            database = self.service.database.engine.url.database or ""
            self.postgres.execute(POSTGRES_FULL, database)
            time.sleep(self.random.uniform(1.0, 3.0))
            self.postgres.execute(POSTGRES_HAS_SPACE, database)
        else:
            self.service.fill_disk(True)
            time.sleep(self.random.uniform(1.0, 3.0))
            self.service.fill_disk(False)
        return True

    def wrong_clock(self, by_s: float) -> bool:
        """Set the clock wrong for a while: of one worker's host, or of the only one there is."""
        worker = self.some(self.service.workers())
        if worker is None:
            return False
        self.service.set_clock(by_s, str(worker) if self.postgres else "all")
        time.sleep(self.random.uniform(1.0, 3.0))
        self.service.set_clock(0)
        return True

    # ---------------------------------------------------------------------------------------------------- races

    def race_cancel(self) -> bool:
        """Submit an experiment and cancel it at any moment of its life."""
        id = self.ledger.submit(self.service, self.random.randrange(self.ledger.specs))
        if id is None:
            return False
        time.sleep(self.random.uniform(0.0, 4.0))
        self.ledger.cancel(self.service, id)
        return True

    def race_keys(self) -> bool:
        """Submit one experiment with one key from eight threads."""
        return self.ledger.submit(self.service, self.random.randrange(self.ledger.specs), threads=8) is not None
