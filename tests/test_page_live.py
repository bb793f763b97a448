"""The page on a service that trains, in a real Chromium: watch two networks learn, draw a digit, see four answers."""

import os
import signal
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Literal

import httpx
import numpy as np
import pytest
from conftest import wait_until
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect
from stack import ENDLESS, LONG, SHORT, finished, submitted
from stack_up import Up
from visitors import SEVEN, Visitor, answers, draw, is_accessible, points, wait_for_points, wait_for_status

from bnlab.client import Client
from faults.processes import command_of, parents

WITH, WITHOUT = "with_batch_norm", "without_batch_norm"
POINTS_OF_LONG = 2 * 60  # of both arms: 30,000 batches, a point every 500
ONE = ((140, 50), (140, 230))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("page")) as service:
        service.start_up()
        yield service


@pytest.fixture(autouse=True)
def logs_of_a_failure(up: Up) -> Iterator[None]:
    yield
    up.print_logs()


@pytest.fixture
def client(up: Up) -> Iterator[Client]:
    with up.client as opened:
        yield opened


@pytest.fixture(scope="module")
def trained(up: Up) -> str:
    """The id of an experiment that succeeded: the lesson's short one, on the small data set."""
    with up.client as client:
        spec = {"preset": "relu-0.01-good-weights-2000", "seed": 3, "replicates": 3}
        return str(finished(client, submitted(client, spec))["id"])


def train_long(page: Page) -> None:
    """Submit a training of some seconds by the form."""
    page.wait_for_selector("#submit")
    page.locator("#more").evaluate("more => more.open = true")
    for name in ("learning_rate", "training_batches", "batches_per_sample", "seed"):
        page.fill(f"#field-{name}", str(LONG[name]))
    page.fill("#field-hidden_layers", "32, 32")
    page.click("#submit")


# ------------------------------------------------------------------------------------------------- watching


def test_one_click_on_the_first_visit_trains_and_shows_both_networks(up: Up, visitor: Visitor) -> None:
    page = visitor.open(up.url)
    page.click("#submit")
    wait_for_status(page, "succeeded")
    wait_for_points(page, 80)
    expect(page.locator("#results table")).to_contain_text("Validation accuracy at the end")
    expect(page.locator("#runs-list li").first).to_have_attribute("aria-current", "true")


def test_the_curves_grow_while_the_networks_train(up: Up, visitor: Visitor) -> None:
    page = visitor.open(up.url)
    train_long(page)
    wait_for_points(page, 2)
    first, picture = points(page), page.locator("#chart").screenshot()
    wait_for_points(page, first + 2)
    wait_for_status(page, "running")
    assert first < points(page) < POINTS_OF_LONG
    assert page.locator("#chart").screenshot() != picture
    wait_for_status(page, "succeeded")
    wait_for_points(page, POINTS_OF_LONG)
    assert points(page) == POINTS_OF_LONG


def test_a_cut_connection_is_told_and_mends_itself_and_no_point_is_missing(
    up: Up, client: Client, visitor: Visitor
) -> None:
    page = visitor.open(up.url)
    train_long(page)
    wait_for_points(page, 4)
    (api,) = [pid for pid in parents() if "api" in command_of(pid) and parents()[pid] == up.running.pid]
    os.kill(api, signal.SIGKILL)
    expect(page.locator("#connection")).to_contain_text("connection to the service is lost")
    expect(page.locator("#connection")).to_be_hidden()  # `bnlab up` starts it again
    wait_for_status(page, "succeeded")
    wait_for_points(page, POINTS_OF_LONG)
    id = page.evaluate("new URLSearchParams(location.hash.slice(1)).get('experiment')")
    shown = page.evaluate("document.querySelector('#chart').data.filter(t => t.mode === 'lines').map(t => t.y)")
    curve = client.curve(id)["arms"]
    assert shown == [curve[WITHOUT]["mean"], curve[WITH]["mean"]]


