"""Watching an experiment: the stream that outlasts cuts, the curve made of it, and what the command shows."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_bnlab_client import Recorder, answer, problem
from test_bnlab_fakes import ID, Server, Stream, bnlab, experiment, points, progress, running_server, spread, sse

from api.stream_events import EVENTS as EVENTS_OF_THE_API
from bnlab import client as client_module
from bnlab import stream
from bnlab.client import Client
from bnlab.errors import ApiProblem, ServerUnreachable, UnexpectedAnswer
from bnlab.stream import Event
from bnlab.watched import Watched

ROOT = Path(__file__).parents[1]
EVENTS = f"/experiments/{ID}/events"
WITHOUT, WITH = "without_batch_norm", "with_batch_norm"

RUNNING = sse("experiment", 1, experiment("running", 0))
SOME = sse("points", 2, points(WITH, {0: [0.1], 50: [0.5]}))
FAR = sse("progress", 3, progress(1000))
MORE = sse("points", 4, points(WITH, {100: [0.75]}))
RESULTS = sse("experiment", 5, experiment())
END = sse("end", 6, {"status": "succeeded"})
PING = b": ping\n\n"
WHOLE = [RUNNING, SOME, FAR, MORE, RESULTS, END]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "RESUME_PAUSES_S", (0.01, 0.02))


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


class Pieces(httpx.SyncByteStream):
    """A body that comes in pieces, and then ends or breaks."""

    def __init__(self, pieces: list[bytes], breaks: httpx.TransportError | None) -> None:
        self.pieces, self.breaks = pieces, breaks
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.breaks is not None:
            raise self.breaks

    def close(self) -> None:
        self.closed = True


def streamed(*pieces: bytes, breaks: httpx.TransportError | None = None) -> httpx.Response:
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Pieces(list(pieces), breaks))


def watched(server: Recorder) -> list[tuple[str, str]]:
    """Watch to the end and return the events' names and ids."""
    with server.client() as client:
        return [(event.name, event.id) for event in client.watch(ID)]


def last_event_ids(server: Recorder) -> list[str | None]:
    return [request.headers.get("Last-Event-ID") for request in server.requests]


NAMES = [
    ("experiment", "1"),
    ("points", "2"),
    ("progress", "3"),
    ("points", "4"),
    ("experiment", "5"),
    ("end", "6"),
]

# The stream


def test_a_watched_experiment_yields_each_event_up_to_its_end_and_asks_once() -> None:
    server = Recorder(streamed(*WHOLE, sse("points", 7, {})))
    with server.client() as client:
        events = list(client.watch(ID))
    assert events[0] == Event("experiment", experiment("running", 0), "1")
    assert [(event.name, event.id) for event in events] == NAMES
    (request,) = server.requests
    assert (request.method, request.url.path) == ("GET", EVENTS)
    assert request.headers["Accept"] == "text/event-stream"
    assert last_event_ids(server) == [None]


@pytest.mark.parametrize(
    "breaks",
    [None, httpx.ReadError("reset"), httpx.ReadTimeout("silent"), httpx.RemoteProtocolError("incomplete chunk")],
    ids=repr,
)
def test_a_stream_cut_in_the_middle_of_an_event_is_resumed_behind_the_last_whole_one(
    breaks: httpx.TransportError | None,
) -> None:
    cut = streamed(RUNNING, SOME + FAR[:40], breaks=breaks)
    server = Recorder(cut, streamed(RUNNING, FAR, MORE[:-1], breaks=breaks), streamed(RESULTS, END))
    assert watched(server) == [*NAMES[:2], NAMES[0], NAMES[2], *NAMES[4:]]
    assert last_event_ids(server) == [None, "2", "3"]


def test_an_event_may_come_in_any_pieces_and_lines_may_end_in_any_way() -> None:
    body = b"".join(WHOLE)
    assert watched(Recorder(streamed(*(body[n : n + 7] for n in range(0, len(body), 7))))) == NAMES
    assert watched(Recorder(streamed(body.replace(b"\n", b"\r\n")))) == NAMES


def test_heartbeats_are_no_events() -> None:
    pieces = [piece for event in WHOLE for piece in (PING, event)]
    assert watched(Recorder(streamed(b": ping\n", *pieces))) == NAMES


def test_nothing_more_behind_the_last_event_ends_it() -> None:
    server = Recorder(streamed(RUNNING, RESULTS), httpx.Response(204))
    assert watched(server) == [NAMES[0], NAMES[4]]
    assert last_event_ids(server) == [None, "5"]


def test_an_event_without_an_id_leaves_the_place_where_it_was() -> None:
    server = Recorder(streamed(RUNNING, SOME), streamed(b"event: news\ndata: {}\n\n"), streamed(END))
    assert watched(server)[2:] == [("news", ""), NAMES[5]]
    assert last_event_ids(server) == [None, "2", "2"]


