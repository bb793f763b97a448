"""Route of presets: every named setting, what it shows, and what the lesson published for it."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from models import presets
from models.presets import PRESETS, Preset, Published

router = APIRouter(tags=["presets"])


class PresetAnswer(BaseModel):
    """A setting with a name."""

    name: str = Field(description="Pass it as `preset` in a spec.")
    shows: str
    kind: str = Field(description="comparison and inference: the lesson's; depth and network: ours.")
    lesson_cell: int | None = Field(description="Number of the lesson's cell that ran it; null for ours.")
    spec: dict[str, Any] = Field(description="The fields of the spec it fills; any of them may be given beside it.")
    published: Published | None = Field(description="What the lesson printed, one run on the full MNIST and a GPU.")


class Presets(BaseModel):
    """All presets: the lesson's in its order, then ours."""

    presets: list[PresetAnswer]


class ChosenPreset(BaseModel):
    """The preset an experiment came from."""

    name: str
    overridden: list[str] = Field(description="Fields in which the spec differs from it; they were given beside it.")
    published: Published | None = Field(
        description="What the lesson printed; null where it ran something else: a field is overridden, or the data set "
        "is another."
    )

    @classmethod
    def of(cls, spec: dict[str, Any]) -> "ChosenPreset | None":
        """Return the preset of a stored spec; None if it has none, or one that this version does not know."""
        preset: Preset | None = PRESETS.get(spec.get("preset") or "")
        if preset is None:
            return None
        return cls(
            name=preset.name,
            overridden=presets.overridden(preset, spec),
            published=preset.published if presets.comparable(preset, spec) else None,
        )


@router.get("/presets")
def read_presets() -> Presets:
    """Read all named settings."""
    return Presets(
        presets=[
            PresetAnswer(
                name=preset.name,
                shows=preset.shows,
                kind=preset.kind,
                lesson_cell=preset.lesson_cell,
                spec=preset.settings,
                published=preset.published,
            )
            for preset in PRESETS.values()
        ]
    )
