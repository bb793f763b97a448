"""Predictions: a digit as numbers or as a picture gets the network's own answer; everything else a clear refusal."""

import hashlib
import io
import json
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import numpy as np
import pytest
from builders import (
    TEN_UNITS,
    WITH,
    WITHOUT,
    arm_ids,
    cancelled,
    failed,
    fields,
    problem,
    running,
    strict_json,
    submitted,
    succeeded,
)
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from hypothesis import given
from hypothesis import strategies as st
from picture_memory import growth_kb
from PIL import Image
from sqlalchemy import select, update

from api.bodies import Bodies
from api.cache import NetworkCache, Place
from api.images import from_numbers, from_picture
from models.arrays import Array, Arrays
from models.database import Database
from models.errors import InvalidImage
from models.networks import StoredNetwork
from models.spec import ArmName, Spec, Statistics
from models.tables import Network
from models.trained import TrainedNetwork, starting_arrays

JSON = {"Content-Type": "application/json"}
PNG = {"Content-Type": "image/png"}
JPEG = {"Content-Type": "image/jpeg"}
BLANK = [0.0] * 784


def readers() -> dict[ArmName, Arrays]:
    """Return networks whose answer is the brightest of the first ten pixels; the one with batch norm is surer."""
    spec = TEN_UNITS.resolve("mnist-5k")
    both = {}
    for arm, sureness in ((WITHOUT, 5), (WITH, 10)):
        arrays = starting_arrays(spec, arm, 0)
        arrays["hidden_1/weights"] = np.eye(784, 10, dtype=np.float32)
        arrays["output/weights"] = sureness * np.eye(10, dtype=np.float32)
        both[arm] = arrays
    return both


def ink(digit: int) -> list[float]:
    """Return a picture that the networks above read as this digit."""
    pixels = list(BLANK)
    pixels[digit] = 1.0
    return pixels


