"""The training loop: a generator of progress. It knows no database and no queue.

Chunks of batches run inside one program compiled by XLA: the parameters are the loop's state, the data set stays on
the device as bytes, the evaluation is part of the program, and all replicates train together on a leading axis R.
How many batches a chunk has is an input, so each setting compiles once; results do not depend on how it is cut.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import tensorflow as tf

from models.arms import Sample
from models.datasets import Dataset
from models.dense import Arrays, starting_arrays
from models.spec import ArmName, ResolvedSpec
from models.streams import batch_indices
from worker import dense
from worker.dense import Tensors

#: The most batches, and the most images over all replicates, of one chunk.
CHUNK_BATCHES, CHUNK_IMAGES = 1_000, 4_000_000
#: Chunks are cut so that one takes about this long: then a cancel is seen, and a point written, in good time.
CHUNK_S = 0.3


@dataclass(frozen=True)
class Trained:
    """An arm at its end: per replicate its arrays, its final validation count, and the batch at which it diverged."""

    arrays: tuple[Arrays, ...]
    validation_correct: tuple[int, ...]
    diverged_at: tuple[int | None, ...]


@dataclass(frozen=True)
class Progress:
    """What one chunk brought: at most one point of the curve; `trained` comes with the last chunk."""

    batches_done: int
    batches_per_second: float | None  # since the end of the first chunk, which compiles; None until then
    sample: Sample | None
    trained: Trained | None


@dataclass(frozen=True)
class State:
    """Everything that changes while an arm trains, each tensor with the replicates first."""

    parameters: Tensors
    population: Tensors
    diverged_at: tf.Tensor  # [R], −1 while the loss is finite


class ResidentData:
    """A data set on the device: images as the bytes they are, labels as the gather wants them."""

    def __init__(self, dataset: Dataset) -> None:
        self.validation_total = len(dataset.validation_labels)
        self.train_total = len(dataset.train_labels)
        self.tensors = (
            tf.constant(dataset.train_images),  # [n, 784] uint8
            tf.constant(dataset.train_labels.astype(np.int32)),
            tf.constant(dataset.validation_images),
            tf.constant(dataset.validation_labels.astype(np.int32)),
        )


def train(spec: ResolvedSpec, arm: ArmName, data: ResidentData) -> Iterator[Progress]:
    """Train one arm, all replicates, from batch 0 to the last; yield after each chunk.

    Equal (spec, arm, data) give equal results on the same set-up. A network whose numbers overflow goes on to the
    end; `Trained.diverged_at` names the first batch whose loss was not finite.
    """
    program = _program(_compiled_fields(spec), arm)
    state = starting_state(spec, arm)
    done, chunk_batches, first_done, first_at = 0, 1, 0, 0.0
    while done < spec.training_batches:
        begin = time.perf_counter()
        to_evaluation = _batches_to_evaluation(spec, done)
        count = min(chunk_batches, to_evaluation, program.most_batches)
        state, correct = program.advance(state, spec, data, done, count, evaluate=count == to_evaluation)
        done, now = done + count, time.perf_counter()
        if first_done == 0:
            first_done, first_at = done, now
        else:
            chunk_batches = _next_chunk(chunk_batches, count, now - begin)
        sampled = (done - 1) % spec.batches_per_sample == 0
        yield Progress(
            batches_done=done,
            batches_per_second=(done - first_done) / (now - first_at) if done > first_done else None,
            sample=Sample(done - 1, correct, data.validation_total) if sampled else None,
            trained=_trained(spec, state, correct) if done == spec.training_batches else None,
        )


def starting_state(spec: ResolvedSpec, arm: ArmName) -> State:
    """Return the state before the first batch."""
    replicates = [starting_arrays(spec, arm, replicate) for replicate in range(spec.replicates)]
    stacked = {name: tf.constant(np.stack([arrays[name] for arrays in replicates])) for name in replicates[0]}
    population = {name: tensor for name, tensor in stacked.items() if "/population_" in name}
    parameters = {name: tensor for name, tensor in stacked.items() if name not in population}
    return State(parameters, population, tf.fill([spec.replicates], -1))


def _batches_to_evaluation(spec: ResolvedSpec, done: int) -> int:
    """Return how many batches come up to and with the next one that is sampled, or the last one."""
    to_sample = -done % spec.batches_per_sample + 1
    return min(to_sample, spec.training_batches - done)


def _next_chunk(chunk_batches: int, count: int, seconds: float) -> int:
    """Return the length of the coming chunks: what fits CHUNK_S, growing at most fourfold at a time."""
    fits = max(1, int(count * CHUNK_S / seconds))
    if count < chunk_batches <= fits * 4:  # cut short by an evaluation: it says little
        return chunk_batches
    return min(fits, chunk_batches * 4, CHUNK_BATCHES)


def _trained(spec: ResolvedSpec, state: State, correct: tuple[int, ...]) -> Trained:
    stacked = {name: tensor.numpy() for name, tensor in {**state.parameters, **state.population}.items()}
    arrays = tuple({name: array[r] for name, array in stacked.items()} for r in range(spec.replicates))
    diverged_at: list[int | None] = []
    for batch, replicate in zip(state.diverged_at.numpy(), arrays, strict=True):
        finite = all(np.isfinite(array).all() for array in replicate.values())
        overflowed_last = None if finite else spec.training_batches - 1  # after its loss was taken
        diverged_at.append(int(batch) if batch >= 0 else overflowed_last)
    return Trained(arrays, correct, tuple(diverged_at))


def _compiled_fields(spec: ResolvedSpec) -> ResolvedSpec:
    """Return the spec with everything levelled that is an input of the program, or never reaches it."""
    levelled = {"learning_rate": 1.0, "weight_scale": 1.0, "seed": 0, "training_batches": 1, "batches_per_sample": 1}
    return spec.model_copy(update=levelled)


@lru_cache(maxsize=64)
def _program(fields: ResolvedSpec, arm: ArmName) -> "_Program":
    return _Program(fields, arm)


class _Program:
    """The compiled program of one arm's shape; XLA compiles it at its first chunk."""

    def __init__(self, fields: ResolvedSpec, arm: ArmName) -> None:
        self.most_batches = max(1, min(CHUNK_BATCHES, CHUNK_IMAGES // (fields.replicates * fields.batch_size)))
        self._run = tf.function(partial(_chunk, fields, arm), jit_compile=True, autograph=False)

    def advance(
        self, state: State, spec: ResolvedSpec, data: ResidentData, done: int, count: int, evaluate: bool
    ) -> tuple[State, tuple[int, ...]]:
        """Train the batches `done` … `done + count − 1`; return the new state and each replicate's correct count.

        The counts are those after the last of these batches; zeros unless `evaluate`.
        """
        indices = np.zeros((self.most_batches, spec.replicates, spec.batch_size), np.int32)
        for replicate in range(spec.replicates):
            indices[:count, replicate] = batch_indices(
                spec.seed, replicate, done, count, spec.batch_size, data.train_total
            )
        parameters, population, diverged_at, correct = self._run(
            state.parameters,
            state.population,
            state.diverged_at,
            *data.tensors,
            tf.constant(indices),
            tf.constant(done),
            tf.constant(count),
            tf.constant(spec.learning_rate, tf.float32),
            tf.constant(evaluate),
        )
        counts = tuple(int(right) for right in correct.numpy())  # waits for the chunk
        return State(parameters, population, diverged_at), counts


def _chunk(
    fields: ResolvedSpec,
    arm: ArmName,
    parameters: Tensors,
    population: Tensors,
    diverged_at: tf.Tensor,
    train_images: tf.Tensor,
    train_labels: tf.Tensor,
    validation_images: tf.Tensor,
    validation_labels: tf.Tensor,
    indices: tf.Tensor,  # [most, R, B]
    done: tf.Tensor,
    count: tf.Tensor,
    learning_rate: tf.Tensor,
    evaluate: tf.Tensor,
) -> tuple[Tensors, Tensors, tf.Tensor, tf.Tensor]:
    """One chunk, traced once: a loop over `count` batches, then the evaluation if asked for."""

    def one_batch(
        i: tf.Tensor, parameters: Tensors, population: Tensors, diverged_at: tf.Tensor
    ) -> tuple[tf.Tensor, Tensors, Tensors, tf.Tensor]:
        images = pixels(tf.gather(train_images, indices[i]))  # [R, B, 784]
        labels = tf.gather(train_labels, indices[i])  # [R, B]
        loss, gradients, batch = _gradients(fields, arm, parameters, images, labels)
        moved = {name: value - learning_rate * gradients[name] for name, value in parameters.items()}
        first_bad = (diverged_at < 0) & ~tf.math.is_finite(loss)
        diverged_at = tf.where(first_bad, done + i, diverged_at)
        return i + 1, moved, dense.moved_population(fields, population, batch), diverged_at

    _, parameters, population, diverged_at = tf.while_loop(
        lambda i, *_: i < count, one_batch, (tf.constant(0), parameters, population, diverged_at)
    )

    def count_correct() -> tf.Tensor:
        images = pixels(validation_images)[None]  # [1, V, 784]
        images = tf.repeat(images, fields.replicates, axis=0) if fields.replicates > 1 else images
        logits = dense.evaluation_logits(fields, arm, parameters, population, images)  # [R, V, 10]
        logits = tf.where(tf.math.is_nan(logits), np.inf, logits)  # NaN counts as largest, as in NumPy
        answers = tf.argmax(logits, axis=-1, output_type=tf.int32)  # so a diverged network answers 0
        return tf.reduce_sum(tf.cast(answers == validation_labels, tf.int32), axis=-1)  # [R]

    correct = tf.cond(evaluate, count_correct, lambda: tf.zeros([fields.replicates], tf.int32))
    return parameters, population, diverged_at, correct


def _gradients(
    fields: ResolvedSpec, arm: ArmName, parameters: Tensors, images: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, Tensors, Tensors]:
    """Return each replicate's mean softmax cross-entropy [R], its gradients, and the statistics of the batch."""
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        logits, batch = dense.training_logits(fields, arm, parameters, images)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)  # [R, B]
        loss = tf.reduce_mean(losses, axis=-1)  # [R]
        together = tf.reduce_sum(loss)  # replicates share no parameter, so the sum keeps their gradients apart
    return loss, tape.gradient(together, parameters), batch


def pixels(images: tf.Tensor) -> tf.Tensor:
    """Return bytes 0…255 as numbers 0…1."""
    return tf.cast(images, tf.float32) * (1.0 / 255.0)
