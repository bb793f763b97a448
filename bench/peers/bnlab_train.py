"""Ours: the function that a worker calls for an arm, from the starting weights to the last evaluation."""

from collections.abc import Callable

from bench.peers.work import Work, serve, threads
from bench.training import prepared, spec
from models.spec import ArmName


def contestant(work: Work, bn: bool) -> Callable[[], float]:
    """Return the training; seed and setting are those that the work was made from."""
    data, train = prepared(threads())
    resolved = spec(len(work.batches), batches_per_sample=work.batches_per_sample)
    arm = ArmName.WITH_BATCH_NORM if bn else ArmName.WITHOUT_BATCH_NORM

    def run() -> float:
        *_, end = train(resolved, arm, data)
        assert end.trained is not None
        return float(end.trained[0].validation_correct / data.validation_total)

    return run


if __name__ == "__main__":
    serve(contestant)
