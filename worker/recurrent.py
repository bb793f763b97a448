"""The recurrent network in TensorFlow, all replicates at once.

R replicates, B images, m units. The formula and the names of the arrays are in `models/recurrent.py`. The 28 steps are
a loop in the program: written out one after the other they take XLA a minute to compile (`bench/NOTES.md`).
"""

from typing import Any

import tensorflow as tf

from models.recurrent import GATES
from models.spec import SIDE, ArmName, ResolvedSpec
from worker.tensors import ACTIVATIONS, Normalize, Tensors, held_as_stored, released_as_stored

BLOCK = 500
INKED_ALONE = False
held, released = held_as_stored, released_as_stored


def normalized_units(spec: ResolvedSpec) -> tuple[int, ...]:
    """Return the units that are normalized together: those of all gates, and those of the cell."""
    return GATES * spec.units, spec.units


def logits(
    spec: ResolvedSpec,
    arm: ArmName,
    parameters: Tensors,
    population: Tensors,
    images: tf.Tensor,
    normalize: Normalize,
) -> tuple[tf.Tensor, Tensors]:
    """Return the logits [R, B, 10] for images [R, B, 784], and the moved population."""
    activate = ACTIVATIONS[spec.activation]
    with_batch_norm = arm is ArmName.WITH_BATCH_NORM
    replicates, count, _ = images.shape
    rows = tf.transpose(tf.reshape(images, [replicates, count, SIDE, SIDE]), [2, 0, 1, 3])  # [28, R, B, 28]
    by_step = {name: tf.transpose(each, [1, 0, 2]) for name, each in population.items()}  # [28, R, …]

    def step(before: tuple[tf.Tensor, tf.Tensor, Tensors], now: tuple[tf.Tensor, Tensors]) -> Any:
        (h, c, _), (row, own) = before, now
        moved: Tensors = {}

        def normalized(layer: str, z: tf.Tensor) -> tf.Tensor:
            if not with_batch_norm:
                return z
            values, statistics = normalize(layer, z, own)
            moved.update(statistics)
            return values

        from_row = normalized("lstm_input", tf.matmul(row, parameters["lstm_input/weights"]))
        from_before = normalized("lstm_hidden", tf.matmul(h, parameters["lstm_hidden/weights"]))
        gates = from_before + from_row + parameters["lstm_input/bias"][:, None]  # [R, B, 4 m]
        forget, take, show, new = tf.split(gates, GATES, axis=-1)
        c = tf.sigmoid(forget) * c + tf.sigmoid(take) * activate(new)
        h = tf.sigmoid(show) * activate(normalized("lstm_cell", c))
        return h, c, moved

    nothing = tf.zeros([replicates, count, spec.units])
    begin = (nothing, nothing, {name: each[0] for name, each in by_step.items()})
    h, _, moved = tf.scan(step, (rows, by_step), begin)  # of every step: [28, R, …]
    return (
        tf.matmul(h[-1], parameters["output/weights"]) + parameters["output/bias"][:, None],
        {name: tf.transpose(each, [1, 0, 2]) for name, each in moved.items()},
    )
