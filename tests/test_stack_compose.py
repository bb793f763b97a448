"""docker-compose.yml, end to end: its own commands with its own environment, on a real Postgres and a real Redis."""

import importlib.util
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import httpx
import pytest
from conftest import USED, wait_until
from observed import asked_for
from redis import Redis
from redis.exceptions import AuthenticationError
from sqlalchemy import make_url, select
from sqlalchemy.exc import OperationalError
from stack import (
    ENDLESS,
    LONG,
    ROOT,
    SHORT,
    arms_of,
    check_arms_side_by_side,
    check_curves,
    check_picture,
    check_predictions,
    finished,
    submitted,
    wait_for_points,
    worker_pid,
)
from stack_compose import (
    ComposeStack,
    compose_file,
    copied,
    health_check,
    in_order,
    requirements,
    services_of,
    stages,
)

from bnlab.client import Client
from faults.processes import command_of as command_line
from faults.servers import Postgres, as_administrator, free_port
from models.broker import TRAIN_WAITING_ARMS
from models.database import Database
from models.passwords import read_password, without_password
from models.settings import Settings
from models.spec import Status
from models.tables import Network
from ops.passwords import NAMES

#: How long the broker is away, and a training that is longer.
OUTAGE_S = 10.0

#: Where the bells of its workers wait; they have no GPU.
QUEUE = "cpu"

OURS = {"check": "api", "migrate": "api", "api": "api", "worker-cpu": "worker", "worker-gpu": "worker-gpu"}
WORKERS = ("worker-cpu", "worker-gpu")
SERVICES: dict[str, dict[str, Any]] = compose_file()["services"]
SECRETS = set(compose_file()["secrets"])

#: The file's settings hold but for these: workers look twice a second, and no test reaches into the world.
TOLD = {
    "BNLAB_LEASE_S": "3",
    "BNLAB_BELL_INTERVAL_S": "0.5",
    "BNLAB_WRITE_INTERVAL_S": "0.1",
    "BNLAB_CHECKPOINT_INTERVAL_S": "0.3",
    "BNLAB_MNIST_MIRRORS": json.dumps([f"http://127.0.0.1:{free_port()}"]),
}


# ----------------------------------------------------------------------------------------- what the files say


def test_every_service_of_ours_is_built_from_a_target_that_exists() -> None:
    assert {name: service["build"]["target"] for name, service in SERVICES.items() if "build" in service} == OURS
    assert set(OURS.values()) <= set(stages())


def test_the_others_are_pinned_to_a_release() -> None:
    images = {name: service["image"] for name, service in SERVICES.items() if name not in OURS}
    assert images.keys() == {"postgres", "redis", "prometheus", "grafana"}
    assert all(re.search(r":v?\d+\.\d+[.-]", image) for image in images.values())
    bases = {stage.base for stage in stages().values()} - set(stages())
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11-slim-\w+", bases.pop())


def test_the_file_is_one_by_the_specification_of_compose() -> None:
    checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def test_the_dockerfile_keeps_the_habits_that_hadolint_knows() -> None:
    checked("hadolint", "Dockerfile")


