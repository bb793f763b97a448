"""Checks of the broker: that it answers, and that it throws no bell away."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

from kombu import Connection
from redis import Redis
from redis.exceptions import RedisError

from models.broker import celery_options
from models.passwords import without_password
from models.settings import Settings
from ops.finding import Finding, ok, problem, warning

TIMEOUT_S = 3
MEANWHILE = "Meanwhile submitting and training go on; idle workers wait for it"


def broker(settings: Settings) -> Iterator[Finding]:
    """See whether the broker answers."""
    if settings.broker_url.startswith("filesystem://"):
        yield from _files(settings.state_dir / "broker")
    elif settings.broker_url.startswith("redis"):
        yield from _redis(settings.broker_url)
    else:
        yield _other(settings)


def _files(folder: Path) -> Iterator[Finding]:
    queue = folder / "queue"
    if not queue.is_dir():
        sentence = f"The broker's folder {queue} is not there yet."
        yield warning("broker", sentence, "It is made when the service starts: `bnlab up`.")
        return
    try:
        with TemporaryFile(dir=queue):
            waiting = len(os.listdir(queue))
    except OSError as error:
        sentence = f"The broker's folder {queue} cannot be written to: {error.strerror}."
        yield problem("broker", sentence, "Give it to the user that runs the service, or free the disk.")
        return
    yield ok("broker", f"Messages are files in {queue}, which can be written to; {waiting} wait.")


def _redis(url: str) -> Iterator[Finding]:
    shown = without_password(url)
    try:
        with Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S) as client:
            info = client.info()
    except (RedisError, OSError, ValueError) as error:
        sentence = f"The broker at {shown} does not answer ({type(error).__name__}). {MEANWHILE}."
        yield problem("broker", sentence, "Check BNLAB_BROKER_URL, its password, and that Redis runs.")
        return
    sentence = f"Redis {info['redis_version']} answers at {shown}"
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        yield ok("broker", f"{sentence}; it throws nothing away (noeviction).")
    else:
        lost = f"{sentence}; with maxmemory-policy {policy} it may throw away what Celery needs."
        yield warning("broker", lost, "Set maxmemory-policy noeviction, and share this Redis with no cache.")


def _other(settings: Settings) -> Finding:
    options = celery_options(settings)["broker_transport_options"]
    shown = without_password(settings.broker_url)
    try:
        with Connection(settings.broker_url, transport_options=options, connect_timeout=TIMEOUT_S) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=TIMEOUT_S)
    except Exception as error:  # whatever the transport raises
        sentence = f"The broker at {shown} does not answer ({type(error).__name__}). {MEANWHILE}."
        return problem("broker", sentence, "Check BNLAB_BROKER_URL, and that it runs.")
    return ok("broker", f"The broker answers at {shown}.")