def saved(picture: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def grey(pixels: Iterable[float]) -> Image.Image:
    return Image.fromarray((np.array(list(pixels)) * 255).astype(np.uint8).reshape(28, 28))


def ask(api: TestClient, body: dict[str, Any] | str | bytes) -> Response:
    content = json.dumps(body) if isinstance(body, dict) else body
    return api.post("/predict", content=content, headers=JSON)


# ---------------------------------------------------------------------------------------------------- answers


def test_an_answer_is_the_contracts_and_the_networks_own(api: TestClient, database: Database) -> None:
    experiment_id = succeeded(database, TEN_UNITS, readers())
    body = strict_json(ask(api, {"image": ink(7)}).text)
    network = TrainedNetwork(TEN_UNITS.resolve("mnist-5k"), WITH, readers()[WITH])
    expected = network.probabilities(np.array([ink(7)], np.float32))[0]
    assert body.pop("probabilities") == [float(share) for share in expected]
    assert [warning["code"] for warning in body.pop("warnings")] == ["population_statistics_not_converged"]
    assert body == {
        "digit": 7,
        "experiment": str(experiment_id),
        "arm": "with_batch_norm",
        "replicate": 0,
        "statistics": "population",
        "image": None,
    }


def test_numbers_rows_and_pictures_of_the_same_digit_get_the_same_answer(api: TestClient, database: Database) -> None:
    succeeded(database, TEN_UNITS, readers())
    for digit in range(10):
        flat = ask(api, {"image": ink(digit)}).json()
        assert flat["digit"] == digit
        assert sum(flat["probabilities"]) == pytest.approx(1, abs=1e-6)
        rows = np.array(ink(digit)).reshape(28, 28).tolist()
        assert ask(api, {"image": rows}).json() == flat
        assert api.post("/predict", content=saved(grey(ink(digit))), headers=PNG).json() == flat
        jpeg = api.post("/predict", content=saved(grey(ink(digit)), "JPEG", quality=100), headers=JPEG).json()
        assert jpeg["digit"] == digit


def test_a_picture_takes_its_choices_as_query_parameters_and_json_in_its_body(
    api: TestClient, database: Database
) -> None:
    older = succeeded(database, TEN_UNITS, readers())
    succeeded(database)
    for arm, statistics in ((WITHOUT, "population"), (WITH, "population"), (WITH, "batch")):
        choice = {"experiment": str(older), "arm": arm.value, "replicate": 0, "statistics": statistics}
        by_json = ask(api, {"image": ink(3), **choice}).json()
        by_picture = api.post("/predict", params=choice, content=saved(grey(ink(3))), headers=PNG).json()
        assert by_json == by_picture
        assert choice.items() <= by_json.items()


def test_each_choice_changes_the_answer(api: TestClient, database: Database) -> None:
    experiment = str(succeeded(database, TEN_UNITS, readers()))
    answers = [
        ask(api, {"image": ink(3), "experiment": experiment, **choice}).json()["probabilities"]
        for choice in ({}, {"arm": "without_batch_norm"}, {"statistics": "batch"})
    ]
    assert answers[0][3] > answers[1][3] > answers[2][3] == pytest.approx(0.1)


def test_with_batch_statistics_one_image_says_nothing(api: TestClient, database: Database) -> None:
    succeeded(database, TEN_UNITS, readers())
    answers = {ask(api, {"image": ink(digit), "statistics": "batch"}).text for digit in range(10)}
    assert len(answers) == 1


def test_without_an_experiment_the_newest_that_succeeded_answers(api: TestClient, database: Database) -> None:
    for _ in range(2):
        newest = succeeded(database, TEN_UNITS, readers())
        for unfit in (submitted, running, failed, cancelled):
            unfit(database)
        for body in ({"image": BLANK}, {"image": BLANK, "experiment": None}):
            assert ask(api, body).json()["experiment"] == str(newest)


def test_asking_changes_nothing(api: TestClient, database: Database) -> None:
    succeeded(database, TEN_UNITS, readers())
    assert ask(api, {"image": ink(1)}).content == ask(api, {"image": ink(1)}).content


# ------------------------------------------------------------------------------------------- who cannot answer


def test_before_anything_has_succeeded_nothing_answers(api: TestClient, database: Database) -> None:
    for unfit in (submitted, running, failed, cancelled):
        unfit(database)
        assert "POST /experiments" in problem(ask(api, {"image": BLANK}), 409, "nothing_trained")["detail"]
        picture = api.post("/predict", content=saved(grey(BLANK)), headers=PNG)
        problem(picture, 409, "nothing_trained")


@pytest.mark.parametrize(
    ("make", "arm", "status"),
    [
        (submitted, WITH, "queued"),
        (running, WITHOUT, "running"),
        (failed, WITH, "failed"),
        (cancelled, WITH, "cancelled"),
    ],
)
def test_an_arm_that_has_not_succeeded_has_no_network(
    api: TestClient, database: Database, make: Callable[[Database], UUID], arm: ArmName, status: str
) -> None:
    answer = ask(api, {"image": BLANK, "experiment": str(make(database)), "arm": arm.value})
    body = problem(answer, 409, "not_trained_yet", ["arm", "arm_status"])
    assert (body["arm"], body["arm_status"]) == (arm.value, status)


def test_the_arm_that_succeeded_answers_though_its_twin_failed(api: TestClient, database: Database) -> None:
    answer = ask(api, {"image": BLANK, "experiment": str(failed(database)), "arm": "without_batch_norm"})
    assert answer.status_code == 200


@pytest.mark.parametrize("step", [0, 17])
def test_a_diverged_network_says_when_it_diverged_and_its_twin_answers(
    api: TestClient, database: Database, step: int
) -> None:
    succeeded(database, TEN_UNITS, readers(), diverged_at={WITHOUT: step})
    answer = ask(api, {"image": BLANK, "arm": "without_batch_norm"})
    body = problem(answer, 409, "network_diverged", ["arm", "replicate", "diverged_at"])
    assert (body["arm"], body["replicate"], body["diverged_at"]) == ("without_batch_norm", 0, step)
    assert ask(api, {"image": BLANK}).status_code == 200


@pytest.mark.parametrize("arm", ArmName)
def test_a_network_whose_numbers_overflow_for_this_image_says_so(
    api: TestClient, database: Database, arm: ArmName
) -> None:
    arrays = readers()
    arrays[arm]["hidden_1/weights"] *= np.float32(3e38)
    arrays[arm]["output/weights"][:] = np.float32(3e38) * np.where(np.eye(10) > 0, 1, -1)
    succeeded(database, TEN_UNITS, arrays)
    body = problem(
        ask(api, {"image": [1.0] * 784, "arm": arm.value}), 409, "network_diverged", ["arm", "replicate", "diverged_at"]
    )
    assert body["diverged_at"] is None
    assert "this image" in body["detail"]
    blank = ask(api, {"image": BLANK, "arm": arm.value})
    assert strict_json(blank.text)["probabilities"] == pytest.approx([0.1] * 10)


def test_what_is_not_there_is_not_found(api: TestClient, database: Database) -> None:
    unknown = str(uuid4())
    body = problem(ask(api, {"image": BLANK, "experiment": unknown}), 404, "unknown_experiment", ["experiment_id"])
    assert body["experiment_id"] == unknown
    succeeded(database)
    for replicate in (1, 1_000):
        answer = ask(api, {"image": BLANK, "replicate": replicate})
        body = problem(answer, 404, "unknown_replicate", ["replicate", "replicates"])
        assert (body["replicate"], body["replicates"]) == (replicate, 1)


def test_the_arm_without_batch_norm_has_no_batch_statistics(api: TestClient, database: Database) -> None:
    succeeded(database)
    choice = {"arm": "without_batch_norm", "statistics": "batch"}
    for answer in (
        ask(api, {"image": BLANK, **choice}),
        api.post("/predict", params=choice, content=saved(grey(BLANK)), headers=PNG),
    ):
        assert fields(answer, code="batch_statistics_undefined") == ["statistics"]


class OneNetwork(NetworkCache):
    """A cache with one network, which notes in which thread it computes."""

    def __init__(self, trained: StoredNetwork) -> None:
        super().__init__(0)
        self.threads: list[str] = []
        threads = self.threads

        class Noting(TrainedNetwork):
            def probabilities(self, images: Array, statistics: Statistics = "population") -> Array:
                threads.append(threading.current_thread().name)
                return super().probabilities(images, statistics)

        network = trained.network
        self._trained = replace(trained, network=Noting(network.spec, network.arm, network.arrays))

    def ready(self, place: Place, owner: UUID | None = None) -> StoredNetwork:
        return self._trained


@pytest.mark.parametrize(
    ("asked", "aside"),
    [
        ({}, False),
        ({"hidden_layers": [2_000, 500]}, True),
        ({"network": "convolutional"}, False),
        ({"network": "convolutional", "feature_maps": [16, 32, 64, 64, 64, 64]}, True),
        ({"network": "recurrent"}, False),
        ({"network": "recurrent", "units": 128}, True),
    ],
)
def test_what_takes_long_is_computed_in_a_thread_so_that_others_are_answered_meanwhile(
    api: TestClient, database: Database, asked: dict[str, Any], aside: bool
) -> None:
    spec = Spec.model_validate_json(json.dumps({**asked, "seed": 1}))
    place = (succeeded(database, spec), WITH, 0)
    app: FastAPI = api.app  # type: ignore[assignment]
    app.state.networks = cache = OneNetwork(app.state.networks.load(database, place))
    for body in ({"image": BLANK}, {"images": [BLANK]}, {"images": [BLANK, BLANK]}):
        assert api.post("/predict", json=body).status_code == 200
    assert [name.startswith("AnyIO worker thread") for name in cache.threads] == [aside, aside, True]


def test_a_damaged_network_never_answers(api: TestClient, database: Database) -> None:
    arm_id = arm_ids(database, succeeded(database))[WITH]

    def overwrite(content: bytes) -> None:
        with database.write() as session:
            session.execute(update(Network).where(Network.arm_id == arm_id).values(arrays=content))

    with database.read() as session:
        whole = session.scalars(select(Network.arrays).where(Network.arm_id == arm_id)).one()
    overwrite(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert (
        hashlib.sha256(whole).hexdigest() not in problem(ask(api, {"image": BLANK}), 500, "network_damaged")["detail"]
    )
    overwrite(whole)
    assert ask(api, {"image": BLANK}).status_code == 200


# ---------------------------------------------------------------------------------------------- bad numbers


def numbers(token: str, others: str = "0") -> str:
    """Return JSON in which one pixel is written like this and the others like that."""
    return '{"image": [' + ", ".join([token] + [others] * 783) + "]}"


BAD_IMAGES = {
    "NaN": numbers("NaN"),
    "Infinity": numbers("Infinity"),
    "1e999": numbers("1e999"),
    "below": numbers("-0.001"),
    "above": numbers("1.001"),
    "bytes": numbers("255"),
    "a whole number beyond 64 bits": numbers("18446744073709551616"),
    "400 digits": numbers("1" + "0" * 400),
    "true": numbers("true", "true"),
    "true among numbers": numbers("true", "0.5"),
    "false among whole numbers": numbers("false"),
    "true in a row": json.dumps({"image": [[0.5] * 28] * 27 + [[True] + [0.5] * 27]}),
    "text": numbers('"0"', '"0"'),
    "text among numbers": numbers('"0"'),
    "null": numbers("null"),
    "an object": numbers('{"a": 1}'),
    "a list among numbers": numbers("[0]"),
    "an empty list among numbers": numbers("[]"),
    "783": json.dumps({"image": [0] * 783}),
    "785": json.dumps({"image": [0] * 785}),
    "27 rows": json.dumps({"image": [[0] * 28] * 27}),
    "27 columns": json.dumps({"image": [[0] * 27] * 28}),
    "ragged": json.dumps({"image": [[0] * 28] * 27 + [[0] * 27]}),
    "784 columns": json.dumps({"image": [[0]] * 784}),
    "three deep": json.dumps({"image": [[[0]] * 28] * 28}),
    "very deep": '{"image": ' + "[" * 150 + "]" * 150 + "}",
    "no list": '{"image": 0.5}',
    "nothing": '{"image": []}',
    "null instead": '{"image": null}',
    "text instead": '{"image": "digit.png"}',
    "an object instead": '{"image": {"data": []}}',
    "much": json.dumps({"image": [0] * 100_000}),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_numbers_that_are_no_digit_are_refused(door: TestClient, name: str) -> None:
    body = problem(ask(door, BAD_IMAGES[name]), 422, "invalid_image")
    (error,) = body["errors"]
    assert error["field"] == "image"
    assert "28 rows of 28 numbers, or 784 numbers" in error["allowed"]
    assert error["received"] not in ("", " numbers", None)


def test_a_refused_image_says_what_came(door: TestClient) -> None:
    def received(body: str) -> Any:
        return problem(ask(door, body), 422, "invalid_image")["errors"][0]["received"]

    assert received(numbers("1.5")) == 1.5
    assert received(numbers("NaN")) == "nan"
    assert received(json.dumps({"image": [0] * 783})) == "783 numbers"
    assert received(json.dumps({"image": [[0] * 27] * 28})) == "28×27 numbers"
    assert received('{"image": 0.5}') == "no list of numbers"


@given(st.lists(st.floats(0, 1) | st.integers(0, 1), min_size=28, max_size=28))
def test_every_number_from_0_to_1_is_a_pixel(row: list[float]) -> None:
    pixels = row * 28
    array = from_numbers(pixels)
    assert array.shape == (784,)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, np.array(pixels, np.float32))
    np.testing.assert_array_equal(array, from_numbers([pixels[i : i + 28] for i in range(0, 784, 28)]))


@given(st.floats(), st.integers(0, 783))
def test_one_number_outside_spoils_the_image(value: float, place: int) -> None:
    pixels = [0.5] * 784
    pixels[place] = value
    if 0 <= value <= 1:
        from_numbers(pixels)
        return
    with pytest.raises(InvalidImage) as raised:
        from_numbers(pixels)
    received = raised.value.errors[0].received
    assert received == value or (received != received and value != value)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("", ["image"]),
        ("{}", ["image"]),
        ("null", [""]),
        ("[]", [""]),
        (json.dumps(BLANK), [""]),
        ("image=0", [""]),
        ('{"image": ' + "[" * 100_000, [""]),
        (numbers("9" * 5_000), [""]),
        ({"image": BLANK, "experiement": str(UUID(int=1))}, ["experiement"]),
        ({"image": BLANK, "experiment": "newest"}, ["experiment"]),
        ({"image": BLANK, "experiment": ""}, ["experiment"]),
        ({"image": BLANK, "experiment": 7}, ["experiment"]),
        ({"image": BLANK, "arm": "with"}, ["arm"]),
        ({"image": BLANK, "arm": None}, ["arm"]),
        ({"image": BLANK, "replicate": -1}, ["replicate"]),
        ({"image": BLANK, "replicate": 1_001}, ["replicate"]),
        ({"image": BLANK, "replicate": "0"}, ["replicate"]),
        ({"image": BLANK, "replicate": True}, ["replicate"]),
        ({"image": BLANK, "replicate": 0.0}, ["replicate"]),
        ({"image": BLANK, "statistics": "running"}, ["statistics"]),
        ({"image": BLANK, "statistics": ["batch"]}, ["statistics"]),
        ({"image": BLANK, "normalize": True}, ["normalize"]),
    ],
    ids=lambda value: repr(value)[-40:],
)
def test_a_bad_request_is_refused_by_its_fields(door: TestClient, body: str | dict[str, Any], named: list[str]) -> None:
    assert fields(ask(door, body)) == named


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"experiment": "newest"}, "experiment"),
        ({"experiment": ""}, "experiment"),
        ({"arm": "WITH_BATCH_NORM"}, "arm"),
        ({"replicate": "-1"}, "replicate"),
        ({"replicate": "x"}, "replicate"),
        ({"replicate": "9" * 5_000}, "replicate"),
        ({"statistics": "both"}, "statistics"),
        ({"normalize": "perhaps"}, "normalize"),
        ({"normalize": ""}, "normalize"),
        ({"image": "0"}, "image"),
        ({"model": "1"}, "model"),
        ({"": "1"}, ""),
    ],
)
def test_a_bad_query_parameter_beside_a_picture_is_refused(door: TestClient, query: dict[str, str], named: str) -> None:
    answer = door.post("/predict", params=query, content=saved(grey(BLANK)), headers=PNG)
    assert fields(answer) == [named]


