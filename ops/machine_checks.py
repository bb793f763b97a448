"""Checks of this machine and what it was told: the settings, the keys, the data sets, the disk."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from models import datasets, keys, misspelt
from models.errors import DatasetUnavailable
from models.scopes import Scope
from models.settings import Settings
from models.spec import DatasetName
from ops.database import opened
from ops.finding import Finding, in_bytes, ok, problem, warning

#: Free room below which there is a problem, and below which there will be one.
TOO_LITTLE_BYTES, LITTLE_BYTES = 200_000_000, 2_000_000_000
MAKE_ONE = "Make one: `bnlab keys create NAME --scope admin`."


def settings(settings: Settings) -> Iterator[Finding]:
    """See whether a name in the environment is misspelt."""
    found = misspelt.sentences()
    for sentence in found:
        yield warning("settings", sentence, "Correct the name, or remove it.")
    if not found:
        given = sum(name.upper().startswith(misspelt.PREFIX) for name in os.environ)
        yield ok("settings", f"All {given} names in the environment that begin with BNLAB_ are known.")


def api_keys(settings: Settings) -> Iterator[Finding]:
    """See whether whoever may ask can, and whether others cannot."""
    with opened(settings) as there, there.read() as session:
        gone = keys.expired(session)
        valid = [key for key in keys.read_all(session) if key.revoked_at is None and key.id not in gone]
    counted = f"{len(valid)} API keys are valid, {sum(key.scope is Scope.ADMIN for key in valid)} of them of admins"
    if settings.keys == "off":
        yield ok("keys", f"{counted}. Keys are off: the API then listens to this machine alone.")
    elif settings.keys == "auto":
        needed = "They are needed where the API listens to other machines; on this one alone it needs none"
        yield ok("keys", f"{counted}. {needed}.")
    elif not valid:
        yield problem("keys", "Every request needs an API key, and there is no valid one.", MAKE_ONE)
    elif not any(key.scope is Scope.ADMIN for key in valid):
        yield warning("keys", f"{counted}: nobody can look at the service itself.", MAKE_ONE)
    else:
        yield ok("keys", f"{counted}. Every request needs one.")


def data(settings: Settings) -> Iterator[Finding]:
    """See which data sets are at hand, byte for byte."""
    missing = {}
    for name in get_args(DatasetName):
        try:
            datasets.load(name, settings.data_dir)
        except DatasetUnavailable as error:
            missing[name] = error.message
    at_hand = [name for name in get_args(DatasetName) if name not in missing]
    sentence = f"At hand and checked: {' and '.join(at_hand) or 'no data set'}; the default is {settings.dataset}."
    if settings.dataset in missing:
        mend = "A worker fetches mnist when it first needs it; to fetch it now, run `python -m models.datasets`."
        yield warning("data", f"{sentence} {missing[settings.dataset]}", mend)
    else:
        yield ok("data", sentence)


def disk(settings: Settings) -> Iterator[Finding]:
    """See how much room there is where this machine writes; the room of a database server is its own."""
    free: dict[int, tuple[int, Path]] = {}
    for folder in (settings.state_dir, settings.data_dir):
        there = next(one for one in (folder, *folder.parents) if one.is_dir())
        free[there.stat().st_dev] = (shutil.disk_usage(there).free, folder)
    for room, folder in free.values():
        sentence = f"{in_bytes(room)} are free for {folder}."
        if room < TOO_LITTLE_BYTES:
            yield problem("disk", sentence, "Free some room: `bnlab prune --older-than 30d`, see docs/operations.md.")
        elif room < LITTLE_BYTES:
            yield warning("disk", sentence, "Free some room: `bnlab prune --older-than 30d`, see docs/operations.md.")
        else:
            yield ok("disk", sentence)
