"""What a route may ask for."""

from typing import Annotated

from fastapi import Depends, Request

from api.bells import Bells
from api.cache import NetworkCache
from models.database import Database
from models.settings import Settings


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _bells(request: Request) -> Bells:
    bells: Bells = request.app.state.bells
    return bells


def _networks(request: Request) -> NetworkCache:
    networks: NetworkCache = request.app.state.networks
    return networks


SettingsDep = Annotated[Settings, Depends(_settings)]
DatabaseDep = Annotated[Database, Depends(_database)]
BellsDep = Annotated[Bells, Depends(_bells)]
NetworksDep = Annotated[NetworkCache, Depends(_networks)]
