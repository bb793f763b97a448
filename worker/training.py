"""The training loop: a generator of progress. It knows no database and no queue.

Chunks of batches run inside one program compiled by XLA: the parameters are the loop's state, the data set stays on
the device as bytes, the evaluation is part of the program. How many batches a chunk has is an input, so each setting
compiles once; results do not depend on how it is cut.

Every array has the replicates as its leading axis R, and a program trains some of them side by side: on a GPU all of
them, on a CPU one, whose parameters then stay in the core's own cache. The threads of the process share the programs'
calls out among them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import tensorflow as tf

from models.arms import Sample
from models.arrays import Arrays
from models.checkpoints import Checkpoint, TrainingState
from models.spec import ArmName, ResolvedSpec
from models.streams import batch_indices
from models.trained import starting_arrays, weights_sha256
from worker import forward
from worker.kinds import KINDS
from worker.resident import ResidentData, pixels
from worker.tensors import Tensors

#: The most batches, and the most images over all replicates of a program, of one chunk.
CHUNK_BATCHES, CHUNK_IMAGES = 1_000, 4_000_000
#: Chunks are cut so that one takes about this long: then a cancel is seen, and a point written, in good time. With
#: several programs to call in turn it may take the longer time, or each call would be too short to be worth it.
CHUNK_S, CHUNK_OF_MANY_S = 0.3, 0.8


@dataclass(frozen=True)
class TrainedReplicate:
    """One replicate of an arm at its end."""

    arrays: Arrays
    starting_weights_sha256: str
    validation_correct: int
    reached_90_percent_after: int | None  # batches, by the sampled ones and the last; None if never
    diverged_at: int | None  # first batch whose loss, or last one whose arrays, were not finite


Trained = tuple[TrainedReplicate, ...]


@dataclass(frozen=True)
class Progress:
    """What one chunk brought: at most one point of the curve; `trained` comes with the last chunk."""

    batches_done: int
    batches_per_second: float | None  # since the end of the first chunk, which compiles; None until then
    sample: Sample | None
    trained: Trained | None
    checkpoint: Callable[[], Checkpoint]  # from which the training can go on; valid until the next chunk


@dataclass(frozen=True)
class State:
    """Everything that changes while some replicates train side by side, each tensor with them first."""

    first_replicate: int
    parameters: Tensors
    population: Tensors
    diverged_at: tf.Tensor  # [R], −1 while the loss is finite


def train(
    spec: ResolvedSpec,
    arm: ArmName,
    data: ResidentData,
    resumed: Checkpoint | None = None,
    side_by_side: int | None = None,
) -> Iterator[Progress]:
    """Train one arm, all replicates, from batch 0 or from a checkpoint to the last batch; yield after each chunk.

    Equal (spec, arm, data) give equal results on the same set-up, resumed or not. A network whose numbers overflow
    goes on to the end; `diverged_at` names the first batch whose loss was not finite. `side_by_side`, how many
    replicates one program trains, is the device's affair unless a test wants it otherwise.
    """
    side_by_side = side_by_side or (spec.replicates if tf.config.list_physical_devices("GPU") else 1)
    starts = [starting_arrays(spec, arm, replicate) for replicate in range(spec.replicates)]
    hashes = [weights_sha256(arrays) for arrays in starts]
    begin_from = resumed.replicates if resumed else [TrainingState(arrays, None, None) for arrays in starts]
    reached = [replicate.reached_90_percent_after for replicate in begin_from]
    states = [
        _stacked(first, begin_from[first : first + side_by_side]) for first in range(0, spec.replicates, side_by_side)
    ]
    done = resumed.batches_done if resumed else 0
    del starts, begin_from, resumed
    programs = [_program(_compiled_fields(spec, len(state.diverged_at)), arm) for state in states]
    chunk_batches, first_done, first_at = 1, -1, 0.0
    with ThreadPoolExecutor(max(1, min(len(states), tf.config.threading.get_intra_op_parallelism_threads()))) as pool:
        while done < spec.training_batches:
            begin = time.perf_counter()
            to_evaluation = _batches_to_evaluation(spec, done)
            count = min(chunk_batches, to_evaluation, *(program.most_batches for program in programs))
            call = partial(_advance, spec, data, done, count, count == to_evaluation)
            together = pool.map if len(states) > 1 else map  # one needs no thread beside this one
            advanced = list(together(call, programs, states))
            states = [state for state, _ in advanced]
            correct = tuple(right for _, counts in advanced for right in counts)
            done, now = done + count, time.perf_counter()
            if first_done < 0:
                first_done, first_at = done, now
            else:
                chunk_batches = _next_chunk(chunk_batches, count, now - begin, len(states))
            if count == to_evaluation:
                _note_reached(reached, correct, data.validation_total, done)
            sampled = (done - 1) % spec.batches_per_sample == 0
            yield Progress(
                batches_done=done,
                batches_per_second=(done - first_done) / (now - first_at) if done > first_done else None,
                sample=Sample(done - 1, correct, data.validation_total) if sampled else None,
                trained=_trained(states, hashes, correct, reached, done) if done == spec.training_batches else None,
                checkpoint=partial(_checkpoint, states, reached, done),
            )


def _stacked(first_replicate: int, replicates: Sequence[TrainingState]) -> State:
    """Return some replicates as a program takes them."""
    names = replicates[0].arrays
    stacked = {name: tf.constant(np.stack([state.arrays[name] for state in replicates])) for name in names}
    population = {name: tensor for name, tensor in stacked.items() if "/population_" in name}
    parameters = {name: tensor for name, tensor in stacked.items() if name not in population}
    diverged_at = [-1 if state.diverged_at is None else state.diverged_at for state in replicates]
    return State(first_replicate, parameters, population, tf.constant(diverged_at, tf.int32))


def _checkpoint(states: list[State], reached: list[int | None], done: int) -> Checkpoint:
    replicates = [
        TrainingState(arrays, None if batch < 0 else batch, reached[replicate])
        for replicate, arrays, batch in _unstacked(states)
    ]
    return Checkpoint(done, replicates)


def _unstacked(states: list[State]) -> Iterator[tuple[int, Arrays, int]]:
    """Yield each replicate's number, its arrays, and where its loss stopped being finite, or −1."""
    for state in states:
        stacked = {name: tensor.numpy() for name, tensor in {**state.parameters, **state.population}.items()}
        for r, batch in enumerate(state.diverged_at.numpy()):
            yield state.first_replicate + r, {name: array[r] for name, array in stacked.items()}, int(batch)


