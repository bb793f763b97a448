"""What one worker process keeps: its settings, its database, the data sets it has loaded, and the word to stop."""

import logging
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from functools import cache
from multiprocessing.sharedctypes import RawValue
from typing import TYPE_CHECKING
from uuid import uuid4

from billiard import current_process

from models import datasets
from models.arms import Fingerprint, device_name
from models.database import Database
from models.datasets import Dataset
from models.errors import DatasetUnavailable
from models.settings import Settings, read_settings
from models.spec import DatasetName, NetworkKind
from models.tracing import Tracer
from worker.devices import VARIABLE, Devices, disagreement, of_this_worker
from worker.slots import Slots

if TYPE_CHECKING:
    from worker.resident import ResidentData

log = logging.getLogger(__name__)

_ONE_AT_A_TIME = threading.Lock()


@cache
def settings() -> Settings:
    """Return the settings of this process."""
    return read_settings()


class Stop:
    """The word to stop: the parent says it, its threads wait for it, the processes it has forked see it.

    There is no lock in the memory they share: a process that is killed would hold it for ever.
    """

    def __init__(self) -> None:
        self._said, self._said_here = RawValue("b", 0), threading.Event()

    def set(self) -> None:
        """Say it; only the parent may."""
        self._said.value = 1
        self._said_here.set()

    def is_set(self) -> bool:
        """Return whether it was said."""
        return bool(self._said.value)

    def wait(self, seconds: float) -> bool:
        """Wait for it so long, in a thread of the parent, and return whether it was said."""
        return self._said_here.wait(seconds)


@cache
def stopping() -> Stop:
    """Return the word to stop; made before the fork, so the child that trains sees it too and gives its arm back."""
    return Stop()


@cache
def parent() -> int:
    """Return the process that forked this one; asked first right after the fork."""
    return os.getppid()


def stops() -> bool:
    """Return whether this process should train no more: it was told to stop, or its parent is gone."""
    return stopping().is_set() or os.getppid() != parent()


@cache
def worker() -> str:
    """Return this worker's name: host, parent process and a random word; the parent asks first, before it forks."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"


def name() -> str:
    """Return this process's name in the database: its worker's, and its own number."""
    return f"{worker()}/{os.getpid()}"


@cache
def devices() -> Devices:
    """Return what this worker trains on; the parent decides, before it forks."""
    return of_this_worker(settings().device)


@cache
def slots() -> Slots:
    """Return what the processes of this worker tell their parent; made before the fork."""
    return Slots()


def index() -> int:
    """Return this process's number among those of its worker, from 0; a new one in the place of another has its."""
    number: int = getattr(current_process(), "index", 0)
    return number


def child_lives(name: str) -> bool:
    """Return whether a process of this worker, named as `name` names it, lives; only its parent may ask."""
    try:
        os.kill(int(name.rpartition("/")[2]), 0)
    except ProcessLookupError:
        return False
    return True


def end_at_once() -> None:
    """End this process as a crash does: its training hangs, and no word reaches it."""
    os.kill(os.getpid(), signal.SIGKILL)


def database() -> Database:
    """Return the database of this process: parent and child each make their own, connections never cross a fork."""
    return _database(os.getpid())


@cache
def _database(_pid: int) -> Database:
    return Database(settings().database_url)


def tracer() -> Tracer:
    """Return the tracer of this process: it has a thread, which does not cross a fork."""
    return _tracer(os.getpid())


@cache
def _tracer(_pid: int) -> Tracer:
    return Tracer("bnlab-worker")


def preload() -> None:
    """Load the default data set if it is at hand; every process that is forked later has it at once."""
    with suppress(DatasetUnavailable):
        _loaded(settings().dataset)


def dataset(name: DatasetName) -> Dataset:
    """Return a data set, fetched if need be. Raises DatasetUnavailable."""
    try:
        return _loaded(name)
    except DatasetUnavailable:
        if name != "mnist":
            raise
        datasets.fetch_mnist(settings().data_dir, settings().mnist_mirrors, lambda *_: None)
        return _loaded(name)


@cache
def _loaded(name: DatasetName) -> Dataset:
    return datasets.load(name, settings().data_dir)


def resident_data(name: DatasetName, network: NetworkKind) -> "ResidentData":
    """Return a data set on the device, as a kind of network wants it. Raises DatasetUnavailable."""
    with _ONE_AT_A_TIME:  # who warms up and who trains ask for it at one moment
        return _resident_data(name, network)


@cache
def _resident_data(name: DatasetName, network: NetworkKind) -> "ResidentData":
    from worker.resident import ResidentData  # TensorFlow: after the fork, never at import

    return ResidentData(dataset(name), network)


def prepare() -> bool:
    """Import TensorFlow and tell it its threads and its GPU, and return whether that is what this process trains on.

    The first call takes seconds.
    """
    from worker.tensorflow_setup import prepare_tensorflow

    tracer()  # it loads a library, while no arm is held
    shown = devices().of_process(index())
    if shown is not None:
        os.environ[VARIABLE] = shown
    prepare_tensorflow(settings().threads)
    found = fingerprint()
    wrong = disagreement(devices().lane, found["device"])
    if wrong is not None:
        slots().takes_nothing(index(), wrong)
        return False
    slots().trains_on(index(), device_name(found) or "")
    return True


def fingerprint() -> Fingerprint:
    """Return what trains here; TensorFlow must have been prepared."""
    from worker.fingerprint import fingerprint

    return fingerprint(settings().threads)


def warm_up() -> None:
    """Do what the first arm would otherwise wait for: import TensorFlow, load the default data set."""
    begin = time.monotonic()
    try:
        if not prepare():
            log.error("This process takes no arms; its worker will say why.", extra={"action": "warm_up"})
            return
        seconds, trains_on = time.monotonic() - begin, device_name(fingerprint())
        log.info("TensorFlow is ready after %.1f s; it trains on %s.", seconds, trains_on, extra={"action": "warm_up"})
        resident_data(settings().dataset, "dense")
    except Exception:  # the arm that needs it will fail with a reason
        log.exception("This worker could not warm up.", extra={"action": "warm_up"})
