"""A bare Celery task that does nothing: the least that a job can cost on a broker."""

import os

from celery import Celery

app = Celery("nothing", broker=os.environ.get("BROKER", "memory://"))
app.conf.update(task_ignore_result=True, worker_send_task_events=False)


@app.task
def nothing() -> None:
    """Do nothing."""
