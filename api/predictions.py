"""Route of predictions: digits in, ten probabilities out, from the network and with the statistics asked for.

Numbers as JSON, which programs send by the thousand, are answered without FastAPI's machinery for parameters and
responses (`api/direct.py`): it takes longer than the network does.
"""

import math
from contextlib import suppress
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Query, Request
from orjson import JSONEncodeError, dumps, loads
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from api import images
from api.bodies import JSON, SMALL_BODY_BYTES, Bodies, Received, content_type, documented, parse
from api.cache import NetworkCache
from api.callers import ReaderDep, reader
from api.dependencies import DatabaseDep, NetworksDep, SettingsDep
from api.errors import responses
from api.metrics import metrics_of
from models import cautions
from models.arrays import Array
from models.cautions import Caution
from models.database import Database
from models.errors import FieldError, InvalidInput, NetworkDiverged
from models.networks import StoredNetwork
from models.settings import Settings
from models.spec import PIXELS, ArmName, Statistics
from models.trained import TrainedNetwork

MAX_IMAGES = 1_000

#: The answer to one image that takes no more than these is computed at once: by a dense network in less time than a
#: change of threads takes, by others in some milliseconds. Nobody waits for what takes more: it is done in a thread.
MOST_MULTIPLICATIONS_AT_ONCE = 2_000_000

#: Drawings and photographs are larger than the other small bodies; what they unpack to is bounded by their sides.
PICTURE_BYTES = 1_048_576

#: How often each sign can stand in a request of numbers: millions of small objects would take long, and much memory.
MOST_OF = {b",": MAX_IMAGES * PIXELS + 1_000, b"]": MAX_IMAGES * 29 + 1_000, b"}": 1_000, b":": 1_000, b'"': 4_000}

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
PICTURE_IN_WORDS = (
    f"{images.ALLOWED_PICTURE}. One of 28×28 is taken as it is, white ink on black; any other is made into one as "
    f"MNIST was made, whatever its paper and ink, see `normalize`. At most {PICTURE_BYTES:,} bytes; beyond, 413."
)
PICTURE = {"schema": {"type": "string", "contentMediaType": "image/*", "description": PICTURE_IN_WORDS}}


