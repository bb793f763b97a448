"""The floor: nothing but a step's eleven matrix products, in NumPy's BLAS; no gather, no activation, no update."""

from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from bench.peers.work import Work, serve, threads


def contestant(work: Work, bn: bool) -> Callable[[], float]:
    """Return the products, as often as there are batches."""
    threadpool_limits(threads(), user_api="blas")
    generator = np.random.default_rng(0)
    widths = [len(work.weights[0]), *(weights.shape[1] for weights in work.weights)]
    layers = [generator.normal(size=(work.batches.shape[1], width)).astype(np.float32) for width in widths]

    def run() -> float:
        for _ in work.batches:
            for i, weights in enumerate(work.weights):
                layers[i] @ weights
            for i, weights in reversed(list(enumerate(work.weights))):
                layers[i].T @ layers[i + 1]
                if i > 0:
                    layers[i + 1] @ weights.T
        return float("nan")

    return run


if __name__ == "__main__":
    serve(contestant)
