"""The data sets: real digits, the same split every time; files are taken whole and checked or not at all."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from conftest import ROOT

from faults.servers import free_port
from models import datasets
from models.datasets import MNIST_FILES, Bytes, Dataset, fetch_mnist, find_or_fetch, read_checked
from models.errors import DatasetUnavailable
from models.settings import Settings

#: Two files as a mirror might have, far smaller than the real ones.
CONTENT = {"some-images": b"images" * 1_000, "some-labels": b"labels" * 1_000}
FILES = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
PACKED = {f"/{name}.gz": gzip.compress(content) for name, content in CONTENT.items()}

# ------------------------------------------------------------------------------------------------ the digits


def test_the_small_set_has_its_parts(digits: Dataset) -> None:
    parts = [
        (digits.train_images, digits.train_labels, 3_500),
        (digits.validation_images, digits.validation_labels, 500),
        (digits.test_images, digits.test_labels, 1_000),
    ]
    for images, labels, count in parts:
        assert images.shape == (count, 784)
        assert labels.shape == (count,)
        assert images.dtype == labels.dtype == np.uint8
        assert (images.min(), images.max()) == (0, 255)
        assert np.bincount(labels, minlength=10).min() > 0.06 * count  # shuffled: every digit in every part
    labels = np.concatenate([labels for _, labels, _ in parts])
    assert np.bincount(labels).tolist() == [500] * 10


def test_each_image_of_the_small_set_has_its_own_label(digits: Dataset) -> None:
    # Who takes each image for the digit whose mean image is nearest is mostly right, or labels and images are mixed up.
    means = np.stack([digits.train_images[digits.train_labels == digit].mean(axis=0) for digit in range(10)])
    for images, labels in (
        (digits.train_images, digits.train_labels),
        (digits.validation_images, digits.validation_labels),
        (digits.test_images, digits.test_labels),
    ):
        distances = ((images[:500, np.newaxis].astype(np.float64) - means) ** 2).sum(axis=-1)
        assert (distances.argmin(axis=1) == labels[:500]).mean() > 0.7


def test_no_image_of_the_small_set_is_in_two_parts(digits: Dataset) -> None:
    train, validation, test = (
        {image.tobytes() for image in images}
        for images in (digits.train_images, digits.validation_images, digits.test_images)
    )
    assert train.isdisjoint(validation)
    assert train.isdisjoint(test)
    assert validation.isdisjoint(test)


def test_the_small_set_is_split_the_same_every_time(digits: Dataset) -> None:
    again = datasets.load("mnist-5k", Path("no folder is needed"))
    for part, array in vars(digits).items():
        if part != "name":
            np.testing.assert_array_equal(array, vars(again)[part])
    # Whoever changes these changes what every recorded experiment was trained on.
    assert digits.validation_labels[:10].tolist() == [4, 9, 7, 3, 5, 7, 1, 2, 0, 7]
    assert digits.test_labels[:10].tolist() == [6, 8, 9, 2, 9, 8, 7, 2, 6, 7]


def test_the_test_digits_alone_are_those_of_the_whole_set(digits: Dataset) -> None:
    images, labels = datasets.load_test_digits("mnist-5k", Path())
    np.testing.assert_array_equal(images, digits.test_images)
    np.testing.assert_array_equal(labels, digits.test_labels)


def test_the_full_set_is_split_as_in_the_lesson(full_mnist: Dataset, full_mnist_dir: Path) -> None:
    assert full_mnist.train_images.shape == (55_000, 784)
    assert full_mnist.validation_images.shape == (5_000, 784)
    assert full_mnist.test_images.shape == (10_000, 784)
    assert [len(full_mnist.train_labels), len(full_mnist.validation_labels), len(full_mnist.test_labels)] == [
        55_000,
        5_000,
        10_000,
    ]

    def raw(file: str, head: int) -> Bytes:
        return np.frombuffer(read_checked(full_mnist_dir, file, MNIST_FILES[file]), np.uint8, offset=head)

    labels, pixels = raw("train-labels-idx1-ubyte", 8), raw("train-images-idx3-ubyte", 16)
    np.testing.assert_array_equal([*full_mnist.validation_labels, *full_mnist.train_labels], labels)
    np.testing.assert_array_equal(full_mnist.validation_images.ravel(), pixels[: 5_000 * 784])
    np.testing.assert_array_equal(full_mnist.train_images.ravel(), pixels[5_000 * 784 :])
    assert full_mnist.validation_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # the file's first
    assert full_mnist.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    images, labels = datasets.load_test_digits("mnist", full_mnist_dir)
    np.testing.assert_array_equal(images, full_mnist.test_images)
    np.testing.assert_array_equal(labels, full_mnist.test_labels)


def test_an_experiment_records_which_data_it_had() -> None:
    assert datasets.SHA256["mnist-5k"] == datasets.MNIST_5K_SHA256
    assert len(datasets.SHA256["mnist"]) == 64
    assert datasets.SHA256["mnist"] != datasets.SHA256["mnist-5k"]


# -------------------------------------------------------------------------------------------------- the files


@pytest.mark.parametrize("packed", [True, False])
def test_a_file_is_found_plain_or_compressed(tmp_path: Path, packed: bool) -> None:
    for name, content in CONTENT.items():
        if packed:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (tmp_path / name).write_bytes(content)
        assert read_checked(tmp_path, name, FILES[name]) == content


@pytest.mark.parametrize("packed", [True, False])
def test_the_full_set_is_read_plain_or_compressed(full_mnist_dir: Path, tmp_path: Path, packed: bool) -> None:
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        content = read_checked(full_mnist_dir, name, MNIST_FILES[name])
        if packed:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (tmp_path / name).write_bytes(content)
    images, labels = datasets.load_test_digits("mnist", tmp_path)
    assert (images.shape, labels[0]) == ((10_000, 784), 7)


WHOLE = gzip.compress(b"x" * 10_000)


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".gz", b""),
        (".gz", b"<html>Not found</html>"),
        (".gz", WHOLE[:-5]),
        (".gz", WHOLE[:12]),
        (".gz", WHOLE[:20] + bytes([WHOLE[20] ^ 255]) + WHOLE[21:]),
        (".gz", WHOLE),
        ("", b""),
        ("", b"x" * 10_000),
        ("", WHOLE),
    ],
    ids=[
        "empty",
        "a page",
        "cut",
        "cut early",
        "a changed byte",
        "foreign",
        "plain, empty",
        "plain, foreign",
        "packed",
    ],
)
def test_a_damaged_or_foreign_file_is_refused_by_name(tmp_path: Path, suffix: str, content: bytes) -> None:
    name = "t10k-images-idx3-ubyte" + suffix
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetUnavailable) as raised:
        datasets.load_test_digits("mnist", tmp_path)
    assert f" {name} " in raised.value.message
    assert "fetch it again" in raised.value.message
    assert (tmp_path / name).read_bytes() == content  # it may be somebody's only copy


def test_a_missing_file_says_where_it_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailable, match=r"train-images-idx3-ubyte\.gz.*BNLAB_DATA_DIR"):
        datasets.load("mnist", tmp_path)
    with pytest.raises(DatasetUnavailable, match=r"t10k-images-idx3-ubyte\.gz"):
        datasets.load_test_digits("mnist", tmp_path / "no such folder")


# ------------------------------------------------------------------------------------------------ the mirrors


class Mirror:
    """A web server of this process: what it has, how it cheats, what it was asked for."""

    def __init__(self, files: dict[str, bytes], cut: int = 0, redirect: str = "") -> None:
        self.files, self.cut, self.redirect = files, cut, redirect
        self.asked: list[str] = []
        self.url = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        content = self.files.get(request.path)
        if self.redirect:
            request.send_response(302)
            request.send_header("Location", self.redirect + request.path)
            request.send_header("Content-Length", "0")
            request.end_headers()
        elif content is None:
            request.send_error(404)
        else:
            request.send_response(200)
            request.send_header("Content-Length", str(len(content)))
            request.end_headers()
            request.wfile.write(content[: len(content) - self.cut])


@contextmanager
def serving(mirror: Mirror) -> Iterator[str]:
    """Serve while the block runs; give the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirror.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(5)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def silent(_file: str, _done: int, _total: int | None) -> None:
    pass


