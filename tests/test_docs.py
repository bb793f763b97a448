"""The documents speak of everything there is: each file, each setting, each route."""

import ast
import re
from pathlib import Path

import pytest
from conftest import ROOT
from fastapi.testclient import TestClient

from models.settings import Settings

README = (ROOT / "README.md").read_text()
HOUSE = (ROOT / "docs/house.md").read_text()
FOLDERS = ("models", "api", "worker", "bnlab", "ops", "migrations", "bench", "bench/peers", "faults")
MODULES = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py")) if path.name != "__init__.py"]


def section(folder: str) -> str:
    """Return the lines of the tree that stand below a folder's own line, up to the next folder's."""
    lines = HOUSE.splitlines()
    starts = [number for number, line in enumerate(lines) if re.match(rf"{folder}/\s", line)]
    assert starts, f"the tree has no line that begins with {folder}/"
    below = lines[starts[0] + 1 :]
    end = next((number for number, line in enumerate(below) if not line.startswith(" ")), len(below))
    return "\n".join(below[:end])


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_file_stands_in_the_tree_with_a_promise(module: Path) -> None:
    assert re.search(rf"^\s+{re.escape(module.name)}\s+\S", section(str(module.parent.relative_to(ROOT))), re.MULTILINE)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_file_begins_with_its_promise(module: Path) -> None:
    docstring = ast.get_docstring(ast.parse(module.read_text()))
    assert docstring
    assert len(docstring.splitlines()[0]) > 20


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_tree_names_no_file_that_is_not_there(folder: str) -> None:
    named = re.findall(r"^\s+(\S+\.py)\s", section(folder), re.MULTILINE)
    assert [name for name in named if not (ROOT / folder / name).exists()] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_init_files_are_empty(folder: str) -> None:
    for path in (ROOT / folder).glob("__init__.py"):
        assert path.read_text() == ""


@pytest.mark.parametrize("setting", Settings.model_fields)
def test_each_setting_is_in_the_readme(setting: str) -> None:
    assert re.search(rf"\bBNLAB_{setting.upper()}\b", README)


def test_the_readme_names_no_setting_that_is_not_there() -> None:
    named = set(re.findall(r"\bBNLAB_([A-Z_]+)\b", README))
    of_the_client = {"URL", "API_KEY"}  # the command line's own, in bnlab/cli.py
    assert named <= {setting.upper() for setting in Settings.model_fields} | of_the_client


def test_each_route_is_in_the_readme(door: TestClient) -> None:
    missing = []
    for path, operations in door.get("/openapi.json").json()["paths"].items():
        spoken = re.sub(r"\\\{\w+\\\}", r"[{<]\\w+[}>]", re.escape(path))
        for method in operations:
            if not re.search(rf"\b{method.upper()}[ |`]+{spoken}(?![/\w{{<])", README):
                missing.append(f"{method.upper()} {path}")
    assert missing == []
