"""What a request is called in the metrics: by words that are few, whatever a client sends."""

from starlette.types import Scope

#: Of a path that no route has.
UNKNOWN = "unknown"
#: Whose answers have no end of their own.
STREAMS = frozenset({"/experiments/{experiment_id}/events"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def method_of(scope: Scope) -> str:
    """Return the method; of one that HTTP does not have, `OTHER`."""
    method: str = scope["method"]
    return method if method in METHODS else "OTHER"


def route_of(scope: Scope) -> str:
    """Return the template of the route that was taken, once it is known, such as `/experiments/{experiment_id}`."""
    return getattr(scope.get("route"), "path", UNKNOWN)