def nobody() -> str:
    """Return the address of a mirror that is down."""
    return f"http://127.0.0.1:{free_port()}"


def in_folder(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_missing_is_fetched_whole_and_reported(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    with serving(Mirror(PACKED)) as url:
        fetch_mnist(tmp_path / "new" / "data", (url,), lambda *report: seen.append(report), FILES)
    for name, content in CONTENT.items():
        assert read_checked(tmp_path / "new" / "data", name, FILES[name]) == content
        length = len(PACKED[f"/{name}.gz"])
        assert [(done, total) for file, done, total in seen if file == name][-1] == (length, length)
    assert in_folder(tmp_path / "new" / "data") == [f"{name}.gz" for name in CONTENT]


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "some-images").write_bytes(CONTENT["some-images"])
    mirror = Mirror(PACKED)
    with serving(mirror) as url:
        fetch_mnist(tmp_path, (url,), silent, FILES)
        assert mirror.asked == ["/some-labels.gz"]
        fetch_mnist(tmp_path, (url,), silent, FILES)
        assert mirror.asked == ["/some-labels.gz"]
    fetch_mnist(tmp_path, (), silent, FILES)


BAD_MIRRORS = {
    "without the files": Mirror({}),
    "with other files": Mirror({path: gzip.compress(b"other") for path in PACKED}),
    "with pages": Mirror({path: b"<html></html>" for path in PACKED}),
    "with files cut short": Mirror({path: content[:-9] for path, content in PACKED.items()}),
    "that hangs up early": Mirror(PACKED, cut=9),
    "that sends elsewhere": Mirror({}, redirect="http://127.0.0.1:9"),
}


@pytest.mark.parametrize("name", BAD_MIRRORS)
def test_a_bad_mirror_is_passed_over_for_the_next(tmp_path: Path, name: str) -> None:
    with serving(BAD_MIRRORS[name]) as bad, serving(Mirror(PACKED)) as good:
        fetch_mnist(tmp_path / "data", (bad, good), silent, FILES)
        assert in_folder(tmp_path / "data") == [f"{name}.gz" for name in CONTENT]
        for name, sha256 in FILES.items():
            read_checked(tmp_path / "data", name, sha256)

        with pytest.raises(DatasetUnavailable, match=r"some-images\.gz"):
            fetch_mnist(tmp_path / "empty", (bad,), silent, FILES)
        assert in_folder(tmp_path / "empty") == []


@pytest.mark.parametrize("address", ["http://mirror:port", "no address", "ftp://127.0.0.1", "http://127.0.0.1:99999"])
def test_an_address_that_is_none_is_passed_over_too(tmp_path: Path, address: str) -> None:
    with serving(Mirror(PACKED)) as good:
        fetch_mnist(tmp_path, (address, nobody(), good), silent, FILES)
    assert in_folder(tmp_path) == [f"{name}.gz" for name in CONTENT]


def test_a_redirect_is_followed(tmp_path: Path) -> None:
    with serving(Mirror(PACKED)) as good, serving(Mirror({}, redirect=good)) as first:
        fetch_mnist(tmp_path, (first,), silent, FILES)
    assert in_folder(tmp_path) == [f"{name}.gz" for name in CONTENT]


def test_no_mirror_at_all_is_said_by_the_first_missing_file(tmp_path: Path) -> None:
    for mirrors in ((), (nobody(), nobody())):
        with pytest.raises(DatasetUnavailable, match=r"No mirror gave the MNIST file train-images-idx3-ubyte\.gz"):
            fetch_mnist(tmp_path, mirrors, silent)
    assert in_folder(tmp_path) == []


# -------------------------------------------------------------------------------------- which one a server takes


def fallback(settings: Settings) -> str:
    name, sentence = find_or_fetch(settings, silent)
    assert name == "mnist-5k"
    assert sentence.startswith("Data set: mnist-5k, ")
    assert "\n" not in sentence
    return sentence


def test_without_a_mirror_the_small_set_is_taken_and_said_so(tmp_path: Path) -> None:
    sentence = fallback(Settings(state_dir=tmp_path, mnist_mirrors=(nobody(),)))
    assert "No mirror gave the MNIST file train-images-idx3-ubyte.gz" in sentence
    assert str(tmp_path / "data") in sentence
    assert "BNLAB_DATA_DIR" in sentence


def test_a_damaged_file_is_named_and_neither_used_nor_replaced(tmp_path: Path) -> None:
    for name in MNIST_FILES:
        (tmp_path / f"{name}.gz").write_bytes(b"damaged")
    mirror = Mirror({})
    with serving(mirror) as url:
        sentence = fallback(Settings(state_dir=tmp_path, data_dir=tmp_path, mnist_mirrors=(url,)))
    assert "train-images-idx3-ubyte.gz cannot be read" in sentence
    assert mirror.asked == []
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"damaged"}


