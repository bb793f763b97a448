"""The bell: the name of the task, and how both sides reach the broker. A message carries nothing: an arm waits.

There is a queue of bells for each lane, named as it; a worker hears those of its own.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from models.lanes import LANES
from models.settings import Settings

TRAIN_WAITING_ARMS = "bnlab.train_waiting_arms"

#: Processed messages are kept as files for this long, then swept away (`filesystem://` only).
SWEEP_AFTER_S = 60.0


def celery_options(settings: Settings) -> dict[str, Any]:
    """Return the Celery options on which API and workers must agree."""
    return {
        "broker_url": settings.broker_url,
        "broker_transport_options": _transport_options(settings),
        "broker_connection_retry_on_startup": True,
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
    for lane in LANES:
        _note_binding(folder / "control", lane)
    for message in (folder / "processed").iterdir():
        _remove_if_old(message)


def _note_binding(control: Path, queue: str) -> None:
    """Write the transport's note of where the bells of this queue go; it appears whole.

    Without it, processes that start on a new folder write it themselves: one may read what another has not written yet,
    and end.
    """
    file = control / f"{queue}.exchange"
    if file.exists():
        return
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.write_text(json.dumps([[queue, "", queue]]))  # routing key, pattern, queue
    part.replace(file)


def _remove_if_old(message: Path) -> None:
    try:
        if message.stat().st_ctime < time.time() - SWEEP_AFTER_S:
            message.unlink()
    except FileNotFoundError:  # another process sweeps too
        pass
