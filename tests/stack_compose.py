"""Reads docker-compose.yml and the Dockerfile, and runs the services as processes of this machine.

The commands and their environment are the file's own. Replaced is only what a container engine would give: the names of
hosts, the ports, the folders, the secrets, and Postgres itself. Each process runs in a folder that has what the
Dockerfile copies into its image and nothing else of this repository.
"""

import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Self

import yaml
from conftest import redis_or_skip
from redis import Redis
from sqlalchemy import make_url
from stack import ROOT

from bnlab.client import Client
from faults.processes import Process, Processes
from faults.servers import free_port

_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?:(?P<rule>:[-?])(?P<text>[^}]*))?\})")
_INSTRUCTION = re.compile(r"^(?P<word>[A-Z]+) +(?P<rest>.*)$")

#: On the path of each process before anything else: an image has neither this repository nor what it does not install.
_SITECUSTOMIZE = """
import sys
sys.path[:] = [entry for entry in sys.path if entry != {root!r}]
sys.modules.update(dict.fromkeys({missing!r}))
"""


# ------------------------------------------------------------------------------------------ docker-compose.yml


def compose_file(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return docker-compose.yml; with variables, their values stand in their places."""
    content = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    found: dict[str, Any] = content if variables is None else _filled(content, variables)
    return found


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, variables) for inner in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: _value(match, variables), value)
    return value


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    if match["escaped"]:
        return "$"
    if given := variables.get(match["name"]):
        return given
    assert match["rule"] == ":-", f"{match['name']} is not set: {match['text']}"
    return match["text"]


def in_order(services: Mapping[str, Any]) -> list[str]:
    """Return the services' names so that each comes after those it depends on."""
    graph = {name: list(service.get("depends_on", {})) for name, service in services.items()}
    return list(TopologicalSorter(graph).static_order())


def command_of(service: Mapping[str, Any]) -> list[str]:
    """Return what a container of the service runs."""
    return [*service.get("entrypoint", []), *service["command"]]


# -------------------------------------------------------------------------------------------------- Dockerfile


@dataclass
class Stage:
    """One stage of the Dockerfile: what it stands on, and its instructions in order."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [rest for instruction, rest in self.instructions if instruction == word]


def stages() -> dict[str, Stage]:
    """Return the stages of the Dockerfile by name."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, Stage] = {}
    for match in filter(None, map(_INSTRUCTION.match, text.splitlines())):
        if match["word"] == "FROM":
            base, _, name = match["rest"].partition(" AS ")
            found[name] = stage = Stage(base)
        else:
            stage.instructions.append((match["word"], " ".join(match["rest"].split())))
    return found


def copied(target: str) -> list[str]:
    """Return what the Dockerfile copies from the repository into an image, each to the same place in it."""
    sources = []
    for instruction in stages()[target].all("COPY"):
        *from_here, to = instruction.split()
        if from_here[0].startswith("--from="):
            continue
        assert all(Path(to) / (source if to == "./" else "") == Path(source) for source in from_here), instruction
        sources += from_here
    return sources


def requirements(target: str) -> str:
    """Return the locked requirements an image installs as a whole."""
    files = [install.rpartition(" ")[2] for install in stages()[f"{target}-packages"].all("RUN") if " -r " in install]
    return (ROOT / files[0].removeprefix("/")).read_text()


def lay_out(target: str, folder: Path) -> dict[str, str]:
    """Make a folder as the image has it at work; return what Python must be told to see nothing else."""
    for source in copied(target):
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, folder)
    missing = [] if "\ntensorflow" in requirements(target) else ["tensorflow", "keras"]
    site = folder.with_name(f"{folder.name}-site")
    site.mkdir()
    (site / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(root=str(ROOT), missing=missing))
    return {"PYTHONPATH": str(site)}


# ----------------------------------------------------------------------------------------------- the processes


class ComposeStack(Processes):
    """The services of docker-compose.yml as processes, but for Postgres, whose database is given."""

    def __init__(self, folder: Path, database_url: str, told: Mapping[str, str]) -> None:
        super().__init__(folder)
        self.variables = {"POSTGRES_PASSWORD": "a" * 48, "REDIS_PASSWORD": "b" * 48}
        self.services = compose_file(self.variables)["services"]
        self.workers: list[Process] = []
        self._folder, self._told = folder, told
        self._api_port, self._redis_port = free_port(), free_port()
        self._data = folder / "data"
        self._images: dict[str, dict[str, str]] = {}
        asked = make_url(self.services["api"]["environment"]["BNLAB_DATABASE_URL"])
        here = make_url(database_url)
        self.database_url = asked.set(
            host=here.host, port=here.port, database=here.database, query=here.query
        ).render_as_string(hide_password=False)

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            for name in in_order(self.services):
                self._up(name)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    @property
    def client(self) -> Client:
        return Client(f"http://127.0.0.1:{self._api_port}")

    @cached_property
    def redis(self) -> Redis:
        return Redis(port=self._redis_port, password=self.variables["REDIS_PASSWORD"])

    def start_worker(self) -> Process:
        worker = self._start("worker")
        self.workers.append(worker)
        worker.wait_until(lambda: " ready." in worker.said())
        return worker

    def _up(self, name: str) -> None:
        """Start one service and wait until those that depend on it may start."""
        match name:
            case "postgres":
                pass
            case "redis":
                redis = self._start("redis")
                redis.wait_until(lambda: "eady to accept" in redis.said())
            case "migrate":
                migrate = self._start("migrate")
                assert migrate.wait(60) == 0, migrate.said()
            case "api":
                api = self._start("api")
                api.wait_until(lambda: "startup complete" in api.said())
            case "worker":
                for _ in range(self.services["worker"]["scale"]):
                    self.start_worker()

    def _start(self, name: str) -> Process:
        service = self.services[name]
        program, *arguments = command_of(service)
        if name == "redis":
            here = ["--port", str(self._redis_port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
            return self.start(name, [redis_or_skip(), *arguments, *here], self._folder, {})
        assert program == "python"
        if name == "api":
            arguments = replaced(arguments, "--host", "0.0.0.0", "127.0.0.1")
            arguments = replaced(arguments, "--port", "8000", str(self._api_port))
        environment = {**self._image(service["build"]["target"]), **self._environment(service), **self._told}
        return self.start(name, [sys.executable, *arguments], self._work(service["build"]["target"]), environment)

    def _environment(self, service: Mapping[str, Any]) -> dict[str, str]:
        """Return the file's environment of a service, with the places of this machine."""
        environment = dict(service["environment"])
        environment["BNLAB_DATABASE_URL"] = self.database_url
        broker, redis = environment["BNLAB_BROKER_URL"], f"127.0.0.1:{self._redis_port}"
        assert "@redis:6379/" in broker
        environment["BNLAB_BROKER_URL"] = broker.replace("@redis:6379/", f"@{redis}/")
        assert f":{environment['BNLAB_DATA_DIR']}" in "".join(service.get("volumes", [":/data"]))
        environment["BNLAB_DATA_DIR"] = str(self._data)
        return environment

    def _work(self, target: str) -> Path:
        return self._folder / f"image-{target}"

    def _image(self, target: str) -> dict[str, str]:
        if target not in self._images:
            self._images[target] = lay_out(target, self._work(target))
        return self._images[target]


def replaced(arguments: list[str], option: str, value: str, other: str) -> list[str]:
    """Return the arguments with another value of an option, which must have the value that is expected."""
    at = arguments.index(option) + 1
    assert arguments[at] == value, arguments
    return [*arguments[:at], other, *arguments[at + 1 :]]
