"""How a trained network did, in integers: counts of right answers, from which every accuracy is computed."""

from pydantic import BaseModel, ConfigDict


class _Counts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SinglePredictions(_Counts):
    """Test images shown to the network one at a time, each as a batch of one."""

    correct: int
    answers: tuple[int, ...]  # the digit answered for each image


class TestResult(_Counts):
    """The test set with one kind of statistics: all images at once, and the first ones one at a time."""

    correct: int
    total: int
    single_predictions: SinglePredictions


class NetworkResult(_Counts):
    """A network at the end of its training; `batch` is None without batch normalization: it has no statistics."""

    validation_correct: int
    validation_total: int
    population: TestResult
    batch: TestResult | None
