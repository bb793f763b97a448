"""Event streams as their readers see them: read line by line, and what the points in them make together."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
from builders import (
    LEASE_S,
    WITH,
    WITHOUT,
    samples,
)
from conftest import TINY_SPEC

from api.stream_events import EVENTS
from models import arms
from models.database import Database
from models.spec import ArmName

Json = dict[str, Any]

INTERVAL_S = 0.05
#: What a loaded machine may need beyond a deadline.
PATIENCE_S = 10.0
CURVE = samples(TINY_SPEC.resolve("mnist-5k"))
STEPS = [sample.step for sample in CURVE]


@dataclass(frozen=True)
class Got:
    """An event as it came over the wire."""

    name: str
    data: Json
    id: str


def parsed(lines: Iterable[str]) -> Iterator[Got]:
    """Read a stream as a browser does."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Got(fields["event"], json.loads(fields["data"]), fields["id"])
            fields = {}


def names(told: Sequence[Got]) -> list[str]:
    return [got.name for got in told]


def curves(told: Iterable[Got]) -> dict[str, list[int]]:
    """Return the steps of both arms that a reader has in the end, each as often as it was told of."""
    steps: dict[str, list[int]] = {WITHOUT.value: [], WITH.value: []}
    for got in told:
        if got.name == "points":
            if got.data["restarted"]:
                steps[got.data["arm"]].clear()
            steps[got.data["arm"]] += got.data["steps"]
    return steps


def both(steps: list[int], other: list[int] | None = None) -> dict[str, list[int]]:
    return {WITHOUT.value: steps, WITH.value: steps if other is None else other}


def record(database: Database, held: arms.Claim, first: int, last: int) -> None:
    """Write these points, and that so much is done."""
    with database.write() as session:
        arms.record(session, held, LEASE_S, STEPS[last - 1] + 1, 100.0, CURVE[first:last])


def as_documented(document: Json, told: Sequence[Got]) -> set[str]:
    """Return the names of the events, after checking each against the schema that the document has for it."""
    answer = document["paths"]["/experiments/{experiment_id}/events"]["get"]["responses"]["200"]
    kinds = answer["content"]["text/event-stream"]["itemSchema"]["oneOf"]
    schemas = {kind["properties"]["event"]["const"]: kind["properties"]["data"]["contentSchema"] for kind in kinds}
    assert set(schemas) == set(EVENTS)
    for got in told:
        one_of = {"oneOf": kinds, "components": document["components"]}
        item = {"event": got.name, "data": json.dumps(got.data), "id": got.id}
        jsonschema_rs.validate(one_of, item)
        jsonschema_rs.validate({**schemas[got.name], "components": document["components"]}, got.data)
    return set(names(told))


def has(arm: ArmName, step: int) -> Callable[[Got], bool]:
    return lambda got: got.name == "points" and got.data["arm"] == arm.value and step in got.data["steps"]
