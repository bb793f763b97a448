"""What a route may ask for. All are async: for each that is not, every request would change threads."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel

from api.bells import Bells
from api.cache import NetworkCache
from models.database import Database
from models.errors import FieldError, InvalidInput
from models.settings import Settings


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def _bells(request: Request) -> Bells:
    bells: Bells = request.app.state.bells
    return bells


async def _networks(request: Request) -> NetworkCache:
    networks: NetworkCache = request.app.state.networks
    return networks


SettingsDep = Annotated[Settings, Depends(_settings)]
DatabaseDep = Annotated[Database, Depends(_database)]
BellsDep = Annotated[Bells, Depends(_bells)]
NetworksDep = Annotated[NetworkCache, Depends(_networks)]


async def only_known_parameters(request: Request) -> None:
    """Refuse a query parameter that the route does not have: a misspelt one would be ignored in silence.

    Routes that take their parameters as a model refuse by themselves.
    """
    route = request.scope["route"]
    fields = route.dependant.query_params if isinstance(route, APIRoute) else []
    if any(issubclass(kind, BaseModel) for field in fields if isinstance(kind := field.field_info.annotation, type)):
        return
    known = {field.alias for field in fields}
    allowed = f"no parameter of this name, only {', '.join(sorted(known))}" if known else "no parameters here"
    unknown = [FieldError(name, allowed, value) for name, value in request.query_params.items() if name not in known]
    if unknown:
        raise InvalidInput(unknown)
