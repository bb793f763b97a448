"""Routes of experiments: submit, list, read, cancel."""

import logging
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field
from sqlalchemy.orm import Session

from api import pages
from api.answers import ExperimentAnswer, ExperimentPage
from api.bodies import documented, json_body
from api.callers import ReaderDep, WriterDep
from api.dependencies import BellsDep, DatabaseDep, SettingsDep
from api.errors import responses
from api.idempotency import ACCEPTED, KeyDep, accept
from api.pages import PageRequest
from api.requests import OriginDep
from api.waiting import heard_for
from models import admission, datasets, experiments
from models.spec import ArmName, Spec, Status
from models.tables import Experiment

log = logging.getLogger(__name__)

router = APIRouter(prefix="/experiments", tags=["experiments"])

EXAMPLES = {
    "default": {"summary": "ReLU, learning rate 0.01, good weights, 50,000 batches", "value": {}},
    "short": {
        "summary": "The same, short",
        "value": {"training_batches": 2000, "batches_per_sample": 50, "seed": 1},
    },
    "preset": {
        "summary": "One of the lesson's comparisons: sigmoid, learning rate 1, bad weights, over eight seeds",
        "value": {"preset": "sigmoid-1-bad-weights-50000", "replicates": 8},
    },
}


class ExperimentPageRequest(PageRequest):
    """Which experiments to list."""

    status: Status | None = Field(None, description="Only experiments of this status.")


@router.post(
    "",
    status_code=202,
    response_model=ExperimentAnswer,
    responses={**ACCEPTED, **responses(413, 415, 429, 503)},
    openapi_extra=documented(Spec, EXAMPLES),
)
def submit(
    caller: WriterDep,
    spec: Annotated[Spec, Depends(json_body(Spec))],
    settings: SettingsDep,
    database: DatabaseDep,
    bells: BellsDep,
    origin: OriginDep,
    key: KeyDep,
) -> Response:
    """Accept an experiment: both arms are queued and committed before this answers.

    429 while too many wait, or too many of this key wait or run.
    """
    resolved = spec.resolve(settings.dataset)

    def make(session: Session) -> ExperimentAnswer:
        admission.admit(session, 1, settings.max_queued_experiments, caller.quota(settings))
        created = experiments.create(session, resolved, datasets.SHA256[resolved.dataset], caller.owner, origin)
        return _answer(session, created)

    accepted = accept(database, router.prefix, spec, key, make, caller.owner)
    if not accepted.replayed:
        bells.ring(len(ArmName), resolved.device)
        about = {"action": "accept", "experiment_id": str(accepted.id), **caller.in_logs}
        log.info("Experiment %s is accepted.", accepted.id, extra=about)
    return accepted.response()


@router.get("", responses=responses(503))
def read_page(
    caller: ReaderDep, asked: Annotated[ExperimentPageRequest, Query()], database: DatabaseDep
) -> ExperimentPage:
    """List experiments, newest first."""
    with database.read() as session:
        found, following = experiments.page(session, asked.limit, pages.decode(asked.cursor), asked.status, caller.sees)
        heard = heard_for(session, found)
    return ExperimentPage(
        experiments=[ExperimentAnswer.of(experiment, heard) for experiment in found],
        next_cursor=pages.encode(following),
    )


@router.get("/{experiment_id}", responses=responses(404, 503))
def read(experiment_id: UUID, caller: ReaderDep, database: DatabaseDep) -> ExperimentAnswer:
    """Read an experiment: its spec, its progress, its results."""
    with database.read() as session:
        return _answer(session, experiments.read(session, experiment_id, caller.sees))


@router.post("/{experiment_id}/cancel", status_code=202, responses=responses(404, 409, 503))
def cancel(experiment_id: UUID, caller: WriterDep, database: DatabaseDep) -> ExperimentAnswer:
    """Cancel an experiment: queued arms end at once, running ones within about a second; their points are kept."""
    with database.write() as session:
        answer = _answer(session, experiments.cancel(session, experiment_id, caller.sees))
    about = {"action": "cancel", "experiment_id": str(experiment_id), **caller.in_logs}
    log.info("Experiment %s is asked to end.", experiment_id, extra=about)
    return answer


def _answer(session: Session, experiment: Experiment) -> ExperimentAnswer:
    return ExperimentAnswer.of(experiment, heard_for(session, [experiment]))
