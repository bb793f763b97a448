"""What a sweep asks for: a base spec, and a list of values for each field that varies; every combination is one spec.

Fields are named as in a spec, those of batch normalization with a dot: `batch_norm.momentum`. Presets are one more
axis, the slowest; of the others the first named is the slowest.
"""

import json
import math
from collections.abc import Iterator
from itertools import product
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from models.errors import FieldError, InvalidInput
from models.presets import LESSON
from models.spec import BatchNormSpec, Spec, out_of_bounds
from models.validation import field_errors

MAX_EXPERIMENTS = 1_000

PRESET = "preset"
BATCH_NORM = "batch_norm"
FIELDS = (*Spec.model_fields, *(f"{BATCH_NORM}.{name}" for name in BatchNormSpec.model_fields))

#: The value of each axis in one combination, by the axis's name.
Values = dict[str, Any]


class SweepRequest(BaseModel):
    """Many experiments at once: every combination of the grid's values, and of the presets, laid over the base."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    base: dict[str, Any] = Field(default_factory=dict, description="The part of a spec that all have in common.")
    grid: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="The values of each field that varies, such as `learning_rate` or `batch_norm.momentum`.",
    )
    presets: Literal["lesson"] | list[str] | None = Field(
        None, description="Presets by name, or `lesson`: its 18 comparisons and its two inference runs."
    )

    @field_validator("presets", mode="before")
    @classmethod
    def _check_presets(cls, presets: Any) -> Any:
        """Refuse what is no way to name presets in one sentence, not in one for each way."""
        by_name = isinstance(presets, list) and all(isinstance(name, str) for name in presets)
        if by_name or presets in ("lesson", None):
            return presets
        raise out_of_bounds("presets", "'lesson', a list of presets by name, or null", presets)

    def axes(self) -> dict[str, list[Any]]:
        """Return the values of every field that varies, the slowest first."""
        presets = list(LESSON) if self.presets == "lesson" else self.presets
        return {**({} if presets is None else {PRESET: list(presets)}), **self.grid}

    def combinations(self) -> Iterator[Values]:
        """Yield each combination, in the order of the experiments."""
        axes = self.axes()
        return (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))

    def specs(self) -> list[Spec]:
        """Return the spec of each combination. Raises InvalidInput, naming each wrong field once."""
        self._check_axes()
        self._check_parts()
        specs: list[Spec] = []
        wrong: dict[tuple[str, str], FieldError] = {}
        for values in self.combinations():
            try:
                specs.append(_spec(_laid_over(self.base, values)))
            except ValidationError as error:
                for found in field_errors(error.errors(include_url=False)):
                    named = FieldError(self._origin(found.field, values), found.allowed, found.received)
                    wrong.setdefault((named.field, named.allowed), named)
        if wrong:
            raise InvalidInput(list(wrong.values()))
        return specs

    def _check_axes(self) -> None:
        axes = self.axes()
        wrong = [
            FieldError(f"grid.{name}", f"a field of a spec: one of {', '.join(FIELDS)}", values)
            for name, values in self.grid.items()
            if name not in FIELDS
        ]
        wrong += [
            FieldError(self._axis(name), "at least one value", values) for name, values in axes.items() if not values
        ]
        if not axes:
            wrong.append(FieldError("grid", "at least one field with its values, or presets beside it", self.grid))
        if self.presets is not None and (PRESET in self.grid or self.base.get(PRESET) is not None):
            where, part = ("grid", self.grid) if PRESET in self.grid else ("base", self.base)
            wrong.append(FieldError(f"{where}.{PRESET}", "no preset here beside presets", part[PRESET]))
        if BATCH_NORM in axes and any(name.startswith(f"{BATCH_NORM}.") for name in axes):
            wrong.append(FieldError(f"grid.{BATCH_NORM}", "either batch_norm whole, or single fields of it", None))
        count = math.prod(len(values) for values in axes.values())
        if count > MAX_EXPERIMENTS:
            wrong.append(FieldError("grid", f"at most {MAX_EXPERIMENTS} combinations in all", count))
        if wrong:
            raise InvalidInput(wrong)

    def _check_parts(self) -> None:
        """Hold the base, and every value of every axis, to what their fields allow by themselves.

        So a thousand combinations are made of parts that are small and right; they can only break rules between fields.
        """
        wrong = [FieldError(f"base.{found.field}", found.allowed, found.received) for found in _wrong_fields(self.base)]
        for name, values in self.axes().items():
            for number, value in enumerate(values):
                for found in _wrong_fields(_laid_over({}, {name: value})):
                    place = f"{self._axis(name)}.{number}{found.field.removeprefix(name)}"
                    wrong.append(FieldError(place, found.allowed, found.received))
        if wrong:
            raise InvalidInput(wrong)

    def _origin(self, field: str, values: Values) -> str:
        """Return where the value of a wrong field came from: an axis and its value's number, or the base."""
        for name, value in values.items():
            if field == name or field.startswith(f"{name}."):
                number = next(number for number, listed in enumerate(self.axes()[name]) if listed is value)
                return f"{self._axis(name)}.{number}{field.removeprefix(name)}"
        return f"base.{field}"

    def _axis(self, name: str) -> str:
        return "presets" if name == PRESET and self.presets is not None else f"grid.{name}"


def _laid_over(base: dict[str, Any], values: Values) -> dict[str, Any]:
    """Return the part of a spec that a base and these values make."""
    laid = dict(base)
    for name, value in values.items():
        field, _, part = name.partition(".")
        of_object = {part: value} if part else value  # an object is laid over the base's, field by field
        laid[field] = {**laid.get(field, {}), **of_object} if isinstance(of_object, dict) else of_object
    return laid


def _spec(part: dict[str, Any]) -> Spec:
    return Spec.model_validate_json(json.dumps(part), strict=True)


def _wrong_fields(part: dict[str, Any]) -> list[FieldError]:
    """Return what is wrong with fields of a spec by themselves; rules between fields, which need the whole, are not."""
    try:
        _spec(part)
    except ValidationError as error:
        return field_errors(detail for detail in error.errors(include_url=False) if detail["loc"])
    return []
