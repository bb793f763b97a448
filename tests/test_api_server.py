"""`python -m api` as it is shipped: where it starts and where it refuses to, and slow and hostile clients."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_until

from api.__main__ import keys_at
from api.protocol import MOST_AHEAD, MOST_HEAD_BYTES
from bench import flood
from bench.server import ROOT, Server, running_api
from faults.processes import Processes, bare_environment

HEADER_TIMEOUT_S, BODY_TIMEOUT_S = 1.0, 2.0
#: What a loaded machine may need beyond a deadline.
PATIENCE_S = 10.0
ATTACK_S = 20.0

HEAD = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /experiments HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LIVE = b'{"status":"live"}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    timeouts = {"header_timeout_s": HEADER_TIMEOUT_S, "body_timeout_s": BODY_TIMEOUT_S}
    with running_api(tmp_path_factory.mktemp("server"), **timeouts) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        yield connection


def until_the_end(client: socket.socket) -> bytes:
    """Return all that comes until the other side closes the connection."""
    come = b""
    with suppress(ConnectionResetError):
        while piece := client.recv(65_536):
            come += piece
    return come


def answer(client: socket.socket) -> bytes:
    """Return one answer; the connection stays."""
    come = b""
    while b"\r\n\r\n" not in come:
        come += client.recv(65_536)
    head, _, body = come.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(lengths[0]):
        body += client.recv(65_536)
    return head + b"\r\n\r\n" + body


def problem_of(come: bytes, status: int) -> dict[str, Any]:
    head, _, body = come.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), come
    assert b"\r\ncontent-type: application/problem+json" in head.lower()
    assert b"\r\nx-content-type-options: nosniff" in head.lower()
    assert b"\r\nconnection: close" in head.lower()
    told: dict[str, Any] = json.loads(body)
    assert told["status"] == status
    return told


# ------------------------------------------------------------------------------------------------ the start


@pytest.mark.parametrize(
    ("address", "asked", "keys"),
    [
        ("127.0.0.1", "auto", "off"),
        ("127.8.9.1", "auto", "off"),
        ("::1", "auto", "off"),
        ("::ffff:127.0.0.1", "off", "off"),
        ("127.0.0.1", "required", "required"),
        ("0.0.0.0", "auto", "required"),
        ("::", "auto", "required"),
        ("192.0.2.7", "required", "required"),
    ],
)
def test_keys_are_off_only_where_nobody_else_can_ask(address: str, asked: Any, keys: str) -> None:
    assert keys_at(address, asked) == keys


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7", "2001:db8::1"])
def test_keys_cannot_be_off_where_others_can_ask(address: str) -> None:
    with pytest.raises(SystemExit, match="BNLAB_KEYS=off is refused at"):
        keys_at(address, "off")


def refused(tmp_path: Path, *options: str, **settings: str) -> str:
    """Return what a process says that does not start."""
    command = [sys.executable, "-m", "api", "--port", "0", *options]
    told = {**bare_environment(tmp_path), "BNLAB_STATE_DIR": str(tmp_path), **settings}
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def test_it_does_not_start_open_to_all(tmp_path: Path) -> None:
    said = refused(tmp_path, "--host", "0.0.0.0", BNLAB_KEYS="off")
    assert said.startswith("BNLAB_KEYS=off is refused at 0.0.0.0: other machines reach it")
    assert "python -m ops.keys create NAME --scope admin" in said


def test_a_taken_port_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused(tmp_path, "--port", port)
    assert said == f"Cannot listen at 127.0.0.1, port {port}: Address already in use.\n"


@pytest.mark.parametrize(("host", "port"), [("nowhere.invalid", "0"), ("127.0.0.1", "65536"), ("192.0.2.7", "0")])
def test_an_address_that_cannot_be_is_said_in_one_line(tmp_path: Path, host: str, port: str) -> None:
    said = refused(tmp_path, "--host", host, "--port", port)
    assert said.startswith(f"Cannot listen at {host}, port {port}: ")
    assert said.count("\n") == 1


def test_a_state_folder_that_cannot_be_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refused(tmp_path, BNLAB_STATE_DIR=str(tmp_path / "file"))
    assert said.startswith(f"Cannot use the folder {tmp_path / 'file'}")
    assert "BNLAB_STATE_DIR" in said
    assert said.count("\n") == 1


def test_wrong_settings_are_said_by_name(tmp_path: Path) -> None:
    said = refused(tmp_path, BNLAB_KEYS="perhaps", BNLAB_BODY_TIMEOUT_S="0")
    assert "BNLAB_KEYS: " in said
    assert "BNLAB_BODY_TIMEOUT_S: " in said


def test_where_others_can_ask_keys_are_needed(tmp_path: Path) -> None:
    told = {"BNLAB_STATE_DIR": str(tmp_path), "BNLAB_DATASET": "mnist-5k"}
    with Processes(tmp_path) as processes:
        assert processes.start("migrations", [sys.executable, "-m", "migrations"], ROOT, told).wait(60) == 0
        api = processes.start("api", [sys.executable, "-m", "api", "--host", "0.0.0.0", "--port", "0"], ROOT, told)
        api.wait_until(lambda: "startup complete" in api.said())
        assert "API keys are required" in api.said()
        with socket.create_connection(("127.0.0.1", Server(api).port), timeout=PATIENCE_S) as client:
            client.sendall(b"GET /experiments HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert until_the_end(client).startswith(b"HTTP/1.1 401 ")


def test_on_this_machine_alone_none_are_needed_and_the_server_does_not_name_itself(
    server: Server, client: socket.socket
) -> None:
    assert "API keys are off" in server.process.said()
    client.sendall(b"GET /experiments HTTP/1.1\r\nHost: localhost\r\n\r\n")
    come = answer(client)
    assert come.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nserver:" not in come.lower()


# ------------------------------------------------------------------------------------- clients that are slow


def cut_after(client: socket.socket, begin: float, timeout_s: float) -> bytes:
    come = until_the_end(client)
    assert timeout_s * 0.9 < time.monotonic() - begin < timeout_s + PATIENCE_S
    return come


#: Prints how long the collector of cycles looks through everything, before and after what stays is spared.
COLLECTIONS = """
import gc, time
from api import __main__ as main, app

