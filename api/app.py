"""Builds the application: routers, error handlers, what they share. Nothing happens before `create_app` is called."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from anyio import to_thread
from fastapi import Depends, FastAPI
from fastapi.responses import RedirectResponse

from api import curves, digits, errors, experiments, health, history, networks, predictions, presets, sweeps
from api.bells import Bells
from api.cache import NetworkCache
from api.dependencies import only_known_parameters
from models.broker import prepare_folders
from models.database import POOL_SIZE, Database
from models.settings import Settings, read_settings

DESCRIPTION = """
Train two identical networks from the same starting weights on the same MNIST batches, one without and one with batch
normalization; read both accuracy curves while they grow; let the trained networks recognise single digits.

Errors are `application/problem+json` (RFC 9457) everywhere and name the field, what is allowed and what came.
"""


def create_app(settings: Settings) -> FastAPI:
    """Return the application for these settings."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        prepare_folders(settings)
        to_thread.current_default_thread_limiter().total_tokens = POOL_SIZE  # a thread never waits for a connection
        yield
        app.state.bells.close()
        app.state.database.close()

    app = FastAPI(
        title="bnlab",
        summary="The batch normalization lesson as a service",
        description=DESCRIPTION,
        version=_version(),
        lifespan=lifespan,
        redirect_slashes=False,  # to whatever host the request names
        responses={422: errors.response(422)},
    )
    app.state.settings = settings
    app.state.database = Database(settings.database_url)
    app.state.bells = Bells(settings)
    app.state.networks = NetworkCache(settings.network_cache_bytes)
    errors.install(app)
    app.get("/", include_in_schema=False)(_to_the_documents)
    for room in (experiments, curves, history, networks, sweeps, presets):
        app.include_router(room.router, dependencies=[Depends(only_known_parameters)])
    for room in (predictions, digits, health):  # the first two refuse by themselves; a probe may ask as it likes
        app.include_router(room.router)
    return app


def from_environment() -> FastAPI:
    """Return the application for the settings of the environment; what uvicorn's `--factory` calls."""
    return create_app(read_settings())


async def _to_the_documents() -> RedirectResponse:
    return RedirectResponse("/docs")


def _version() -> str:
    try:
        return version("bnlab")
    except PackageNotFoundError:  # run from the folder, not installed
        return "0+unknown"
