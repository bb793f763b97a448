"""How many of 200 drawn digits the network with batch normalization recognises: normalized, and only made smaller."""

import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from api.images import from_picture
from bench.handwriting import Drawing, drawings
from bench.report import print_table
from models import datasets
from models.arrays import Array
from models.datasets import Dataset
from models.errors import DatasetUnavailable
from models.settings import Settings
from models.spec import ArmName, Spec
from models.trained import TrainedNetwork

REPLICATES = 3
#: The default setting, and that of `bnlab demo`.
SPECS = (
    Spec(replicates=REPLICATES, seed=1),
    Spec(training_batches=2_000, batches_per_sample=50, replicates=REPLICATES, seed=1),
)


def main() -> None:
    """Train, show the drawings to the networks, and print the shares that they have right."""
    data = _data()
    drawn = drawings()
    digits = np.array([drawing.digit for drawing in drawn])
    ways = {"normalized": normalized(drawn), "only made smaller": made_smaller(drawn)}
    rows = []
    for spec in SPECS:
        networks = list(_trained(spec, data))
        for way, images in ways.items():
            shares = [share_right(network, images, digits) for network in networks]
            each = ", ".join(f"{share:.3f}" for share in shares)
            rows.append((f"{spec.training_batches:,} batches", way, f"{np.mean(shares):.3f}", each))
    print_table(
        f"Share of {len(drawn)} drawn digits recognised with batch normalization, trained on {data.name}",
        ("", "", "mean", "replicates"),
        rows,
    )


def normalized(drawn: Sequence[Drawing]) -> Array:
    """Return the drawings as the API makes digits of them, sent as PNG, [drawings, 784]."""
    return np.stack([from_picture(_png(drawing.canvas), "image/png").pixels for drawing in drawn])


def made_smaller(drawn: Sequence[Drawing]) -> Array:
    """Return the whole canvases as 28×28, with white ink on black as the network knows it, [drawings, 784]."""
    whole = [drawing.canvas if drawing.on_black else 1 - drawing.canvas for drawing in drawn]
    small = [Image.fromarray((canvas * 255).astype(np.uint8)).resize((28, 28)) for canvas in whole]
    return np.stack([np.asarray(picture, np.float32).ravel() for picture in small]) / np.float32(255)


def share_right(network: TrainedNetwork, images: Array, digits: np.ndarray) -> float:
    """Return which share of the images is recognised, with population statistics."""
    return float((network.logits(images).argmax(axis=1) == digits).mean())


def _png(canvas: Array) -> bytes:
    file = io.BytesIO()
    Image.fromarray((canvas * 255).round().astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _data() -> Dataset:
    """Return the full data set, or, said aloud, the small one."""
    try:
        return datasets.load("mnist", Settings().data_dir)
    except DatasetUnavailable as error:
        print(f"Trained on mnist-5k, for the full data set is not at hand: {error.message}")
        return datasets.load("mnist-5k", Settings().data_dir)


def _trained(spec: Spec, dataset: Dataset) -> Iterator[TrainedNetwork]:
    """Yield the trained replicates with batch normalization."""
    from worker.tensorflow_setup import prepare_tensorflow

    prepare_tensorflow(1)
    from worker.resident import ResidentData
    from worker.training import train

    resolved = spec.resolve(dataset.name)
    *_, end = train(resolved, ArmName.WITH_BATCH_NORM, ResidentData(dataset))
    assert end.trained is not None
    for replicate in end.trained:
        yield TrainedNetwork(resolved, ArmName.WITH_BATCH_NORM, replicate.arrays)