def _batches_to_evaluation(spec: ResolvedSpec, done: int) -> int:
    """Return how many batches come up to and with the next one that is sampled, or the last one."""
    to_sample = -done % spec.batches_per_sample + 1
    return min(to_sample, spec.training_batches - done)


def _next_chunk(chunk_batches: int, count: int, seconds: float, programs: int) -> int:
    """Return the length of the coming chunks: what fits the time of a chunk, growing at most fourfold at a time."""
    fits = max(1, int(count * (CHUNK_S if programs == 1 else CHUNK_OF_MANY_S) / seconds))
    if count < chunk_batches <= fits * 4:  # cut short by an evaluation: it says little
        return chunk_batches
    return min(fits, chunk_batches * 4, CHUNK_BATCHES)


def _note_reached(reached: list[int | None], correct: tuple[int, ...], total: int, done: int) -> None:
    """Note for each replicate the first evaluation with at least 90 % right, after how many batches it came."""
    for replicate, right in enumerate(correct):
        if reached[replicate] is None and right * 10 >= total * 9:
            reached[replicate] = done


def _trained(
    states: list[State], hashes: list[str], correct: tuple[int, ...], reached: list[int | None], done: int
) -> Trained:
    trained: list[TrainedReplicate] = []
    for replicate, arrays, batch in _unstacked(states):
        finite = all(np.isfinite(array).all() for array in arrays.values())
        overflowed_last = None if finite else done - 1  # after its loss was taken
        trained.append(
            TrainedReplicate(
                arrays=arrays,
                starting_weights_sha256=hashes[replicate],
                validation_correct=correct[replicate],
                reached_90_percent_after=reached[replicate],
                diverged_at=batch if batch >= 0 else overflowed_last,
            )
        )
    return tuple(trained)


def _compiled_fields(spec: ResolvedSpec, replicates: int) -> ResolvedSpec:
    """Return the spec of a program for so many replicates: what is its input, or never reaches it, is levelled."""
    levelled = {"learning_rate": 1.0, "weight_scale": 1.0, "seed": 0, "training_batches": 1, "batches_per_sample": 1}
    return spec.model_copy(update={**levelled, "replicates": replicates, "device": "auto", "preset": None})


@lru_cache(maxsize=64)
def _program(fields: ResolvedSpec, arm: ArmName) -> "_Program":
    return _Program(fields, arm)


