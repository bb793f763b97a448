"""Routes of sweeps: submit many experiments at once, list, read as JSON or CSV, draw, cancel."""

import logging
from collections import Counter
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Response
from sqlalchemy.orm import Session

from api import pages
from api.answers import CurveAnswer, ExperimentAnswer
from api.bodies import documented, json_body
from api.callers import ReaderDep, WriterDep
from api.dependencies import BellsDep, DatabaseDep, SettingsDep
from api.errors import responses
from api.idempotency import ACCEPTED, KeyDep, accept
from api.negotiation import MEDIA_TYPES, negotiated
from api.pages import PageRequest
from api.requests import OriginDep
from api.sweep_answers import SweepAnswer, SweepPage, SweepSummary, as_csv
from api.waiting import heard_for
from models import admission, curves, datasets, sweeps
from models.errors import FieldError, InvalidInput
from models.grid import SweepRequest
from models.spec import ArmName

log = logging.getLogger(__name__)

router = APIRouter(prefix="/sweeps", tags=["sweeps"])

MAX_PANELS = 60
Picture = Literal["png", "svg"]
PICTURES: tuple[Picture, ...] = ("png", "svg")

EXAMPLES = {
    "lesson": {
        "summary": "The whole lesson, over four seeds",
        "value": {"presets": "lesson", "base": {"replicates": 4}},
    },
    "grid": {
        "summary": "Two activations at three learning rates",
        "value": {
            "base": {"training_batches": 2000, "batches_per_sample": 50},
            "grid": {"activation": ["relu", "sigmoid"], "learning_rate": [0.01, 0.1, 1.0]},
        },
    },
    "deeper": {
        "summary": "Before or after the activation, at two depths",
        "value": {
            "base": {"activation": "sigmoid", "learning_rate": 1.0, "training_batches": 2000},
            "grid": {
                "hidden_layers": [[100, 100, 100], [100, 100, 100, 100, 100, 100]],
                "batch_norm.placement": ["before_activation", "after_activation"],
            },
        },
    },
}


@router.post(
    "",
    status_code=202,
    response_model=SweepAnswer,
    responses={**ACCEPTED, **responses(413, 415, 429, 503)},
    openapi_extra=documented(SweepRequest, EXAMPLES),
)
def submit(
    caller: WriterDep,
    asked: Annotated[SweepRequest, Depends(json_body(SweepRequest))],
    settings: SettingsDep,
    database: DatabaseDep,
    bells: BellsDep,
    origin: OriginDep,
    key: KeyDep,
) -> Response:
    """Accept a sweep: all of its experiments are queued and committed before this answers, or none is.

    429 if, with all of them, too many would wait, or too many of this key would wait or run.
    """
    resolved = [spec.resolve(settings.dataset) for spec in asked.specs()]

    def make(session: Session) -> SweepAnswer:
        admission.admit(session, len(resolved), settings.max_queued_experiments, caller.quota(settings))
        specs = [(spec, datasets.SHA256[spec.dataset]) for spec in resolved]
        return _answer(session, sweeps.create(session, asked, specs, caller.owner, origin))

    accepted = accept(database, router.prefix, asked, key, make, caller.owner)
    if not accepted.replayed:
        for device, count in Counter(spec.device for spec in resolved).items():
            bells.ring(count * len(ArmName), device)
        about = {"action": "accept", "sweep_id": str(accepted.id), **caller.in_logs}
        log.info("Sweep %s is accepted, %d experiments.", accepted.id, len(resolved), extra=about)
    return accepted.response()


@router.get("", responses=responses(503))
def read_page(caller: ReaderDep, asked: Annotated[PageRequest, Query()], database: DatabaseDep) -> SweepPage:
    """List sweeps, newest first."""
    with database.read() as session:
        found, following = sweeps.page(session, asked.limit, pages.decode(asked.cursor), caller.sees)
    return SweepPage(
        sweeps=[SweepSummary.of(sweep, summary) for sweep, summary in found], next_cursor=pages.encode(following)
    )


