"""Route of trained networks: what is inside one, layer by layer; above all what batch normalization learned."""

from collections.abc import Iterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.callers import ReaderDep
from api.dependencies import DatabaseDep
from api.errors import responses
from models import cautions, networks
from models.arrays import POPULATION, Array, Arrays
from models.cautions import Caution
from models.kinds import KINDS
from models.networks import StoredNetwork
from models.spec import ArmName
from models.trained import TrainedNetwork

router = APIRouter(prefix="/experiments", tags=["networks"])


class ParameterCounts(BaseModel):
    """How many numbers a network has."""

    trainable: int = Field(description="Moved by gradient descent: weights, biases, gammas, betas.")
    population_statistics: int = Field(description="Moved by the batches' statistics: means and variances.")


#: A number for each unit, or for each feature map; null where it is not finite.
Numbers = list[float | None]


class LayerBatchNorm(BaseModel):
    """What one layer's batch normalization learned: a number per unit or feature map each; null if not finite."""

    gamma: Numbers
    beta: Numbers | None = Field(description="null where a layer is not moved: two of the LSTM's.")
    population_mean: Numbers | list[Numbers] = Field(
        description="Of a recurrent network a list for each of its 28 steps, which have statistics of their own."
    )
    population_variance: Numbers | list[Numbers] = Field(description="As the mean.")

    @classmethod
    def of(cls, own: Arrays) -> "LayerBatchNorm":
        """Return what is in the arrays of one layer."""
        beta = own.get("beta")
        return cls(
            gamma=_numbers(own["gamma"]),
            beta=None if beta is None else _numbers(beta),
            population_mean=_numbers(own["population_mean"]),
            population_variance=_numbers(own["population_variance"]),
        )


class LayerAnswer(BaseModel):
    """One layer, from its inputs to its units."""

    name: str
    inputs: int | None = Field(
        description="Of a convolution the feature maps before it; null for `lstm_cell`, which has no weights."
    )
    units: int = Field(description="Of a convolution its feature maps; of the LSTM's inputs its four gates' units.")
    kernel_size: int | None = Field(
        None,
        description="Side of a convolution's kernels; only convolutions have it.",
        exclude_if=lambda side: side is None,
    )
    parameters: dict[str, int] = Field(description="How many of each kind gradient descent moves.")
    batch_norm: LayerBatchNorm | None = Field(description="null where there is no batch normalization.")

    @classmethod
    def of(cls, name: str, own: Arrays) -> "LayerAnswer":
        """Return the layer of this name that has these arrays."""
        inputs, units = own["weights"].shape[-2:] if "weights" in own else (None, own["gamma"].size)
        is_convolution = "weights" in own and own["weights"].ndim == 4
        return cls(
            name=name,
            inputs=inputs,
            units=units,
            kernel_size=len(own["weights"]) if is_convolution else None,
            parameters={what: array.size for what, array in own.items() if what not in POPULATION},
            batch_norm=LayerBatchNorm.of(own) if "gamma" in own else None,
        )


class NetworkAnswer(BaseModel):
    """A trained network."""

    experiment: UUID
    arm: ArmName
    replicate: int
    parameters: ParameterCounts
    starting_weights_sha256: str | None = Field(description="Of the weights it started from, the same for both arms.")
    arrays_sha256: str = Field(description="Of its stored bytes (safetensors).")
    diverged_at: int | None
    warnings: list[Caution]
    layers: list[LayerAnswer]

    @classmethod
    def of(cls, stored: StoredNetwork) -> "NetworkAnswer":
        """Return a network as users see it."""
        arrays = stored.network.arrays
        population = sum(array.size for name, array in arrays.items() if name.endswith(POPULATION))
        return cls(
            experiment=stored.experiment_id,
            arm=stored.arm,
            replicate=stored.replicate,
            parameters=ParameterCounts(
                trainable=sum(array.size for array in arrays.values()) - population, population_statistics=population
            ),
            starting_weights_sha256=stored.starting_weights_sha256,
            arrays_sha256=stored.arrays_sha256,
            diverged_at=stored.diverged_at,
            warnings=cautions.of_prediction(stored.network.spec, stored.arm, "population", images=1),
            layers=[LayerAnswer.of(name, own) for name, own in _layers(stored.network)],
        )


@router.get("/{experiment_id}/networks/{arm}", responses=responses(404, 409, 503))
def read_network(
    experiment_id: UUID,
    arm: ArmName,
    caller: ReaderDep,
    database: DatabaseDep,
    replicate: Annotated[int, Query(ge=0, le=1_000, description="Which repeat of the setting.")] = 0,
) -> NetworkAnswer:
    """Read a trained network: parameter counts, and per layer gamma, beta and the population's mean and variance."""
    with database.read() as session:
        return NetworkAnswer.of(networks.read_stored(session, experiment_id, arm, replicate, caller.sees))


def _layers(network: TrainedNetwork) -> Iterator[tuple[str, Arrays]]:
    """Yield the layers that have arrays in this arm, each with its own; `lstm_cell` has only what normalizes."""
    kind = KINDS[network.spec.network]
    shapes = kind.shapes(network.spec, network.arm)
    for layer in kind.layer_names(network.spec):
        own = {name.removeprefix(f"{layer}/"): network.arrays[name] for name in shapes if name.startswith(f"{layer}/")}
        if own:
            yield layer, own


def _numbers(array: Array) -> Any:
    """Return an array as the lists that JSON has, with null for what is not finite."""
    if array.ndim > 1:
        return [_numbers(part) for part in array]
    return [value if abs(value) < float("inf") else None for value in array.tolist()]  # NaN is not less either
