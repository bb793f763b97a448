"""The Python client: what it sends, what it makes of the answers, and how it waits."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from bnlab import connection
from bnlab.client import Client
from bnlab.errors import (
    ApiProblem,
    NotAKey,
    NotAnAddress,
    NotJson,
    ServerUnreachable,
    UnexpectedAnswer,
    WaitedTooLong,
)

PNG = b"\x89PNG\r\n\x1a\n and so on"
JPEG = b"\xff\xd8\xff and so on"
ROWS = [[0.0] * 28] * 28


class Recorder:
    """A server that keeps every request and gives its answers in turn, the last one again and again."""

    def __init__(self, *answers: httpx.Response | httpx.TransportError) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.times.append(time.monotonic())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, httpx.TransportError):
            raise answer
        return answer

    @property
    def keys(self) -> list[str]:
        return [request.headers["Idempotency-Key"] for request in self.requests]

    def client(self) -> Client:
        return Client("http://server", transport=httpx.MockTransport(self))


class Image:
    """An array as NumPy has them, as far as the client cares."""

    def tolist(self) -> list[list[float]]:
        return ROWS


class Images:
    """Two images as one array of three dimensions."""

    def tolist(self) -> list[list[list[float]]]:
        return [ROWS, ROWS]


def answer(body: Any, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=body)


def with_status(status: str) -> httpx.Response:
    return answer({"id": "e1", "status": status})


def problem(status: int, **members: Any) -> httpx.Response:
    return httpx.Response(
        status, json={"status": status, **members}, headers={"Content-Type": "application/problem+json"}
    )


def sent(request: httpx.Request) -> Any:
    return json.loads(request.content)


def test_submit_sends_only_the_fields_that_were_given() -> None:
    server = Recorder(answer({"id": "e1"}, 202))
    with server.client() as client:
        assert client.submit(learning_rate=0.5, hidden_layers=[10, 10]) == {"id": "e1"}
    (request,) = server.requests
    assert (request.method, request.url.path) == ("POST", "/experiments")
    assert sent(request) == {"learning_rate": 0.5, "hidden_layers": [10, 10]}
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("call", "method", "target"),
    [
        (lambda c: c.experiment("e1"), "GET", "/experiments/e1"),
        (lambda c: c.experiment("../a b"), "GET", "/experiments/..%2Fa%20b"),
        (lambda c: c.experiments(), "GET", "/experiments?limit=20"),
        (lambda c: c.experiments("running", 5, "x"), "GET", "/experiments?status=running&limit=5&cursor=x"),
        (lambda c: c.curve("e1"), "GET", "/experiments/e1/curve?format=json"),
        (lambda c: c.curve_csv("e1"), "GET", "/experiments/e1/curve?format=csv"),
        (lambda c: c.curve_picture("e1", "svg"), "GET", "/experiments/e1/curve?format=svg"),
        (lambda c: c.history("e1"), "GET", "/experiments/e1/history"),
        (lambda c: c.cancel("e1"), "POST", "/experiments/e1/cancel"),
        (lambda c: c.network("e1", "with_batch_norm"), "GET", "/experiments/e1/networks/with_batch_norm"),
        (lambda c: c.network("e1", "a/b", 2), "GET", "/experiments/e1/networks/a%2Fb?replicate=2"),
        (lambda c: c.presets(), "GET", "/presets"),
        (lambda c: c.workers(), "GET", "/workers"),
        (lambda c: c.sweep("s1"), "GET", "/sweeps/s1?format=json"),
        (lambda c: c.sweeps(), "GET", "/sweeps?limit=20"),
        (lambda c: c.sweeps(5, "x"), "GET", "/sweeps?limit=5&cursor=x"),
        (lambda c: c.sweep_csv("s1"), "GET", "/sweeps/s1?format=csv"),
        (lambda c: c.sweep_curves("s1"), "GET", "/sweeps/s1/curves?format=png&first=0&count=24"),
        (lambda c: c.sweep_curves("s1", "svg", 3, 9), "GET", "/sweeps/s1/curves?format=svg&first=3&count=9"),
        (lambda c: c.cancel_sweep("s1"), "POST", "/sweeps/s1/cancel"),
        (lambda c: c.digits(3), "GET", "/digits?count=3"),
        (lambda c: c.health(), "GET", "/health/ready"),
    ],
)
def test_each_method_asks_for_its_address(call: Callable[[Client], object], method: str, target: str) -> None:
    server = Recorder(answer({}))
    with server.client() as client:
        call(client)
    (request,) = server.requests
    assert (request.method, request.url.raw_path.decode()) == (method, target)


def test_an_address_with_a_path_keeps_it() -> None:
    server = Recorder(answer({}))
    with Client("http://server/bnlab/", transport=httpx.MockTransport(server)) as client:
        client.experiment("e1")
    assert server.requests[0].url.path == "/bnlab/experiments/e1"


def test_all_experiments_follow_the_cursor_to_the_last_page() -> None:
    first = answer({"experiments": [{"id": "e3"}, {"id": "e2"}], "next_cursor": "more"})
    last = answer({"experiments": [{"id": "e1"}], "next_cursor": None})
    server = Recorder(first, last)
    with server.client() as client:
        assert [experiment["id"] for experiment in client.all_experiments("failed")] == ["e3", "e2", "e1"]
    assert [dict(request.url.params) for request in server.requests] == [
        {"status": "failed", "limit": "100"},
        {"status": "failed", "limit": "100", "cursor": "more"},
    ]


def test_a_sweep_is_sent_with_only_what_was_given() -> None:
    server = Recorder(answer({"id": "s1"}, 202))
    with server.client() as client:
        client.submit_sweep({"seed": 1}, {"learning_rate": [0.01, 1]}, "lesson")
        client.submit_sweep(presets=["a", "b"])
    assert {(request.method, request.url.path) for request in server.requests} == {("POST", "/sweeps")}
    assert [sent(request) for request in server.requests] == [
        {"base": {"seed": 1}, "grid": {"learning_rate": [0.01, 1]}, "presets": "lesson"},
        {"presets": ["a", "b"]},
    ]


def test_the_curve_comes_as_text_and_as_a_picture() -> None:
    server = Recorder(httpx.Response(200, text="arm,step\n"), httpx.Response(200, content=PNG))
    with server.client() as client:
        assert client.curve_csv("e1") == "arm,step\n"
        assert client.curve_picture("e1") == PNG


@pytest.mark.parametrize("image", [ROWS, [0.0] * 784, Image()])
def test_numbers_are_predicted_as_json(image: Any) -> None:
    server = Recorder(answer({"digit": 7}))
    with server.client() as client:
        client.predict(image, experiment="e1", statistics="batch")
    body = sent(server.requests[0])
    assert sum(len(row) if isinstance(row, list) else 1 for row in body.pop("image")) == 784
    assert body == {"experiment": "e1", "statistics": "batch"}


@pytest.mark.parametrize("images", [[ROWS, ROWS], [[0.0] * 784] * 2, [Image(), Image()], Images(), (ROWS, Image())])
def test_several_images_are_predicted_in_one_request(images: Any) -> None:
    server = Recorder(answer({"predictions": []}))
    with server.client() as client:
        client.predict_many(images, experiment="e1", arm="with_batch_norm", replicate=1, statistics="batch")
    body = sent(server.requests[0])
    assert len(body.pop("images")) == 2
    assert body == {"experiment": "e1", "arm": "with_batch_norm", "replicate": 1, "statistics": "batch"}


@pytest.mark.parametrize(
    ("picture", "kind"), [(PNG, "image/png"), (JPEG, "image/jpeg"), (b"GIF89a", "application/octet-stream")]
)
def test_a_picture_is_predicted_as_it_is_with_the_choices_in_the_address(
    picture: bytes, kind: str, tmp_path: Path
) -> None:
    file = tmp_path / "digit"
    file.write_bytes(picture)
    server = Recorder(answer({"digit": 7}))
    with server.client() as client:
        for image in (picture, file, str(file)):
            client.predict(image, arm="with_batch_norm", replicate=0)
    for request in server.requests:
        assert request.content == picture
        assert request.headers["Content-Type"] == kind
        assert dict(request.url.params) == {"arm": "with_batch_norm", "replicate": "0"}


def test_a_problem_names_each_field_what_is_allowed_and_what_came() -> None:
    said = problem(
        422,
        type="urn:bnlab:problem:invalid_input",
        title="Unprocessable Entity",
        detail="The request is not valid.",
        code="invalid_input",
        errors=[
            {"field": "learning_rate", "allowed": "greater than 0", "received": -1},
            {"field": "image", "allowed": "784 numbers", "received": None},
        ],
        hint="read the lesson",
    )
    with Recorder(said).client() as client, pytest.raises(ApiProblem) as caught:
        client.submit(learning_rate=-1)
    error = caught.value
    assert (error.status, error.code, error.title) == (422, "invalid_input", "Unprocessable Entity")
    assert error.type == "urn:bnlab:problem:invalid_input"
    assert error.extensions == {"hint": "read the lesson"}
    assert str(error) == (
        "The request is not valid. (422)\n"
        "  learning_rate: allowed is greater than 0; received -1\n"
        "  image: allowed is 784 numbers"
    )


def test_an_error_that_is_no_problem_json_still_has_its_status() -> None:
    with Recorder(httpx.Response(502, text="<html>")).client() as client, pytest.raises(ApiProblem) as caught:
        client.health()
    assert (caught.value.status, str(caught.value)) == (502, "Bad Gateway (502)")
    assert (caught.value.errors, caught.value.code) == ([], None)


def test_an_unreachable_server_is_named_with_the_way_to_start_one() -> None:
    with Recorder(httpx.ConnectError("refused")).client() as client, pytest.raises(ServerUnreachable) as caught:
        client.health()
    assert "http://server" in str(caught.value)
    assert "`bnlab up`" in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://server", "http://", "http://server:port", "http://a..b"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(NotAnAddress, match="http://127"):
        Client(url)


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[1, 2]"])
def test_an_answer_of_somebody_else_is_told_apart(body: bytes) -> None:
    with Recorder(httpx.Response(200, content=body)).client() as client, pytest.raises(UnexpectedAnswer):
        client.experiment("e1")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_json_cannot_carry_is_not_sent(value: object) -> None:
    server = Recorder(answer({}))
    with server.client() as client, pytest.raises(NotJson):
        client.submit(learning_rate=value)
    assert server.requests == []


def test_wait_returns_the_ended_experiment_and_tells_each_change_once() -> None:
    server = Recorder(*map(with_status, ["queued", "running", "running", "failed"]))
    seen: list[str] = []
    with server.client() as client:
        ended = client.wait("e1", poll_interval_s=0, on_change=lambda experiment: seen.append(experiment["status"]))
    assert ended["status"] == "failed"
    assert seen == ["queued", "running", "failed"]


def test_a_sweep_is_waited_for_as_an_experiment_is() -> None:
    away = httpx.ConnectError("refused")
    server = Recorder(with_status("queued"), with_status("running"), away, with_status("failed"))
    seen: list[str] = []
    with server.client() as client:
        ended = client.wait_for_sweep("s1", poll_interval_s=0, on_change=lambda sweep: seen.append(sweep["status"]))
    assert ended["status"] == "failed"
    assert seen == ["queued", "running", "failed"]
    assert {request.url.path for request in server.requests} == {"/sweeps/s1"}


def test_wait_gives_up_after_its_time() -> None:
    with Recorder(with_status("running")).client() as client:
        with pytest.raises(WaitedTooLong, match="The experiment e1 is still running"):
            client.wait("e1", poll_interval_s=0, timeout_s=0)
        with pytest.raises(WaitedTooLong, match="The sweep e1 is still running"):
            client.wait_for_sweep("e1", poll_interval_s=0, timeout_s=0)


def test_wait_outlasts_a_server_that_restarts() -> None:
    server = Recorder(with_status("running"), httpx.ConnectError("refused"), problem(503), with_status("succeeded"))
    with server.client() as client:
        assert client.wait("e1", poll_interval_s=0)["status"] == "succeeded"


@pytest.mark.parametrize("first", [httpx.ConnectError("refused"), problem(404)])
def test_wait_does_not_wait_for_what_was_never_there(first: httpx.Response | httpx.TransportError) -> None:
    server = Recorder(first, with_status("succeeded"))
    with server.client() as client, pytest.raises((ServerUnreachable, ApiProblem)):
        client.wait("e1", poll_interval_s=0)
    assert len(server.requests) == 1


# Submitting once


SUBMITTED = answer({"id": "e1"}, 202)
REFUSED = httpx.ConnectError("refused")
BROKEN = httpx.RemoteProtocolError("Server disconnected without sending a response.")


def test_each_submission_has_a_key_of_its_own_and_a_given_key_is_sent_as_it_is() -> None:
    server = Recorder(SUBMITTED)
    with server.client() as client:
        client.submit()
        client.submit()
        client.submit_sweep(presets="lesson")
        client.submit(seed=1, idempotency_key="mine")
        client.submit_sweep(presets="lesson", idempotency_key="mine-too")
    *drawn, mine, mine_too = server.keys
    assert len(set(drawn)) == 3
    assert all(len(key) == 32 for key in drawn)
    assert (mine, mine_too) == ("mine", "mine-too")
    assert [sent(request) for request in server.requests[-2:]] == [{"seed": 1}, {"presets": "lesson"}]


@pytest.mark.parametrize(
    "first",
    [
        BROKEN,
        httpx.ReadError("reset"),
        httpx.ReadTimeout("slow"),
        httpx.WriteError("reset"),
        problem(502),
        problem(503),
        problem(504),
    ],
    ids=repr,
)
def test_an_answer_that_stays_out_is_asked_for_again_with_the_same_key(
    first: httpx.Response | httpx.TransportError,
) -> None:
    server = Recorder(first, SUBMITTED)
    with server.client() as client:
        assert client.submit(seed=1) == {"id": "e1"}
    one, again = server.requests
    assert one.content == again.content
    assert len(set(server.keys)) == 1


def test_a_submission_is_sent_again_after_each_pause_and_then_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(connection.RETRY_PAUSES_S) == list(connection.RETRY_PAUSES_S)
    monkeypatch.setattr(connection, "RETRY_PAUSES_S", (0.1, 0.2, 0.4))
    server = Recorder(problem(503), BROKEN, problem(503, detail="Still starting."))
    with server.client() as client, pytest.raises(ApiProblem, match="Still starting"):
        client.submit()
    assert len(server.requests) == 4
    assert len(set(server.keys)) == 1
    pauses = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
    assert [pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=True)] == [True, True, True]


@pytest.mark.parametrize("first", [REFUSED, httpx.ConnectTimeout("slow"), problem(429), problem(422)], ids=repr)
def test_a_refused_connection_or_submission_is_told_at_once(first: httpx.Response | httpx.TransportError) -> None:
    server = Recorder(first, SUBMITTED)
    with server.client() as client, pytest.raises((ServerUnreachable, ApiProblem)):
        client.submit()
    assert len(server.requests) == 1


def test_a_server_that_had_the_request_may_restart_before_it_answers() -> None:
    server = Recorder(BROKEN, REFUSED, SUBMITTED)
    with server.client() as client:
        assert client.submit() == {"id": "e1"}
    assert len(set(server.keys)) == 1


def test_a_server_that_turns_out_to_be_too_busy_is_not_asked_further() -> None:
    server = Recorder(BROKEN, problem(429), SUBMITTED)
    with server.client() as client, pytest.raises(ApiProblem) as caught:
        client.submit()
    assert caught.value.status == 429
    assert len(server.requests) == 2


@pytest.mark.parametrize("key", ["", "two words", "Schlüssel", "line\nbreak"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    server = Recorder(SUBMITTED)
    with server.client() as client, pytest.raises(NotAKey, match="visible ASCII"):
        client.submit(idempotency_key=key)
    assert server.requests == []
