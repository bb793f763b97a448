"""What the processes of one worker tell their parent: the name of what each trains on, or why it takes no arms.

It is memory that they share, made before the fork; a process that is killed leaves nothing locked in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray
from typing import Any

from models.workers import USELESS

#: Of more processes, two share a line, and a row of counters; a longer name is cut.
MOST_PROCESSES, WIDTH = 256, 120


@dataclass(frozen=True)
class Crew:
    """The processes of a worker as they are known to their parent: how many take arms, and what all of them said."""

    able: int
    device_names: Sequence[str]


class Slots:
    """A line for each process of this worker."""

    def __init__(self) -> None:
        self._lines: list[Any] = [RawArray("c", WIDTH) for _ in range(MOST_PROCESSES)]

    def trains_on(self, index: int, device_name: str) -> None:
        """Note what the process of this number trains on."""
        self._write(index, device_name)

    def takes_nothing(self, index: int, why: str) -> None:
        """Note that the process of this number takes no arms."""
        self._write(index, USELESS + why)

    def crew(self, processes: int) -> Crew:
        """Return what the first so many processes have said; one that has said nothing yet will take arms."""
        lines = [line.value.decode(errors="replace") for line in self._lines[:processes]]
        return Crew(
            able=processes - sum(line.startswith(USELESS) for line in lines),
            device_names=[line for line in lines if line],
        )

    def _write(self, index: int, line: str) -> None:
        self._lines[index % MOST_PROCESSES].value = line.encode()[: WIDTH - 1]
