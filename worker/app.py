"""The Celery instance, each of its settings with a reason, and what happens when a worker starts and stops."""

import logging
import threading
from typing import Any

from celery import Celery, signals

from models.broker import celery_options, prepare_folders
from models.settings import Settings
from worker import process, reconciler

app = Celery("bnlab", include=["worker.tasks"])


@app.add_defaults  # read when first needed, not at import
def _options() -> dict[str, Any]:
    settings = Settings()
    return {
        **celery_options(settings),
        "task_acks_late": False,  # the database, not the broker, knows what runs
        "worker_prefetch_multiplier": 1,  # do not hold arms that another worker could train …
        "worker_disable_prefetch": settings.broker_url.startswith("redis"),  # … not even one; Celery can so on Redis
        "worker_enable_remote_control": False,  # a cancel is a flag in the database
        "worker_send_task_events": False,  # nobody listens
        "broker_connection_max_retries": None,  # a broker may be away for as long as it likes
        "worker_proc_alive_timeout": 60.0,  # a loaded machine may be slow to fork
        "worker_lost_wait": 1.0,  # for a result of a killed process: there are none, and until then no bell is heard
        "worker_hijack_root_logger": False,
        "worker_consumer": "worker.consumer:Consumer",  # a message that is none does not end the worker
        "worker_cancel_long_running_tasks_on_connection_loss": False,  # training goes on while the broker is away
    }


@signals.worker_init.connect
def _before_fork(**_: object) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    prepare_folders(Settings())
    process.stopping()
    process.worker()
    process.preload()  # not in a thread: a fork in the middle of an import leaves the child without it for ever


@signals.worker_ready.connect
def _on_ready(**_: object) -> None:
    threading.Thread(target=reconciler.run, args=(app,), daemon=True, name="reconciler").start()


@signals.worker_shutting_down.connect
def _on_stop(**_: object) -> None:
    process.stopping().set()


@signals.worker_process_init.connect
def _after_fork(**_: object) -> None:
    process.parent.cache_clear()
    process.parent()
    # In a thread: a slow or failing start here would make Celery kill and restart this process for ever.
    threading.Thread(target=process.warm_up, daemon=True, name="warm-up").start()