def seconds():
    begin = time.perf_counter()
    gc.collect()
    return time.perf_counter() - begin

gc.collect()
before = min(seconds() for _ in range(5))
main.spare_what_stays()
print(before, min(seconds() for _ in range(5)))
"""


def test_what_the_start_has_made_does_not_hold_the_collector_of_cycles_up() -> None:
    done = subprocess.run([sys.executable, "-c", COLLECTIONS], cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert after < before / 5


def test_who_says_nothing_is_cut_without_a_word(client: socket.socket) -> None:
    assert cut_after(client, time.monotonic(), HEADER_TIMEOUT_S) == b""


def trickled(client: socket.socket, text: bytes) -> bytes:
    """Send a byte at a time until the other side closes; return what it says."""
    client.settimeout(0.2)
    come, begin = b"", time.monotonic()
    for byte in text:
        assert time.monotonic() - begin < PATIENCE_S, "it was not cut"
        try:
            client.sendall(bytes([byte]))
            if piece := client.recv(65_536):
                come += piece
                continue
            return come
        except TimeoutError:
            continue
        except ConnectionError:
            return come
    raise AssertionError("it was not cut")


def test_a_head_that_comes_a_byte_at_a_time_is_cut(client: socket.socket) -> None:
    assert "in time" in problem_of(trickled(client, HEAD + b"X-Slow: " + b"a" * 1_000), 408)["detail"]


def test_so_is_the_second_one_of_a_connection(client: socket.socket) -> None:
    client.sendall(HEAD + b"\r\n")
    assert answer(client).endswith(LIVE)
    problem_of(trickled(client, HEAD + b"X-Slow: " + b"a" * 1_000), 408)


def test_empty_lines_do_not_keep_a_connection(client: socket.socket) -> None:
    client.sendall(HEAD + b"\r\n")
    assert answer(client).endswith(LIVE)
    trickled(client, b"\r\n" * 1_000)


def test_a_body_that_stops_half_way_is_cut(client: socket.socket) -> None:
    begin = time.monotonic()
    client.sendall(POST + b"Content-Length: 100000\r\n\r\n" + b" " * 50_000)
    problem_of(cut_after(client, begin, BODY_TIMEOUT_S), 408)


def test_a_body_that_comes_a_byte_at_a_time_is_cut(client: socket.socket) -> None:
    client.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    problem_of(trickled(client, b"1\r\n \r\n" * 1_000), 408)


def test_a_body_nobody_asked_for_is_cut_too(client: socket.socket) -> None:
    client.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
    assert answer(client).endswith(LIVE)
    trickled(client, b" " * 1_000)


@pytest.fixture
def asking_ahead(server: Server) -> Iterator[socket.socket]:
    """A client with little room that has asked for many large answers and has read nothing yet."""
    with closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.settimeout(PATIENCE_S)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * MOST_AHEAD)
        yield client


def test_a_client_that_does_not_take_its_answers_is_cut(asking_ahead: socket.socket) -> None:
    time.sleep(2 * BODY_TIMEOUT_S)
    assert 0 < until_the_end(asking_ahead).count(b"HTTP/1.1 200 ") < MOST_AHEAD


def test_a_client_that_takes_its_answers_slowly_gets_them_all(asking_ahead: socket.socket) -> None:
    come, begin = 0, time.monotonic()
    while come < MOST_AHEAD:
        come += asking_ahead.recv(16_384).count(b"HTTP/1.1 200 ")
        time.sleep(0.01)
    assert time.monotonic() - begin < 60


def test_a_client_with_pauses_between_whole_requests_is_not_slow(client: socket.socket) -> None:
    for _ in range(3):
        client.sendall(HEAD)
        time.sleep(HEADER_TIMEOUT_S / 2)
        client.sendall(b"\r\n")
        assert answer(client).endswith(LIVE)
        time.sleep(HEADER_TIMEOUT_S * 1.5)


# ---------------------------------------------------------------------------------- clients that are hostile


@pytest.mark.parametrize("rest", [b"", b"\r\n\r\n"])
def test_a_head_without_measure_is_refused(client: socket.socket, rest: bytes) -> None:
    client.sendall(HEAD + b"X-Large: " + b"a" * MOST_HEAD_BYTES + rest)
    assert str(MOST_HEAD_BYTES) in problem_of(until_the_end(client), 431)["detail"]


def test_so_is_one_of_many_headers_and_one_that_never_ends(client: socket.socket) -> None:
    with suppress(ConnectionError):
        client.sendall(HEAD)
        for _ in range(1_000):
            client.sendall(b"X: 1\r\n" * 1_000)
        raise AssertionError("six megabytes of headers were taken")


def test_so_is_what_follows_a_body_and_what_stands_between_its_pieces(server: Server) -> None:
    for endless in (b"1\r\n \r\n0\r\nX: ", b"1;x="):
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as client:
            with suppress(ConnectionError):
                client.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n" + endless)
                for _ in range(1_000):
                    client.sendall(b"a" * 10_000)
                raise AssertionError("ten megabytes were taken")


def test_headers_behind_a_body_are_not_the_requests(client: socket.socket) -> None:
    body = b"2\r\n{}\r\n0\r\nIdempotency-Key: " + b"k" * 300 + b"\r\n\r\n"  # longer than a key may be
    client.sendall(POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + body)
    assert until_the_end(client).startswith(b"HTTP/1.1 202 ")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_as_a_problem(client: socket.socket, nonsense: bytes) -> None:
    client.sendall(nonsense)
    problem_of(until_the_end(client), 400)


def test_requests_sent_ahead_are_answered_in_order_up_to_a_bound(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as client:
        client.sendall((HEAD + b"\r\n") * MOST_AHEAD + HEAD + b"Connection: close\r\n\r\n")
        assert until_the_end(client).count(LIVE) == MOST_AHEAD + 1
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as client:
        client.sendall((HEAD + b"\r\n") * 5_000)
        assert until_the_end(client).count(LIVE) < 5_000


def test_a_wish_for_another_protocol_is_passed_over(client: socket.socket) -> None:
    client.sendall(HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n")
    assert until_the_end(client).endswith(LIVE)


def test_a_client_that_goes_away_half_way_leaves_nothing(server: Server) -> None:
    for head in (HEAD, POST + b"Content-Length: 100000\r\n\r\n{"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as client:
            client.sendall(head)
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as client:
        client.sendall(HEAD + b"Connection: close\r\n\r\n")
        assert until_the_end(client).endswith(LIVE)
    assert "Traceback" not in server.process.said(), server.process.said().partition("Traceback")[2][:4_000]


# ------------------------------------------------------------------------------------------------ under attack


@pytest.mark.timeout(180)
def test_under_attack_it_answers_keeps_its_memory_and_cuts_who_is_slow(tmp_path: Path) -> None:
    found = flood.measure(tmp_path, ATTACK_S)
    figures = dict(zip(("p50", "p99"), flood.p50_and_p99(found.attacked_ms), strict=True))
    print(f"/health/live under attack, ms: {figures}; memory: +{found.growth_mb:.0f} MB; {found.attack}")
    assert found.growth_mb < 100
    assert found.attack["survivors"] == 0
    assert found.attack["cut"] >= 200
    longest = found.attack["longest_s"]
    assert longest["slow heads"] < flood.HEADER_TIMEOUT_S + PATIENCE_S
    assert longest["slow bodies"] < flood.BODY_TIMEOUT_S + PATIENCE_S
    assert "all answers" not in found.attack["answers"]
    assert not {answer for answer in found.attack["answers"] if answer.endswith((": 500", ": 502"))}
    # a quarter of a second on a quiet machine; of these cores, others may have most
    assert float(figures["p99"]) < 250 + 20 * float(flood.p50_and_p99(found.calm_ms)[1])


def test_slow_and_hostile_clients_leave_no_connection_behind(server: Server) -> None:
    wait_until(lambda: _connections(server) <= 1, timeout_s=PATIENCE_S + BODY_TIMEOUT_S, what="the end of them")


def _connections(server: Server) -> int:
    """Return how many sockets the process has beside the one it listens with and those of its event loop."""
    port = f"{server.port:04X}"
    rows = [line.split() for line in Path(f"/proc/{server.process.pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(local.endswith(f":{port}") and state in ("01", "08") for _, local, _, state, *_ in rows)
