"""Reads docker-compose.yml and the Dockerfile, and runs the services as processes of this machine.

The commands and their environment are the file's own. Replaced is only what a container engine would give: the names of
hosts, the ports, the folders, and Postgres itself. Each process runs in a folder that has what the Dockerfile copies
into its image and nothing else of this repository, and finds the secrets that the file gives to its service, no others.
"""

import json
import re
import shlex
import shutil
import subprocess
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
from faults.processes import Process, Processes, bare_environment
from faults.servers import free_port
from models.passwords import read_password, with_password
from ops.passwords import make_passwords

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


def services_of(profiles: set[str], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the services that start with these profiles."""
    found: dict[str, Any] = content["services"]
    return {name: service for name, service in found.items() if profiles & set(service.get("profiles", profiles))}


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


def health_check(target: str) -> list[str]:
    """Return the command by which an image's health is checked."""
    (check,) = stages()[target].all("HEALTHCHECK")
    command: list[str] = json.loads(check.partition("CMD ")[2])
    return command


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

SECRETS = "/run/secrets"


class ComposeStack(Processes):
    """The services of docker-compose.yml as processes, but for Postgres, whose database is given."""

    def __init__(self, folder: Path, database_url: str, told: Mapping[str, str]) -> None:
        super().__init__(folder)
        self._content = compose_file({"COMPOSE_PROFILES": "cpu"})
        self.services = services_of({"cpu"}, self._content)
        self.workers: list[Process] = []
        self.metrics_ports: dict[str, list[int]] = {}
        self.secrets = folder / "secrets"
        make_passwords(self.secrets)
        self._folder, self._told = folder, told
        self._api_port, self._redis_port = free_port(), free_port()
        self._data = folder / "data"
        self._images: dict[str, dict[str, str]] = {}
        asked = make_url(self.services["api"]["environment"]["BNLAB_DATABASE_URL"])
        here = make_url(database_url)
        placed = asked.set(host=here.host, port=here.port, database=here.database, query=here.query)
        self._database_url = placed.render_as_string(hide_password=False)

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            for name in in_order(self.services):
                self.up(name)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    @property
    def database_url(self) -> str:
        """The address that the services put together themselves."""
        return with_password(self._database_url, self.secrets / "database_password")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._api_port}"

    @cached_property
    def key(self) -> str:
        """An API key, made by the command that the file's head tells."""
        text = (ROOT / "docker-compose.yml").read_text()
        (told,) = re.findall(r"^# +docker compose exec api (python -m ops\.keys create .*?) {2,}", text, re.MULTILINE)
        return self.inside("api", shlex.split(told)).stdout.strip()

    @property
    def client(self) -> Client:
        return Client(self.url, api_key=self.key)

    @cached_property
    def redis(self) -> Redis:
        return Redis(port=self._redis_port, password=read_password(self.secrets / "broker_password"))

    def start_worker(self) -> Process:
        worker = self._start("worker-cpu")
        self.workers.append(worker)
        worker.wait_until(lambda: " ready." in worker.said())
        return worker

    def command(self, name: str) -> list[str]:
        """Return what a container of the service runs, with its secrets where they lie here."""
        return self._here(name, command_of(self.services[name]))

    def inside(self, name: str, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command as `docker compose exec` does in a container of the service."""
        assert command[0] == "python"
        environment = {**bare_environment(self._folder), **self._told_to(name)}
        return subprocess.run(
            [sys.executable, *command[1:]],
            cwd=self._work(self._target(name)),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def up(self, name: str) -> None:
        """Start one service and wait until those that depend on it may start."""
        match name:
            case "postgres":
                pass
            case "redis":
                redis = self._start("redis")
                redis.wait_until(lambda: "eady to accept" in redis.said())
            case "check" | "migrate":
                first = self._start(name)
                assert first.wait(60) == 0, first.said()
            case "api":
                api = self._start("api")
                api.wait_until(lambda: "startup complete" in api.said())
            case "worker-cpu":
                for _ in range(int(self.services[name]["scale"])):
                    self.start_worker()
            case other:
                raise AssertionError(f"nobody knows how to start {other}")

    def _start(self, name: str) -> Process:
        program, *arguments = self.command(name)
        if name == "redis":
            (script,) = arguments[1:]
            own = f"exec {redis_or_skip()} - --port {self._redis_port} --bind 127.0.0.1 --dir {self._folder}"
            assert script.startswith("exec redis-server -")
            script = script.replace("exec redis-server -", own, 1)
            return self.start(name, [program, "-c", script], self._folder, {})
        assert program == "python"
        if name == "api":
            arguments = replaced(arguments, "--host", "0.0.0.0", "127.0.0.1")
            arguments = replaced(arguments, "--port", "8000", str(self._api_port))
        told = self._told_to(name)
        if told.get("BNLAB_METRICS_PORT"):
            self.metrics_ports.setdefault(name, []).append(int(told["BNLAB_METRICS_PORT"]))
        return self.start(name, [sys.executable, *arguments], self._work(self._target(name)), told)

    def _told_to(self, name: str) -> dict[str, str]:
        """Return the file's environment of a service, with the places of this machine."""
        service = self.services[name]
        environment = {variable: self._here(name, [value])[0] for variable, value in service["environment"].items()}
        assert environment["BNLAB_DATABASE_URL"] == self._content["x-database"]["BNLAB_DATABASE_URL"]
        environment["BNLAB_DATABASE_URL"] = self._database_url
        if broker := environment.get("BNLAB_BROKER_URL"):
            assert broker == "redis://redis:6379/0"
            environment["BNLAB_BROKER_URL"] = f"redis://127.0.0.1:{self._redis_port}/0"
        if environment.get("BNLAB_DATA_DIR"):
            assert f":{environment['BNLAB_DATA_DIR']}" in "".join(service.get("volumes", [":/data"]))
            environment["BNLAB_DATA_DIR"] = str(self._data)
        if environment.get("BNLAB_METRICS_PORT"):
            assert (environment["BNLAB_METRICS_HOST"], environment["BNLAB_METRICS_PORT"]) == ("0.0.0.0", "9100")
            environment |= {"BNLAB_METRICS_HOST": "127.0.0.1", "BNLAB_METRICS_PORT": str(free_port())}
        return {**self._image(self._target(name)), **environment, **self._told}

    def _here(self, name: str, texts: list[str]) -> list[str]:
        """Return texts of a service with its secrets where they lie on this machine: those that it is given, alone."""
        folder = self._folder / f"secrets-{name}"
        if not folder.exists():
            folder.mkdir()
            for secret in self.services[name].get("secrets", []):
                file = Path(self._content["secrets"][secret]["file"])
                assert file.parts[0] == "secrets"
                shutil.copy(self.secrets / file.name, folder / secret)
        return [text.replace(SECRETS, str(folder)) for text in texts]

    def _target(self, name: str) -> str:
        target: str = self.services[name]["build"]["target"]
        return target

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
