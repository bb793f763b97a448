"""The bell: the name of the task, and how both sides reach the broker. A message carries nothing: an arm waits."""

import json
import os
import time
from pathlib import Path
from typing import Any

from models.settings import Settings

TRAIN_WAITING_ARMS = "bnlab.train_waiting_arms"
QUEUE = "arms"

#: Processed messages are kept as files for this long, then swept away (`filesystem://` only).
SWEEP_AFTER_S = 60.0


def celery_options(settings: Settings) -> dict[str, Any]:
    """Return the Celery options on which API and workers must agree."""
    return {
        "broker_url": settings.broker_url,
        "broker_transport_options": _transport_options(settings),
        "broker_connection_retry_on_startup": True,
        "task_default_queue": QUEUE,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,  # the database has the results; there is no result backend
        "task_publish_retry": False,  # a lost bell is rung again by the workers; a request must not wait for it
    }


def _transport_options(settings: Settings) -> dict[str, Any]:
    if settings.broker_url.startswith("filesystem://"):
        folder = settings.state_dir / "broker"
        return {
            "data_folder_in": str(folder / "queue"),
            "data_folder_out": str(folder / "queue"),
            "control_folder": str(folder / "control"),
            # A worker takes a message by renaming it into this folder: on one file system, exactly one succeeds.
            "processed_folder": str(folder / "processed"),
            "store_processed": True,
            "polling_interval": settings.broker_poll_interval_s,
        }
    return {
        "socket_connect_timeout": 2,
        "socket_timeout": 5,  # longer than the one second a worker waits in BRPOP
        "socket_keepalive": True,
        "health_check_interval": 30,
    }


def prepare_folders(settings: Settings) -> None:
    """Make the folders of the file broker and sweep away old processed messages; nothing to do for the others."""
    if not settings.broker_url.startswith("filesystem://"):
        return
    folder = settings.state_dir / "broker"
    for name in ("queue", "control", "processed"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _note_binding(folder / "control" / f"{QUEUE}.exchange")
    for message in (folder / "processed").iterdir():
        _remove_if_old(message)


def _note_binding(file: Path) -> None:
    """Write the transport's note of which queue the bells go to; it appears whole.

    Without it, processes that start on a new folder write it themselves: one may read what another has not written yet,
    and end.
    """
    if file.exists():
        return
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.write_text(json.dumps([[QUEUE, "", QUEUE]]))  # routing key, pattern, queue
    part.replace(file)


def _remove_if_old(message: Path) -> None:
    try:
        if message.stat().st_ctime < time.time() - SWEEP_AFTER_S:
            message.unlink()
    except FileNotFoundError:  # another process sweeps too
        pass
