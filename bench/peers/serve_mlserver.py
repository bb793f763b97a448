"""The same network behind MLServer, whose body is that of the Open Inference Protocol."""

import os
from pathlib import Path

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from bench.peers.network import probabilities, read


class Digits(MLModel):
    """One model."""

    async def load(self) -> bool:
        """Load the network."""
        self.layers = read(Path(os.environ["NETWORK"]))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer."""
        shares = probabilities(self.layers, payload.inputs[0].data.root)
        output = ResponseOutput(name="probabilities", shape=[1, 10], datatype="FP32", data=shares)
        return InferenceResponse(model_name=self.name, outputs=[output])