def checked(program: str, *arguments: str) -> None:
    """Run a checker that is installed beside this Python; it must find nothing."""
    beside = Path(sys.executable).with_name(program)
    done = subprocess.run([beside, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_services_start_in_an_order_in_which_each_finds_what_it_needs() -> None:
    order = in_order(SERVICES)
    assert order.index("check") < order.index("postgres") < order.index("migrate") < order.index("api")
    assert order.index("check") < order.index("redis") < order.index("api")
    for name in ("api", *WORKERS):
        assert SERVICES[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "redis": {"condition": "service_healthy"},
        }
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("postgres", "redis", "grafana"):  # whatever has a secret of its own
        assert SERVICES[name]["depends_on"] == {"check": {"condition": "service_completed_successfully"}}


def test_everything_that_stays_has_a_health_check() -> None:
    for name, service in SERVICES.items():
        if name in ("check", "migrate"):
            assert service["restart"] == "no"
            assert service["healthcheck"] == {"disable": True}
        elif name in OURS:
            assert "healthcheck" not in service  # the image's own
            assert health_check(OURS[name])[0] == "python"
        else:
            assert service["healthcheck"]["test"][0].startswith("CMD")


def test_a_profile_starts_what_belongs_to_it() -> None:
    always = {"check", "postgres", "redis", "migrate", "api"}
    content = compose_file()
    assert services_of({"cpu"}, content).keys() == always | {"worker-cpu"}
    assert services_of({"gpu"}, content).keys() == always | {"worker-gpu"}
    assert services_of({"cpu", "observe"}, content).keys() == always | {"worker-cpu", "prometheus", "grafana"}
    assert set(WORKERS) == {
        name for name, service in SERVICES.items() if "BNLAB_DEVICE" in service.get("environment", {})
    }
    assert [SERVICES[name]["environment"]["BNLAB_DEVICE"] for name in WORKERS] == ["cpu", "gpu"]


def test_without_a_choice_of_profiles_the_user_is_told_what_to_do() -> None:
    with pytest.raises(AssertionError, match='COMPOSE_PROFILES is not set: Run "make secrets" first'):
        compose_file({})
    assert compose_file({"COMPOSE_PROFILES": "cpu"})["services"].keys() == SERVICES.keys()


def test_a_gpu_worker_has_as_many_processes_as_gpus() -> None:
    for gpus in ("", "4"):
        worker = compose_file({"COMPOSE_PROFILES": "gpu", "GPUS": gpus})["services"]["worker-gpu"]
        (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": gpus or "1", "capabilities": ["gpu"]}
        assert worker["command"][worker["command"].index("--concurrency") + 1] == device["count"]
        assert worker["scale"] == 1


def test_only_the_api_and_grafana_can_be_reached_and_only_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "api": ["127.0.0.1:${API_PORT:-8000}:8000"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"],
    }
    networks = {name: service.get("networks", []) for name, service in SERVICES.items()}
    assert SERVICES["check"]["network_mode"] == "none"
    assert {name for name, its in networks.items() if "inside" in its} == {
        "postgres",
        "redis",
        "migrate",
        "api",
        *WORKERS,
    }
    assert all(networks[name] == ["inside"] for name in ("postgres", "redis", "migrate"))
    assert {name for name, its in networks.items() if "watching" in its} == {"api", *WORKERS, "prometheus", "grafana"}
    declared = compose_file()["networks"]
    assert declared == {"inside": {"internal": True}, "watching": {"internal": True}, "outside": None}


def test_no_password_stands_in_the_files_in_an_environment_or_in_a_command() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if "PASSWORD" in variable:
                assert variable.endswith("_FILE")
                secret = value.removeprefix("/run/secrets/")
                assert secret in service["secrets"], f"{name} is not given {secret}"
            assert without_password(value) == value, "a password in an address"
        assert set(service.get("secrets", [])) <= SECRETS
    assert SERVICES["api"]["environment"]["BNLAB_KEYS"] == "required"
    assert "PASSWORD" not in (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert not any(line.startswith(("!.", "!secrets")) for line in ignored)
    assert {".env", "/secrets/"} <= set((ROOT / ".gitignore").read_text().splitlines())


def test_a_secret_goes_to_those_who_use_it_and_all_of_them_are_made_and_checked() -> None:
    declared = compose_file()["secrets"]
    assert declared == {name: {"file": f"./secrets/{name}"} for name in NAMES}
    holders = {
        secret: {name for name, its in SERVICES.items() if secret in its.get("secrets", [])} for secret in SECRETS
    }
    assert holders == {
        "database_password": {"check", "postgres", "migrate", "api", *WORKERS},
        "broker_password": {"check", "redis", "api", *WORKERS},
        "grafana_password": {"check", "grafana"},
    }


def test_every_container_is_denied_what_it_does_not_need() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True
        assert "/tmp" in service["tmpfs"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["pids_limit"] > 0
        assert service["cpus"]
        assert service["mem_limit"]
        assert service["logging"] == {"driver": "local", "options": {"max-size": "10m", "max-file": "3"}}
        assert not any("docker.sock" in volume for volume in service.get("volumes", []))
        assert name in OURS or service["user"] not in ("root", "0")
    for target in set(OURS.values()):
        assert stages()[target].all("USER") == ["10001:10001"]


def test_every_setting_in_the_file_is_one_that_the_service_knows() -> None:
    known = {f"BNLAB_{field.upper()}" for field in Settings.model_fields}
    for name in OURS:
        assert SERVICES[name]["environment"].keys() - {"COMPOSE_PROFILES"} <= known
    assert set(re.findall(r"BNLAB_\w+", (ROOT / "docker-compose.yml").read_text())) <= known


def test_the_api_image_has_neither_tensorflow_nor_the_worker() -> None:
    assert "worker" not in copied("api")
    assert not re.search(r"^(tensorflow|keras|jax|nvidia)", requirements("api"), re.MULTILINE | re.IGNORECASE)
    for target, pattern in (("worker", r"^tensorflow-cpu=="), ("worker-gpu", r"^nvidia-cudnn\S*==")):
        assert not {"api", "ops", "bnlab"} & set(copied(target))
        assert re.search(pattern, requirements(target), re.MULTILINE)
    assert not re.search("^nvidia", requirements("worker"), re.MULTILINE)


def test_what_the_images_install_is_checked_by_hash() -> None:
    for target in set(OURS.values()):
        assert "://" not in requirements(target), "an address of an index"
        locked = re.sub(r"\\\n", " ", requirements(target))
        lines = [line for line in locked.splitlines() if line and not line.lstrip().startswith("#")]
        assert all("==" in line and "--hash=sha256:" in line for line in lines)
    installs = [run for stage in stages().values() for run in stage.all("RUN") if re.search(r"\bpip\b.* install ", run)]
    assert len(installs) == 4
    environment = " ".join(stages()["packages"].all("ENV"))
    assert "PIP_REQUIRE_HASHES=1" in environment
    assert "PIP_NO_CACHE_DIR=1" in environment


def test_the_api_image_gets_the_small_data_set_from_the_locked_package(tmp_path: Path) -> None:
    (run,) = (run for run in stages()["api-packages"].all("RUN") if run.startswith("sed"))
    extract = run.partition(" > ")[0].replace("/requirements/", f"{ROOT}/requirements/")
    found = subprocess.run(shlex.split(extract), capture_output=True, text=True, check=True).stdout
    assert re.match(r"mlxtend==\S+ \\\n +--hash=sha256:", found)
    assert found.count("==") == 1
    assert importlib.util.find_spec("mlxtend") is not None


def test_redis_takes_any_password_that_is_fit_as_it_is_written(tmp_path: Path) -> None:
    stack = ComposeStack(tmp_path, "postgresql+psycopg://nobody@nowhere/nothing", TOLD)
    password = "q\"7'w\\K$(x)`y`$HOME#%@:/"
    (stack.secrets / "broker_password").write_text(f"{password}\n")
    try:
        stack.up("redis")
        assert stack.redis.ping()
        assert stack.redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert stack.redis.config_get("requirepass") == {"requirepass": password}
    finally:
        stack.__exit__(None, None, None)


# -------------------------------------------------------------------------------------------- the running stack


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A Postgres of this file's own: it is ended as by a crash, and one with many databases recovers for long."""
    with Postgres() as own:
        yield own


@pytest.fixture(scope="module")
def stack(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    """The file's services, on a database in which there is nothing yet."""
    name = f"compose_{uuid4().hex}"
    folder, postgres = tmp_path_factory.mktemp("compose"), server.address
    with_password = ComposeStack(folder, postgres.format(name), TOLD)
    password = read_password(with_password.secrets / "database_password")
    as_administrator(postgres, f"CREATE ROLE bnlab LOGIN PASSWORD '{password}'")
    ask_for_passwords(postgres)
    as_administrator(postgres, f"CREATE DATABASE {name} OWNER bnlab")
    with with_password as running:
        version = running.redis.info("server")["redis_version"]
        USED["end to end, production"] = f"docker-compose.yml's commands as processes, no container; Redis {version}"
        yield running
    as_administrator(postgres, f"DROP DATABASE {name} WITH (FORCE)")
    as_administrator(postgres, "DROP ROLE bnlab")


def ask_for_passwords(postgres: str) -> None:
    """Let Postgres ask the role bnlab for its password, as a container's does."""
    rules = Path(as_administrator(postgres, "SHOW hba_file"))
    rules.write_text(f"local all bnlab scram-sha-256\n{rules.read_text()}")
    as_administrator(postgres, "SELECT pg_reload_conf()")


@pytest.fixture(scope="module")
def client(stack: ComposeStack) -> Iterator[Client]:
    with stack.client as opened:
        yield opened


@pytest.fixture(scope="module")
def database(stack: ComposeStack) -> Iterator[Database]:
    opened = Database(stack.database_url)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def logs_of_a_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "stack" in request.fixturenames:
        stack: ComposeStack = request.getfixturevalue("stack")
        stack.print_logs()


@pytest.fixture(scope="module")
def short(client: Client) -> dict[str, Any]:
    """An experiment as it ended."""
    return finished(client, submitted(client, SHORT))


@pytest.fixture(scope="module")
def undisturbed(client: Client) -> dict[str, Any]:
    """A longer experiment as it ends when nothing happens to it."""
    return finished(client, submitted(client, LONG))


def test_the_api_image_s_health_check_finds_the_migrated_service_ready(stack: ComposeStack, client: Client) -> None:
    assert client.health()["status"] == "ready"
    port = stack.url.rpartition(":")[2]
    for asked, code in ((port, 0), (str(free_port()), 1)):
        here = [part.replace("127.0.0.1:8000", f"127.0.0.1:{asked}") for part in health_check("api")]
        assert stack.inside("api", here).returncode == code


def test_nobody_gets_in_without_a_key_or_a_password(stack: ComposeStack) -> None:
    assert httpx.get(f"{stack.url}/experiments", trust_env=False).status_code == 401
    with pytest.raises(AuthenticationError):
        Redis(port=stack.redis.connection_pool.connection_kwargs["port"]).ping()
    with pytest.raises(OperationalError, match=r"no password supplied|password authentication failed"):
        as_administrator(make_url(stack.database_url).set(password="").render_as_string(), "SELECT 1")


def test_no_password_is_seen_among_the_processes_or_in_what_they_write(stack: ComposeStack, client: Client) -> None:
    client.health()
    hidden = [read_password(file) for file in stack.secrets.iterdir()]
    for process in stack.all:
        shown = command_line(process.pid) + process.said()
        if (environment := Path(f"/proc/{process.pid}/environ")).exists() and process.exit_code() is None:
            shown += environment.read_text()
        assert not any(password in shown for password in hidden), process.name


def test_no_store_starts_while_a_password_is_a_placeholder(stack: ComposeStack) -> None:
    for secret in SECRETS:
        folder = stack.secrets.with_name("secrets-check")
        good = (folder / secret).read_text()
        for bad in ("", "change-me", "Postgres-Password-1"):
            (folder / secret).write_text(bad)
            refused = stack.inside("check", stack.command("check"))
            assert refused.returncode == 1
            assert secret in refused.stderr
            assert "must be one line of 16 to 512 visible ASCII characters" in refused.stderr
            assert len(refused.stderr.splitlines()) == 1
            assert not bad or bad not in refused.stderr
        (folder / secret).write_text(good)
    assert stack.inside("check", stack.command("check")).returncode == 0


def test_an_experiment_trains_both_networks_and_shows_both_curves(client: Client, short: dict[str, Any]) -> None:
    check_curves(client, short, SHORT)


def test_a_trained_network_reads_digits_with_the_right_statistics_only(client: Client, short: dict[str, Any]) -> None:
    check_predictions(client, short["id"])


def test_a_png_picture_of_a_digit_gets_the_answer_of_its_numbers(client: Client, short: dict[str, Any]) -> None:
    check_picture(client, short["id"])


def test_two_workers_train_both_arms_at_the_same_time(
    client: Client, database: Database, undisturbed: dict[str, Any]
) -> None:
    check_curves(client, undisturbed, LONG)
    check_arms_side_by_side(database, undisturbed["id"])


def test_an_experiment_on_digits_that_nobody_can_bring_fails_with_a_reason(client: Client) -> None:
    id = submitted(client, {**SHORT, "dataset": None})  # the file's default, mnist, which no mirror gives here
    experiment = finished(client, id)
    assert experiment["spec"]["dataset"] == "mnist"
    assert experiment["status"] == "failed"
    assert "No mirror gave the MNIST file" in json.dumps(experiment["error"])


def test_the_processes_show_every_series_that_the_dashboard_and_the_rules_ask_for(
    stack: ComposeStack, short: dict[str, Any]
) -> None:
    api, workers = (
        [httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text for port in stack.metrics_ports[name]]
        for name in ("api", "worker-cpu")
    )
    assert len(workers) == len(stack.workers)
    shown = {name for text in (*api, *workers) for name in re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE)}
    assert asked_for() <= shown
    batches = re.findall(r"^bnlab_worker_batches_total\S* (\S+)", "\n".join(workers), re.MULTILINE)
    assert sum(map(float, batches)) >= short["progress"]["batches_total"]
    (alive,) = re.findall(r'^bnlab_workers{device="cpu"} (\S+)', api[0], re.MULTILINE)
    assert float(alive) == len(stack.workers)


def test_cancelling_a_long_experiment_ends_it_in_seconds_and_keeps_its_points(client: Client) -> None:
    id = submitted(client, ENDLESS)
    wait_for_points(client, id, 2)
    client.cancel(id)
    assert finished(client, id, timeout_s=5)["status"] == "cancelled"
    assert all(len(arm["steps"]) >= 2 for arm in client.curve(id)["arms"].values())


def test_messages_that_are_no_bells_do_not_kill_a_worker(stack: ComposeStack, client: Client) -> None:
    task = {
        "body": "W1siMSJdLCB7fSwge31d",  # [["1"], {}, {}]
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": TRAIN_WAITING_ARMS, "id": str(uuid4()), "lang": "py"},
        "properties": {"body_encoding": "base64", "delivery_tag": "1", "delivery_info": {"routing_key": QUEUE}},
    }
    no_arm = json.dumps(task)
    unknown = json.dumps({**task, "headers": {**task["headers"], "task": "os.system"}})  # type: ignore[dict-item]
    pickled = json.dumps({**task, "content-type": "application/x-python-serialize"})
    no_task = json.dumps({**task, "headers": {}, "body": "bm90IGpzb24="})
    for message in (no_arm, unknown, pickled, no_task, "{}", "[]", "null", "no JSON", b"\x80\x04\x95", "x" * 100_000):
        stack.redis.lpush(QUEUE, message)
    after = finished(client, submitted(client, SHORT), timeout_s=30)
    assert after["status"] == "succeeded"
    assert all(worker.exit_code() is None for worker in stack.workers)
    assert stack.redis.llen(QUEUE) == 0


def test_an_arm_whose_bell_is_lost_is_trained_all_the_same(stack: ComposeStack, client: Client) -> None:
    busy = submitted(client, ENDLESS)
    wait_for_points(client, busy, 1)
    waiting = [submitted(client, SHORT) for _ in range(2)]
    wait_until(lambda: stack.redis.llen(QUEUE) >= 2, 10, "a queue")  # four bells, and a worker holds one at most
    stack.redis.flushall()
    client.cancel(busy)
    for id in waiting:
        assert finished(client, id, timeout_s=30)["status"] == "succeeded"


def test_a_worker_that_is_told_to_stop_gives_its_arm_back_and_another_finishes_it(
    stack: ComposeStack, client: Client, database: Database, undisturbed: dict[str, Any]
) -> None:
    id = submitted(client, LONG)
    wait_for_points(client, id, 2)
    name, arm = next((name, arm) for name, arm in arms_of(database, id).items() if arm.status is Status.RUNNING)
    stopped = next(worker for worker in stack.workers if worker.pid == worker_pid(arm))
    begin = time.monotonic()
    stopped.send(signal.SIGTERM)
    assert stopped.wait(15) == 0
    assert time.monotonic() - begin < 10
    stack.workers.remove(stopped)
    check_undisturbed(client, database, id, undisturbed)
    again = arms_of(database, id)[name]
    assert again.fence == arm.fence + 1
    assert worker_pid(again) != worker_pid(arm)
    stack.start_worker()


def test_the_worker_image_s_health_check_says_whether_a_worker_takes_work(
    stack: ComposeStack, client: Client, short: dict[str, Any]
) -> None:
    assert health_check("worker") == health_check("worker-gpu")
    healthy = stack.inside("worker-cpu", health_check("worker"))
    assert healthy.returncode == 0, healthy.stderr
    while stack.workers:
        stopped = stack.workers.pop()
        stopped.send(signal.SIGTERM)
        assert stopped.wait(15) == 0
    ill = stack.inside("worker-cpu", health_check("worker"))
    assert ill.returncode == 1
    assert "No worker of this host" in ill.stderr
    for _ in range(2):
        stack.start_worker()
    assert finished(client, submitted(client, SHORT))["status"] == short["status"]
    assert stack.inside("worker-cpu", health_check("worker")).returncode == 0


def test_training_goes_on_through_a_broker_that_is_frozen_and_what_is_submitted_meanwhile_follows(
    stack: ComposeStack, client: Client, database: Database, undisturbed: dict[str, Any]
) -> None:
    speed = max(arm["batches_per_second"] for arm in undisturbed["arms"].values())
    longer = {**LONG, "training_batches": int(speed * 2 * OUTAGE_S), "batches_per_sample": 2_000}
    undisturbed_longer = finished(client, submitted(client, longer))
    id = submitted(client, longer)
    wait_for_points(client, id, 2)
    redis = next(process for process in stack.all if process.name == "redis")
    redis.send(signal.SIGSTOP)
    try:
        begin = time.monotonic()
        seconds, meanwhile = zip(*(timed(lambda: submitted(client, SHORT)) for _ in range(5)), strict=True)
        time.sleep(begin + OUTAGE_S - time.monotonic())
        during = client.experiment(id)
    finally:
        redis.send(signal.SIGCONT)
    assert median(seconds) < 1, seconds
    assert during["status"] == "running"
    check_undisturbed(client, database, id, undisturbed_longer)
    for other in meanwhile:
        assert finished(client, other)["status"] == "succeeded"


def timed(work: Callable[[], str]) -> tuple[float, str]:
    """Return how long some work took, in seconds, and what came of it."""
    begin = time.monotonic()
    done = work()
    return time.monotonic() - begin, done


def test_training_goes_on_through_a_restart_of_postgres(
    stack: ComposeStack, client: Client, database: Database, undisturbed: dict[str, Any], server: Postgres
) -> None:
    id = submitted(client, LONG)
    wait_for_points(client, id, 2)
    server.restart_at_once(pause_s=1.0)
    database.close()  # its connections ended too
    check_undisturbed(client, database, id, undisturbed)


def check_undisturbed(client: Client, database: Database, id: str, undisturbed: dict[str, Any]) -> None:
    """Check that an experiment ends with the curves and the networks of the undisturbed one."""
    assert finished(client, id)["status"] == "succeeded"
    assert client.curve(id)["arms"] == client.curve(undisturbed["id"])["arms"]
    assert weights(database, id) == weights(database, undisturbed["id"])


def weights(database: Database, id: str) -> dict[str, str]:
    """Return the SHA-256 of each arm's trained arrays."""
    found = {}
    with database.read() as session:
        for name, arm in arms_of(database, id).items():
            found[name] = session.scalars(select(Network.arrays_sha256).where(Network.arm_id == arm.id)).one()
    return found
