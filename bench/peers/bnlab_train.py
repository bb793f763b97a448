"""Ours: the function that a worker calls for an arm, from the starting weights to the last evaluation."""

from collections.abc import Callable

from bench.peers.work import Work, serve, threads
from bench.training import spec
from models import datasets
from models.settings import Settings
from models.spec import ArmName
from worker.tensorflow_setup import prepare_tensorflow


def contestant(work: Work, bn: bool) -> Callable[[], float]:
    """Return the training; seed and setting are those that the work was made from."""
    prepare_tensorflow(threads())
    from worker.resident import ResidentData
    from worker.training import train

    settings = Settings()
    data = ResidentData(datasets.load(settings.dataset, settings.data_dir))
    resolved = spec(len(work.batches), batches_per_sample=work.batches_per_sample)
    arm = ArmName.WITH_BATCH_NORM if bn else ArmName.WITHOUT_BATCH_NORM

    def run() -> float:
        *_, end = train(resolved, arm, data)
        assert end.trained is not None
        return end.trained[0].validation_correct / data.validation_total

    return run


if __name__ == "__main__":
    serve(contestant)
