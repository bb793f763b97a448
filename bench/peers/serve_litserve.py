"""The same network behind LitServe."""

import sys
from pathlib import Path
from typing import Any

import litserve

from bench.peers.network import probabilities, read


class Digits(litserve.LitAPI):
    """Its four verbs."""

    def setup(self, device: str) -> None:
        """Load the network."""
        self.layers = read(Path(sys.argv[2]))

    def decode_request(self, request: dict[str, Any]) -> Any:
        """Take the numbers out of the body."""
        return request["image"]

    def predict(self, image: Any) -> list[float]:
        """Answer."""
        return probabilities(self.layers, image)

    def encode_response(self, shares: list[float]) -> dict[str, list[float]]:
        """Put the answer into a body."""
        return {"probabilities": shares}


if __name__ == "__main__":
    server = litserve.LitServer(Digits(), accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False, log_level="warning")
