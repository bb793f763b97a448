"""The same network behind BentoML; its command line starts this service."""

import os
from pathlib import Path

import bentoml

from bench.peers.network import probabilities, read


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Digits:
    """One route."""

    def __init__(self) -> None:
        self.layers = read(Path(os.environ["NETWORK"]))

    @bentoml.api
    async def predict(self, image: list[list[float]]) -> dict[str, list[float]]:
        """Answer; on the event loop, which is faster than a thread of its pool."""
        return {"probabilities": probabilities(self.layers, image)}
