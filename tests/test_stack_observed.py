"""One experiment followed from outside, through its API, its worker and their stores: by logs, metrics and traces."""

import json
import re
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from collector import Collector
from conftest import create_database, redis_or_skip, wait_until
from prometheus_client.parser import text_string_to_metric_families
from stack import ROOT, SHORT, finished

from api.metrics import NAMES as API_NAMES
from bnlab.client import Client
from bnlab.commands import repository_commands
from faults.processes import Process, Processes
from faults.servers import free_port
from worker.metrics import NAMES as WORKER_NAMES

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
REQUEST_ID = "followed-from-outside"
#: What the C++ of TensorFlow writes passes by Python's logging: a few lines when the first program is compiled.
OF_TENSORFLOW = re.compile(r"WARNING: All log messages before absl::InitializeLog|[IWEF]\d{4} \d\d:\d\d:\d\d")
ARMS = {"with_batch_norm", "without_batch_norm"}


@dataclass
class Observed:
    """The set-up: an API and a worker that say all they can, and who listens."""

    api: Process
    worker: Process
    redis: Process
    collector: Collector
    url: str
    metrics: dict[str, str]
    passwords: tuple[str, str]

    def series(self, process: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        text = httpx.get(self.metrics[process], trust_env=False).text
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def lines(self, process: Process) -> list[dict[str, Any]]:
        written = process.log.read_text().splitlines()
        return [json.loads(line) for line in written if not OF_TENSORFLOW.match(line)]


def _with_password(postgres_url: str, password: str) -> str:
    """Return the address with a password in it; any is right: this server trusts whoever comes through its socket."""
    assert "://postgres:@/" in postgres_url
    return postgres_url.replace("://postgres:@/", f"://postgres:{password}@/")


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("observed")
    passwords = secrets.token_hex(24), secrets.token_hex(24)
    postgres, template = request.getfixturevalue("postgres"), request.getfixturevalue("migrated_postgres")
    database_url = _with_password(_new_database(postgres, template), passwords[0])
    redis_port, api_port, ports = free_port(), free_port(), {"api": free_port(), "worker": free_port()}
    with Collector() as collector, Processes(folder) as processes:
        told = {
            "BNLAB_STATE_DIR": str(folder / "state"),
            "BNLAB_DATABASE_URL": database_url,
            "BNLAB_BROKER_URL": f"redis://:{passwords[1]}@127.0.0.1:{redis_port}/0",
            "BNLAB_DATASET": "mnist-5k",
            "BNLAB_DEVICE": "cpu",
            "BNLAB_LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        }
        here = ["--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        redis = processes.start("redis", [redis_or_skip(), "--requirepass", passwords[1], *here], folder, {})
        redis.wait_until(lambda: "eady to accept" in redis.said())
        commands = repository_commands("127.0.0.1", api_port, workers=1)
        api = processes.start("api", commands.api, ROOT, {**told, "BNLAB_METRICS_PORT": str(ports["api"])})
        api.wait_until(lambda: "startup complete" in api.said())
        worker_told = {**told, "BNLAB_METRICS_PORT": str(ports["worker"])}
        worker = processes.start("worker", commands.workers[0], ROOT, worker_told)
        worker.wait_until(lambda: " ready." in worker.said())
        addresses = {name: f"http://127.0.0.1:{port}/metrics" for name, port in ports.items()}
        yield Observed(api, worker, redis, collector, f"http://127.0.0.1:{api_port}", addresses, passwords)
        processes.print_logs()


def _new_database(postgres: str, template: str) -> str:
    name = f"observed_{secrets.token_hex(8)}"
    create_database(postgres, name, template)
    return postgres.format(name)


@pytest.fixture(scope="module")
def experiment(observed: Observed) -> str:
    """An experiment that was submitted in a caller's trace, trained to its end."""
    headers = {"X-Request-ID": REQUEST_ID, "traceparent": f"00-{TRACE}-{SPAN}-01"}
    answer = httpx.post(f"{observed.url}/experiments", json=SHORT, headers=headers, trust_env=False)
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (202, REQUEST_ID)
    id: str = answer.json()["id"]
    with Client(observed.url) as client:
        assert finished(client, id)["status"] == "succeeded"
    return id


def test_every_line_of_every_process_is_json_with_its_time_level_logger_and_sentence(
    observed: Observed, experiment: str
) -> None:
    for process in (observed.api, observed.worker):
        for line in observed.lines(process):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
            assert {"level", "logger", "message"} <= set(line)
    assert any(line["message"].endswith(" ready.") for line in observed.lines(observed.worker))
    assert any("startup complete" in line["message"] for line in observed.lines(observed.api))


def test_one_id_finds_what_the_api_and_the_worker_did(observed: Observed, experiment: str) -> None:
    (accepted,) = [line for line in observed.lines(observed.api) if line.get("request_id") == REQUEST_ID]
    assert (accepted["action"], accepted["experiment_id"]) == ("accept", experiment)
    done = [line for line in observed.lines(observed.worker) if line.get("request_id") == REQUEST_ID]
    assert {line["experiment_id"] for line in done} == {experiment}
    for action in ("start_arm", "finish_arm"):
        assert {line["arm"] for line in done if line.get("action") == action} == ARMS
    assert all(line["worker"] for line in done)


def test_the_worker_s_spans_continue_the_trace_of_the_request(observed: Observed, experiment: str) -> None:
    collector = observed.collector
    wait_until(lambda: len(collector.named("train arm")) == 2, 30, "the spans of both arms")
    wait_until(lambda: bool(collector.named("POST /experiments")), 30, "the span of the request")
    (accepted,) = collector.named("POST /experiments")
    assert (accepted.trace_id, accepted.parent_id, accepted.service) == (TRACE, SPAN, "bnlab-api")
    assert accepted.attributes["bnlab.request_id"] == REQUEST_ID
    trained = collector.named("train arm")
    assert {(span.trace_id, span.parent_id, span.service) for span in trained} == {
        (TRACE, accepted.span_id, "bnlab-worker")
    }
    assert {span.attributes["bnlab.arm"] for span in trained} == ARMS
    for span in trained:
        assert span.attributes["bnlab.experiment_id"] == experiment
        assert span.attributes["bnlab.batches_done"] == SHORT["training_batches"]
        assert span.attributes["bnlab.outcome"] == "succeeded"
        assert span.attributes["bnlab.device"]
        assert not span.failed


def test_the_worker_s_parent_shows_what_its_process_has_counted(observed: Observed, experiment: str) -> None:
    series = observed.series("worker")
    for arm in ARMS:
        assert series["bnlab_worker_batches_total", (("arm", arm),)] == SHORT["training_batches"]
    assert series["bnlab_worker_arms_ended_total", (("status", "succeeded"),)] == 2
    assert series["bnlab_worker_arms_ended_total", (("status", "failed"),)] == 0
    assert 0 < series["bnlab_worker_training_seconds_total", ()] < 120
    assert {name for name, _ in series if not name.endswith("_created")} == set(WORKER_NAMES)


def test_the_api_shows_the_experiment_and_its_worker(observed: Observed, experiment: str) -> None:
    def shown() -> bool:
        series = observed.series("api")
        return (
            series["bnlab_arms", (("status", "succeeded"),)] == 2
            and series["bnlab_workers", (("device", "cpu"),)] == 1
            and series["bnlab_database_up", ()] == 1
        )

    wait_until(shown, 30, "the figures")
    series = observed.series("api")
    labels = (("method", "POST"), ("route", "/experiments"), ("status", "202"))
    assert series["bnlab_http_requests_total", labels] == 1
    names = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name, _ in series}
    assert {name for name in names if not name.endswith("_created")} == set(API_NAMES)


def test_no_password_is_ever_written(observed: Observed, experiment: str) -> None:
    """Neither at the start, where Celery shows what it connects to, nor when the broker goes and all say so."""
    observed.redis.kill()
    worker = observed.worker
    worker.wait_until(lambda: "broker" in worker.said().lower() and "onnect" in worker.said())
    spec = {**SHORT, "seed": 8}
    headers = {"X-Request-ID": "without-a-broker"}
    assert httpx.post(f"{observed.url}/experiments", json=spec, headers=headers, trust_env=False).status_code == 202
    observed.api.wait_until(lambda: "does not take bells" in observed.api.said())
    for process in (observed.api, worker):
        for password in observed.passwords:
            assert password not in process.log.read_text()


@pytest.mark.parametrize("format", ["text", "json"])
def test_celery_s_banner_shows_no_password_and_only_where_lines_are_text(format: str, tmp_path: Path) -> None:
    password = secrets.token_hex(24)
    told = {
        "BNLAB_STATE_DIR": str(tmp_path / "state"),
        "BNLAB_BROKER_URL": f"redis://:{password}@127.0.0.1:9/0",  # nobody listens there
        "BNLAB_DATASET": "mnist-5k",
        "BNLAB_LOG_FORMAT": format,
    }
    (command,) = repository_commands("127.0.0.1", 1, workers=1).workers
    assert command[0] == sys.executable
    with Processes(tmp_path) as processes:
        worker = processes.start("worker", command, ROOT, told)
        worker.wait_until(lambda: "Cannot connect" in worker.said())
    said = worker.log.read_text()
    assert password not in said
    assert ("[tasks]" in said) == (format == "text")
