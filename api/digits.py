"""Route of sample digits: images of the test set with their labels, to try a trained network on."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from api.dependencies import SettingsDep
from api.errors import responses
from models import datasets
from models.datasets import Bytes
from models.spec import DatasetName

router = APIRouter(tags=["predictions"])


class DigitsRequest(BaseModel):
    """Which digits to read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(10, ge=1, le=100, description="How many.")
    first: int = Field(0, ge=0, le=9_999, description="Index of the first one.")
    dataset: DatasetName | None = Field(None, description="Left out: the server's default.")


class Digit(BaseModel):
    """One test image: 28 rows of 28 numbers 0…1, and the digit it shows."""

    index: int
    label: int
    image: list[list[float]]


class Digits(BaseModel):
    """Some test images, in the order of the test set."""

    dataset: DatasetName
    digits: list[Digit] = Field(description="None of them was trained on.")


@router.get("/digits", responses=responses(503))
def read_digits(asked: Annotated[DigitsRequest, Query()], settings: SettingsDep) -> Digits:
    """Read some digits of the test set; fewer than asked for at its end."""
    name = asked.dataset or settings.dataset
    images, labels = _test_digits(name, settings.data_dir)
    return Digits(
        dataset=name,
        digits=[
            Digit(index=i, label=int(labels[i]), image=(images[i].reshape(28, 28) / 255.0).tolist())
            for i in range(asked.first, min(asked.first + asked.count, len(labels)))
        ],
    )


@lru_cache(maxsize=2)
def _test_digits(name: DatasetName, data_dir: Path) -> tuple[Bytes, Bytes]:
    return datasets.load_test_digits(name, data_dir)
