"""TensorFlow, imported once per process, and it and NumPy told how many threads they have, before they are used."""

import os
import threading
from functools import cache

_ONE_AT_A_TIME = threading.Lock()

#: Of XLA on a CPU: no code in tiles for what is computed value by value, which took four times as long, and vectors as
#: wide as the processor's (`bench/NOTES.md`). The environment's own come after them, and a file of them in their place.
XLA_FLAGS = "--xla_backend_extra_options=xla_cpu_disable_tiled_emitter=1 --xla_cpu_prefer_vector_width=512"


def prepare_tensorflow(threads: int) -> None:
    """Import TensorFlow and set it up; the second call does nothing, and waits for the first one's end."""
    with _ONE_AT_A_TIME:
        _prepare(threads)


@cache
def _prepare(threads: int) -> None:
    """Import TensorFlow and fix its thread counts: the same counts are part of what makes two runs the same bits.

    The import takes seconds and must happen after a fork, never before: so it is called, not run at import.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings and errors, not the greeting
    os.environ["XLA_FLAGS"] = with_ours(os.environ.get("XLA_FLAGS", ""))
    import tensorflow as tf
    from threadpoolctl import threadpool_limits

    # NumPy's matrix products, in the examination: on all cores they took several times the processor time of one.
    threadpool_limits(threads, user_api="blas")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)  # several processes may share one
    if gpus:  # on a CPU the same threads give the same bits; that this does it on a GPU, only a GPU can show
        tf.config.experimental.enable_op_determinism()
        tf.config.experimental.enable_tensor_float_32_execution(False)  # its products have 10 bits, not 23


def with_ours(flags: str) -> str:
    """Return XLA's flags with ours before them, unless a parent process has put them there, or they are in a file."""
    are_in_a_file = flags.strip() != "" and not flags.lstrip().startswith("-")
    return flags if are_in_a_file or flags.startswith(XLA_FLAGS) else f"{XLA_FLAGS} {flags}".strip()
