"""What a span says of an address: never its query, for an API key may stand there.

This file is loaded only where there is a collector: `models.tracing` says when.
"""

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

QUERY = "url.query"
#: By OpenTelemetry's names, the new and the old ones.
WHOLE_ADDRESSES = frozenset({"url.full", "http.url", "http.target"})


class WithoutQueries(Sampler):
    """Takes queries out of what a span begins with, then lets another sampler decide, as it would have."""

    def __init__(self, decides: Sampler) -> None:
        self._decides = decides

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Return the other's decision."""
        kept = without_queries(attributes)
        return self._decides.should_sample(parent_context, trace_id, name, kind, kept, links, trace_state)

    def get_description(self) -> str:
        """Return what it is, for people."""
        return f"WithoutQueries{{{self._decides.get_description()}}}"


def without_queries(attributes: Attributes) -> Attributes:
    """Return what may be told: no query, and of a whole address what stands before it."""
    return {
        name: str(value).partition("?")[0] if name in WHOLE_ADDRESSES else value
        for name, value in (attributes or {}).items()
        if name != QUERY
    }
