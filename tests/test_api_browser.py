"""What a browser gets: the page, its parts and the libraries, all from the service, each only where it has changed."""

import gzip
import re

import pytest
from builders import problem
from conftest import ROOT
from fastapi.testclient import TestClient

PARTS = sorted(path.name for path in (ROOT / "api/page").iterdir())
LIBRARIES = ("plotly.js", "swagger-ui.js", "swagger-ui.css")
IMPORTED = re.compile(r'from "([^"]+)"|import\("([^"]+)"\)')


def directives(policy: str) -> dict[str, list[str]]:
    words = (part.split() for part in policy.split(";"))
    return {name: values for name, *values in words}


def test_the_page_runs_and_shows_only_what_comes_from_the_service(door: TestClient) -> None:
    policy = directives(door.get("/").headers["Content-Security-Policy"])
    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == ["'self'"]
    assert set(policy["img-src"]) == {"'self'", "data:", "blob:"}
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == ["'none'"]


def test_the_page_has_no_script_and_no_style_inside(door: TestClient) -> None:
    page = door.get("/").text
    assert re.findall(r"<script(?![^>]* src=)", page) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=", page) == []


def test_everything_the_page_names_is_there_and_comes_from_here(door: TestClient) -> None:
    named = re.findall(r'(?:src|href)="([^"#]+)"', door.get("/").text)
    assert "/page/main.js" in named
    assert '"/page/plotly.js"' in door.get("/page/chart.js").text
    named.append("/page/plotly.js")
    for address in named:
        assert address.startswith("/"), address
        assert not address.startswith("//"), address
        assert door.get(address).status_code == 200, address


@pytest.mark.parametrize("part", [part for part in PARTS if part.endswith(".js")])
def test_every_part_begins_with_its_promise_and_imports_what_is_there(door: TestClient, part: str) -> None:
    answer = door.get(f"/page/{part}")
    assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert len(answer.text.splitlines()[0]) > 20
    assert answer.text.startswith("// ")
    for groups in IMPORTED.findall(answer.text):
        (name,) = filter(None, groups)
        assert name.removeprefix("./") in PARTS, name
    assert not re.search(r"innerHTML|outerHTML\s*=|insertAdjacentHTML|document\.write|\beval\(|https?://", answer.text)


@pytest.mark.parametrize("part", [*PARTS, *LIBRARIES])
def test_a_part_is_sent_again_only_where_it_has_changed(door: TestClient, part: str) -> None:
    first = door.get(f"/page/{part}")
    assert first.headers["Cache-Control"] == "no-cache"  # ask each time whether it has changed
    for known in (first.headers["ETag"], f'"other", W/{first.headers["ETag"]}'):
        again = door.get(f"/page/{part}", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
    assert door.get(f"/page/{part}", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("part", ["main.js", "plotly.js"])
def test_a_part_is_sent_compressed_to_who_can_read_that(door: TestClient, part: str) -> None:
    with door.stream("GET", f"/page/{part}", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Vary"] == "Accept-Encoding"
        compressed = b"".join(answer.iter_raw())
    plain = door.get(f"/page/{part}", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(compressed) == plain.content
    assert len(compressed) < len(plain.content) / 2


def test_probes_may_ask_for_the_head_alone(door: TestClient) -> None:
    assert door.head("/").status_code == door.head("/page/main.js").status_code == 200


@pytest.mark.parametrize("path", ["/page/none.js", "/page/..%2Fapp.py", "/page/%2e%2e", "/page/", "/page/index.html/x"])
def test_nothing_else_of_the_disk_is_there(door: TestClient, path: str) -> None:
    problem(door.get(path), 404, "not_found")


def test_a_style_that_plotly_would_bring_is_there_by_its_name_so_that_it_brings_none(door: TestClient) -> None:
    brought = re.findall(r'getElementById\("([0-9a-f]{64})"\)', door.get("/page/plotly.js").text)
    assert brought
    for id in brought:
        assert f'id="{id}"' in door.get("/").text


def test_the_address_of_the_chart_rules_is_the_one_that_plotly_looks_for(door: TestClient) -> None:
    (id,) = re.findall(r'id="(plotly[^"]+)"', door.get("/").text)
    name = id.removeprefix("plotly.js-style-")
    library = door.get("/page/plotly.js").text
    assert '"plotly.js-style-"+' in library
    assert f'"{name}"' in library