class Choice(BaseModel):
    """Which trained network answers, and how it normalizes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    experiment: UUID | None = Field(None, description="Its id; left out: the newest that succeeded.")
    arm: ArmName = Field(ArmName.WITH_BATCH_NORM, description="Which of the two networks.")
    replicate: int = Field(0, ge=0, le=1_000, description="Which repeat of the setting.")
    statistics: Statistics = Field(
        "population", description="`population` is right; `batch` shows what goes wrong without it."
    )


#: Of a request that names nothing.
NO_CHOICE = Choice()


class PictureChoice(Choice):
    """The same, and how a picture becomes 28×28 numbers."""

    normalize: bool | None = Field(
        None,
        description="Of a picture only. Left out: a picture is normalized unless it has 28×28 pixels; `true`: always; "
        "`false`: never, and other sizes are refused.",
    )


class PredictRequest(Choice):
    """A digit, or several, as numbers, and which network answers."""

    image: Any = Field(None, description=images.ALLOWED_NUMBERS, json_schema_extra=IMAGE_SCHEMA)
    images: list[Any] | None = Field(
        None,
        min_length=1,
        max_length=MAX_IMAGES,
        description="Several images instead of one. With `batch` statistics each is normalized by all of them.",
        json_schema_extra={"items": IMAGE_SCHEMA},
    )


class Seen(BaseModel):
    """The most probable digit, and all ten probabilities."""

    digit: int
    probabilities: list[float]


class Source(BaseModel):
    """Whose answer it is, and what to know before trusting it."""

    experiment: UUID
    arm: ArmName
    replicate: int
    statistics: Statistics
    warnings: list[Caution]


class Prediction(Seen, Source):
    """The answer to one image."""

    image: list[list[float]] | None = Field(
        None, description="The 28×28 numbers that were used, where the picture was normalized; else null."
    )


class Predictions(Source):
    """The answers to several images, in their order."""

    predictions: list[Seen]


async def to_numbers_alone(request: Request) -> bytes:
    """Return the answer to plain JSON, which is what most requests are, for `api.direct`."""
    state = request.app.state
    asks = await reader(request)
    answer = await _answer_numbers(request, asks.sees, state.settings, state.database, state.networks)
    return answer.model_dump_json().encode()


router = APIRouter(tags=["predictions"])


@router.post(
    "/predict",
    response_model=Prediction | Predictions,
    responses=responses(404, 409, 413, 415, 503),
    openapi_extra=documented(PredictRequest, EXAMPLES, **{kind: PICTURE for kind in images.FORMATS}),
)
async def predict(
    request: Request,
    asks: ReaderDep,
    choice: Annotated[PictureChoice, Query()],
    settings: SettingsDep,
    database: DatabaseDep,
    cache: NetworksDep,
) -> Prediction | Predictions:
    """Recognise one digit or several, sent as JSON; or one as PNG or JPEG with the same choices as query parameters.

    A picture that is not 28×28 is normalized first; the answer's `image` is what was used, and can be sent as JSON.
    """
    kind = content_type(request, (JSON, *images.FORMATS))
    if kind != JSON:
        bodies: Bodies = request.app.state.bodies
        read = partial(images.from_picture, media_type=kind, normalize=choice.normalize)
        async with Received(request, min(PICTURE_BYTES, settings.max_body_bytes)) as body:
            pixels, normalized = await bodies.read_aside(body, read)
        answer = await _answer_one(pixels, choice, asks.sees, database, cache)
        metrics_of(request).predicted(choice.arm, choice.statistics, 1)
        return answer.model_copy(update={"image": images.shown(pixels)}) if normalized else answer
    if request.query_params:
        elsewhere = {"normalize": "only beside a picture: numbers are taken as they are"}
        allowed = "no query parameters beside JSON: write the choice into the body"
        wrong = [(name, elsewhere.get(name, allowed), value) for name, value in request.query_params.items()]
        raise InvalidInput([FieldError(*each) for each in wrong])
    return await _answer_numbers(request, asks.sees, settings, database, cache)


async def _answer_numbers(
    request: Request, owner: UUID | None, settings: Settings, database: Database, cache: NetworkCache
) -> Prediction | Predictions:
    bodies: Bodies = request.app.state.bodies
    async with Received(request, settings.max_images_body_bytes) as body:
        choice, several, pixels = await bodies.read(body, _read)
    if several:
        answer: Prediction | Predictions = await _answer_all(pixels, choice, owner, database, cache)
    else:
        answer = await _answer_one(pixels[0], choice, owner, database, cache)
    metrics_of(request).predicted(choice.arm, choice.statistics, len(pixels))
    return answer


def _read(body: bytearray) -> tuple[Choice, bool, Array]:
    """Return which network is asked, whether for several images, and the images, [images, 784]."""
    if len(body) > SMALL_BODY_BYTES and any(body.count(sign) > most for sign, most in MOST_OF.items()):
        raise InvalidInput([FieldError("images", f"at most {MAX_IMAGES} images of {PIXELS} numbers", "more values")])
    choice, image, many = _taken_apart(body)
    truths = (b"u" in body and b"true" in body) or (b"l" in body and b"false" in body)  # one letter is found sooner
    if many is None:
        return choice, False, images.from_numbers(image, truths=truths)[np.newaxis]
    return choice, True, images.from_many(many, truths=truths)


def _taken_apart(body: bytearray) -> tuple[Choice, Any, list[Any] | None]:
    """Return the choice, and the one image or the several that came with it; None for those if there is one.

    The numbers stay the plain lists they are, which takes half the memory and time that a model's field would. What is
    not as it should be goes to the model, to say what is wrong.
    """
    try:
        sent = loads(body)
    except ValueError:
        sent = None
    if isinstance(sent, dict) and ("image" in sent) != ("images" in sent):
        image, many = sent.pop("image", None), sent.pop("images", None)
        if isinstance(image, list) or (isinstance(many, list) and 0 < len(many) <= MAX_IMAGES):
            with suppress(JSONEncodeError):  # lists in lists, too deep to be written
                return parse(Choice, dumps(sent)) if sent else NO_CHOICE, image, many
    asked = parse(PredictRequest, body)
    given = asked.model_fields_set & {"image", "images"}
    if len(given) != 1 or (given == {"images"} and asked.images is None):
        raise InvalidInput([FieldError("image", "a value: either image or images is required, and not both")])
    return asked, asked.image, asked.images


async def _answer_one(
    pixels: Array, choice: Choice, owner: UUID | None, database: Database, cache: NetworkCache
) -> Prediction:
    """Return the answer to one image [784]."""
    experiment_id, trained = await _trained(choice, owner, database, cache)
    probabilities = (await _computed(trained, pixels[np.newaxis], choice))[0]
    seen = {"digit": int(probabilities.argmax()), "probabilities": probabilities.tolist()}
    return Prediction(**seen, **_source(experiment_id, trained, choice, 1))


async def _answer_all(
    pixels: Array, choice: Choice, owner: UUID | None, database: Database, cache: NetworkCache
) -> Predictions:
    experiment_id, trained = await _trained(choice, owner, database, cache)
    probabilities = await _computed(trained, pixels, choice)
    seen = [Seen(digit=int(row.argmax()), probabilities=row.tolist()) for row in probabilities]
    return Predictions(predictions=seen, **_source(experiment_id, trained, choice, len(pixels)))


async def _trained(
    choice: Choice, owner: UUID | None, database: Database, cache: NetworkCache
) -> tuple[UUID, StoredNetwork]:
    """Return whose network answers, and the network, loaded if need be."""
    experiment_id = choice.experiment
    if experiment_id is None:
        experiment_id = await cache.newest(database, owner)
    place = (experiment_id, choice.arm, choice.replicate)
    trained = cache.ready(place, owner)
    if trained is None:
        trained = await to_thread.run_sync(cache.load, database, place, owner)
    return experiment_id, trained


def _source(experiment_id: UUID, trained: StoredNetwork, choice: Choice, count: int) -> dict[str, Any]:
    return {
        "experiment": experiment_id,
        "arm": choice.arm,
        "replicate": choice.replicate,
        "statistics": choice.statistics,
        "warnings": cautions.of_prediction(trained.network.spec, choice.arm, choice.statistics, count),
    }


async def _computed(trained: StoredNetwork, pixels: Array, choice: Choice) -> Array:
    """Return the probabilities [images, 10], computed in a thread if that takes long."""
    compute = partial(_probabilities, trained.network, pixels, choice)
    small = len(pixels) == 1 and trained.multiplications <= MOST_MULTIPLICATIONS_AT_ONCE
    return compute() if small else await to_thread.run_sync(compute)


def _probabilities(network: TrainedNetwork, pixels: Array, choice: Choice) -> Array:
    """Return the probabilities [images, 10]. Raises NetworkDiverged if a number leaves the range of float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        probabilities = network.probabilities(pixels, choice.statistics)
    if not math.isfinite(probabilities.sum()):  # they are shares: none is infinite alone
        raise NetworkDiverged(
            "The network's numbers leave the range of float32 for this image; it cannot predict.",
            arm=choice.arm.value,
            replicate=choice.replicate,
            diverged_at=None,
        )
    return probabilities
