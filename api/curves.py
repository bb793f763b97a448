"""Route of the curve: one address, four representations."""

import csv
import io
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Header, HTTPException, Query, Response

from api.answers import CurveAnswer
from api.dependencies import DatabaseDep
from api.errors import responses
from models import curves, experiments
from models.curves import Curve
from models.spec import ResolvedSpec

router = APIRouter(prefix="/experiments", tags=["curves"])

Format = Literal["json", "csv", "png", "svg"]
MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "png": "image/png",
    "svg": "image/svg+xml",
}


@router.get(
    "/{experiment_id}/curve",
    responses={
        **responses(404, 406, 503),
        200: {
            "model": CurveAnswer,
            "description": "The curves of both arms; CSV has a row per arm, step and replicate.",
            "content": {media_type: {} for media_type in MEDIA_TYPES.values()},
        },
    },
)
def read(
    experiment_id: UUID,
    database: DatabaseDep,
    format: Annotated[Format | None, Query(description="Wins over the Accept header.")] = None,
    accept: Annotated[str, Header()] = "*/*",
) -> Response:
    """Read the accuracy curves of both arms, every point; while they train, the points so far."""
    chosen = format or _negotiated(accept)
    with database.read() as session:
        experiment = experiments.read(session, experiment_id)
        curve = curves.read(session, experiment_id)
    spec = ResolvedSpec.model_validate(experiment.spec, strict=False)
    return Response(
        _render(chosen, experiment_id, spec, curve), media_type=MEDIA_TYPES[chosen], headers={"Vary": "Accept"}
    )


def _render(chosen: Format, experiment_id: UUID, spec: ResolvedSpec, curve: Curve) -> bytes | str:
    if chosen == "json":
        return CurveAnswer.of(experiment_id, curve, spec.replicates).model_dump_json()
    if chosen == "csv":
        return _csv(curve)
    from api.pictures import draw_curve  # Matplotlib takes a second and 50 MB: not before the first picture

    return draw_curve(CurveAnswer.of(experiment_id, curve, spec.replicates), spec, chosen)


def _csv(curve: Curve) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["arm", "step", "replicate", "correct", "total", "validation_accuracy"])
    for name, samples in curve.items():
        for sample in samples:
            for replicate, correct in enumerate(sample.correct):
                writer.writerow([name.value, sample.step, replicate, correct, sample.total, correct / sample.total])
    return text.getvalue()


def _negotiated(accept: str) -> Format:
    """Return the format the Accept header likes best (RFC 9110, 12.5.1); 406 if it likes none."""
    best: tuple[float, Format] | None = None
    for choice in accept.split(","):
        media_range, *parameters = (part.strip() for part in choice.split(";"))
        quality = _quality(parameters)
        liked = next((name for name, media in MEDIA_TYPES.items() if _covers(media_range.lower(), media)), None)
        if liked is not None and quality > (best[0] if best else 0.0):
            best = (quality, liked)
    if best is None:
        raise HTTPException(406, f"Accept one of {', '.join(MEDIA_TYPES.values())}; received {accept[:120]}.")
    return best[1]


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _covers(media_range: str, media_type: str) -> bool:
    return media_range in ("*/*", media_type) or media_range == f"{media_type.partition('/')[0]}/*"
