"""Traces: what happens inside a process, told to an OpenTelemetry collector if the environment names one.

`OTEL_EXPORTER_OTLP_ENDPOINT`, or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, is OpenTelemetry's own word for where it is;
its other variables hold too. Without one nothing is loaded, no thread runs, and every call here returns at once.
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

#: A collector that does not answer holds nobody up for longer.
CLOSE_S = 2.0

Kind = Literal["internal", "consumer"]
Attributes = Mapping[str, str | int | float | bool]


def asked_for() -> bool:
    """Return whether the environment names a collector, and does not switch OpenTelemetry off."""
    return any(map(os.environ.get, ENDPOINTS)) and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


class Tracer:
    """Sends what one process does, in a thread. It is made after a fork, never before: the thread would stay behind."""

    def __init__(self, service: str) -> None:
        self._provider = _provider_or_none(service) if asked_for() else None

    @property
    def on(self) -> bool:
        """Whether there is a collector to tell."""
        return self._provider is not None

    @property
    def provider(self) -> "TracerProvider | None":
        """What a library takes that makes spans of its own; None: there is nobody to tell."""
        return self._provider

    @contextmanager
    def span(self, name: str, kind: Kind, parent: Mapping[str, str], attributes: Attributes) -> Iterator[None]:
        """Tell of what is done inside. `parent` are the W3C headers of the trace it continues; empty: a new one.

        An exception ends it as an error and goes on.
        """
        if self._provider is None:
            yield
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = TraceContextTextMapPropagator().extract(dict(parent))
        tracer = self._provider.get_tracer("bnlab")
        with tracer.start_as_current_span(name, context, SpanKind[kind.upper()], dict(attributes)):
            yield

    def note(self, attributes: Attributes, *, name: str | None = None, error: bool = False) -> None:
        """Add to the span that is open here; name it; mark it as an error."""
        if self._provider is None:
            return
        from opentelemetry.trace import StatusCode, get_current_span

        span = get_current_span()
        span.set_attributes(dict(attributes))
        if name is not None:
            span.update_name(name)
        if error:
            span.set_status(StatusCode.ERROR)

    def traceparent(self) -> str | None:
        """Return the W3C header by which another process continues the span that is open here; None: there is none."""
        if self._provider is None:
            return None
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        headers: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(headers)
        return headers.get("traceparent")

    def close(self) -> None:
        """Send what has ended by now, if that takes no longer than a moment, and end the thread."""
        if self._provider is not None:
            closing = threading.Thread(target=self._provider.shutdown, daemon=True, name="traces")
            closing.start()
            closing.join(CLOSE_S)


def _provider_or_none(service: str) -> "TracerProvider | None":
    """Return what sends; a variable of OpenTelemetry's that cannot be meant costs the traces, and nothing else."""
    try:
        return _provider(service)
    except Exception as error:  # whatever the library raises at it
        log.error("No traces are sent: %s", error, extra={"action": "trace"})
        return None


def _provider(service: str) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from models.span_addresses import WithoutQueries

    resource = Resource.create({} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: service})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # `close` does, and takes no minute for it
    provider.sampler = WithoutQueries(provider.sampler)  # around the one that the environment names
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
