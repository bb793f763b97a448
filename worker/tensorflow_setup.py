"""TensorFlow, imported once per process and told how many threads it has, before anything else uses it."""

import os
from functools import cache


@cache
def prepare_tensorflow(threads: int) -> None:
    """Import TensorFlow and fix its thread counts: the same counts are part of what makes two runs the same bits.

    The import takes seconds and must happen after a fork, never before: so it is called, not run at import.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings and errors, not the greeting
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)  # several processes may share one
