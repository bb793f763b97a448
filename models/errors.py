"""Everything that can go wrong, drawn as a tree, then one class each.

BnlabError
├── InvalidInput                a field of the request is wrong; carries one FieldError for each
│   ├── InvalidImage            the picture cannot be read as a digit
│   ├── BatchStatisticsUndefined    the arm without batch normalization has no statistics
│   └── KeyReused               one Idempotency-Key, two different requests
├── NotFound
│   ├── UnknownExperiment
│   ├── UnknownSweep
│   └── UnknownReplicate
├── Conflict                    the request is right, the state is not
│   ├── ExperimentFinished
│   ├── SweepFinished
│   ├── NothingTrained
│   ├── NotTrainedYet
│   └── NetworkDiverged
├── KeyNeeded                   no key, or one that is not known, or no longer
├── ScopeTooSmall               the key may not do this
├── RequestForbidden            keys are off, and the request did not come from this machine's own user
├── TooMuch                     not now: too many of them
│   ├── QueueFull               experiments wait already
│   ├── QuotaUsedUp             experiments of this key wait or run
│   └── TooManyRequests         requests of this key, or wrong keys from this address
├── Unavailable                 nothing is wrong with the request; try again later
│   ├── NotReady
│   ├── Busy                    so many bodies are being received that one more does not fit
│   ├── TooManyStreams          so many event streams are open that one more does not fit
│   └── DatasetUnavailable
├── NetworkDamaged              stored arrays do not fit their spec
├── FenceLost                   a worker wrote with a fence that is no longer current
└── PointsDiffer                a batch trained again gave another accuracy

The first line of a class's docstring is its default message. `code` is the stable word of a machine; HTTP statuses
are chosen in `api/errors.py` only.
"""

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field: its name, what is allowed, what came (None where the value says nothing)."""

    field: str
    allowed: str
    received: Any = None


class BnlabError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str | None = None, **details: Any) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.details = details
        super().__init__(self.message)


class InvalidInput(BnlabError):
    """The request is not valid."""

    code = "invalid_input"

    def __init__(self, errors: list[FieldError], message: str | None = None) -> None:
        super().__init__(message)
        self.errors = errors


class InvalidImage(InvalidInput):
    """The image cannot be read as a handwritten digit."""

    code = "invalid_image"


class BatchStatisticsUndefined(InvalidInput):
    """An arm without batch normalization has no batch statistics; ask for `population`."""

    code = "batch_statistics_undefined"


class KeyReused(InvalidInput):
    """This Idempotency-Key came with another request before; each request needs a key of its own."""

    code = "idempotency_key_reused"


class NotFound(BnlabError):
    """There is no such thing."""

    code = "not_found"


class UnknownExperiment(NotFound):
    """There is no experiment with this id."""

    code = "unknown_experiment"


class UnknownSweep(NotFound):
    """There is no sweep with this id."""

    code = "unknown_sweep"


class UnknownReplicate(NotFound):
    """This experiment has no such replicate."""

    code = "unknown_replicate"


class Conflict(BnlabError):
    """The state does not allow this."""

    code = "conflict"


class ExperimentFinished(Conflict):
    """The experiment has already ended; there is nothing left to cancel."""

    code = "experiment_finished"


class SweepFinished(Conflict):
    """The sweep has already ended; there is nothing left to cancel."""

    code = "sweep_finished"


class NothingTrained(Conflict):
    """No experiment has succeeded yet; submit one to `POST /experiments` and wait for it."""

    code = "nothing_trained"


class NotTrainedYet(Conflict):
    """This arm has no trained network: it has not succeeded."""

    code = "not_trained_yet"


class NetworkDiverged(Conflict):
    """The network's numbers left the range of float32 while it trained; it cannot predict."""

    code = "network_diverged"


class KeyNeeded(BnlabError):
    """This needs a valid API key, in the header `Authorization: Bearer bnlab_…`."""

    code = "key_needed"


class ScopeTooSmall(BnlabError):
    """This API key may not do this."""

    code = "scope_too_small"


class RequestForbidden(BnlabError):
    """This request is not taken while API keys are off."""

    code = "request_forbidden"


class TooMuch(BnlabError):
    """This is too much at once; try again later."""

    code = "too_much"


class QuotaUsedUp(TooMuch):
    """Too many experiments of this API key wait or run already; submit this again when some have ended."""

    code = "quota_used_up"


class TooManyRequests(TooMuch):
    """Too many requests in the last minute."""

    code = "too_many_requests"


class QueueFull(TooMuch):
    """Too many experiments wait already; submit this again when some have ended."""

    code = "queue_full"


class Unavailable(BnlabError):
    """This cannot be served now; try again later."""

    code = "unavailable"


class NotReady(Unavailable):
    """The service is not ready; `missing` says what it lacks."""

    code = "not_ready"


class Busy(Unavailable):
    """Too many large requests are being received; try again in a moment."""

    code = "busy"


class TooManyStreams(Unavailable):
    """Too many event streams are open here; try again in a moment, or ask `GET /experiments/{id}` from time to time."""

    code = "too_many_streams"


class DatasetUnavailable(Unavailable):
    """The data set is not at hand."""

    code = "dataset_unavailable"


class NetworkDamaged(BnlabError):
    """The stored arrays of this network do not fit its spec."""

    code = "network_damaged"


class FenceLost(BnlabError):
    """This arm is no longer held with this fence."""

    code = "fence_lost"


class PointsDiffer(BnlabError):
    """A batch that was trained again gave another accuracy than before."""

    code = "points_differ"
