"""Route of the curve: one address, four representations."""

import csv
import io
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response

from api.answers import CurveAnswer, ExperimentAnswer
from api.callers import ReaderDep
from api.dependencies import DatabaseDep
from api.errors import responses
from api.negotiation import MEDIA_TYPES, Format, negotiated
from models import curves, experiments
from models.curves import Curve
from models.spec import ResolvedSpec
from models.tables import Experiment

router = APIRouter(prefix="/experiments", tags=["curves"])


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
    caller: ReaderDep,
    database: DatabaseDep,
    format: Annotated[Format | None, Query(description="Wins over the Accept header.")] = None,
    accept: Annotated[str, Header()] = "*/*",
) -> Response:
    """Read the accuracy curves of both arms, every point; while they train, the points so far."""
    chosen: Format = format or negotiated(accept, tuple(MEDIA_TYPES))
    with database.read() as session:
        experiment = experiments.read(session, experiment_id, caller.sees)
        curve = curves.read(session, experiment_id, caller.sees)
    return Response(
        _render(chosen, experiment, curve),
        media_type=MEDIA_TYPES[chosen],
        headers={"Vary": "Accept"},
    )


def _render(chosen: Format, experiment: Experiment, curve: Curve) -> bytes | str:
    if chosen == "csv":
        return _csv(curve)
    spec = ResolvedSpec.model_validate(experiment.spec, strict=False)
    answer = CurveAnswer.of(experiment.id, curve, spec.replicates)
    if chosen == "json":
        return answer.model_dump_json()
    from api.pictures import draw_curve  # Matplotlib takes a second and 50 MB: not before the first picture

    return draw_curve(answer, ExperimentAnswer.of(experiment, {}), chosen)


def _csv(curve: Curve) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["arm", "step", "replicate", "correct", "total", "validation_accuracy"])
    for name, samples in curve.items():
        for sample in samples:
            for replicate, correct in enumerate(sample.correct):
                writer.writerow([name.value, sample.step, replicate, correct, sample.total, correct / sample.total])
    return text.getvalue()
