"""The Celery instance, each of its settings with a reason, and what happens when a worker starts and stops."""

import threading
from typing import Any

from celery import Celery, signals

from models import logs
from models.broker import celery_options, prepare_folders
from models.settings import read_settings
from worker import heartbeat, metrics, process, reconciler

app = Celery("bnlab", include=["worker.tasks"])


@app.add_defaults  # read when first needed, not at import
def _options() -> dict[str, Any]:
    settings = read_settings()
    return {
        **celery_options(settings),
        "task_default_queue": process.devices().lane,  # whose bells it hears, and rings itself
        "task_acks_late": False,  # the database, not the broker, knows what runs
        "worker_prefetch_multiplier": 1,  # do not hold arms that another worker could train …
        "worker_disable_prefetch": settings.broker_url.startswith("redis"),  # … not even one; Celery can so on Redis
        "worker_enable_remote_control": False,  # a cancel is a flag in the database
        "worker_send_task_events": False,  # nobody listens
        "broker_connection_max_retries": None,  # a broker may be away for as long as it likes
        "worker_proc_alive_timeout": 60.0,  # a loaded machine may be slow to fork
        "worker_lost_wait": 1.0,  # for a result of a killed process: there are none, and until then no bell is heard
        "worker_consumer": "worker.consumer:Consumer",  # a message that is none does not end the worker
        "worker_cancel_long_running_tasks_on_connection_loss": False,  # training goes on while the broker is away
    }


@signals.celeryd_init.connect
def _before_all(instance: Any, **_: object) -> None:
    logs.configure(read_settings().log_format)
    instance.quiet = instance.quiet or read_settings().log_format == "json"  # Celery's banner is no JSON


@signals.setup_logging.connect  # that somebody listens keeps Celery from setting it up its own way
def _set_up_logs(loglevel: int, **_: object) -> None:
    logs.configure(read_settings().log_format, loglevel)


@signals.worker_init.connect
def _before_fork(**_: object) -> None:
    prepare_folders(read_settings())
    process.stopping()
    process.worker()
    process.slots()
    metrics.counters()
    process.preload()  # not in a thread: a fork in the middle of an import leaves the child without it for ever


@signals.worker_ready.connect
def _on_ready(sender: Any, **_: object) -> None:
    metrics.serve(process.settings())
    processes = sender.controller.concurrency
    threading.Thread(target=reconciler.run, args=(app, processes), daemon=True, name="reconciler").start()
    beating = threading.Thread(target=heartbeat.run, args=(processes,), daemon=True, name="heartbeat")
    beating.start()
    signals.worker_shutdown.connect(lambda **_: beating.join(heartbeat.GOODBYE_S), weak=False)


@signals.worker_shutting_down.connect
def _on_stop(**_: object) -> None:
    process.stopping().set()


@signals.worker_process_init.connect
def _after_fork(**_: object) -> None:
    process.parent.cache_clear()
    process.parent()
    metrics.counters().of_process(process.index())
    # In a thread: a slow or failing start here would make Celery kill and restart this process for ever.
    threading.Thread(target=process.warm_up, daemon=True, name="warm-up").start()


@signals.worker_process_shutdown.connect
def _on_end(**_: object) -> None:
    process.tracer().close()
