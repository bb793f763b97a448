"""Logs: text as ever, or one JSON object on each line; with the ids of what a line is about."""

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import logs
from models.logs import LogFormat

Written = Callable[[], str]


@pytest.fixture
def configured(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[LogFormat], Written]]:
    """Configure the logs of this process as those of ours are; afterwards they are as they were."""
    root = logging.root
    handlers, level = root.handlers[:], root.level

    def configure(log_format: LogFormat) -> Written:
        logs.configure(log_format)
        return lambda: capsys.readouterr().err

    yield configure
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


Configure = Callable[[LogFormat], Written]


def objects(written: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.splitlines()]


def test_a_line_of_text_is_time_level_logger_and_sentence(configured: Configure) -> None:
    written = configured("text")
    logging.getLogger("api.bells").warning("The broker is %s.", "away", extra={"action": "ring"})
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING api\.bells: The broker is away\.\n", written())


def test_a_line_of_text_ends_with_what_it_is_about(configured: Configure) -> None:
    written = configured("text")
    with logs.bound(request_id="r-1", experiment_id="e-2"), logs.bound(arm="with_batch_norm"):
        logging.getLogger("worker").info("It starts.")
    assert written().endswith("worker: It starts. [request r-1 experiment e-2 arm with_batch_norm]\n")


def test_a_json_line_has_its_time_in_utc_and_what_is_bound_and_what_the_call_adds(configured: Configure) -> None:
    written = configured("json")
    with logs.bound(request_id="r-1", experiment_id=None):
        logging.getLogger("worker").info("Arm %s starts.", 7, extra={"action": "start_arm"})
    (line,) = objects(written())
    moment = line.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    assert abs(datetime.fromisoformat(moment).timestamp() - datetime.now().timestamp()) < 60
    assert line == {
        "level": "INFO",
        "logger": "worker",
        "message": "Arm 7 starts.",
        "action": "start_arm",
        "request_id": "r-1",
    }


def test_what_a_call_says_itself_stands_before_what_is_bound(configured: Configure) -> None:
    written = configured("json")
    with logs.bound(experiment_id="outer"):
        logging.getLogger("worker").info("About another one.", extra={"experiment_id": "other"})
    assert objects(written())[0]["experiment_id"] == "other"


def test_an_error_is_one_json_line_with_its_trace(configured: Configure) -> None:
    written = configured("json")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("worker").exception("It failed.")
    (line,) = objects(written())
    assert line["message"] == "It failed."
    assert "ValueError: two\nlines" in line["exc_info"]


@given(st.text())
def test_whatever_is_said_a_json_line_is_one_line_and_says_it(text: str) -> None:
    record = logging.LogRecord("any", logging.INFO, __file__, 1, "%s", (text,), None)
    logs._add_bound(record)
    line = logs._Json().format(record)
    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == text


def test_ids_are_bound_inside_the_block_only(configured: Configure) -> None:
    written = configured("json")
    with logs.bound(request_id="r-1"):
        with logs.bound(request_id="r-2"):
            logging.info("inner")
        logging.info("outer")
    logging.info("none")
    assert [line.get("request_id") for line in objects(written())] == ["r-2", "r-1", None]


def test_a_thread_has_the_ids_of_the_context_it_was_given_and_no_others(configured: Configure) -> None:
    written = configured("json")
    with logs.bound(request_id="r-1"):
        given = threading.Thread(target=copy_context().run, args=(logging.info, "given"))
        bare = threading.Thread(target=logging.info, args=("bare",))
    for thread in (given, bare):
        thread.start()
        thread.join()
    assert [line.get("request_id") for line in objects(written())] == ["r-1", None]


def test_a_library_that_has_handlers_of_its_own_loses_them(configured: Configure) -> None:
    theirs = logging.getLogger("a_library_with_its_own_way")
    theirs.addHandler(logging.StreamHandler())
    theirs.propagate = False
    written = configured("json")
    theirs.info("Told once.", extra={"color_message": "in colours"})
    (line,) = objects(written())
    assert (line["message"], line["logger"]) == ("Told once.", "a_library_with_its_own_way")
    assert "color_message" not in line


def test_what_is_less_than_a_notice_is_not_written(configured: Configure) -> None:
    written = configured("text")
    logging.getLogger("sqlalchemy.engine").debug("SELECT 1")
    assert written() == ""
