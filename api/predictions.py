"""Route of predictions: one digit in, ten probabilities out, from the network and with the statistics asked for."""

from typing import Annotated, Any
from uuid import UUID

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from api import images
from api.bodies import JSON, content_type, documented, parse, read_body
from api.dependencies import DatabaseDep, NetworksDep
from api.errors import responses
from models import networks
from models.database import Database
from models.dense import Array
from models.errors import FieldError, InvalidInput, NetworkDiverged
from models.spec import ArmName, Statistics

router = APIRouter(tags=["predictions"])

PIXEL: JsonDict = {"type": "number", "minimum": 0, "maximum": 1}
IMAGE_SCHEMA: JsonDict = {
    "oneOf": [
        {
            "type": "array",
            "items": {"type": "array", "items": PIXEL, "minItems": 28, "maxItems": 28},
            "minItems": 28,
            "maxItems": 28,
        },
        {"type": "array", "items": PIXEL, "minItems": 784, "maxItems": 784},
    ]
}
EXAMPLES = {"blank": {"summary": "A blank image, newest experiment", "value": {"image": [0.0] * 784}}}
PICTURE = {"schema": {"type": "string", "contentMediaType": "image/*", "description": images.ALLOWED_PICTURE}}


class Choice(BaseModel):
    """Which trained network answers, and how it normalizes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    experiment: UUID | None = Field(None, description="Its id; left out: the newest that succeeded.")
    arm: ArmName = Field(ArmName.WITH_BATCH_NORM, description="Which of the two networks.")
    replicate: int = Field(0, ge=0, le=1_000, description="Which repeat of the setting.")
    statistics: Statistics = Field(
        "population", description="`population` is right; `batch` shows what goes wrong without it."
    )


class PredictRequest(Choice):
    """A digit as numbers, and which network answers."""

    image: Any = Field(description=images.ALLOWED_NUMBERS, json_schema_extra=IMAGE_SCHEMA)


class Prediction(BaseModel):
    """The answer: the most probable digit, all ten probabilities, and whose answer it is."""

    digit: int
    probabilities: list[float]
    experiment: UUID
    arm: ArmName
    replicate: int
    statistics: Statistics


@router.post(
    "/predict",
    response_model=Prediction,
    responses=responses(404, 409, 413, 415, 503),
    openapi_extra=documented(PredictRequest, EXAMPLES, **{kind: PICTURE for kind in images.FORMATS}),
)
async def predict(
    request: Request, choice: Annotated[Choice, Query()], database: DatabaseDep, cache: NetworksDep
) -> Prediction:
    """Recognise one digit, sent as JSON, or as a PNG or JPEG with the same choices as query parameters."""
    kind = content_type(request, (JSON, *images.FORMATS))
    body = await read_body(request)
    if kind == JSON:
        if request.query_params:
            allowed = "no query parameters beside JSON: write the choice into the body"
            raise InvalidInput([FieldError(name, allowed, value) for name, value in request.query_params.items()])
        asked = parse(PredictRequest, body)
        choice, image = asked, images.from_numbers(asked.image)
    else:
        image = images.from_picture(body, kind)
    return await _answer(image, choice, database, cache)


async def _answer(image: Array, choice: Choice, database: Database, cache: NetworksDep) -> Prediction:
    experiment_id = choice.experiment
    if experiment_id is None:
        experiment_id = await to_thread.run_sync(_newest, database)
    key = (experiment_id, choice.arm, choice.replicate)
    # A loaded network answers in less time than a change of threads takes.
    trained = cache.ready(key)
    if trained is None:
        trained = await to_thread.run_sync(cache.load, database, key)
    with np.errstate(over="ignore", invalid="ignore"):
        probabilities = trained.network.probabilities(image[np.newaxis], choice.statistics)[0]
    if not np.isfinite(probabilities).all():
        raise NetworkDiverged(
            "The network's numbers leave the range of float32 for this image; it cannot predict.",
            arm=choice.arm.value,
            replicate=choice.replicate,
            diverged_at=None,
        )
    return Prediction(
        digit=int(probabilities.argmax()),
        probabilities=[float(share) for share in probabilities],
        experiment=experiment_id,
        arm=choice.arm,
        replicate=choice.replicate,
        statistics=choice.statistics,
    )


def _newest(database: Database) -> UUID:
    with database.read() as session:
        return networks.newest_succeeded(session)
