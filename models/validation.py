"""Turns pydantic's complaints into ours: which field, what is allowed, what came."""

from collections.abc import Iterable, Mapping
from typing import Any

from models.errors import FieldError


def field_errors(details: Iterable[Mapping[str, Any]], skip: int = 0) -> list[FieldError]:
    """Return the errors of a pydantic ValidationError as ours, without the first `skip` parts of their place."""
    return [_field_error(detail, skip) for detail in details if not _only_follows(detail)]


def _only_follows(detail: Mapping[str, Any]) -> bool:
    """Return whether a list is called too short because wrong items were not counted; they have errors of their own."""
    return bool(detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"])


def _field_error(detail: Mapping[str, Any], skip: int) -> FieldError:
    context = detail.get("ctx", {})
    place = [str(part) for part in detail["loc"][skip:]]
    if detail["type"] == "out_of_bounds":  # a rule of ours, see models/spec.py
        if place[-1:] != [context["field"]]:
            place.append(context["field"])
        return FieldError(".".join(place), context["allowed"], context["received"])
    allowed = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    received = detail["input"]
    if detail["type"] == "extra_forbidden":
        allowed = "no field of this name"
    elif detail["type"] == "json_invalid":
        allowed, received = f"a JSON object ({allowed})", None
    elif detail["type"] == "too_short":
        allowed = f"at least {context['min_length']} of them"
    elif detail["type"] == "too_long":
        allowed = f"at most {context['max_length']} of them"
    elif detail["type"] == "missing":
        allowed, received = "a value: this field is required", None
    return FieldError(".".join(place), allowed, received)
