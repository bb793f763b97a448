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
    qualities: dict[str, float] = {}
    for choice in accept.split(","):
        media_range, *parameters = (part.strip().lower() for part in choice.split(";"))
        qualities.setdefault(media_range, _quality(parameters))
    if set(qualities) == {""}:  # an empty header asks for nothing
        qualities = {"*/*": 1.0}
    places = list(qualities)

    def liking(name: Format) -> tuple[float, int]:
        """Return the quality of the most specific range that covers a format, and how early that range stands."""
        media_type = MEDIA_TYPES[name]
        for media_range in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
            if media_range in qualities:
                return qualities[media_range], -places.index(media_range)
        return 0.0, 0

    best = max(MEDIA_TYPES, key=liking)  # of equals the first of ours
    if not liking(best)[0]:
        raise HTTPException(406, f"Accept one of {', '.join(MEDIA_TYPES.values())}; received {accept[:120]}.")
    return best


def _quality(parameters: list[str]) -> float:
    """Return the `q` of a media range: 1 if it has none, 0 if it is no number from 0 to 1."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return quality if 0 <= quality <= 1 else 0.0
    return 1.0
