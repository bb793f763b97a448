"""What a worker trains on: decided by the parent, which never loads TensorFlow, and checked by each process that does.

One process trains on one GPU: each hides the others from itself before TensorFlow is imported. A worker without a GPU
hides all of them. Whether CUDA really keeps to that, only a machine with GPUs can show.
"""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.lanes import Lane
from models.spec import Device

log = logging.getLogger(__name__)

#: CUDA's own variable: which GPUs a process sees, by number or by name, and in which order.
VARIABLE = "CUDA_VISIBLE_DEVICES"
NONE = "-1"

#: How a fingerprint names the device where there is no GPU.
CPU = "CPU"

#: How TensorFlow is asked in a process of its own, for at most so long: the parent must not load it.
QUESTION = "import sys, tensorflow as tf; sys.exit(not tf.config.list_physical_devices('GPU'))"
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Devices:
    """The lane of a worker, and its GPUs as CUDA's variable names them; none on a CPU, or where none is seen."""

    lane: Lane
    gpus: tuple[str, ...] = ()

    def of_process(self, index: int) -> str | None:
        """Return what CUDA's variable must be for the process of this number; None: as it is.

        More processes than GPUs share them in turn.
        """
        if self.gpus:
            return self.gpus[index % len(self.gpus)]
        return NONE if self.lane == "cpu" else None


def installed(folder: Path = Path("/dev")) -> int:
    """Return how many GPUs of NVIDIA this machine, or this container, has."""
    return sum(re.fullmatch(r"nvidia\d+", file.name) is not None for file in folder.glob("nvidia*"))


def visible(count: int, variable: str | None) -> tuple[str, ...]:
    """Return which of so many GPUs CUDA shows: all, or those that its variable names up to the first that is none."""
    if variable is None:
        return tuple(str(number) for number in range(count))
    shown: list[str] = []
    for name in (part.strip() for part in variable.split(",")):
        is_number = re.fullmatch(r"-?[0-9]+", name) is not None
        if not name or name in shown or (is_number and not 0 <= int(name) < count):
            break
        shown.append(name)
    return tuple(shown) if count else ()


def chosen(wanted: Device, gpus: tuple[str, ...], usable: Callable[[], bool]) -> Devices:
    """Return what a worker trains on that is told `wanted` and sees these GPUs.

    Told `gpu` it stays so even where none is seen: its processes will find out, and say so.
    """
    if wanted == "cpu" or (wanted == "auto" and not (gpus and usable())):
        return Devices("cpu")
    return Devices("gpu", gpus)


def usable() -> bool:
    """Return whether TensorFlow, as it is installed here, finds a GPU; it takes seconds to answer."""
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        asked = subprocess.run([sys.executable, "-c", QUESTION], env=quiet, capture_output=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        found = False
    else:
        found = asked.returncode == 0
    if not found:
        log.warning("This machine has a GPU, but TensorFlow cannot use it: training on the CPU.")
    return found


def of_this_worker(wanted: Device) -> Devices:
    """Return what this worker trains on, of what is here and of what CUDA's variable shows."""
    return chosen(wanted, visible(installed(), os.environ.get(VARIABLE)), usable)


def disagreement(lane: Lane, found: str) -> str | None:
    """Return what is wrong when a process of this lane finds this device in TensorFlow; None: nothing."""
    if lane == "gpu" and found == CPU:
        return "TensorFlow finds no GPU"
    if lane == "cpu" and found != CPU:
        return "TensorFlow finds a GPU, which was to be hidden from it"
    return None
