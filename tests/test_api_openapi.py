"""The OpenAPI document: a tool can follow it, its examples are true, and it tells of every error."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from builders import succeeded
from fastapi.openapi.models import OpenAPI, Schema
from fastapi.testclient import TestClient
from pydantic import BaseModel

from api.predictions import PredictRequest
from models.database import Database
from models.grid import SweepRequest
from models.spec import Spec

Json = dict[str, Any]


@pytest.fixture(scope="module")
def document(door: TestClient) -> Json:
    whole: Json = door.get("/openapi.json").json()
    return whole


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def bodies(document: Json) -> dict[str, Json]:
    """Return the JSON request bodies by route."""
    return {
        route: operation["requestBody"]["content"]["application/json"]
        for route, operation in operations(document)
        if "requestBody" in operation
    }


def test_it_is_openapi_3_1_with_a_title_and_a_version(document: Json) -> None:
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"] == "bnlab"
    assert document["info"]["version"]
    assert "problem+json" in document["info"]["description"]


def test_every_reference_leads_somewhere(document: Json) -> None:
    references = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)))
    assert references
    for reference in references:
        part: Any = document
        for name in reference.removeprefix("#/").split("/"):
            assert name in part, reference
            part = part[name]


def test_it_is_a_whole_openapi_document(document: Json) -> None:
    OpenAPI.model_validate(document)
    for route, body in bodies(document).items():
        schema = Schema.model_validate(body["schema"])
        assert schema.type == "object", route
        assert schema.properties, route


def test_every_route_has_a_name_of_its_own_and_a_sentence(document: Json) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for route, operation in operations(document):
        assert operation["description"].endswith("."), route
        assert operation["tags"], route


def test_every_error_is_documented_as_a_problem_and_as_nothing_else(document: Json) -> None:
    for route, operation in operations(document):
        errors = {int(status) for status in operation["responses"] if int(status) >= 400}
        for status in errors:
            answer = operation["responses"][str(status)]
            assert answer["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }, (route, status)
            assert answer["description"]
        expected = {422}
        if route.partition(" ")[2] not in ("/health/live", "/presets"):  # they ask no database
            expected |= {503}
        if "_id}" in route:
            expected |= {404}
        if "requestBody" in operation:
            expected |= {413, 415}
        assert expected <= errors, route


def test_the_conflicts_and_the_limits_are_documented(document: Json) -> None:
    conflicts = {route for route, operation in operations(document) if "409" in operation["responses"]}
    assert conflicts == {
        "POST /experiments/{experiment_id}/cancel",
        "GET /experiments/{experiment_id}/networks/{arm}",
        "POST /sweeps/{sweep_id}/cancel",
        "POST /predict",
    }
    assert "406" in document["paths"]["/experiments/{experiment_id}/curve"]["get"]["responses"]


def test_what_needs_a_key_says_so_and_what_its_holder_may_be_refused(document: Json) -> None:
    assert document["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    for route, operation in operations(document):
        open_to_all = route.partition(" ")[2].startswith("/health/")
        assert operation.get("security", []) == ([] if open_to_all else [{"ApiKey": []}]), route
        assert ({"401", "403", "429"} <= set(operation["responses"])) is not open_to_all, route


def test_every_example_of_a_request_is_taken_by_its_model(document: Json) -> None:
    models: dict[str, type[BaseModel]] = {
        "POST /experiments": Spec,
        "POST /sweeps": SweepRequest,
        "POST /predict": PredictRequest,
    }
    assert set(bodies(document)) == set(models)
    for route, body in bodies(document).items():
        assert body["schema"]["title"] == models[route].__name__
        assert set(body["schema"]["properties"]) == set(models[route].model_fields)
        assert body["schema"]["additionalProperties"] is False
        assert body["examples"]
        for example in body["examples"].values():
            assert example["summary"]
            models[route].model_validate_json(json.dumps(example["value"]), strict=True)


def test_every_example_is_taken_by_the_api(api: TestClient, database: Database, document: Json) -> None:
    succeeded(database)
    for route, body in bodies(document).items():
        for example in body["examples"].values():
            assert api.post(route.partition(" ")[2], json=example["value"]).status_code in (200, 202)


def test_the_example_of_a_problem_is_one(door: TestClient, document: Json) -> None:
    schema = document["components"]["schemas"]["Problem"]
    answer = door.post("/experiments", json={"learning_rate": -1})
    assert schema["example"] == answer.json()
    assert set(schema["required"]) == set(answer.json())


def test_the_bounds_of_a_spec_are_in_its_schema(document: Json) -> None:
    properties = bodies(document)["POST /experiments"]["schema"]["properties"]
    assert (properties["learning_rate"]["exclusiveMinimum"], properties["learning_rate"]["maximum"]) == (0, 100)
    assert (properties["hidden_layers"]["minItems"], properties["hidden_layers"]["maxItems"]) == (1, 16)
    assert properties["hidden_layers"]["items"]["maximum"] == 4096
    assert (properties["batch_size"]["minimum"], properties["training_batches"]["maximum"]) == (2, 1_000_000)
    assert properties["batch_norm"]["properties"]["epsilon"]["exclusiveMinimum"] == 0
    for name, schema in properties.items():
        assert schema["description"].endswith("."), name


def test_what_is_usual_for_each_kind_of_network_is_in_its_schema(document: Json) -> None:
    properties = bodies(document)["POST /experiments"]["schema"]["properties"]
    kinds = properties["network"]["x-kinds"]
    assert set(kinds) == set(properties["network"]["enum"])
    own = [field for kind in kinds.values() for field in kind["own"]]
    assert len(own) == len(set(own))
    for name, kind in kinds.items():
        spec = Spec(network=name).resolve("mnist").model_dump(mode="json")
        assert set(spec) & set(own) == set(kind["own"])
        for field, schema in properties.items():
            if field in spec and field not in ("network", "strides", "seed", "dataset", "batch_norm"):
                assert spec[field] == kind["usual"].get(field, schema.get("default")), field
        for field, schema in properties["batch_norm"]["properties"].items():
            assert spec["batch_norm"][field] == kind["usual"].get("batch_norm", {}).get(field, schema["default"]), field


def test_every_answer_is_as_documented(api: TestClient, database: Database, document: Json) -> None:
    experiment_id = succeeded(database)
    image = [0.0] * 784
    sweep = api.post("/sweeps", json={"grid": {"seed": [1]}})
    sweep_id = sweep.json()["id"]
    answers = {
        ("POST", "/experiments", "202"): api.post("/experiments", json={}),
        ("GET", "/experiments", "200"): api.get("/experiments"),
        ("GET", "/experiments/{experiment_id}", "200"): api.get(f"/experiments/{experiment_id}"),
        ("GET", "/experiments/{experiment_id}/curve", "200"): api.get(f"/experiments/{experiment_id}/curve"),
        ("GET", "/experiments/{experiment_id}/history", "200"): api.get(f"/experiments/{experiment_id}/history"),
        ("POST", "/experiments/{experiment_id}/cancel", "409"): api.post(f"/experiments/{experiment_id}/cancel"),
        ("GET", "/experiments/{experiment_id}/networks/{arm}", "200"): api.get(
            f"/experiments/{experiment_id}/networks/with_batch_norm"
        ),
        ("POST", "/sweeps", "202"): sweep,
        ("GET", "/sweeps", "200"): api.get("/sweeps"),
        ("GET", "/sweeps/{sweep_id}", "200"): api.get(f"/sweeps/{sweep_id}"),
        ("POST", "/sweeps/{sweep_id}/cancel", "202"): api.post(f"/sweeps/{sweep_id}/cancel"),
        ("GET", "/presets", "200"): api.get("/presets"),
        ("POST", "/predict", "422"): api.post("/predict", json={"image": image[1:]}),
        ("GET", "/digits", "200"): api.get("/digits"),
        ("GET", "/health/live", "200"): api.get("/health/live"),
        ("GET", "/health/ready", "200"): api.get("/health/ready"),
    }
    for (method, path, status), answer in answers.items():
        assert answer.status_code == int(status), path
        content = document["paths"][path][method.lower()]["responses"][status]["content"]
        name = content[answer.headers["Content-Type"]]["schema"]["$ref"].rpartition("/")[2]
        schema = document["components"]["schemas"][name]
        assert set(schema["required"]) <= set(answer.json())
        assert schema.get("additionalProperties") is True or set(answer.json()) <= set(schema["properties"]), path
    shapes = {
        shape["$ref"].rpartition("/")[2]: set(
            document["components"]["schemas"][shape["$ref"].rpartition("/")[2]]["properties"]
        )
        for shape in document["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["schema"][
            "anyOf"
        ]
    }
    assert set(api.post("/predict", json={"image": image}).json()) == shapes["Prediction"]
    assert set(api.post("/predict", json={"images": [image]}).json()) == shapes["Predictions"]
    curve = document["paths"]["/experiments/{experiment_id}/curve"]["get"]["responses"]["200"]["content"]
    assert set(curve) == {"application/json", "text/csv", "image/png", "image/svg+xml"}