def test_query_parameters_beside_json_are_refused_not_ignored(door: TestClient) -> None:
    for query in ({"arm": "without_batch_norm"}, {"statistics": "batch", "replicate": "0"}):
        answer = door.post("/predict", params=query, json={"image": BLANK})
        assert fields(answer) == list(query)
        assert "body" in answer.json()["errors"][0]["allowed"]
    answer = door.post("/predict", params={"normalize": "true"}, json={"image": BLANK})
    assert fields(answer) == ["normalize"]
    assert "only beside a picture" in answer.json()["errors"][0]["allowed"]


# ------------------------------------------------------------------------------------------------- pictures


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def zeros(megabytes: int) -> bytes:
    """Return so many zero bytes, packed piece by piece: this process never holds them."""
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(1_000_000)) for _ in range(megabytes)), packer.flush()])


def png(
    width: int = 28, height: int = 28, bits: int = 8, colour: int = 0, packed: bytes = b"", before: bytes = b""
) -> bytes:
    """Return a PNG written by hand, as an encoder would not write it."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", packed or zlib.compress(b"\0" * (29 * 28))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + chunk(*parts[0]) + before + chunk(*parts[1]) + chunk(*parts[2])


def read(content: bytes, media_type: str) -> Array:
    return from_picture(content, media_type).pixels


STROKE = np.tile(np.linspace(0, 255, 28).astype(np.uint8), (28, 1))  # from black to white
ROW = Image.fromarray(STROKE)


def rgba(white: int, alpha: int) -> Image.Image:
    return Image.new("RGBA", (28, 28), (white, white, white, alpha))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_a_grey_picture_is_read_the_same_in_every_mode(mode: str) -> None:
    np.testing.assert_allclose(read(saved(ROW.convert(mode)), "image/png"), STROKE.ravel() / 255, atol=1e-6)


def test_a_picture_of_two_colours_is_black_and_white() -> None:
    two = (STROKE > 127).astype(np.uint8) * 255
    array = read(saved(Image.fromarray(two).convert("1")), "image/png")
    np.testing.assert_array_equal(array, two.ravel() / 255)


def test_16_bits_are_read_as_finely_as_they_are_written() -> None:
    fine = np.linspace(0, 65_535, 784).astype(np.uint16).reshape(28, 28)
    array = read(saved(Image.fromarray(fine)), "image/png")
    np.testing.assert_allclose(array, fine.ravel() / 65_535, atol=1e-6)


def test_a_colour_counts_by_its_brightness() -> None:
    white, red, green, blue = (
        read(saved(Image.new("RGB", (28, 28), colour)), "image/png")[0]
        for colour in ("white", (255, 0, 0), (0, 255, 0), (0, 0, 255))
    )
    assert white == 1
    assert green > red > blue > 0
    assert red + green + blue == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("white", "alpha", "expected"), [(255, 0, 0), (255, 255, 1), (0, 0, 0), (255, 128, 128 / 255)])
def test_what_is_transparent_is_black(white: int, alpha: int, expected: float) -> None:
    array = read(saved(rgba(white, alpha)), "image/png")
    np.testing.assert_allclose(array, expected, atol=0.003)


def test_a_transparent_colour_is_black_too() -> None:
    for picture, colour in ((Image.new("L", (28, 28), 200), 200), (Image.new("RGB", (28, 28), (9, 8, 7)), (9, 8, 7))):
        assert read(saved(picture, transparency=colour), "image/png").max() == 0
    palette = Image.new("P", (28, 28), 1)
    palette.putpalette([0, 0, 0, 255, 255, 255])
    assert read(saved(palette), "image/png").min() == 1
    assert read(saved(palette, transparency=1), "image/png").max() == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_is_read_up_to_its_losses(mode: str) -> None:
    array = read(saved(ROW.convert(mode), "JPEG", quality=95), "image/jpeg")
    np.testing.assert_allclose(array, STROKE.ravel() / 255, atol=0.05)


def test_odd_details_of_a_picture_do_not_matter() -> None:
    odd = saved(ROW, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01")  # nine entries are promised, none is there
    np.testing.assert_array_equal(read(odd, "image/jpeg"), read(saved(ROW, "JPEG"), "image/jpeg"))
    comment = chunk(b"tEXt", b"Comment\0a digit") + chunk(b"pHYs", b"\0\0\0\1\0\0\0\1\1")
    assert read(png(before=comment), "image/png").max() == 0


def test_what_a_drawing_program_adds_does_not_matter() -> None:
    added = [chunk(b"iCCP", PACKED), chunk(b"zTXt", PACKED), chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + b"<x/>")]
    assert read(png(before=b"".join(added)), "image/png").max() == 0


def test_a_picture_is_read_aside_so_that_others_are_answered_meanwhile(door: TestClient) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def large(_: bytearray) -> None:
        begun.set()
        goes_on.wait(60)

    bodies: Bodies = door.app.state.bodies  # type: ignore[attr-defined]
    with ThreadPoolExecutor(2) as threads:
        try:
            before = threads.submit(anyio.run, bodies.read_aside, bytearray(), large)
            assert begun.wait(60)
            picture = threads.submit(door.post, "/predict", content=saved(ROW.resize((7, 28))), headers=PNG)
            time.sleep(0.2)
            assert door.get("/health/live").status_code == 200
            assert not picture.done()  # it waits for its turn
        finally:
            goes_on.set()
        before.result()
        problem(picture.result(), 422, "invalid_image")


def test_the_first_row_of_a_picture_is_the_first_28_pixels() -> None:
    pixels = np.zeros((28, 28), np.uint8)
    pixels[2, 5] = 255
    assert read(saved(Image.fromarray(pixels)), "image/png").argmax() == 2 * 28 + 5


ZEROS = zeros(megabytes=60)
#: What Pillow unpacks of a profile or a text, at most: a megabyte, packed into one kilobyte.
PACKED = b"a\0\0" + zlib.compress(bytes(1_048_566), 9)
ANIMATION: dict[str, Any] = {"save_all": True, "append_images": [Image.new("L", (28, 28), 9)]}
REFUSED = {
    "empty": (b"", PNG),
    "text": (b"digit", PNG),
    "a page": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", PNG),
    "a signature alone": (b"\x89PNG\r\n\x1a\n", PNG),
    "a JPEG called PNG": (saved(ROW, "JPEG"), PNG),
    "a PNG called JPEG": (saved(ROW), JPEG),
    "a GIF called PNG": (saved(ROW, "GIF"), PNG),
    "a GIF called JPEG": (saved(ROW, "GIF"), JPEG),
    "a WebP called PNG": (saved(ROW, "WEBP"), PNG),
    "a BMP called PNG": (saved(ROW, "BMP"), PNG),
    "a TIFF called JPEG": (saved(ROW, "TIFF"), JPEG),
    "an animated GIF called PNG": (saved(ROW, "GIF", **ANIMATION), PNG),
    "an animated PNG": (saved(ROW, **ANIMATION), PNG),
    "7×28": (saved(ROW.resize((7, 28))), PNG),
    "28×7": (saved(ROW.resize((28, 7)), "JPEG"), JPEG),
    "1,025×28": (saved(ROW.resize((1_025, 28))), PNG),
    "28×1,025": (saved(ROW.resize((28, 1_025)), "JPEG"), JPEG),
    "1×784": (saved(ROW.resize((784, 1))), PNG),
    "0×0": (png(0, 0), PNG),
    "50,000×50,000": (png(50_000, 50_000), PNG),
    "10,000×10,000": (png(10_000, 10_000), PNG),
    "2,147,483,647×2,147,483,647": (png(2**31 - 1, 2**31 - 1), PNG),
    "a text that unpacks to 60 MB": (
        png(before=chunk(b"zTXt", b"a\0\0" + ZEROS)),
        PNG,
    ),
    "a profile that unpacks to 60 MB": (
        png(before=chunk(b"iCCP", b"a\0\0" + ZEROS)),
        PNG,
    ),
    "fifty profiles": (png(before=50 * chunk(b"iCCP", PACKED)), PNG),
    "fifty texts": (png(before=50 * chunk(b"zTXt", PACKED)), PNG),
    "a thousand scans": (saved(ROW, "JPEG").replace(b"\xff\xd9", 1_000 * b"\xff\xda\0\2" + b"\xff\xd9"), JPEG),
    "fifty texts of another kind": (png(before=50 * chunk(b"iTXt", b"a\0\1\0\0\0" + PACKED[3:])), PNG),
    "7 bits": (png(bits=7), PNG),
    "no pixels": (png().replace(chunk(b"IDAT", zlib.compress(b"\0" * (29 * 28))), b""), PNG),
    "a wrong checksum": (saved(ROW)[:45] + bytes([saved(ROW)[45] ^ 1]) + saved(ROW)[46:], PNG),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_of_a_digit_is_refused_at_once(door: TestClient, name: str) -> None:
    content, headers = REFUSED[name]
    began = time.monotonic()
    assert fields(door.post("/predict", content=content, headers=headers), code="invalid_image") == ["image"]
    assert time.monotonic() - began < 2


# A row's filter and its pixels, all 0, for 3 million rows: the first 28 are the picture.
BOMB = png(packed=ZEROS)


def test_no_picture_takes_much_memory(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(saved(ROW))
    (tmp_path / "sent").mkdir()
    for number, (content, headers) in enumerate([*REFUSED.values(), (BOMB, PNG)]):
        suffix = headers["Content-Type"].partition("/")[2]
        (tmp_path / "sent" / f"{number}.{suffix}").write_bytes(content)
    grown, refused = growth_kb(tmp_path / "good.png", tmp_path / "sent")
    assert grown < 20_000
    assert refused == len(REFUSED)


def test_pixels_beyond_the_picture_are_never_unpacked() -> None:
    began = time.monotonic()
    np.testing.assert_array_equal(read(BOMB, "image/png"), 0)
    assert time.monotonic() - began < 1


def test_a_refused_picture_says_what_came(door: TestClient) -> None:
    def received(name: str) -> str:
        content, headers = REFUSED[name]
        answer = door.post("/predict", content=content, headers=headers)
        return str(problem(answer, 422, "invalid_image")["errors"][0]["received"])

    assert received("7×28") == "7×28 pixels"
    assert received("28×1,025") == "28×1025 pixels"
    assert received("a thousand scans") == "1001"
    assert received("an animated PNG") == "an animation"
    assert received("fifty profiles") == received("fifty texts") == "50"
    assert received("50,000×50,000") == "many millions of pixels"
    assert received("a wrong checksum") == "a damaged one"


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_picture_cut_short_anywhere_is_refused(format: str) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (28, 28)).astype(np.uint8))
    whole = saved(noise, format)
    needed = len(whole) - 4 if format == "PNG" else len(whole)  # a PNG ends with the checksum of nothing
    read(whole, f"image/{format.lower()}")
    for length in range(0, needed, 7):
        with pytest.raises(InvalidImage):
            read(whole[:length], f"image/{format.lower()}")
    with pytest.raises(InvalidImage):
        read(whole[: needed - 1], f"image/{format.lower()}")


@given(st.binary(max_size=200), st.sampled_from(["image/png", "image/jpeg"]))
def test_bytes_from_nowhere_are_refused_and_nothing_else_happens(content: bytes, media_type: str) -> None:
    head = b"\x89PNG\r\n\x1a\n" if media_type == "image/png" else b"\xff\xd8\xff"
    for sent in (content, head + content):
        with pytest.raises(InvalidImage):
            read(sent, media_type)


@given(st.data())
def test_a_changed_byte_is_refused_or_read_as_a_picture_but_never_breaks(data: st.DataObject) -> None:
    for format in ("PNG", "JPEG"):
        changed = bytearray(saved(ROW, format))
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        try:
            array = read(bytes(changed), f"image/{format.lower()}")
        except InvalidImage:
            continue
        assert array.shape == (784,)
        assert ((array >= 0) & (array <= 1)).all()
