"""Celery's consumer of messages, made to outlive a message that nobody can read."""

from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

#: What Celery and its transports raise at a message that is not of their making.
UNREADABLE = (AttributeError, LookupError, TypeError, ValueError)


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Takes an unreadable message for a broken connection: the message is gone, the worker connects anew.

    Celery's own consumer ends the worker instead. What is being trained meanwhile goes on.
    """

    loop: Callable[..., None]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        loop = self.loop

        def loop_that_drops_the_unreadable(*loop_args: Any) -> None:
            try:
                loop(*loop_args)
            except UNREADABLE as error:
                broken_connection = self.connection_errors[0]  # each transport has its own
                raise broken_connection(f"a message could not be read: {error!r}") from error

        self.loop = loop_that_drops_the_unreadable