@pytest.mark.parametrize("first", [problem(404), problem(503), httpx.ConnectError("refused")], ids=repr)
def test_what_was_never_there_is_not_waited_for(first: httpx.Response | httpx.TransportError) -> None:
    server = Recorder(first, streamed(*WHOLE))
    with pytest.raises((ApiProblem, ServerUnreachable)):
        watched(server)
    assert len(server.requests) == 1


def test_a_problem_that_comes_instead_of_the_stream_says_what_it_says_everywhere() -> None:
    with pytest.raises(ApiProblem) as caught:
        watched(Recorder(problem(404, detail="There is no such experiment.", code="not_found")))
    assert (caught.value.status, caught.value.code) == (404, "not_found")
    assert str(caught.value) == "There is no such experiment. (404)"


def test_a_key_revoked_meanwhile_is_told_at_once() -> None:
    server = Recorder(streamed(RUNNING, SOME), problem(401, code="key_unknown"), streamed(*WHOLE))
    with pytest.raises(ApiProblem) as caught:
        watched(server)
    assert (caught.value.status, len(server.requests)) == (401, 2)


def test_a_server_that_restarts_is_waited_for() -> None:
    away = httpx.ConnectError("refused")
    server = Recorder(streamed(RUNNING, SOME), away, problem(502), away, streamed(RUNNING, FAR, RESULTS, END))
    assert watched(server)[-1] == NAMES[-1]
    assert last_event_ids(server) == [None, "2", "2", "2", "2"]


def test_the_error_is_raised_when_the_patience_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PATIENCE_S", 0.2)
    server = Recorder(streamed(RUNNING), httpx.ConnectError("refused"))
    started = time.monotonic()
    with pytest.raises(ServerUnreachable, match="refused"):
        watched(server)
    assert time.monotonic() - started >= 0.2
    assert len(server.requests) > 2


def test_a_server_that_opens_streams_but_never_says_anything_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PATIENCE_S", 0.1)
    with pytest.raises(ServerUnreachable, match="broke off"):
        watched(Forgetful(PING))


def test_the_patience_begins_anew_with_each_stream_that_says_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PATIENCE_S", 0.1)
    server = Forgetful(RUNNING)
    started = time.monotonic()
    with server.client() as client:
        for _ in client.watch(ID):
            if time.monotonic() - started > 0.3:
                return


def test_the_pauses_grow_while_a_server_gives_no_more_than_the_first_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "RESUME_PAUSES_S", (0.05, 0.1, 0.2))
    server = Recorder(*(streamed(RUNNING) for _ in range(4)), streamed(RUNNING, SOME), streamed(*WHOLE))
    watched(server)
    pauses = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
    least = (0.05, 0.1, 0.2, 0.2, 0.05)
    assert [pause >= bound for pause, bound in zip(pauses, least, strict=True)] == [True] * 5


