"""Builds the application: routers, error handlers, what they share. Nothing happens before `create_app` is called."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from anyio import to_thread
from fastapi import Depends, FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp

from api import (
    browser,
    curves,
    digits,
    documents,
    errors,
    events,
    experiments,
    health,
    history,
    metrics,
    networks,
    predictions,
    presets,
    sweeps,
    workers,
)
from api.bells import Bells
from api.bodies import Bodies
from api.cache import NetworkCache
from api.callers import REFUSED, Callers, caller
from api.dependencies import only_known_parameters
from api.direct import Direct
from api.door import Door
from api.feed import Feed
from api.metrics import Metrics
from api.readiness import Readiness
from models.database import POOL_SIZE, Database
from models.settings import Settings
from models.tracing import Tracer

DESCRIPTION = """
Train two identical networks from the same starting weights on the same MNIST batches, one without and one with batch
normalization; read both accuracy curves while they grow; let the trained networks recognise single digits.

Errors are `application/problem+json` (RFC 9457) everywhere and name the field, what is allowed and what came.
"""


def create_app(settings: Settings) -> FastAPI:
    """Return the application for these settings."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = POOL_SIZE  # a thread never waits for a connection
        with app.state.metrics.served(settings):
            yield
        app.state.feed.close()
        app.state.callers.close()
        app.state.bodies.close()
        app.state.bells.close()
        app.state.database.close()
        app.state.tracer.close()

    tracer = Tracer("bnlab-api")
    app = FastAPI(
        title="bnlab",
        summary="The batch normalization lesson as a service",
        description=DESCRIPTION,
        version=_version(),
        lifespan=lifespan,
        openapi_url=None,  # see api/documents.py
        redirect_slashes=False,  # to whatever host the request names
        responses={422: errors.response(422)},
        telemetry=_spans_for(tracer),
    )
    app.state.settings = settings
    app.state.database = Database(settings.database_url)
    app.state.bells = Bells(settings)
    app.state.bodies = Bodies(settings.max_bodies_bytes)
    app.state.networks = NetworkCache(settings.network_cache_bytes)
    app.state.callers = Callers(settings, app.state.database)
    app.state.readiness = Readiness()
    app.state.feed = Feed(app.state.database, settings.event_interval_s)
    app.state.metrics = Metrics(app.state.database, app.state.feed)
    app.state.tracer = tracer
    _put_around(app)
    _include_routes(app)
    return app


def _put_around(app: FastAPI) -> None:
    """Put around every route what requests and answers go through: the door, the direct way, the framework's layers."""
    errors.install(app)
    events.install(app)
    frameworks = app.build_middleware_stack

    def layers() -> ASGIApp:
        direct = Direct(frameworks(), "/predict", predictions.to_numbers_alone, app.state.tracer)
        return Door(direct, app.state.metrics, app.state.tracer)

    app.build_middleware_stack = layers  # type: ignore[method-assign]


def _include_routes(app: FastAPI) -> None:
    """Put the rooms behind the door, each with what is asked of a request before it."""
    app.include_router(browser.router)
    app.include_router(documents.router)
    for room in (experiments, curves, events, history, networks, sweeps, presets, workers):
        checks = [Depends(caller), Depends(only_known_parameters)]
        app.include_router(room.router, dependencies=checks, responses=REFUSED)
    for room in (predictions, digits):  # they refuse unknown parameters by themselves
        app.include_router(room.router, dependencies=[Depends(caller)], responses=REFUSED)
    app.include_router(metrics.router)  # asks for an admin by itself
    app.include_router(health.router)  # a probe has no key


def _spans_for(tracer: Tracer) -> TelemetryConfig:
    """Return what FastAPI is to tell of: each request as one span, to our tracer; metrics and logs are ours."""
    return {
        "tracer_provider": tracer.provider,
        "tracing": tracer.on,
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "auto_configure": False,
    }


def _version() -> str:
    try:
        return version("bnlab")
    except PackageNotFoundError:  # run from the folder, not installed
        return "0+unknown"