class _Program:
    """The compiled program of one arm's shape; XLA compiles it at its first chunk."""

    def __init__(self, fields: ResolvedSpec, arm: ArmName) -> None:
        self.most_batches = max(1, min(CHUNK_BATCHES, CHUNK_IMAGES // (fields.replicates * fields.batch_size)))
        forward.prepare(fields, arm)
        self.run = tf.function(partial(_chunk, fields, arm), jit_compile=True, autograph=False)


def _advance(
    spec: ResolvedSpec, data: ResidentData, done: int, count: int, evaluate: bool, program: _Program, state: State
) -> tuple[State, tuple[int, ...]]:
    """Train the batches `done` … `done + count − 1`; return the new state and each replicate's correct count.

    The counts are those after the last of these batches; zeros unless `evaluate`.
    """
    replicates = len(state.diverged_at)
    indices = np.zeros((program.most_batches, replicates, spec.batch_size), np.int32)
    for r in range(replicates):
        indices[:count, r] = batch_indices(
            spec.seed, state.first_replicate + r, done, count, spec.batch_size, data.train_total
        )
    parameters, population, diverged_at, correct = program.run(
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
    return State(state.first_replicate, parameters, population, diverged_at), counts


def _chunk(
    fields: ResolvedSpec,
    arm: ArmName,
    parameters: Tensors,
    population: Tensors,
    diverged_at: tf.Tensor,
    train_words: tf.Tensor,
    train_labels: tf.Tensor,
    validation_words: tf.Tensor,
    validation_labels: tf.Tensor,
    kept: tf.Tensor,
    places: tf.Tensor,
    indices: tf.Tensor,  # [most, R, B]
    done: tf.Tensor,
    count: tf.Tensor,
    learning_rate: tf.Tensor,
    evaluate: tf.Tensor,
) -> tuple[Tensors, Tensors, tf.Tensor, tf.Tensor]:
    """One chunk, traced once: a loop over `count` batches, then the evaluation if asked for."""
    kind = KINDS[fields.network]

    def one_batch(
        i: tf.Tensor, parameters: Tensors, population: Tensors, diverged_at: tf.Tensor
    ) -> tuple[tf.Tensor, Tensors, Tensors, tf.Tensor]:
        images = pixels(tf.gather(train_words, indices[i]))  # [R, B, kept]
        labels = tf.gather(train_labels, indices[i])  # [R, B]
        loss, gradients, population = _gradients(fields, arm, parameters, population, images, labels)
        moved = {name: value - learning_rate * gradients[name] for name, value in parameters.items()}
        first_bad = (diverged_at < 0) & ~tf.math.is_finite(loss)
        diverged_at = tf.where(first_bad, done + i, diverged_at)
        return i + 1, moved, population, diverged_at

    _, moved, population, diverged_at = tf.while_loop(
        lambda i, *_: i < count,
        one_batch,
        (tf.constant(0), kind.held(parameters, kept), population, diverged_at),
    )

    def count_correct() -> tf.Tensor:
        def of_block(block: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            words, labels = block
            images = tf.repeat(pixels(words)[None], fields.replicates, axis=0)  # [R, BLOCK, kept]
            logits = forward.evaluation_logits(fields, arm, moved, population, images)  # [R, BLOCK, 10]
            logits = tf.where(tf.math.is_nan(logits), np.inf, logits)  # NaN counts as largest, as in NumPy
            answers = tf.argmax(logits, axis=-1, output_type=tf.int32)  # so a diverged network answers 0
            return tf.reduce_sum(tf.cast(answers == labels, tf.int32), axis=-1)  # [R]

        blocks = (validation_words, validation_labels)
        return tf.reduce_sum(tf.map_fn(of_block, blocks, fn_output_signature=tf.int32), axis=0)  # [R]

    correct = tf.cond(evaluate, count_correct, lambda: tf.zeros([fields.replicates], tf.int32))
    return kind.released(moved, parameters, places), population, diverged_at, correct


def _gradients(
    fields: ResolvedSpec, arm: ArmName, parameters: Tensors, population: Tensors, images: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, Tensors, Tensors]:
    """Return each replicate's mean softmax cross-entropy [R], its gradients, and the moved population."""
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        logits, population = forward.training_logits(fields, arm, parameters, population, images)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)  # [R, B]
        loss = tf.reduce_mean(losses, axis=-1)  # [R]
        together = tf.reduce_sum(loss)  # replicates share no parameter, so the sum keeps their gradients apart
    return loss, tape.gradient(together, parameters), population
