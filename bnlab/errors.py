"""Everything that can go wrong for a user, drawn as a tree, then one class each.

BnlabError
├── NotAnAddress            the server's address cannot be one
├── ServerUnreachable       nothing answers there
├── UnexpectedAnswer        something answers, but it is not bnlab
├── ApiProblem              the server said no, and why
├── NotJson                 a value that JSON cannot carry
├── NotAKey                 an idempotency key that no header can carry
├── NotAnApiKey             an API key that no header can carry
├── WaitedTooLong           the experiment or the sweep has not ended in time
├── CannotWrite             the report of `bnlab lesson`
└── CannotRun               of `bnlab up`, `bnlab demo` and `bnlab lesson`
    ├── NeedsRepository
    ├── StateFolderTaken
    ├── StateFolderUnusable
    ├── CannotListen
    ├── StepFailed
    ├── ChildEnded
    └── NotReady

The docstring of a class is its message; the words in braces are filled when it is raised, and kept in `details`.
"""

from collections.abc import Mapping
from typing import Any

#: The server knows nothing of this command line.
KEY_HINT = (
    "  Give yours in BNLAB_API_KEY, or with `bnlab --api-key`; who runs the server makes it: `bnlab keys create`."
)


class BnlabError(Exception):
    """Something went wrong."""

    def __init__(self, **details: Any) -> None:
        self.details = details
        text = " ".join((type(self).__doc__ or "").split())
        super().__init__(text.format(**details))


class NotAnAddress(BnlabError):
    """{url!r} is not the address of a server; one looks like http://127.0.0.1:8000."""


class ServerUnreachable(BnlabError):
    """No server answers at {url} ({reason}). Start one with `bnlab up`, or name another with `bnlab --url` or
    BNLAB_URL.
    """


class UnexpectedAnswer(BnlabError):
    """What answers at {url} is not bnlab: {reason}."""


class NotJson(BnlabError):
    """This cannot be sent as JSON: {reason}."""


class NotAKey(BnlabError):
    """{key!r} cannot be an idempotency key; one is made of visible ASCII characters, such as a UUID."""


class NotAnApiKey(BnlabError):
    """The API key has a space or another character that none has; one looks like bnlab_… and is copied as a whole."""


class WaitedTooLong(BnlabError):
    """The {what} {id} is still {status} after {timeout_s} s; it goes on."""


class ApiProblem(BnlabError):
    """The server said no.

    Attributes are the members of application/problem+json: `type`, `title`, `status`, `detail`, `code`, `errors` (one
    `{"field", "allowed", "received"}` for each wrong field); what else the server added is in `extensions`. After
    `retry_after_s` seconds the server may say yes; None if it named no time.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after_s: int | None = None) -> None:
        members = dict(problem)
        self.status = status
        self.retry_after_s = retry_after_s
        members.pop("status", None)
        self.type: str = members.pop("type", None) or "about:blank"
        self.title: str | None = members.pop("title", None)
        self.detail: str | None = members.pop("detail", None)
        self.code: str | None = members.pop("code", None)
        self.errors: list[dict[str, Any]] = members.pop("errors", None) or []
        self.extensions = members
        Exception.__init__(self, self._sentence())

    def _sentence(self) -> str:
        said = self.detail or self.title or "the server gave no reason"
        lines = [f"{said} ({self.status})", *(_wrong_field(error) for error in self.errors)]
        return "\n".join([*lines, KEY_HINT] if self.code == "key_needed" else lines)


def _wrong_field(error: Mapping[str, Any]) -> str:
    line = f"  {error.get('field') or 'the request'}: allowed is {error.get('allowed')}"
    received = error.get("received")
    return line if received is None else f"{line}; received {received!r}"


class CannotWrite(BnlabError):
    """The report cannot be written to {file}: {reason}. Choose another file with --report."""


class CannotRun(BnlabError):
    """The server cannot run on this machine."""


class NeedsRepository(CannotRun):
    """This command runs the server, or looks after it, from its repository, and {root} is not it: there is no folder
    `api` in it. Run it from a clone of the repository; the other commands need none.
    """


class StateFolderTaken(CannotRun):
    """The state folder {state_dir} is in use by another `bnlab up`{where}. Use that one, stop it, or choose another
    folder with --state-dir.
    """


class StateFolderUnusable(CannotRun):
    """The state folder {state_dir} cannot be used: {reason}. Choose another folder with --state-dir."""


class CannotListen(CannotRun):
    """Cannot listen on port {port} of {host}: {reason}. Choose another with --port (0 takes any free one)."""


class StepFailed(CannotRun):
    """{step} failed with {ending}.{output}"""


class ChildEnded(CannotRun):
    """The process {name} ended by itself with {ending}; everything is stopped. Its log {log} ends:{last_lines}"""


class NotReady(CannotRun):
    """Not ready after {timeout_s:.0f} s: {names}. The logs are in {folder}."""
