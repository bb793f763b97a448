"""`python -m api`: the API process as it is shipped, at the address that is given.

Where it listens to this machine alone it needs no API keys; where it can be reached from elsewhere it needs them.
"""

import argparse
import ctypes
import gc
import logging
import socket
import sys
from contextlib import suppress
from typing import Literal, cast

import uvicorn
from fastapi import FastAPI
from threadpoolctl import threadpool_limits

from api.app import create_app
from api.protocol import patient
from api.this_machine import is_loopback
from models import logs
from models.broker import prepare_folders
from models.settings import Settings, read_settings

KEEP_ALIVE_S = 5
GRACEFUL_SHUTDOWN_S = 3

M_MMAP_THRESHOLD = -3  # as malloc.h has it
LARGE_BYTES = 262_144

OPEN_TO_ALL = """\
BNLAB_KEYS=off is refused at {address}: other machines reach it, and anybody could use the service.
Unset BNLAB_KEYS and make a key with `python -m ops.keys create NAME --scope admin`, or listen at 127.0.0.1."""

log = logging.getLogger("api")


def main() -> None:
    """Serve until a signal ends it; what keeps it from that is said in a line, with exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m api", description="Serve the API.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: %(default)s)")
    parser.add_argument("--port", default=8000, type=int, help="the port; 0 for a free one (default: %(default)s)")
    asked = parser.parse_args()
    settings = read_settings()
    listener = listen(asked.host, asked.port)
    address, port = listener.getsockname()[:2]
    settings = settings.model_copy(update={"keys": keys_at(address, settings.keys)})
    logs.configure(settings.log_format)
    make_folders(settings)
    give_memory_back()
    threadpool_limits(1, user_api="blas")  # a digit is too small to share out, and the other cores train
    log.info("Listening at %s, port %d; API keys are %s.", address, port, settings.keys, extra={"action": "listen"})
    with suppress(KeyboardInterrupt):  # uvicorn has ended in order by then
        server = Server(configuration(settings))
        spare_what_stays()
        server.run(sockets=[listener])


class Server(uvicorn.Server):
    """uvicorn's server, which waits at its end for open connections: event streams are ended first."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in order."""
        application = cast(FastAPI, self.config.app)
        application.state.feed.close()
        await super().shutdown(sockets)


def configuration(settings: Settings) -> uvicorn.Config:
    """Return how uvicorn serves: the fast parser, slow clients cut, and no line in the log for each request."""
    return uvicorn.Config(
        create_app(settings),
        http=patient(settings),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket at the address; ends the process if there can be none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGE_BYTES)  # more of an answer waits in our sight
        return listener
    except (OSError, OverflowError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (")[0].rstrip(".")
        sys.exit(f"Cannot listen at {host}, port {port}: {reason}.")


def make_folders(settings: Settings) -> None:
    """Make the folders that the API writes to; ends the process if that cannot be."""
    try:
        prepare_folders(settings)
    except OSError as error:
        sys.exit(f"Cannot use the folder {settings.state_dir} (BNLAB_STATE_DIR): {error.strerror}: {error.filename}.")


def keys_at(address: str, asked: Literal["auto", "required", "off"]) -> Literal["required", "off"]:
    """Return whether API keys are needed at an address; ends the process where they are and are off."""
    if is_loopback(address):
        return "required" if asked == "required" else "off"
    if asked == "off":
        sys.exit(OPEN_TO_ALL.format(address=address))
    return "required"


def give_memory_back() -> None:
    """Let the memory of a large body go back to the system once it is read, not into the allocator's stores.

    It is a setting of glibc, which otherwise keeps ever larger pieces; other systems do without.
    """
    if set_option := getattr(ctypes.CDLL(None), "mallopt", None):
        set_option(M_MMAP_THRESHOLD, LARGE_BYTES)


def spare_what_stays() -> None:
    """Let the collector of cycles pass over what there is now: it stays, and to look through it holds all requests up.

    Requests with many lists in them call the collector often; each look took 80 ms.
    """
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    main()
