"""Drawn digits: a network trained for some seconds recognises them once they are normalized, and hardly before."""

import numpy as np
import pytest

from bench.drawn_digits import made_smaller, normalized, share_right
from bench.handwriting import Drawing, drawings
from models.datasets import Dataset
from models.spec import ArmName, Spec
from models.trained import TrainedNetwork
from worker.tensorflow_setup import prepare_tensorflow

prepare_tensorflow(1)

from worker.resident import ResidentData  # noqa: E402  (after its threads are set)
from worker.training import train  # noqa: E402


@pytest.fixture(scope="module")
def drawn() -> list[Drawing]:
    return drawings()


def test_equal_seeds_draw_equal_digits_and_others_draw_others(drawn: list[Drawing]) -> None:
    again, others = drawings(20), drawings(20, seed=1)
    assert np.bincount([drawing.digit for drawing in drawn]).tolist() == [20] * 10
    for first, second, other in zip(drawn, again, others, strict=False):
        np.testing.assert_array_equal(first.canvas, second.canvas)
        assert not np.array_equal(first.canvas, other.canvas)


def test_normalized_drawings_are_recognised_and_others_hardly(digits: Dataset, drawn: list[Drawing]) -> None:
    spec = Spec(training_batches=2_000, batches_per_sample=2_000, seed=1).resolve("mnist-5k")
    *_, end = train(spec, ArmName.WITH_BATCH_NORM, ResidentData(digits))
    assert end.trained is not None
    network = TrainedNetwork(spec, ArmName.WITH_BATCH_NORM, end.trained[0].arrays)
    labels = np.array([drawing.digit for drawing in drawn])
    right, only_smaller = (share_right(network, images, labels) for images in (normalized(drawn), made_smaller(drawn)))
    print(f"normalized {right:.3f}, only made smaller {only_smaller:.3f}")
    assert right >= 0.85
    assert right - only_smaller >= 0.5
