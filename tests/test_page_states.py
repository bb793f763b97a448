"""The page in every state of what it shows, in a real Chromium; the experiments are made without training them."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from builders import WITH, WITHOUT, cancelled, claimed, failed, running, samples, submitted, succeeded
from conftest import TINY_SPEC
from playwright.sync_api import Page, expect
from visitors import Visitor, answers, draw, is_accessible, points, wait_for_status

from bench.server import Server, running_api
from models import arms, keys
from models.database import Database
from models.presets import PRESETS
from models.scopes import Scope
from models.spec import ArmName, Spec
from models.trained import starting_arrays


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with running_api(folder, event_interval_s=0.1) as running:
        yield running


def behind(folder: Path) -> Database:
    return Database(f"sqlite:///{folder / 'bnlab.sqlite3'}")


@pytest.fixture(scope="module")
def database(server: Server, folder: Path) -> Iterator[Database]:
    """The database behind the page."""
    with closing(behind(folder)) as opened:
        yield opened


@pytest.fixture(autouse=True)
def log_of_a_failure(server: Server) -> Iterator[None]:
    yield
    print(server.process.said())


def error_of(page: Page, field: str) -> str:
    box = page.locator(f"#field-{field}-error")
    expect(box).to_be_visible()
    assert page.locator(f"#field-{field}").get_attribute("aria-invalid") == "true"
    return box.inner_text()


# --------------------------------------------------------------------------------------------------- the form


def test_every_setting_stands_in_the_form_with_its_meaning_and_its_bounds(server: Server, visitor: Visitor) -> None:
    page = visitor.open(server.url)
    page.wait_for_selector("#submit")
    schema = Spec.model_json_schema()
    fields = {name: field for name, field in schema["properties"].items() if name != "batch_norm"}
    fields |= {f"batch_norm-{name}": field for name, field in schema["$defs"]["BatchNormSpec"]["properties"].items()}
    for name, field in fields.items():
        assert page.locator(f"#field-{name}").count() == 1, name
        said = page.locator(f"#field-{name}-help").text_content() or ""
        if name != "preset":
            assert field["description"].replace("`", "") in said, name
    for name, bounds in {
        "learning_rate": "More than 0, up to 100.",
        "training_batches": "From 1 to 1000000.",
        "batch_norm-momentum": "From 0 less than 1.",
        "hidden_layers": "1 to 16 numbers, such as 100, 100; each from 1 to 4096.",
        "seed": "From 0 to 4294967295.",
    }.items():
        assert bounds in (page.locator(f"#field-{name}-help").text_content() or "")
    assert page.locator("#field-preset option").count() == 1 + len(PRESETS)


def test_a_preset_fills_the_form_and_what_is_typed_overrides_it(server: Server, visitor: Visitor) -> None:
    page = visitor.open(server.url)
    page.wait_for_selector("#submit")
    page.select_option("#field-preset", "sigmoid-1-bad-weights-50000")
    expect(page.locator("#field-activation")).to_have_value("sigmoid")
    expect(page.locator("#field-weight_scale")).to_have_value("5")
    expect(page.locator("#field-preset-help")).to_contain_text("saturated")
    page.fill("#field-learning_rate", "0.5")
    page.click("#submit")
    expect(page.locator("#watch-setting")).to_contain_text("sigmoid · rate 0.5 · weights 5 · 50,000 batches of 60")
    expect(page.locator("#results")).to_contain_text(
        "Not as the preset sigmoid-1-bad-weights-50000 has it: learning_rate"
    )


def test_an_error_stands_beside_the_field_it_names(server: Server, database: Database, visitor: Visitor) -> None:
    page = visitor.open(server.url)
    page.wait_for_selector("#submit")
    page.fill("#field-learning_rate", "-1")
    page.fill("#field-training_batches", "many")
    page.locator("#more").evaluate("more => more.open = true")
    page.fill("#field-hidden_layers", "100, 0, x")
    page.locator("#more").evaluate("more => more.open = false")
    page.locator("#field-batch_norm-momentum").evaluate("field => field.value = '2'")
    before = requests(visitor, "POST", "/experiments")
    page.click("#submit")
    assert "greater than 0" in error_of(page, "learning_rate")
    assert "Received: -1" in error_of(page, "learning_rate")
    assert "many" in error_of(page, "training_batches")
    assert error_of(page, "hidden_layers")  # what was closed is open now
    assert "less than 1" in error_of(page, "batch_norm-momentum")
    assert page.evaluate("document.activeElement.getAttribute('aria-invalid')") == "true"
    assert is_accessible(page)
    assert requests(visitor, "POST", "/experiments") == before + 1
    page.fill("#field-learning_rate", "0.01")
    page.fill("#field-training_batches", "100")
    page.fill("#field-hidden_layers", "8")
    page.fill("#field-batch_norm-momentum", "0.9")
    page.click("#submit")
    expect(page.locator("#watch-setting")).to_contain_text("100 batches")
    expect(page.locator("#spec [aria-invalid]")).to_have_count(0)


def test_an_error_of_a_sweep_stands_beside_the_values_that_vary(server: Server, visitor: Visitor) -> None:
    page = visitor.open(server.url)
    page.wait_for_selector("#submit")
    page.locator("#vary").evaluate("vary => vary.open = true")
    page.select_option("#field-axis-0", "learning_rate")
    page.fill("#field-values-0", "0.1, fast")
    page.click("#submit")
    assert "fast" in error_of(page, "values-0")
    page.fill("#field-values-0", "0.1")
    page.fill("#field-weight_scale", "0")
    page.click("#submit")
    assert "greater than 0" in error_of(page, "weight_scale")


def test_one_field_cannot_vary_twice(server: Server, visitor: Visitor) -> None:
    page = visitor.open(server.url)
    page.wait_for_selector("#submit")
    page.locator("#vary").evaluate("vary => vary.open = true")
    for number, values in enumerate(("0.1, 1", "0.5")):
        page.select_option(f"#field-axis-{number}", "learning_rate")
        page.fill(f"#field-values-{number}", values)
    page.click("#submit")
    assert "another field" in error_of(page, "axis-1")
    page.select_option("#field-axis-1", "activation")
    page.fill("#field-values-1", "relu, tanh, elu")
    page.locator("#field-values-1").blur()
    expect(page.locator("#submit")).to_have_text("Train 6 experiments, both networks each")


def test_what_is_no_number_is_not_taken_for_one(server: Server, visitor: Visitor) -> None:
    page = visitor.open(server.url)
    page.wait_for_selector("#submit")
    for typed in ("0x10", "1e-400", "1,5", "1e400", "NaN", "\u0661\u0662", "Infinity", "1_000", "9" * 400):
        page.fill("#field-learning_rate", typed)
        page.click("#submit")
        expect(page.locator("#field-learning_rate-error")).to_contain_text(f"Received: {typed[:100]}")


def test_a_watched_setting_is_taken_into_the_form(server: Server, database: Database, visitor: Visitor) -> None:
    spec = TINY_SPEC.model_copy(update={"learning_rate": 0.75, "activation": "tanh", "replicates": 2})
    page = visitor.open(f"{server.url}/#experiment={succeeded(database, spec)}")
    wait_for_status(page, "succeeded")
    page.click("#use-settings")
    for name, value in {
        "learning_rate": "0.75",
        "activation": "tanh",
        "replicates": "2",
        "hidden_layers": "8, 8",
    }.items():
        expect(page.locator(f"#field-{name}")).to_have_value(value)
    page.click("#submit")
    expect(page.locator("#watch-setting")).to_contain_text("tanh · rate 0.75 · weights 0.05 · 20 batches of 60 · 8-8")


def test_more_batches_get_as_many_points_as_is_usual(server: Server, visitor: Visitor) -> None:
    page = visitor.open(server.url)
    page.wait_for_selector("#submit")
    expect(page.locator("#field-batches_per_sample")).to_have_value("50")
    page.fill("#field-training_batches", "100")
    page.locator("#field-training_batches").blur()
    expect(page.locator("#field-batches_per_sample")).to_have_value("")


OWN = {
    "dense": ["hidden_layers"],
    "convolutional": ["feature_maps", "kernel_size", "strides", "data_format"],
    "recurrent": ["units"],
}


def shown_own_fields(page: Page) -> list[str]:
    page.locator("#more").evaluate("more => more.open = true")
    return [name for names in OWN.values() for name in names if page.locator(f"#field-{name}").is_visible()]


def sent(visitor: Visitor, path: str) -> Any:
    """Return what was sent there last."""
    return json.loads(
        next(r.post_data or "" for r in reversed(visitor.requests) if r.url.endswith(path) and r.post_data)
    )


def test_each_kind_of_network_has_its_own_fields_and_what_is_usual_for_it(server: Server, visitor: Visitor) -> None:
    page = visitor.open(server.url)
    page.wait_for_selector("#submit")
    assert shown_own_fields(page) == OWN["dense"]
    usual = {
        "convolutional": ("relu", "0.1", "800", "64", "0.9", "convolutional 8-16-32-32-32-32"),
        "recurrent": ("tanh", "0.3", "2000", "60", "0.9", "LSTM of 64"),
        "dense": ("relu", "0.01", "50000", "60", "0.99", "100-100-100"),
    }
    fields = ("activation", "learning_rate", "training_batches", "batch_size", "batch_norm-momentum")
    for kind, (*values, size) in usual.items():
        page.select_option("#field-network", kind)
        assert shown_own_fields(page) == OWN[kind]
        expect(page.locator("#field-preset")).to_have_value("")  # a preset is of one kind
        for name, value in zip(fields, values, strict=True):
            expect(page.locator(f"#field-{name}")).to_have_value(value)
        expect(page.locator("#field-batches_per_sample")).to_have_value("")
        page.click("#submit")
        expect(page.locator("#watch-setting")).to_contain_text(size)
        made = httpx.get(f"{server.url}/experiments?limit=1").json()["experiments"][0]["spec"]
        plain = httpx.post(f"{server.url}/experiments", json={"network": kind}).json()["spec"]
        assert {**made, "seed": 0} == {**plain, "seed": 0}
    assert is_accessible(page)


def test_what_was_typed_stays_where_another_kind_of_network_has_it_too(
    server: Server, database: Database, visitor: Visitor
) -> None:
    page = visitor.open(server.url)
    page.wait_for_selector("#submit")
    page.fill("#field-learning_rate", "0.25")
    page.locator("#more").evaluate("more => more.open = true")
    page.fill("#field-hidden_layers", "9")
    page.select_option("#field-network", "convolutional")
    page.fill("#field-feature_maps", "4, 8")
    page.fill("#field-strides", "2, 3")
    page.locator("#field-strides").blur()
    again = visitor.open(page.url)
    again.wait_for_selector("#submit")
    for each in (page, again):
        each.click("#submit")
        expect(each.locator("#watch-setting")).to_contain_text("relu · rate 0.25 · weights 0.05 · 800 batches of 64")
        expect(each.locator("#watch-setting")).to_contain_text("convolutional 4-8")
        body = sent(visitor, "/experiments")
        assert (body["feature_maps"], body["strides"]) == ([4, 8], [2, 3])
        assert not {"hidden_layers", "units", "preset"} & set(body)
    page.select_option("#field-network", "dense")
    expect(page.locator("#field-hidden_layers")).to_have_value("9")
    expect(page.locator("#field-learning_rate")).to_have_value("0.25")
    page.select_option("#field-preset", "relu-1-bad-weights-50000")
    expect(page.locator("#field-hidden_layers")).to_have_value("100, 100, 100")


def test_a_watched_network_of_another_kind_is_taken_into_the_form(
    server: Server, database: Database, visitor: Visitor
) -> None:
    spec = Spec(network="recurrent", units=5, training_batches=20, dataset="mnist-5k", seed=1)
    page = visitor.open(f"{server.url}/#experiment={succeeded(database, spec)}")
    wait_for_status(page, "succeeded")
    expect(page.locator("#watch-setting")).to_contain_text("tanh · rate 0.3 · weights 1 · 20 batches of 60 · LSTM of 5")
    page.click("#use-settings")
    assert shown_own_fields(page) == OWN["recurrent"]
    for name, value in {"network": "recurrent", "units": "5", "activation": "tanh", "training_batches": "20"}.items():
        expect(page.locator(f"#field-{name}")).to_have_value(value)
    page.click("#submit")
    wait_for_status(page, "queued")
    assert sent(visitor, "/experiments")["units"] == 5


def test_where_networks_vary_each_has_what_is_usual_for_it(server: Server, visitor: Visitor) -> None:
    page = visitor.open(server.url)
    page.wait_for_selector("#submit")
    page.locator("#vary").evaluate("vary => vary.open = true")
    page.select_option("#field-axis-0", "network")
    page.fill("#field-values-0", "dense, convolutional, recurrent")
    assert shown_own_fields(page) == []
    for name in ("activation", "learning_rate", "training_batches"):
        expect(page.locator(f"#field-{name}")).to_have_value("")
    assert page.locator("#field-learning_rate").get_attribute("placeholder") == "the usual one"
    expect(page.locator("#field-axis-1 option[value=units]")).to_be_disabled()
    page.fill("#field-training_batches", "100")
    page.locator("#field-training_batches").blur()
    again = visitor.open(page.url)
    again.wait_for_selector("#submit")
    for each in (page, again):
        expect(each.locator("#submit")).to_have_text("Train 3 experiments, both networks each")
        each.click("#submit")
        expect(each.locator("#sweep-panels .panel")).to_have_count(3)
        made = httpx.get(f"{server.url}/sweeps/{httpx.get(f'{server.url}/sweeps').json()['sweeps'][0]['id']}").json()
        specs = [row["experiment"]["spec"] for row in made["experiments"]]
        assert [spec["learning_rate"] for spec in specs] == [0.01, 0.1, 0.3]
        assert [spec["activation"] for spec in specs] == ["relu", "relu", "tanh"]
        assert {spec["training_batches"] for spec in specs} == {100}
    page.select_option("#field-axis-0", "")
    expect(page.locator("#field-activation")).to_have_value("relu")
    expect(page.locator("#field-learning_rate")).to_have_value("0.01")
    expect(page.locator("#field-training_batches")).to_have_value("100")
    assert shown_own_fields(page) == OWN["dense"]


def test_a_field_of_another_network_does_not_vary(server: Server, visitor: Visitor) -> None:
    page = visitor.open(server.url)
    page.wait_for_selector("#submit")
    page.locator("#vary").evaluate("vary => vary.open = true")
    page.select_option("#field-axis-0", "hidden_layers")
    page.select_option("#field-network", "recurrent")
    expect(page.locator("#field-axis-0")).to_have_value("")
    page.select_option("#field-axis-0", "units")
    page.fill("#field-values-0", "4, 8")
    page.click("#submit")
    expect(page.locator("#sweep-panels .panel")).to_have_count(2)
    assert sent(visitor, "/sweeps")["grid"] == {"units": [4, 8]}


def test_an_error_stands_beside_the_field_of_a_kind_of_network(server: Server, visitor: Visitor) -> None:
    page = visitor.open(server.url)
    page.wait_for_selector("#submit")
    page.select_option("#field-network", "convolutional")
    page.locator("#field-strides").evaluate("field => field.value = '2, 2'")
    page.click("#submit")
    assert "one for each of the 6 feature_maps" in error_of(page, "strides")


def test_a_lost_answer_to_a_submit_makes_nothing_twice(server: Server, visitor: Visitor) -> None:
    page = visitor.open(server.url)
    page.wait_for_selector("#submit")
    seen: list[str] = []

    def lose_the_first(route: Any) -> None:
        if route.request.method != "POST":
            route.continue_()
            return
        seen.append(route.request.headers["idempotency-key"])
        if len(seen) == 1:
            route.fetch()  # it arrives, and its answer does not
            route.abort()
        else:
            route.continue_()

    page.route("**/experiments", lose_the_first)
    listed = page.locator("#runs-list li")
    before = total(server)
    page.click("#submit")
    expect(page.locator("#spec-error")).to_contain_text("does not answer")
    page.click("#submit")
    expect(listed.first).to_have_attribute("aria-current", "true")
    assert seen[0] == seen[1]
    assert total(server) == before + 1


def total(server: Server) -> int:
    cursor, count = "", 0
    while cursor is not None:
        page = httpx.get(f"{server.url}/experiments?limit=100{cursor and f'&cursor={cursor}'}").json()
        count += len(page["experiments"])
        cursor = page["next_cursor"]
    return count


def requests(visitor: Visitor, method: str, path: str) -> int:
    return sum(request.method == method and request.url.endswith(path) for request in visitor.requests)


# --------------------------------------------------------------------------------------------------- watching


@pytest.mark.parametrize(
    ("make", "status", "note"),
    [
        (submitted, "queued", "none has been heard of"),
        (running, "running", ""),
        (succeeded, "succeeded", ""),
        (failed, "failed", "with batch norm failed: The network is too large for this worker."),
        (cancelled, "cancelled", ""),
    ],
)
def test_every_state_of_an_experiment_is_shown(
    server: Server, database: Database, visitor: Visitor, make: Callable[[Database], Any], status: str, note: str
) -> None:
    page = visitor.open(f"{server.url}/#experiment={make(database)}")
    wait_for_status(page, status)
    expect(page.locator("#watch-setting")).to_contain_text("relu · rate 0.01 · weights 0.05 · 20 batches of 60 · 8-8")
    if note:
        expect(page.locator("#watch-note")).to_contain_text(note)
    expect(page.locator("#cancel")).to_be_visible(visible=status in ("queued", "running"))
    expect(page.locator("#watch-progress progress")).to_have_count(2)
    assert is_accessible(page)


def test_points_come_as_they_are_written_and_an_arm_that_begins_again_forgets_its_own(
    server: Server, database: Database, visitor: Visitor
) -> None:
    experiment_id = submitted(database)
    page = visitor.open(f"{server.url}/#experiment={experiment_id}")
    wait_for_status(page, "queued")
    held = claimed(database, experiment_id, WITH)
    wait_for_status(page, "running")
    for count in (1, 3):
        with database.write() as session:
            arms.record(session, held, 60, 5 * count, 10.0, samples(held.spec)[:count][-2:])
        expect(page.locator("#chart")).to_have_attribute("data-points", str(count))
    assert points(page) == 3
    expect(page.locator("#watch-progress")).to_contain_text("15 of 20, 10 per second, running")
    with database.write() as session:
        arms.give_back(session, held)
    claimed(database, experiment_id, WITH, fingerprint={"versions": {"bnlab": "another"}})
    expect(page.locator("#chart")).to_have_attribute("data-points", "0")


def test_while_another_experiment_is_asked_for_nothing_of_the_last_one_can_be_done(
    server: Server, database: Database, visitor: Visitor
) -> None:
    first, second = running(database), succeeded(database)
    page = visitor.open(f"{server.url}/#experiment={first}")
    wait_for_status(page, "running")
    held: list[Any] = []
    page.route(f"**/experiments/{second}/events", lambda route: held.append(route))
    page.locator(f"[data-name='run-{second}']").click()
    expect(page.locator("#watch-setting")).to_have_text("Asking for the experiment …")
    for part in ("#cancel", "#watch-status", "#use-settings"):
        expect(page.locator(part)).to_be_hidden()
    expect(page.locator("#watch [data-download=csv]")).to_be_disabled()
    held[0].continue_()
    wait_for_status(page, "succeeded")


def test_a_service_that_stands_still_is_told_and_missed_by_no_button(
    server: Server, database: Database, visitor: Visitor
) -> None:
    page = visitor.open(server.url)
    page.wait_for_selector("#submit")
    server.process.send(signal.SIGSTOP)
    try:
        page.click("#submit")
        expect(page.locator("#connection")).to_contain_text("connection to the service is lost")
        expect(page.locator("#submit")).to_be_enabled()
    finally:
        server.process.send(signal.SIGCONT)
    expect(page.locator("#connection")).to_be_hidden()
    expect(page.locator("#spec-error")).to_be_hidden()


def test_lists_that_change_leave_the_eye_and_the_focus_where_they_are(
    server: Server, database: Database, visitor: Visitor
) -> None:
    succeeded(database)
    page = visitor.open(server.url)
    button = page.locator("#runs-list li button").first
    button.focus()
    name = button.get_attribute("data-name")
    page.locator("#digit-why").scroll_into_view_if_needed()
    place = page.evaluate("scrollY")
    newer = running(database)
    page.wait_for_selector(f"#runs-list li[data-id='{newer}']", state="attached")
    assert page.evaluate("document.activeElement.dataset.name") == name
    assert page.evaluate("scrollY") == place


def test_replicates_are_a_line_in_a_band(server: Server, database: Database, visitor: Visitor) -> None:
    many = succeeded(database, TINY_SPEC.model_copy(update={"replicates": 3}))
    page = visitor.open(f"{server.url}/#experiment={many}")
    wait_for_status(page, "succeeded")
    page.wait_for_function(
        "() => document.querySelector('#chart').data?.filter(t => t.fill === 'tonexty').length === 2"
    )
    expect(page.locator("#chart-caption")).to_contain_text("bands reach from the least to the most replicate")
    expect(page.locator("#results")).to_contain_text("95 % confidence")


def test_the_axis_is_of_batches_or_seconds_even_or_by_powers_of_ten(
    server: Server, database: Database, visitor: Visitor
) -> None:
    page = visitor.open(f"{server.url}/#experiment={succeeded(database)}")
    wait_for_status(page, "succeeded")
    steps = [0, 5, 10, 15]
    expected = {
        ("batches", "linear"): steps,
        ("batches", "log"): [step + 1 for step in steps],
        ("seconds", "linear"): [(step + 1) / 1000 for step in steps],
        ("seconds", "log"): [(step + 1) / 1000 for step in steps],
    }
    for (x, scale), places in expected.items():
        page.select_option("#view-x", x)
        page.select_option("#view-scale", scale)
        page.wait_for_function(
            """([scale, places]) => {
                const chart = document.querySelector("#chart");
                const line = chart.data?.find(trace => trace.mode === "lines");
                return chart.layout?.xaxis.type === scale && JSON.stringify(line?.x) === JSON.stringify(places);
            }""",
            arg=[scale, places],
        )


def test_the_points_stand_in_a_table_too(server: Server, database: Database, visitor: Visitor) -> None:
    page = visitor.open(f"{server.url}/#experiment={succeeded(database)}")
    wait_for_status(page, "succeeded")
    page.click("#points summary")
    rows = page.locator("#points tbody tr")
    expect(rows).to_have_count(4)
    assert rows.nth(1).inner_text().split() == ["5", "0.1200", "0.1200"]


def test_what_is_shown_can_be_saved(server: Server, database: Database, visitor: Visitor) -> None:
    experiment_id = succeeded(database)
    page = visitor.open(f"{server.url}/#experiment={experiment_id}")
    wait_for_status(page, "succeeded")
    page.wait_for_function("() => document.querySelector('#chart').data?.length > 0")
    saved = {}
    for format in ("png", "svg", "csv", "json"):
        with page.expect_download() as downloading:
            page.click(f"#watch [data-download={format}]")
        assert downloading.value.suggested_filename == f"bnlab-{experiment_id}.{format}"
        saved[format] = Path(downloading.value.path()).read_bytes()
    assert saved["png"].startswith(b"\x89PNG")
    assert saved["svg"].startswith(b"<svg")
    assert len(saved["csv"].splitlines()) == 1 + 2 * 4
    assert saved["csv"].splitlines()[0] == b"experiment,arm,step,replicate,correct,total,validation_accuracy"
    whole = json.loads(saved["json"])
    assert whole["experiment"]["id"] == str(experiment_id)
    assert whole["curve"]["arms"]["with_batch_norm"]["steps"] == [0, 5, 10, 15]


# ------------------------------------------------------------------------------------------ lists and comparing


def test_long_lists_come_in_pages_and_by_status(server: Server, database: Database, visitor: Visitor) -> None:
    for _ in range(45):
        submitted(database)
    page = visitor.open(server.url)
    runs = page.locator("#runs-list li")
    expect(runs).to_have_count(20)
    for count in (40, 60):
        page.click("#runs-more")
        page.wait_for_function(
            "least => document.querySelectorAll('#runs-list li').length >= least", arg=min(count, 45)
        )
    ids = page.locator("#runs-list [data-id]").evaluate_all("all => all.map(one => one.dataset.id)")
    assert len(ids) == len(set(ids))
    page.select_option("#runs-status", "failed")
    page.wait_for_function(
        "() => [...document.querySelectorAll('#runs-list .chip')].every(c => c.textContent === 'failed')"
    )


def test_any_experiments_are_compared_in_one_chart_and_one_table(
    server: Server, database: Database, visitor: Visitor
) -> None:
    specs = [TINY_SPEC, TINY_SPEC.model_copy(update={"learning_rate": 0.5}), TINY_SPEC.model_copy(update={"seed": 9})]
    ids = [succeeded(database, spec) for spec in specs]
    page = visitor.open(server.url)
    for id in ids:
        page.locator(f"#runs-list li[data-id='{id}'] input").check()
    expect(page.locator("#compare-table tbody tr")).to_have_count(3)
    expect(page.locator("#compare-table")).to_contain_text("learning rate 0.5")
    page.wait_for_function(
        "() => document.querySelector('#compare-chart').data?.filter(t => t.mode === 'lines').length === 6"
    )
    with page.expect_download() as downloading:
        page.click("#compare [data-download=csv]")
    lines = Path(downloading.value.path()).read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [str(id) for id in ids for _ in range(8)]
    assert is_accessible(page)
    page.locator("#compare-table button").nth(1).click()
    expect(page.locator("#watch-setting")).to_contain_text("rate 0.5")
    page.click("#compare-clear")
    expect(page.locator("#compare")).to_be_hidden()


def test_networks_of_all_kinds_are_listed_and_compared(server: Server, database: Database, visitor: Visitor) -> None:
    small = {"training_batches": 20, "dataset": "mnist-5k", "seed": 1}
    kinds: list[dict[str, Any]] = [
        {"network": "dense"},
        {"network": "convolutional", "feature_maps": (4, 8)},
        {"network": "convolutional", "feature_maps": (4,)},
        {"network": "recurrent", "units": 5},
    ]
    ids = [succeeded(database, Spec.model_validate({**small, **kind})) for kind in kinds]
    page = visitor.open(f"{server.url}/#compare={','.join(map(str, ids))}")
    for id, size in zip(ids, ("100-100-100", "convolutional 4-8", "convolutional 4", "LSTM of 5"), strict=True):
        expect(page.locator(f"#runs-list li[data-id='{id}'] button")).to_contain_text(size)
    rows = page.locator("#compare-table tbody tr")
    expect(rows).to_have_count(4)
    expect(rows.nth(0)).to_contain_text("network dense")
    expect(rows.nth(1)).to_contain_text("feature maps [4,8]")
    expect(rows.nth(2)).to_contain_text("feature maps [4]")
    expect(rows.nth(3)).to_contain_text("network recurrent, activation tanh, learning rate 0.3")
    for word in ("undefined", "kernel size", "hidden layers"):  # there is one of each
        expect(page.locator("#compare-table")).not_to_contain_text(word)


def test_the_way_back_leads_to_what_was_watched_before(server: Server, database: Database, visitor: Visitor) -> None:
    first = succeeded(database)
    second = succeeded(database, TINY_SPEC.model_copy(update={"learning_rate": 0.25}))
    page = visitor.open(f"{server.url}/#experiment={first}")
    expect(page.locator("#watch-setting")).to_contain_text("rate 0.01")
    page.locator(f"[data-name='run-{second}']").click()
    expect(page.locator("#watch-setting")).to_contain_text("rate 0.25")
    page.go_back()
    expect(page.locator("#watch-setting")).to_contain_text("rate 0.01")
    expect(page.locator(f"#runs-list li[data-id='{first}']")).to_have_attribute("aria-current", "true")


# ------------------------------------------------------------------------------------------------------ links


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("x=hours&colour=red", "x, colour"),
        ("constructor=1&toString=1&__proto__=1", "constructor, toString, __proto__"),
        ("experiment=../health/live", "experiment"),
        ("experiment=%3Cimg%20src%3Dx%3E", "experiment"),
        ("experiment=" + "A" * 20_000, "experiment"),
        ("compare=..," + str(uuid4()), "compare|no such experiment"),
        ("compare=" + ",".join(str(uuid4()) for _ in range(9)), "compare beyond 8|no such experiment"),
        ("sweep=..", "sweep"),
        (f"sweep={uuid4()}", "no such sweep"),
        ("first=-5", "first"),
        ("spec.activation=banana&spec.bogus=1", "activation, bogus"),
        ("spec.preset=nope", "preset"),
        ("spec.constructor=1", "constructor"),
        ("digit=foo", "cannot be read"),
        ("digit=ink:zz!!", "cannot be read"),
        ("digit=test:999999", "cannot be read"),
        ("%E0%A4%A&&&===", "not known"),
    ],
)
def test_a_link_with_unknown_parts_is_told_and_the_rest_of_it_shown(
    server: Server, database: Database, visitor: Visitor, part: str, told: str
) -> None:
    page = visitor.open(f"{server.url}/#{part}")
    expect(page.locator("#notice")).to_contain_text(re.compile(told))
    page.wait_for_selector("#submit")
    expect(page.locator("#field-activation")).to_have_value("relu")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    expect(page.locator("#notice img")).to_have_count(0)
    page.locator("#notice button").click()
    expect(page.locator("#notice")).to_be_hidden()


def test_a_link_to_an_experiment_that_is_not_there_says_so(server: Server, visitor: Visitor) -> None:
    page = visitor.open(f"{server.url}/#experiment={uuid4()}")
    expect(page.locator("#watch-note")).to_contain_text("no experiment with this id")
    page.wait_for_selector("#submit")


def test_a_drawing_that_leaves_the_pad_is_in_the_link_as_it_was_drawn(
    server: Server, database: Database, visitor: Visitor
) -> None:
    page = visitor.open(f"{server.url}/#experiment={succeeded(database)}")
    wait_for_status(page, "succeeded")
    draw(page, ((100, 60), (-30, -20), (120, 200), (140, 300)))
    first = page.locator("#pad").evaluate("pad => pad.toDataURL()")
    answers(page)
    again = visitor.open(page.url)
    answers(again)
    assert again.locator("#pad").evaluate("pad => pad.toDataURL()") == first
    expect(again.locator("#notice")).to_be_hidden()


# --------------------------------------------------------------------------------------------- digits and keys


def test_a_network_that_diverged_says_that_it_cannot_predict(
    server: Server, database: Database, visitor: Visitor
) -> None:
    spec = TINY_SPEC.resolve("mnist-5k")
    broken = {name: np.full_like(array, np.nan) for name, array in starting_arrays(spec, WITHOUT, 0).items()}
    arrays = {WITHOUT: broken, WITH: starting_arrays(spec, WITH, 0)}
    diverged = succeeded(database, TINY_SPEC, arrays, {ArmName.WITHOUT_BATCH_NORM: 3})
    page = visitor.open(f"{server.url}/#experiment={diverged}")
    wait_for_status(page, "succeeded")
    expect(page.locator("#results")).to_contain_text("Diverged at batch")
    page.locator("#samples button").first.click()
    expect(page.locator("#answers .answer")).to_have_count(4)
    expect(page.locator("#answers .without_batch_norm").first).to_contain_text("left the range of float32")
    expect(page.locator("#answers [data-arm=with_batch_norm]")).to_have_count(2)


def test_the_networks_of_the_watched_experiment_answer(server: Server, database: Database, visitor: Visitor) -> None:
    page = visitor.open(f"{server.url}/#experiment={succeeded(database)}")
    wait_for_status(page, "succeeded")
    expect(page.locator("#digit-network")).to_contain_text("The networks of the run you watch")
    page.locator("#samples button").nth(2).click()
    assert len(answers(page)) == 4
    asked = [json.loads(request.post_data or "") for request in visitor.requests if request.url.endswith("/predict")]
    assert {one["experiment"] for one in asked} == {page.url.partition("experiment=")[2].partition("&")[0]}


@pytest.mark.parametrize(
    ("fields", "size", "remark", "reason"),
    [
        ({"hidden_layers": (5,)}, "5", "the same answer, whatever is drawn", "a batch of one has variance 0"),
        ({"network": "convolutional", "feature_maps": (4, 8)}, "convolutional 4-8", "its own pixels", "own pixels"),
        ({"network": "recurrent", "units": 5}, "LSTM of 5", "the same answer, whatever is drawn", "has variance 0"),
    ],
)
def test_what_is_said_of_batch_statistics_is_true_for_the_network(
    server: Server, database: Database, visitor: Visitor, fields: dict[str, Any], size: str, remark: str, reason: str
) -> None:
    spec = Spec.model_validate({**fields, "training_batches": 20, "dataset": "mnist-5k", "seed": 1})
    page = visitor.open(f"{server.url}/#experiment={succeeded(database, spec)}")
    wait_for_status(page, "succeeded")
    digits, remarks = set(), page.locator("#answers [data-arm=with_batch_norm][data-statistics=batch]")
    for sample in range(12):
        page.locator("#samples button").nth(sample).click()
        expect(page.locator("#digit-network")).to_contain_text(f"{size}.")
        digits.add(answers(page)["with_batch_norm", "batch"])
    expect(remarks).to_contain_text(remark)
    assert reason in page.locator("#digit-why").inner_text()
    assert page.locator("#digit-why span").filter(visible=True).count() == 1
    if size != "convolutional 4-8":
        assert len(digits) == 1


def test_without_a_trained_network_the_pad_says_what_to_do(tmp_path: Path, visitor: Visitor) -> None:
    with running_api(tmp_path) as empty:
        page = visitor.open(empty.url)
        page.locator("#samples button").first.click()
        expect(page.locator("#digit-error")).to_contain_text("train one first")
        expect(page.locator("#runs-empty")).to_be_visible()
        assert is_accessible(page)


def test_a_service_with_keys_asks_for_one_and_it_never_stands_in_an_address(tmp_path: Path, visitor: Visitor) -> None:
    with running_api(tmp_path, keys="required") as keyed:
        with closing(behind(tmp_path)) as database, database.write() as session:
            _, key = keys.create(session, "ada", Scope.WRITE)
        page = visitor.open(keyed.url)
        expect(page.locator("#notice")).to_contain_text("needs an API key")
        expect(page.locator("#key")).to_be_focused()
        assert is_accessible(page)
        page.fill("#key", "bnlab_" + "A" * 43)
        page.keyboard.press("Enter")
        expect(page.locator("#notice")).to_contain_text("does not know this API key")
        page.fill("#key", key)
        page.keyboard.press("Enter")
        page.click("#submit")
        wait_for_status(page, "queued")
        expect(page.locator("#notice")).to_be_hidden()
        page.reload()
        wait_for_status(page, "queued")
        assert key not in page.url
        assert not [request.url for request in visitor.requests if key in request.url]
        assert page.evaluate("Object.values(localStorage).join()").count(key) == 0
        expect(page.locator("#runs-list li")).to_have_count(1)
        page.click("#key-button")
        page.fill("#key", "ключ")
        page.keyboard.press("Enter")
        expect(page.locator("#key-error")).to_be_visible()
        page.click("#key-forget")
        expect(page.locator("#notice")).to_contain_text("needs an API key")
        expect(page.locator("#runs-list li")).to_have_count(0)
        expect(page.locator("#watch-status")).to_be_hidden()


# ------------------------------------------------------------------------------------------------ every screen


@pytest.mark.parametrize("width", [360, 768, 1024, 1920, 3840])
def test_the_page_fits_every_screen(server: Server, database: Database, visitor: Visitor, width: int) -> None:
    compared = [succeeded(database), succeeded(database, TINY_SPEC.model_copy(update={"learning_rate": 0.5}))]
    fragment = f"experiment={compared[0]}&compare={','.join(map(str, compared))}"
    page = visitor.open(f"{server.url}/#{fragment}", width=width, height=900)
    wait_for_status(page, "succeeded")
    expect(page.locator("#compare-table tbody tr")).to_have_count(2)
    page.locator("#samples button").first.click()
    answers(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    too_small = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input:not(.unseen), summary")]
            .map(e => [e.id || e.textContent, e.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.height < 24 || box.width < 20)).map(([name]) => name)"""
    )
    assert too_small == []  # WCAG 2.2, target size


def test_events_are_read_however_the_stream_is_cut_into_pieces(server: Server, visitor: Visitor) -> None:
    page = visitor.open(server.url)
    stream = (
        ': ping\n\nevent: a\ndata: {"x":\ndata: 1}\nid: 1.0-1.0\n\r\ndata:two\r\n\r\nevent: end\ndata: {}\nid: 2\n\n'
    )
    wrong = page.evaluate(
        """async stream => {
            const { parser } = await import("/page/stream.js");
            const read = pieces => { const parse = parser(); return JSON.stringify(pieces.flatMap(parse)); };
            const whole = read([stream]);
            const wrong = [];
            for (let at = 0; at <= stream.length; at += 1)
                if (read([stream.slice(0, at), stream.slice(at)]) !== whole) wrong.push(at);
            if (read([...stream]) !== whole) wrong.push("each letter");
            return [JSON.parse(whole), wrong];
        }""",
        stream,
    )
    events, wrong = wrong
    assert [(event["name"], event["data"], event["id"]) for event in events] == [
        ("a", '{"x":\n1}', "1.0-1.0"),
        ("message", "two", ""),
        ("end", "{}", "2"),
    ]
    assert wrong == []