def test_a_page_that_nobody_sees_holds_no_stream_and_goes_on_when_it_is_seen(
    up: Up, client: Client, visitor: Visitor
) -> None:
    id = submitted(client, ENDLESS)
    page = visitor.open(f"{up.url}/#experiment={id}")
    wait_for_points(page, 2)
    see(page, hidden=True)
    wait_until(lambda: streams(up) == 0, what="the end of the stream")
    shown = points(page)
    see(page, hidden=False)
    wait_for_points(page, shown + 2)
    page.click("#cancel")
    wait_for_status(page, "cancelled")
    expect(page.locator("#cancel")).to_be_hidden()


def see(page: Page, hidden: bool) -> None:
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def streams(up: Up) -> float:
    lines = httpx.get(f"{up.url}/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("bnlab_event_streams "))


def test_a_field_that_varies_makes_a_sweep_of_small_charts(up: Up, visitor: Visitor) -> None:
    page = visitor.open(up.url)
    page.wait_for_selector("#submit")
    page.locator("#vary").evaluate("vary => vary.open = true")
    page.fill("#field-training_batches", "100")
    page.select_option("#field-axis-0", "learning_rate")
    page.fill("#field-values-0", "0.01, 1")
    page.select_option("#field-axis-1", "hidden_layers")
    page.fill("#field-values-1", "[16], [16, 16]")
    page.click("#submit")
    page.wait_for_selector("#sweep-status[data-status=succeeded]")
    expect(page.locator("#sweep-panels .panel")).to_have_count(4)
    expect(page.locator("#sweep-panels .panel .js-plotly-plot")).to_have_count(4)
    expect(page.locator("#sweep-panels .panel p").last).to_contain_text("with 0.")
    page.locator("#sweep-panels .panel button").nth(2).click()
    expect(page.locator("#watch-setting")).to_contain_text("rate 1 ")
    assert is_accessible(page)


# --------------------------------------------------------------------------------------------------- digits


def test_a_drawn_seven_gets_four_answers(up: Up, trained: str, visitor: Visitor) -> None:
    page = visitor.open(f"{up.url}/#experiment={trained}")
    wait_for_status(page, "succeeded")
    draw(page)
    seven = answers(page)
    assert seven[WITH, "population"] == 7
    assert seven[WITHOUT, "batch"] == seven[WITHOUT, "population"]
    assert page.locator("#answers li").count() == 40
    expect(page.locator("#digit-why")).to_contain_text("variance 0")
    page.click("#pad-clear")
    expect(page.locator("#answers .answer")).to_have_count(0)
    draw(page, ONE)
    one = answers(page)
    assert one[WITH, "population"] == 1
    assert one[WITH, "batch"] == seven[WITH, "batch"]


def test_a_drawing_is_what_it_is_wherever_it_stands(up: Up, trained: str, visitor: Visitor) -> None:
    page = visitor.open(f"{up.url}/#experiment={trained}")
    wait_for_status(page, "succeeded")
    for corner in ((0, 0), (150, 160)):
        page.click("#pad-clear")
        draw(page, tuple((corner[0] + x * 0.4, corner[1] + y * 0.4) for x, y in SEVEN))  # type: ignore[misc]
        assert answers(page)[WITH, "population"] == 7


def test_a_digit_of_the_test_set_is_recognised_and_the_page_says_whether_rightly(
    up: Up, client: Client, trained: str, visitor: Visitor
) -> None:
    page = visitor.open(f"{up.url}/#experiment={trained}")
    wait_for_status(page, "succeeded")
    digit = client.digits(1)["digits"][0]
    page.locator("#samples button").first.click()
    told = answers(page)[WITH, "population"]
    assert told == client.predict(digit["image"], experiment=trained)["digit"]
    expect(page.locator(f"[data-arm={WITH}][data-statistics=population]")).to_contain_text(
        "Right." if told == digit["label"] else f"it is a {digit['label']}"
    )


def test_a_picture_of_black_ink_on_paper_is_recognised(up: Up, trained: str, visitor: Visitor) -> None:
    paper = Image.new("L", (900, 700), 235)
    ImageDraw.Draw(paper).line([(300, 200), (560, 200), (400, 520)], fill=30, width=34, joint="curve")
    file = BytesIO()
    paper.save(file, "JPEG")
    page = visitor.open(f"{up.url}/#experiment={trained}")
    wait_for_status(page, "succeeded")
    page.set_input_files("#upload", {"name": "seven.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()})
    assert answers(page)[WITH, "population"] == 7
    page.set_input_files("#upload", {"name": "no.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(page.locator("#digit-error")).to_contain_text("no.png is no picture")


# ------------------------------------------------------------------------------------------- without a mouse


def test_everything_can_be_done_with_the_keyboard_alone(up: Up, visitor: Visitor) -> None:
    page = visitor.open(up.url)
    page.wait_for_selector("#submit")
    tab_to(page, "field-training_batches")
    page.keyboard.press("Control+A")
    page.keyboard.type("300")
    page.keyboard.press("Enter")
    wait_for_status(page, "succeeded")
    tab_to(page, "pad")
    for keys in (" ", *["ArrowRight"] * 12, *["ArrowDown", "ArrowDown", "ArrowLeft"] * 9, " "):
        page.keyboard.press(keys)
    assert len(answers(page)) == 4
    page.keyboard.press("Delete")
    expect(page.locator("#answers .answer")).to_have_count(0)
    tab_to(page, "theme", back=True)
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def tab_to(page: Page, id: str, back: bool = False) -> None:
    for _ in range(120):
        if page.evaluate("document.activeElement.id") == id:
            return
        page.keyboard.press("Shift+Tab" if back else "Tab")
    raise AssertionError(f"#{id} is not reached by Tab")


# ---------------------------------------------------------------------------------------------- the whole of it


def test_a_link_shows_the_same_page_to_others(up: Up, client: Client, trained: str, visitor: Visitor) -> None:
    other = finished(client, submitted(client, SHORT))["id"]
    page = visitor.open(f"{up.url}/#experiment={trained}")
    wait_for_status(page, "succeeded")
    page.select_option("#view-x", "seconds")
    page.select_option("#view-scale", "log")
    page.select_option("#field-activation", "tanh")
    for id in (trained, other):
        page.locator(f"#runs-list li[data-id='{id}'] input").check()
    draw(page)
    here = answers(page)
    link = page.url
    there = visitor.open(link)
    wait_for_status(there, "succeeded")
    assert answers(there) == here
    for each in (page, there):
        expect(each.locator("#field-activation")).to_have_value("tanh")
        expect(each.locator("#view-scale")).to_have_value("log")
        expect(each.locator("#chart")).to_contain_text("Seconds of training")
        expect(each.locator("#compare-table tbody tr")).to_have_count(2)
    assert visitor.open(link).url == link


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("device", "width", "height"), [("desktop", 1440, 900), ("phone", 390, 844)])
def test_the_page_is_accessible_and_fits_light_and_dark_wide_and_narrow(
    up: Up,
    trained: str,
    visitor: Visitor,
    screenshots: Path,
    theme: Literal["light", "dark"],
    device: str,
    width: int,
    height: int,
) -> None:
    page = visitor.open(f"{up.url}/#experiment={trained}", width=width, height=height, theme=theme)
    wait_for_status(page, "succeeded")
    wait_for_points(page, 80)
    draw(page)
    answers(page)
    assert is_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("scrollTo(0, 0)")
    picture = Image.open(BytesIO(page.screenshot(full_page=True))).convert("RGB")
    picture.quantize(128).save(screenshots / f"page-{device}-{theme}.png", optimize=True)
    assert (np.asarray(picture.convert("L"), np.float32).mean() < 110) == (theme == "dark")


def test_dark_and_light_are_chosen_with_a_button_and_kept(up: Up, trained: str, visitor: Visitor) -> None:
    page = visitor.open(f"{up.url}/#experiment={trained}")
    wait_for_points(page, 80)
    light = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.click("#theme")
    expect(page.locator("#theme")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != light
    page.wait_for_function(
        "document.querySelector('#chart').layout.font.color === getComputedStyle(document.body).color"
    )
    page.reload()
    wait_for_points(page, 80)
    expect(page.locator("#theme")).to_have_attribute("aria-pressed", "true")
