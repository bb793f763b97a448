"""Route of trained networks: what is inside one, layer by layer; above all what batch normalization learned."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.callers import ReaderDep
from api.dependencies import DatabaseDep
from api.errors import responses
from models import cautions, networks
from models.cautions import Caution
from models.dense import POPULATION, DenseNetwork, layer_names, shapes
from models.networks import StoredNetwork
from models.spec import ArmName

router = APIRouter(prefix="/experiments", tags=["networks"])


class ParameterCounts(BaseModel):
    """How many numbers a network has."""

    trainable: int = Field(description="Moved by gradient descent: weights, biases, gammas, betas.")
    population_statistics: int = Field(description="Moved by the batches' statistics: means and variances.")


class LayerBatchNorm(BaseModel):
    """What one layer's batch normalization learned: a number per unit each; null where it is not finite."""

    gamma: list[float | None]
    beta: list[float | None]
    population_mean: list[float | None]
    population_variance: list[float | None]


class LayerAnswer(BaseModel):
    """One layer, from its inputs to its units."""

    name: str
    inputs: int
    units: int
    parameters: dict[str, int] = Field(description="How many of each kind gradient descent moves.")
    batch_norm: LayerBatchNorm | None = Field(description="null where there is no batch normalization.")

    @classmethod
    def of(cls, name: str, network: DenseNetwork) -> "LayerAnswer":
        """Return one of a network's layers."""
        named = (key for key in shapes(network.spec, network.arm) if key.startswith(f"{name}/"))
        own = {key.removeprefix(f"{name}/"): network.arrays[key] for key in named}
        inputs, units = own["weights"].shape
        numbers = {what: [_finite(value) for value in own[what].tolist()] for what in own if what != "weights"}
        return cls(
            name=name,
            inputs=inputs,
            units=units,
            parameters={what: array.size for what, array in own.items() if what not in POPULATION},
            batch_norm=LayerBatchNorm(**numbers) if "gamma" in own else None,
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
            layers=[LayerAnswer.of(name, stored.network) for name in layer_names(stored.network.spec)],
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


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None  # NaN is not less either