def test_a_data_folder_that_cannot_be_made_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for data_dir in (tmp_path / "file", tmp_path / "file" / "data"):
        assert "cannot be used" in fallback(Settings(state_dir=tmp_path, data_dir=data_dir, mnist_mirrors=()))


def test_who_asks_for_the_small_set_gets_it_and_no_mirror_is_asked(tmp_path: Path) -> None:
    mirror = Mirror({})
    with serving(mirror) as url:
        settings = Settings(state_dir=tmp_path, dataset="mnist-5k", mnist_mirrors=(url,))
        assert find_or_fetch(settings, silent) == ("mnist-5k", "Data set: mnist-5k, as asked.")
    assert mirror.asked == []
    assert in_folder(tmp_path) == []


def test_the_full_set_is_taken_where_its_files_lie(full_mnist_dir: Path, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, data_dir=full_mnist_dir, mnist_mirrors=(nobody(),))
    name, sentence = find_or_fetch(settings, silent)
    assert name == "mnist"
    assert str(full_mnist_dir) in sentence


def test_the_command_prints_one_line_of_json(tmp_path: Path) -> None:
    environment = {**os.environ, "BNLAB_STATE_DIR": str(tmp_path), "BNLAB_MNIST_MIRRORS": json.dumps([nobody()])}
    command = [sys.executable, "-m", "models.datasets"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["dataset"] == "mnist-5k"
    assert "No mirror gave" in json.loads(line)["sentence"]
