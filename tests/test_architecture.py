"""The walls between the rooms: what each process must not load, and what must not happen at import."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

HEAVY = ("tensorflow", "keras", "matplotlib", "mlxtend", "pandas", "sklearn", "scipy")


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_the_api_loads_neither_tensorflow_nor_anything_heavy() -> None:
    code = f"""
import sys
from api.app import create_app
from models.settings import Settings
create_app(Settings(database_url="sqlite://"))
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    assert in_a_fresh_process(code) == "[]"


def test_the_worker_loads_tensorflow_only_in_the_process_that_trains() -> None:
    code = "import sys, worker.tasks; print('tensorflow' in sys.modules)"
    assert in_a_fresh_process(code) == "False"


def test_the_command_line_loads_nothing_of_the_service() -> None:
    others = ("api", "models", "worker", "migrations", "numpy", "sqlalchemy", "celery")
    code = f"import sys, bnlab.cli; print([name for name in {others!r} if name in sys.modules])"
    assert in_a_fresh_process(code) == "[]"


@pytest.mark.parametrize("room", ["api", "models", "worker", "bnlab", "migrations", "ops"])
def test_the_product_knows_nothing_of_the_faults_that_tests_cause(room: str) -> None:
    named = [file.name for file in (ROOT / room).rglob("*.py") if re.search(r"(?i)\b(bnlab_)?faults", file.read_text())]
    assert named == []


@pytest.mark.parametrize("room", ["api", "models", "worker", "bnlab", "migrations"])
def test_importing_a_room_connects_to_nothing_and_reads_no_setting(room: str) -> None:
    code = f"""
import importlib, os, pkgutil, socket, sqlite3, sys
import {room}
os.environ["BNLAB_MAX_BODY_BYTES"] = "not a number"  # whoever reads the settings fails
opened = []
socket.socket.connect = lambda *_: opened.append("socket")
sqlite3.connect = lambda *_, **__: opened.append("sqlite")
skipped = ("migrations.env", "migrations.versions", "worker.dense", "worker.training")
for module in pkgutil.walk_packages({room}.__path__, "{room}."):
    if not module.name.startswith(skipped) and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(opened)
"""
    assert in_a_fresh_process(code) == "[]"