@router.get(
    "/{sweep_id}",
    responses={
        **responses(404, 406, 503),
        200: {
            "model": SweepAnswer,
            "description": "How far it is, and a row per experiment with its result; CSV has the table only.",
            "content": {MEDIA_TYPES["json"]: {}, MEDIA_TYPES["csv"]: {}},
        },
    },
)
def read(
    sweep_id: UUID,
    caller: ReaderDep,
    database: DatabaseDep,
    format: Annotated[Literal["json", "csv"] | None, Query(description="Wins over the Accept header.")] = None,
    accept: Annotated[str, Header()] = "*/*",
) -> Response:
    """Read a sweep: how far it is, and what came out of each of its experiments."""
    chosen = format or negotiated(accept, ("json", "csv"))
    with database.read() as session:
        answer = _answer(session, sweep_id, caller.sees)
    content = as_csv(answer) if chosen == "csv" else answer.model_dump_json()
    return Response(content, media_type=MEDIA_TYPES[chosen], headers={"Vary": "Accept"})


@router.get(
    "/{sweep_id}/curves",
    responses={
        **responses(404, 406, 503),
        200: {
            "description": "A small picture of both curves for each experiment.",
            "content": {MEDIA_TYPES["png"]: {}, MEDIA_TYPES["svg"]: {}},
        },
    },
)
def read_curves(
    sweep_id: UUID,
    caller: ReaderDep,
    database: DatabaseDep,
    format: Annotated[Picture | None, Query(description="Wins over the Accept header.")] = None,
    first: Annotated[int, Query(ge=0, le=1_000, description="Position of the first experiment.")] = 0,
    count: Annotated[int, Query(ge=1, le=MAX_PANELS, description="How many experiments.")] = 24,
    accept: Annotated[str, Header()] = "*/*",
) -> Response:
    """Draw the accuracy curves of a sweep's experiments side by side; what is still training, so far."""
    chosen = format or negotiated(accept, PICTURES)
    from api.pictures import Panel, draw_panels  # Matplotlib takes a second and 50 MB: not before the first picture

    with database.read() as session:
        sweep, summary = sweeps.read(session, sweep_id, caller.sees)
        shown = sweeps.experiments_of(session, sweep_id, first, count)
        total = sum(summary.counts.values())
        if not shown:
            raise InvalidInput([FieldError("first", f"less than {total}, the number of experiments", first)])
        points = {experiment.id: curves.read(session, experiment.id) for experiment in shown}
    combinations = list(SweepRequest.model_validate(sweep.request).combinations())
    panels = []
    for position, experiment in enumerate(shown, first):
        answer = ExperimentAnswer.of(experiment, {})  # the picture does not say what it waits for
        curve = CurveAnswer.of(experiment.id, points[experiment.id], answer.spec.replicates)
        panels.append(Panel(_title(combinations[position]), answer, curve))
    return Response(
        draw_panels(panels, first, total, chosen), media_type=MEDIA_TYPES[chosen], headers={"Vary": "Accept"}
    )


@router.post("/{sweep_id}/cancel", status_code=202, responses=responses(404, 409, 503))
def cancel(sweep_id: UUID, caller: WriterDep, database: DatabaseDep) -> SweepAnswer:
    """Cancel a sweep: what waits ends at once, what runs within about a second; results and points are kept."""
    with database.write() as session:
        sweeps.cancel(session, sweep_id, caller.sees)
    about = {"action": "cancel", "sweep_id": str(sweep_id), **caller.in_logs}
    log.info("Sweep %s is asked to end.", sweep_id, extra=about)
    with database.read() as session:
        return _answer(session, sweep_id, caller.sees)


def _answer(session: Session, sweep_id: UUID, owner: UUID | None = None) -> SweepAnswer:
    sweep, summary = sweeps.read(session, sweep_id, owner)
    found = sweeps.experiments_of(session, sweep_id)
    return SweepAnswer.whole(sweep, summary, found, heard_for(session, found))


def _title(values: dict[str, object]) -> str:
    """Return what distinguishes one experiment of a sweep from the others."""
    words = []
    for name, value in values.items():
        if name == "preset":
            words.append(str(value))
        elif isinstance(value, dict):
            words += [f"{name}.{part} {inner}" for part, inner in value.items()]
        else:
            words.append(f"{name} {value}")
    return ", ".join(words)
