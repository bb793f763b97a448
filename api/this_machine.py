"""While API keys are off, only this machine's own user may ask: what looks like anybody else is refused.

A page in that user's browser can send requests here too: by a name of its own that leads to this machine, or as a
request to another site. Both are told by headers that no page can change.
"""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from fastapi import Request

from api.headers import header
from models.errors import RequestForbidden

PROXYS_OWN = frozenset({b"forwarded", b"via", b"x-real-ip"})
READING = frozenset({"GET", "HEAD", "OPTIONS"})
OTHER_SITES = frozenset({b"cross-site", b"same-site"})  # same-site: another port, another name of the same domain


def refuse_strangers(request: Request) -> None:
    """Raise RequestForbidden if a request came over a network, by a proxy or a strange name, or from another's page.

    A proxy that sets none of its headers cannot be told from this machine's user: behind any, keys are needed.
    """
    server = (request.scope.get("server") or ("no address", None))[0]
    if not (_is_address(server) and is_loopback(server)):
        raise RequestForbidden(
            f"API keys are off, so only requests from this machine are taken, and this one came to {server}; "
            "listen to 127.0.0.1 only, or set BNLAB_KEYS=required and give keys out."
        )
    names = [name for name, _ in request.scope["headers"]]
    if not PROXYS_OWN.isdisjoint(names) or any(name.startswith(b"x-forwarded-") for name in names):
        raise RequestForbidden(
            "API keys are off, so only requests from this machine are taken, and this one came through a proxy; ask "
            "http://127.0.0.1 without one, or set BNLAB_KEYS=required and give keys out."
        )
    if not _names_this_machine(header(request.scope, b"host") or b""):
        raise RequestForbidden(
            "API keys are off, so this service has no name but localhost, and the header Host has another; ask "
            "http://127.0.0.1 or http://localhost, or set BNLAB_KEYS=required and give keys out."
        )
    if request.method not in READING and _comes_from_another_site(request):
        raise RequestForbidden(
            "API keys are off, so nothing is changed for pages of other sites, and this request came from one; set "
            "BNLAB_KEYS=required and give keys out."
        )


@lru_cache(maxsize=64)  # it is asked at every request, of the same few
def is_loopback(host: str) -> bool:
    """Return whether a name or an address is this machine's for itself."""
    if not _is_address(host):
        name = host.rstrip(".").lower()
        return name == "localhost" or name.endswith(".localhost")
    address = ip_address(host)
    if isinstance(address, IPv6Address):
        return (address.ipv4_mapped or address).is_loopback
    return address.is_loopback


@lru_cache(maxsize=64)
def _names_this_machine(host_and_port: bytes) -> bool:
    return is_loopback(_host(f"//{host_and_port.decode('latin-1')}"))


def _comes_from_another_site(request: Request) -> bool:
    if header(request.scope, b"sec-fetch-site") in OTHER_SITES:
        return True
    origin = header(request.scope, b"origin")
    return origin is not None and not is_loopback(_host(origin.decode("latin-1")))


def _host(address: str) -> str:
    """Return the host of an address, without its port; empty if there is none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:  # brackets that do not close
        return ""


@lru_cache(maxsize=64)
def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
