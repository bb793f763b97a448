"""observe/: Prometheus asks the right ports, and rules and dashboard ask for series that there are."""

import re
from itertools import combinations
from typing import Any

import pytest
import yaml
from observed import DASHBOARD, OBSERVE, RULES, asked_for, expressions
from stack_compose import compose_file

from api import metrics as api_metrics
from worker import metrics as worker_metrics

SERVICES: dict[str, dict[str, Any]] = compose_file()["services"]
PROMETHEUS: dict[str, Any] = yaml.safe_load((OBSERVE / "prometheus.yml").read_text())
PROVISIONING = OBSERVE / "grafana" / "provisioning"


def test_whatever_is_asked_for_is_shown_by_the_api_or_a_worker() -> None:
    assert asked_for() <= {*api_metrics.NAMES, *worker_metrics.NAMES}


def test_whatever_is_shown_is_on_the_dashboard() -> None:
    shown = set(re.findall(r"\bbnlab_\w+", str(DASHBOARD["panels"]).replace("_bucket", "")))
    assert shown == {*api_metrics.NAMES, *worker_metrics.NAMES}


def test_figures_of_the_database_are_not_added_up_over_the_processes_that_tell_them() -> None:
    shared = set(api_metrics.NAMES) - {
        "bnlab_http_requests_total",
        "bnlab_http_request_seconds",
        "bnlab_predictions_total",
        "bnlab_event_streams",
    }
    for expression in expressions():
        for name in shared & set(re.findall(r"\bbnlab_\w+", expression)):
            most = re.findall(rf"max(?: by \(\w+\))? ?\({name}\b", expression)
            assert len(most) == len(re.findall(rf"\b{name}\b", expression)), expression


def test_brackets_and_braces_are_closed() -> None:
    for expression in expressions():
        assert all(expression.count(one) == expression.count(other) for one, other in ("()", "{}", "[]")), expression


def test_prometheus_asks_every_process_that_shows_figures_at_its_port() -> None:
    showing = {
        name: service["environment"]["BNLAB_METRICS_PORT"]
        for name, service in SERVICES.items()
        if service.get("networks") and "BNLAB_METRICS_PORT" in service.get("environment", {})
    }
    asked: dict[str, str] = {}
    for job in PROMETHEUS["scrape_configs"]:
        for place in job["dns_sd_configs"]:
            assert place["type"] == "A"
            asked |= {name: str(place["port"]) for name in place["names"]}
    assert asked == showing
    assert {job["job_name"] for job in PROMETHEUS["scrape_configs"]} == {"api", "worker"}
    assert all("watching" in SERVICES[name]["networks"] for name in (*asked, "prometheus"))


def test_every_file_that_is_named_is_mounted() -> None:
    mounted = dict(volume.split(":")[:2] for name in ("prometheus", "grafana") for volume in SERVICES[name]["volumes"])
    for here in mounted:
        assert not here.startswith("./") or (OBSERVE.parent / here).exists()
    places = set(mounted.values())
    (config,) = (part for part in SERVICES["prometheus"]["command"] if part.startswith("--config.file="))
    assert config.removeprefix("--config.file=") in places
    assert {f"/etc/prometheus/{file}" for file in PROMETHEUS["rule_files"]} <= places
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "bnlab.yml").read_text())["providers"]
    assert provider["options"]["path"] in places
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/bnlab.json"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_a_rule_says_in_a_sentence_what_is_wrong(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_the_panels_ask_the_datasource_that_is_set_up_and_none_covers_another() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    places = []
    for panel in DASHBOARD["panels"]:
        assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
        assert panel["title"]
        at = panel["gridPos"]
        places.append((range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert at["x"] + at["w"] <= 24
    for one, other in combinations(places, 2):
        assert not all(set(a) & set(b) for a, b in zip(one, other, strict=True))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
