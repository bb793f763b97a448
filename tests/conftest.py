"""What tests stand on: both databases, both brokers, the digits, an API with a recording bell; and what was used."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, sync_playwright
from visitors import Visitor

from api.app import create_app
from faults.servers import Postgres, Redis, as_administrator, redis_program
from models import datasets
from models.database import Database
from models.datasets import Dataset
from models.errors import DatasetUnavailable
from models.settings import Settings
from models.spec import Device, Spec

pytest.register_assert_rewrite(
    "builders", "stack", "stack_compose", "stack_up"
)  # helpers whose assertions explain themselves too

ROOT = Path(__file__).parents[1]

#: Where an API in this process is asked: while keys are off, it answers nowhere else.
LOOPBACK = "http://127.0.0.1"

#: What the tests really ran against, printed at the end.
USED: dict[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    """Take the user's settings out of the environment, but for the folder with the full MNIST files."""
    data_dir = os.environ.get("BNLAB_DATA_DIR")
    for name in [name for name in os.environ if name.startswith("BNLAB_")]:
        del os.environ[name]
    config.stash[DATA_DIR] = Path(data_dir).absolute() if data_dir else None
    hypothesis.settings.register_profile("bnlab", deadline=None)  # other processes share these cores
    hypothesis.settings.load_profile("bnlab")


DATA_DIR = pytest.StashKey[Path | None]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("ran against")
    for what, which in sorted(USED.items()):
        terminalreporter.write_line(f"{what}: {which}")


def wait_until(true: Callable[[], bool], timeout_s: float = 60, what: str = "it") -> None:
    """Wait, bounded, until something is true."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, f"{what} did not happen within {timeout_s:g} s"
        time.sleep(0.02)


# ------------------------------------------------------------------------------------------------- databases


def migrate(url: str) -> None:
    """Run the migrations as a user does."""
    environment = {**os.environ, "BNLAB_DATABASE_URL": url}
    subprocess.run([sys.executable, "-m", "migrations"], cwd=ROOT, env=environment, check=True, timeout=60)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite3"
    migrate(f"sqlite:///{path}")
    USED["database, embedded"] = f"SQLite {sqlite3.sqlite_version}"
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A real Postgres, from a package."""
    with Postgres() as server:
        USED["database, production"] = server.version
        yield server


@pytest.fixture(scope="session")
def postgres(postgres_server: Postgres) -> str:
    """Its address, without the database's name."""
    return postgres_server.address


@pytest.fixture(scope="session")
def migrated_postgres(postgres: str) -> str:
    """The name of a migrated Postgres database, to be copied."""
    create_database(postgres, "template_bnlab", "template0")
    migrate(postgres.format("template_bnlab"))
    return "template_bnlab"


def create_database(address: str, name: str, template: str) -> None:
    as_administrator(address, f"CREATE DATABASE {name} TEMPLATE {template}")


@pytest.fixture
def new_postgres_url(postgres: str, migrated_postgres: str) -> str:
    """The address of a fresh, migrated Postgres database."""
    name = f"test_{uuid4().hex}"
    create_database(postgres, name, migrated_postgres)
    return postgres.format(name)


@pytest.fixture
def new_sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """The address of a fresh, migrated SQLite database."""
    return f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'bnlab.sqlite3')}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database: a test that asks for it runs on both kinds."""
    url: str = request.getfixturevalue(f"new_{request.param}_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()


# --------------------------------------------------------------------------------------------------- brokers


def redis_or_skip() -> str:
    """Return the Redis server; without one, skip, aloud."""
    program = redis_program()
    if program is None:
        USED["broker, production"] = "NOT TESTED: no redis-server on this machine, and no package for this Python"
        pytest.skip("there is no redis-server on this machine, and the package with one has none for this Python")
    return program


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Redis: the machine's, else the one inside a package."""
    program = redis_or_skip()
    with Redis(program, tmp_path_factory.mktemp("redis")) as server:
        USED["broker, production"] = f"Redis {server.version} ({program})"
        yield server.url


# ------------------------------------------------------------------------------------------------ a browser


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", type=Path, help="Folder for the pictures that tests of the page take.")


@pytest.fixture(scope="session")
def screenshots(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of the page go: a folder that is forgotten, unless one is named."""
    folder = pytestconfig.getoption("--screenshots") or tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return Path(folder)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A real Chromium: the machine's. It is closed with its file of tests: its driver keeps the thread's event loop."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        USED["browser"] = "NOT TESTED: no Chromium on this machine (on Debian: apt-get install chromium)"
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])  # root has no sandbox
        USED["browser"] = f"Chromium {browser.version} ({program})"
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium: Browser) -> Iterator[Visitor]:
    """Somebody with a browser; in the end nothing may have gone wrong in it, and nothing been loaded from elsewhere."""
    with closing(Visitor(chromium)) as somebody:
        yield somebody
        assert somebody.complaints == []


# ------------------------------------------------------------------------------------------- data and the API


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The small data set of real digits."""
    USED["data set, small"] = "mnist-5k"
    return datasets.load("mnist-5k", Path())


@pytest.fixture(scope="session")
def full_mnist_dir(pytestconfig: pytest.Config) -> Path:
    """The folder with the full MNIST files; the test is skipped, aloud, where there is none."""
    data_dir = pytestconfig.stash[DATA_DIR]
    try:
        if data_dir is None:
            raise DatasetUnavailable("BNLAB_DATA_DIR names no folder")
        datasets.load_test_digits("mnist", data_dir)
    except DatasetUnavailable as error:
        USED["data set, full"] = f"NOT TESTED: {error.message}"
        pytest.skip(f"the full MNIST files are not at hand: {error.message}")
    USED["data set, full"] = f"mnist in {data_dir}"
    return data_dir


@pytest.fixture(scope="session")
def full_mnist(full_mnist_dir: Path) -> Dataset:
    return datasets.load("mnist", full_mnist_dir)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings for a folder and a database of the test's own."""
    return Settings(state_dir=tmp_path, database_url=database_url, dataset="mnist-5k")


class RecordingBells:
    """A bell that notes for how many arms it was rung, each time, and which device they ask for."""

    def __init__(self) -> None:
        self.rung: list[int] = []
        self.devices: list[Device] = []

    def ring(self, count: int, device: Device) -> None:
        self.rung.append(count)
        self.devices.append(device)

    def close(self) -> None:
        pass

    def reachable(self) -> bool:
        return True


@pytest.fixture
def bells() -> RecordingBells:
    return RecordingBells()


@pytest.fixture
def api(settings: Settings, bells: RecordingBells) -> Iterator[TestClient]:
    """The API in this process, on a fresh database of each kind, with a recording bell."""
    app = create_app(settings)
    app.state.bells = bells
    with TestClient(app, base_url=LOOPBACK, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The API with no tables behind it: what it refuses itself needs none, what passes it answers 503."""
    app = create_app(Settings(state_dir=tmp_path_factory.mktemp("door"), dataset="mnist-5k"))
    app.state.bells = RecordingBells()
    with TestClient(app, base_url=LOOPBACK, raise_server_exceptions=False) as client:
        yield client


TINY_SPEC = Spec(hidden_layers=(8, 8), training_batches=20, batches_per_sample=5, seed=1, dataset="mnist-5k")
