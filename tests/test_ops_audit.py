"""`python -m ops.audit`: a known vulnerability is red, and no answer is never taken for a good one."""

import json
import re
from typing import Any

import pytest

from ops.audit import REQUIREMENTS, ROOT, verdict

CLEAN = {"name": "clean", "version": "1", "vulns": []}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found"}
WEAK = {
    "name": "weak",
    "version": "1.2",
    "vulns": [{"id": "CVE-1", "fix_versions": ["1.3"]}, {"id": "CVE-2", "fix_versions": []}],
}


def written(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_nothing_known_is_no_news() -> None:
    assert verdict(written(CLEAN, CLEAN), "No known vulnerabilities found") == ([], False)


def test_a_known_vulnerability_is_red_and_says_what_mends_it() -> None:
    lines, red = verdict(written(CLEAN, WEAK, UNKNOWN), "")
    assert red
    assert lines[:2] == ["weak 1.2: CVE-1, mended in 1.3", "weak 1.2: CVE-2, mended in no release yet"]
    assert lines[2] == "the dependency audit could not look at: unknown"


def test_a_service_that_knows_no_package_has_audited_nothing() -> None:
    lines, red = verdict(written(UNKNOWN, UNKNOWN), "No known vulnerabilities found")
    assert not red
    assert lines[0].startswith("the dependency audit was not run: ")


@pytest.mark.parametrize("text", ["", "{}", "null", "no JSON"])
def test_an_audit_that_broke_off_is_said_with_its_reason(text: str) -> None:
    lines, red = verdict(text, "Traceback\nConnectionError: no such host")
    assert not red
    assert lines == ["the dependency audit was not run: ConnectionError: no such host"]


def test_whatever_an_image_installs_is_audited() -> None:
    def packages(file: str) -> set[str]:
        return set(re.findall(r"^[\w.-]+==\S+", (ROOT / "requirements" / file).read_text(), re.MULTILINE))

    audited = set.union(*(packages(file.name) for file in REQUIREMENTS))
    for file in (ROOT / "requirements").glob("*.txt"):  # peers/ is for the benchmarks alone
        assert packages(file.name) <= audited