class Forgetful(Recorder):
    """A server that begins each stream in the same way and then breaks it off."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__()
        self.pieces = pieces

    def __call__(self, request: httpx.Request) -> httpx.Response:
        return streamed(*self.pieces)


def busy(status: int, seconds: str) -> httpx.Response:
    return httpx.Response(status, json={}, headers={"Retry-After": seconds})


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_after_the_time_it_names_also_at_the_start(status: int) -> None:
    server = Recorder(busy(status, "1"), streamed(*WHOLE))
    assert watched(server) == NAMES
    assert 1 <= server.times[1] - server.times[0] < 10


@pytest.mark.parametrize("seconds", ["3600", "Wed, 21 Oct 2026 07:28:00 GMT", "-1"])
def test_a_busy_server_that_names_no_time_within_the_patience_is_told_at_once(seconds: str) -> None:
    server = Recorder(busy(503, seconds), streamed(*WHOLE))
    with pytest.raises(ApiProblem) as caught:
        watched(server)
    assert len(server.requests) == 1
    assert caught.value.retry_after_s == (3600 if seconds == "3600" else None)


@pytest.mark.parametrize(
    "other",
    [
        httpx.Response(200, text="<html>"),
        answer(experiment()),
        streamed(b"data: hello\n\n"),
        streamed(b"event: points\ndata: [1]\n\n"),
    ],
    ids=["a page", "JSON", "no JSON within", "no object within"],
)
def test_an_answer_that_is_no_stream_of_events_is_told_apart(other: httpx.Response) -> None:
    server = Recorder(other, streamed(*WHOLE))
    with pytest.raises(UnexpectedAnswer):
        watched(server)
    assert len(server.requests) == 1


def test_a_connection_that_falls_silent_is_resumed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "SILENCE_S", 0.2)
    bell = threading.Event()
    server.answer(EVENTS, Stream(RUNNING, bell), Stream(RESULTS, END))
    with Client(server.url) as client:
        assert [event.id for event in client.watch(ID)] == ["1", "5", "6"]
    bell.set()
    assert server.last_event_ids == [None, "1"]


def test_the_connection_is_closed_with_the_generator() -> None:
    open_stream = streamed(*WHOLE)
    with Recorder(open_stream).client() as client:
        events = client.watch(ID)
        next(events)
        assert not open_stream.is_closed
        events.close()
        assert open_stream.is_closed


# What is known from the events


def taken(*events: tuple[str, Any]) -> Watched:
    watched = Watched()
    for number, (name, data) in enumerate(events):
        watched.take(Event(name, data, str(number)))
    return watched


def test_the_curve_has_each_point_once_and_in_order() -> None:
    watched = taken(
        ("experiment", experiment("running", 0)),
        ("points", points(WITH, {0: [0.1, 0.2], 50: [0.5, 0.6]})),
        ("points", points(WITH, {50: [0.7, 0.9], 100: [0.8, 0.8]})),
        ("points", points(WITHOUT, {0: [0.3, 0.3]})),
    )
    curve = watched.curve()
    both = points(WITH, {0: [0.1, 0.2], 50: [0.7, 0.9], 100: [0.8, 0.8]})
    assert curve["experiment_id"] == ID
    assert curve["arms"][WITH] == {name: both[name] for name in ("steps", "mean", "min", "max", "std", "replicates")}
    assert curve["arms"][WITHOUT]["replicates"] == [[0.3], [0.3]]
    assert watched.accuracy(WITH) == pytest.approx(0.8)
    assert watched.accuracy(WITHOUT) == pytest.approx(0.3)


def test_an_arm_that_began_again_has_only_its_new_points() -> None:
    old = ("points", points(WITH, {0: [0.1], 50: [0.5], 100: [0.6]}))
    other = ("points", points(WITHOUT, {0: [0.3]}))
    again = taken(old, other, ("points", points(WITH, {0: [0.2]}, restarted=True)))
    assert again.curve()["arms"][WITH]["mean"] == [0.2]
    assert again.curve()["arms"][WITHOUT]["mean"] == [0.3]
    empty = taken(old, ("points", points(WITH, {}, restarted=True)))
    assert empty.curve()["arms"][WITH]["steps"] == []
    assert empty.accuracy(WITH) is None


def test_progress_brings_the_experiment_up_to_date() -> None:
    watched = taken(("progress", progress(5)), ("experiment", experiment("queued", 0)), ("progress", progress(1000)))
    known = experiment("running", 1000)
    assert watched.experiment is not None
    assert watched.experiment["status"] == "running"
    assert watched.experiment["progress"] == known["progress"]
    assert watched.experiment["arms"][WITH]["batches_done"] == 1000
    assert watched.experiment.keys() == known.keys()
    assert watched.experiment["arms"][WITH].keys() == known["arms"][WITH].keys()


def test_an_ended_arms_accuracy_is_its_final_one() -> None:
    watched = taken(("points", points(WITH, {0: [0.1]})), ("experiment", experiment()))
    assert watched.accuracy(WITH) == spread(0.91)["mean"]


def test_an_event_of_a_later_version_changes_nothing() -> None:
    watched = taken(("experiment", experiment("running", 10)), ("news", {"status": "failed", "arms": {}}))
    assert watched.experiment == experiment("running", 10)


# The stand-ins are like the API's own events


@pytest.mark.parametrize("event", WHOLE, ids=[name for name, _ in NAMES])
def test_a_stand_ins_event_has_what_the_apis_has_and_nothing_else(event: bytes) -> None:
    name, _, data = (line.partition(": ")[2] for line in event.decode().splitlines()[:3])
    shape = EVENTS_OF_THE_API[name]
    assert json.loads(shape.model_validate_json(data).model_dump_json()) == json.loads(data)


# The command


def test_watch_tells_in_lines_what_changes_and_then_the_results(server: Server) -> None:
    steps = [sse("progress", 10 + n, progress(n)) for n in range(0, 2000, 20)]
    server.answer(EVENTS, Stream(RUNNING, SOME, *steps, RESULTS, END))
    result = bnlab(server, "watch", ID)
    assert result.code == 0
    server.answer(f"/experiments/{ID}", experiment())
    assert result.out == bnlab(server, "show", ID).out
    lines = result.err.splitlines()
    assert len(lines) == 2 * (1 + 9 + 1)  # as it stood first, each further tenth, the end
    assert lines[0] == "without_batch_norm: running, 0 of 2,000 batches"
    assert "with_batch_norm: running, 1,000 of 2,000 batches, 500 batches/s, accuracy 0.5000" in lines
    assert lines[-1] == "with_batch_norm: succeeded, 2,000 of 2,000 batches, 500 batches/s, accuracy 0.9100"
    assert all(character.isprintable() or character == "\n" for character in result.err + result.out)


def test_watch_outlasts_a_cut(server: Server) -> None:
    server.answer(EVENTS, Stream(RUNNING, SOME + FAR[:30]), Stream(RUNNING, FAR, RESULTS, END))
    assert bnlab(server, "watch", ID).code == 0
    assert server.last_event_ids == [None, "2"]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_watch_ends_with_1_when_the_experiment_does_not_succeed(server: Server, status: str) -> None:
    error = {"arm": WITH, "code": "broken", "message": "The workshop burnt down."}
    last = sse("experiment", 2, experiment(status, 0, error))
    server.answer(EVENTS, Stream(RUNNING, last, sse("end", 3, {"status": status})))
    result = bnlab(server, "watch", ID)
    assert result.code == 1
    assert "The workshop burnt down." in result.out
    assert bnlab(server, "watch", ID, "--json").code == 1


def test_watch_says_once_that_nobody_is_there_to_take_the_experiment(server: Server) -> None:
    nobody = "a worker with a GPU: none has been heard of for 30 s"
    vain = sse("experiment", 1, experiment("queued", 0, waits_for=nobody))
    server.answer(EVENTS, Stream(vain, vain, RUNNING, RESULTS, END))
    assert bnlab(server, "watch", ID).err.count(f"Waits for {nobody}.") == 1


def test_watch_of_what_is_not_there_says_so_and_ends_with_1(server: Server) -> None:
    server.answer(EVENTS, {"status": 404, "detail": "There is no such experiment."}, status=404)
    for options in ([], ["--json"]):
        result = bnlab(server, "watch", ID, *options)
        assert (result.code, result.out, result.err) == (1, "", "There is no such experiment. (404)\n")


def test_watch_with_json_prints_a_line_for_each_event(server: Server) -> None:
    server.answer(EVENTS, Stream(PING, *WHOLE))
    result = bnlab(server, "watch", ID, "--json")
    assert (result.code, result.err) == (0, "")
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [(line["event"], line["id"]) for line in lines] == NAMES
    assert all(line.keys() == {"event", "id", "data"} for line in lines)
    assert lines[2]["data"] == progress(1000)


def test_each_line_of_json_comes_when_its_event_comes_and_ctrl_c_leaves_the_experiment_running(server: Server) -> None:
    bell = threading.Event()
    server.answer(EVENTS, Stream(RUNNING, bell, END))
    command = [sys.executable, "-m", "bnlab", "--url", server.url, "watch", ID, "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "experiment"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    bell.set()
    assert process.returncode == 130
    assert err == f"The experiment goes on. Look at it again with: bnlab --url {server.url} watch {ID}\n"
    assert {path for _, path, _ in server.requests} == {EVENTS}


def in_a_terminal(server: Server, lines: int) -> tuple[int, str, str]:
    """Watch in a terminal of 80 columns; return how it ended, what it printed and what stood on the screen."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "LINES": str(lines), "TERM": "xterm"}
    command = [sys.executable, "-m", "bnlab", "--url", server.url, "watch", ID]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        screen = b"".join(iter(lambda: read(ours), b""))
        out, _ = process.communicate(timeout=20)
    os.close(ours)
    return process.returncode, out.decode(), screen.decode()


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # how Linux says that nobody is at the other end
        return b""


def test_in_a_terminal_the_curves_and_the_bars_stay_when_it_ends(server: Server) -> None:
    server.answer(EVENTS, Stream(*WHOLE))
    code, out, screen = in_a_terminal(server, 40)
    assert code == 0
    assert out.startswith(f"{ID}  succeeded")
    last = screen[screen.rindex("1.00") :]
    assert "Training steps" in last
    assert "• without_batch_norm" not in last  # it has no points
    assert "⢄⠤ with_batch_norm" in last.replace("\x1b[94m", "").replace("\x1b[0m", "")
    assert last.count("2000/2000") == 2
    assert "0.9100, succeeded, 500 batches/s" in last


def test_in_a_low_terminal_there_are_only_the_bars(server: Server) -> None:
    server.answer(EVENTS, Stream(*WHOLE))
    code, _, screen = in_a_terminal(server, 10)
    assert code == 0
    assert "2000/2000" in screen
    assert "Training steps" not in screen


def test_in_a_terminal_an_experiment_that_is_not_there_leaves_nothing_but_a_line(server: Server) -> None:
    server.answer(EVENTS, {"status": 404, "detail": "There is no such experiment."}, status=404)
    assert in_a_terminal(server, 40) == (1, "", "There is no such experiment. (404)\r\n")
