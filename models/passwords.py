"""Passwords of the database and the broker: read from files, refused while they are nobody's, put into addresses."""

import re
from pathlib import Path
from urllib.parse import quote, unquote

SHORTEST = 16
LONGEST = 512
FEWEST_CHARACTERS = 6

#: What examples, images and hurried people write. A password made of these, digits and punctuation is nobody's secret.
_WORDS = (
    "admin administrator bnlab broker celery change changed changeit database db default dummy example fixme foo bar "
    "grafana guest here insert letmein local master me my none null now passwd password pass pg placeholder postgres "
    "postgresql prod production please qwerty redis replace root sample secret secrets some something super test the "
    "this to todo user worker your xxx"
).split()
_PLACEHOLDER = re.compile(rf"(?:{'|'.join(_WORDS)})*", re.IGNORECASE)
_LINE = re.compile(r"[!-~]+")
_ADDRESS = re.compile(r"(?P<scheme>[^:/]+://)(?:(?P<user>[^:/@]*)(?::(?P<password>[^@]*))?@)?(?P<place>.*)", re.DOTALL)
#: What stands before the last @ of an address that is spelt right.
_BEFORE_AT = re.compile(r"(?P<kept>[A-Za-z][A-Za-z0-9+.-]*://[\w.-]*)(?P<password>:.*)?", re.DOTALL)

ALLOWED = (
    f"one line of {SHORTEST} to {LONGEST} visible ASCII characters, at least {FEWEST_CHARACTERS} of them different, "
    "that is no default or placeholder"
)


def is_placeholder(password: str) -> bool:
    """Say whether a password is one that anybody would try: words of defaults and examples, digits, little else."""
    return _PLACEHOLDER.fullmatch(re.sub(r"[\W\d_]", "", password)) is not None


def read_password(file: Path) -> str:
    """Return the password in a file; one that is not fit is refused, without a word of it."""
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ValueError(f"the file {file} must hold the password and be readable: {reason}") from None
    password = text.removesuffix("\n").removesuffix("\r")
    if reason := _unfit(password):
        raise ValueError(f"the password in {file} must be {ALLOWED}; {reason}")
    return password


def _unfit(password: str) -> str | None:
    """Return what is wrong with a password, None if it is fit."""
    if not password:
        return "the file is empty"
    if not _LINE.fullmatch(password):
        return "it has a space, a second line or another character"
    if not SHORTEST <= len(password) <= LONGEST:
        return f"it has {len(password)}"
    if len(set(password)) < FEWEST_CHARACTERS:
        return f"only {len(set(password))} are different"
    return "it is one" if is_placeholder(password) else None


def with_password(address: str, file: Path | None) -> str:
    """Return an address with the password of the file; without a file, one whose own password is no placeholder."""
    match = _ADDRESS.fullmatch(address)
    own = unquote(match["password"] or "") if match else ""
    if own and is_placeholder(own):
        raise ValueError("the password in the address is a default or placeholder; choose one of your own")
    if file is None:
        return address
    if own:
        raise ValueError("the address must have no password of its own, because a file gives one")
    if not match or (match["user"] is None and not match["place"].partition("/")[0]):
        raise ValueError("the address must name a user or a host, to whom the password in the file belongs")
    return f"{match['scheme']}{match['user'] or ''}:{quote(read_password(file), safe='')}@{match['place']}"


def without_password(address: str) -> str:
    """Return an address that may be shown: a password in it is hidden. Of a misspelt one, all before the @ is."""
    shown = re.sub(r"(?<=[?&]password=)[^&]*", "***", address)
    before, at, place = shown.rpartition("@")
    if not at:
        return shown
    spelt = _BEFORE_AT.fullmatch(before)
    return f"{spelt['kept']}{':***' if spelt['password'] else ''}@{place}" if spelt else f"***@{place}"


def without_names(text: str) -> str:
    """Return what a server or a driver said, with nothing that stands before an @: it may be a piece of a password."""
    return re.sub(r"[^\s\"']+@", "***@", text)
