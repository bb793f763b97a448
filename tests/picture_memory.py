"""How much memory pictures take that are read one after the other, in a process of its own: this one is large."""

import subprocess
import sys
from pathlib import Path

from conftest import ROOT

MEASURE = """
import sys
from pathlib import Path
from api.images import from_picture
from models.errors import InvalidImage

def most():
    status = Path("/proc/self/status").read_text()  # getrusage would begin with the size of the process before
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])

from_picture(Path(sys.argv[1]).read_bytes(), "image/png")
before, refused = most(), 0
for file in sorted(Path(sys.argv[2]).iterdir()):
    try:
        from_picture(file.read_bytes(), f"image/{file.suffix[1:]}")
    except InvalidImage:
        refused += 1
print(most() - before, refused)
"""


def growth_kb(small: Path, folder: Path) -> tuple[int, int]:
    """Return by how much a folder's pictures make a process larger that has read a small one; how many it refused."""
    command = [sys.executable, "-c", MEASURE, str(small), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    grown, refused = map(int, done.stdout.split())
    print(f"{grown} kB, {refused} refused")
    return grown, refused
