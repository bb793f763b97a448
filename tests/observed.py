"""Reads what stands in observe/: the names of the series that the rules and the dashboard ask for."""

import json
import re
from typing import Any

import yaml
from stack import ROOT

OBSERVE = ROOT / "observe"
DASHBOARD: dict[str, Any] = json.loads((OBSERVE / "grafana" / "dashboards" / "bnlab.json").read_text())
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((OBSERVE / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]


def expressions() -> list[str]:
    """Return every question to Prometheus."""
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [*asked, *(rule["expr"] for rule in RULES)]


def asked_for() -> set[str]:
    """Return the names of our series in them; of a histogram, its own name."""
    found = re.findall(r"\bbnlab_\w+", "\n".join(expressions()))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}
