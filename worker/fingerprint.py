"""The fingerprint of what trains here: equal ones give the same bits for the same spec, different ones may not."""

import hashlib
import os
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

from models.arms import Fingerprint
from worker.devices import CPU

ROOT = Path(__file__).parents[1]

#: The code that decides about bits; any change of it counts as another set-up.
TRAINER = (
    *("models/streams.py", "models/trained.py", "models/arrays.py", "models/kinds.py", "models/kind_fields.py"),
    *("models/dense.py", "models/convolutional.py", "models/recurrent.py"),
    *("worker/training.py", "worker/forward.py", "worker/batch_norm.py", "worker/resident.py", "worker/tensors.py"),
    *("worker/kinds.py", "worker/dense.py", "worker/convolutional.py", "worker/recurrent.py"),
    "worker/tensorflow_setup.py",
)

#: What TensorFlow reads from the environment and computes by.
VARIABLES = ("TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS", "TF_XLA_FLAGS", "NVIDIA_TF32_OVERRIDE")


@cache
def fingerprint(threads: int) -> Fingerprint:
    """Return versions, threads, device and processor of this process; TensorFlow must have been prepared."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    devices = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    model, features = _processor()
    return {
        "trainer": _digest(b"".join((ROOT / file).read_bytes() for file in TRAINER)),
        "tensorflow": tf.__version__,
        "keras": version("keras"),
        "numpy": version("numpy"),
        "threads": threads,
        "device": ", ".join(devices) or CPU,
        "processor": model,
        "processor_features": _digest(features.encode()),
        "options": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def _processor() -> tuple[str, str]:
    """Return the processor's name and what it can do: libraries choose their code by both."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine(), platform.machine()
    pairs = (line.partition(":") for line in cpuinfo.read_text().splitlines())
    lines = {name.strip(): value.strip() for name, _, value in reversed(list(pairs))}  # of several, the first
    model = lines.get("model name") or lines.get("CPU part") or platform.machine()
    kind = [lines.get(name, "") for name in ("vendor_id", "cpu family", "model", "stepping")]
    return model, " ".join([*kind, lines.get("flags") or lines.get("Features") or ""])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
