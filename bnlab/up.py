"""`bnlab up`: the whole service on this machine with one command, as one API and its workers, until Ctrl-C."""

import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from http.client import UNAUTHORIZED
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from bnlab.children import Child, end_in_order, ending_in_words, signals_held_back, stop_signals_interrupt
from bnlab.client import Client
from bnlab.commands import Command, Commands, repository_commands, repository_root
from bnlab.errors import (
    ApiProblem,
    BnlabError,
    CannotListen,
    ChildEnded,
    NotReady,
    ServerUnreachable,
    StateFolderUnusable,
    StepFailed,
    UnexpectedAnswer,
)
from bnlab.guard import Guard
from bnlab.lock import StateLock
from bnlab.supervisor import Say, Supervisor

HEALTH_TIMEOUT_S = 5.0
POLL_INTERVAL_S = 0.2
STOP_GRACE_S = 15.0
LAST_LINES = 15
KEYS_NEEDED = "Requests need an API key; `bnlab keys{option} create NAME --scope admin` makes one and shows it once."
SHOW_CURSOR = "\x1b[?25h"


class Service:
    """The running service; it is ready inside the `with` block and gone after it.

    Until it is ready, a child that ends by itself ends everything: what is configured wrongly is said at once, by
    ChildEnded. Inside the block such a child is started again, as often as it takes.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        state_dir: Path = Path(".bnlab"),
        workers: int = 2,
        say: Say = print,
        commands: Callable[[str, int, int], Commands] = repository_commands,
        ready_timeout_s: float = 60.0,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.host, self.port, self.workers = host, port, workers
        self.state_dir = state_dir.expanduser().absolute()
        self.dataset = ""
        self.keys_needed = False
        self.children: list[Child] = []
        self._say = say
        self._commands = commands
        self._ready_timeout_s = ready_timeout_s
        self._settings = settings
        self._guard: Guard | None = None
        self._supervisor: Supervisor | None = None
        self._held = ExitStack()  # the guard and the lock, let go in this order

    @property
    def url(self) -> str:
        """The address at which this machine reaches the API."""
        everywhere = "0.0.0.0"  # nosec B104 # it binds nothing
        host = {everywhere: "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def workers_in_words(self) -> str:
        """How many workers there are."""
        return "1 worker" if self.workers == 1 else f"{self.workers} workers"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, BnlabError):
                self.check()
        finally:
            self.stop()

    def check(self) -> None:
        """Raise the unexpected error that has ended the watch over a child, if there was one."""
        if self._supervisor:
            self._supervisor.check()

    def watch(self) -> None:
        """Stay until interrupted, while the children are watched over."""
        while True:
            self.check()
            time.sleep(POLL_INTERVAL_S)

    def stop(self) -> None:
        """End all children, then let go of the state folder; nothing happens the second time."""
        try:
            if self._supervisor:
                self._supervisor.stop()
            if self.children:
                with suppress(OSError):  # after SIGHUP there may be no terminal to say it to
                    self._say("Stopping; running arms go back to the queue.")
            end_in_order(self.children, STOP_GRACE_S)
            self.children.clear()
            if self._guard:
                self._guard.dismiss()
        finally:
            self._held.close()
            self._guard = self._supervisor = None

    def _start(self) -> None:
        root = repository_root(Path(__file__).parent)
        logs = self.state_dir / "logs"
        try:
            logs.mkdir(parents=True, exist_ok=True)
            lock = StateLock(self.state_dir)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StateFolderUnusable(state_dir=self.state_dir, reason=reason) from error
        self._held.callback(lock.release)
        self.port = free_port(self.host, self.port)
        lock.write(self.url)
        commands = self._commands(self.host, self.port, self.workers)
        env = {**environment(self.state_dir), **self._settings}
        self.dataset = self._choose_dataset(commands.datasets, root, env)
        env["BNLAB_DATASET"] = self.dataset
        _run_step("The upgrade of the database", commands.migrations, root, env, errors=subprocess.STDOUT)
        if commands.recovery and not env.get("BNLAB_DATABASE_URL"):  # its own database: nobody else's workers
            if found := _run_step("The recovery of unfinished arms", commands.recovery, root, env, subprocess.STDOUT):
                self._say(found.strip())
        self._say(f"Starting the API and {self.workers_in_words}.")
        self._start_children(commands, lock, logs, root, env)
        self._wait_until_ready()
        assert self._guard is not None
        self._supervisor = Supervisor(self.children, self._guard, self._say)
        self._supervisor.start()

    def _choose_dataset(self, command: Command, root: Path, env: dict[str, str]) -> str:
        step = "The search for a data set"
        out = _run_step(step, command, root, env, errors=None)
        try:
            found = json.loads(out.strip().splitlines()[-1])
            dataset, sentence = str(found["dataset"]), str(found["sentence"])
        except (ValueError, IndexError, KeyError, TypeError):
            raise StepFailed(step=step, ending="an answer that cannot be read", output=indented(out)) from None
        self._say(sentence)
        return dataset

    def _start_children(self, commands: Commands, lock: StateLock, logs: Path, root: Path, env: dict[str, str]) -> None:
        named = [("api", commands.api)]
        named += [(f"worker-{number}", command) for number, command in enumerate(commands.workers, 1)]
        with signals_held_back():
            self._guard = Guard(lock.fd)
            self._held.callback(self._guard.close)
        for name, command in named:
            with signals_held_back():
                child = Child(name, command, logs / f"{name}.log", root, env)
                self.children.append(child)
                self._guard.watch(child.pid)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._ready_timeout_s
        with Client(self.url, timeout_s=HEALTH_TIMEOUT_S) as client:
            while missing := self._missing(client):
                self._check_children()
                if time.monotonic() > deadline:
                    folder = self.state_dir / "logs"
                    raise NotReady(timeout_s=self._ready_timeout_s, names="; ".join(missing).rstrip("."), folder=folder)
                time.sleep(POLL_INTERVAL_S)
            self.keys_needed = _needs_a_key(client)

    def _check_children(self) -> None:
        for child in self.children:
            if ending := child.ending():
                raise ChildEnded(name=child.name, ending=ending, log=child.log, last_lines=indented(child.said()))

    def _missing(self, client: Client) -> list[str]:
        """Return who is not ready yet, and what the API says is missing."""
        missing = [child.name for child in self.children[1:] if " ready." not in child.said()]
        try:
            client.health()
        except ApiProblem as problem:
            missing += problem.extensions.get("missing") or [str(problem)]
        except (ServerUnreachable, UnexpectedAnswer):
            missing.insert(0, "api")
        return missing


def run(service: Service, say: Say = print) -> None:
    """Run the service until Ctrl-C, SIGTERM or SIGHUP. Raises CannotRun."""
    with stop_signals_interrupt():
        try:
            with service:
                say(
                    f"bnlab is ready at {service.url} (a page for your browser; API: /docs), "
                    f"{service.workers_in_words}, data set {service.dataset}, state in {service.state_dir}; "
                    "Ctrl-C stops it."
                )
                if service.keys_needed:
                    usual = service.state_dir == Path(".bnlab").absolute()
                    say(KEYS_NEEDED.format(option="" if usual else f" --state-dir {service.state_dir}"))
                service.watch()
        except KeyboardInterrupt:
            say("bnlab has stopped.")


def service_of_one_command(
    state_dir: Path, commands: Callable[[str, int, int], Commands] = repository_commands
) -> Service:
    """Return a service that only the command that starts it will ask: at a free port, and without keys."""
    return Service(port=0, state_dir=state_dir, commands=commands, settings={"BNLAB_KEYS": "off"})


def environment(state_dir: Path) -> dict[str, str]:
    """Return what the children are told: the folders as seen from here, for they run in the repository."""
    env = {**os.environ, "BNLAB_STATE_DIR": str(state_dir)}
    if data_dir := env.get("BNLAB_DATA_DIR"):
        env["BNLAB_DATA_DIR"] = str(Path(data_dir).expanduser().absolute())
    return env


def free_port(host: str, port: int) -> int:
    """Return the port, or a free one in place of 0. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as listener:
            return int(listener.getsockname()[1])
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "the port is taken" if taken else getattr(error, "strerror", None) or str(error)
        raise CannotListen(host=host, port=port, reason=reason) from error


def _needs_a_key(client: Client) -> bool:
    """Ask the API itself: it alone knows how it was told, and where it listens."""
    try:
        client.experiments(limit=1)
    except ApiProblem as problem:
        return problem.status == UNAUTHORIZED
    except BnlabError:  # it was ready a moment ago; whether it is not any more, others see
        return False
    return False


def indented(text: str) -> str:
    """Return the last lines, each on a line of its own below a message."""
    return "".join(f"\n  {line}" for line in text.splitlines()[-LAST_LINES:])


def _run_step(step: str, command: Sequence[str], root: Path, env: dict[str, str], errors: int | None) -> str:
    """Run a command to its end and return what it wrote. Raises StepFailed.

    With errors=None the user sees its standard error, where it shows progress.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=root,
            env=env,
            start_new_session=True,  # Ctrl-C reaches `bnlab up` alone, which then kills the command
            text=True,
            check=False,
        )
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            sys.stderr.write(SHOW_CURSOR)  # a progress bar that was killed leaves it hidden
        raise
    if done.returncode != 0:
        raise StepFailed(step=step, ending=ending_in_words(done.returncode), output=indented(done.stdout))
    return done.stdout
