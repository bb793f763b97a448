"""The service from Python: submit a spec or a sweep, follow it, take its curves, ask a trained network for a digit."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from bnlab.connection import Connection, Json, given, passes
from bnlab.errors import ApiProblem, ServerUnreachable, WaitedTooLong
from bnlab.stream import SILENCE_S, Event, resumed

FINISHED = frozenset({"succeeded", "failed", "cancelled"})
PAGE_LIMIT = 100

#: A server that restarts or is busy is asked again for this long while an experiment or a sweep is followed.
PATIENCE_S = 15.0

#: How a picture's bytes begin, and what its type is called.
PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


class Client(Connection):
    """The questions one server answers."""

    def submit(self, *, idempotency_key: str | None = None, **spec: Any) -> Json:
        """Submit a spec, every field of which may be left out, and return the experiment.

        For one `idempotency_key` the server makes one experiment, however often it is sent; left out, each call draws
        a new one. So the request is sent again, up to six times in all, when it may have arrived and the answer
        stays out: the connection broke, the time was over, the server restarts (502, 503, 504). A server that refuses
        the first connection, or has too much to do (429), is not asked again.
        """
        return self._make("/experiments", spec, idempotency_key)

    def experiment(self, id: str) -> Json:
        """Return one experiment as it stands."""
        return self._json("GET", _path("experiments", id))

    def experiments(self, status: str | None = None, limit: int = 20, cursor: str | None = None) -> Json:
        """Return one page, newest first: `experiments`, and `next_cursor`, None on the last page."""
        return self._json("GET", "/experiments", params={"status": status, "limit": limit, "cursor": cursor})

    def all_experiments(self, status: str | None = None) -> Iterator[Json]:
        """Yield every experiment, newest first, one page after the other as they are needed."""
        cursor = None
        while True:
            page = self.experiments(status, PAGE_LIMIT, cursor)
            yield from page["experiments"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def curve(self, id: str) -> Json:
        """Return every point of both arms so far."""
        return self._json("GET", _path("experiments", id, "curve"), params={"format": "json"})

    def curve_csv(self, id: str) -> str:
        """Return the points as a CSV table."""
        return self._send("GET", _path("experiments", id, "curve"), params={"format": "csv"}).text

    def curve_picture(self, id: str, format: Literal["png", "svg"] = "png") -> bytes:
        """Return the curve drawn as the lesson draws it."""
        return self._send("GET", _path("experiments", id, "curve"), params={"format": format}).content

    def history(self, id: str) -> Json:
        """Return `events`, what happened to both arms, the oldest first: when, from what to what, why, by whom."""
        return self._json("GET", _path("experiments", id, "history"))

    def cancel(self, id: str) -> Json:
        """Ask for the experiment to be stopped, and return it; a running arm stops within about a second."""
        return self._json("POST", _path("experiments", id, "cancel"))

    def predict(
        self,
        image: Any,
        experiment: str | None = None,
        arm: str | None = None,
        replicate: int | None = None,
        statistics: str | None = None,
        normalize: bool | None = None,
    ) -> Json:
        """Return the digit a trained network sees; without an experiment, the newest that succeeded answers.

        `image` is 28 rows of 28 numbers, 784 numbers, a NumPy array of either form (0 … 1, white ink on black), or the
        path or the bytes of a PNG or JPEG picture. A picture of another size than 28×28 is made into a digit as MNIST's
        were, one of 28×28 is taken as it is; `normalize`, of a picture only, says which is to be done. `image` of the
        answer is what was used, or None.
        """
        choices = given(experiment=experiment, arm=arm, replicate=replicate, statistics=statistics, normalize=normalize)
        if isinstance(image, (str, PathLike)):
            image = Path(image).read_bytes()
        if isinstance(image, (bytes, bytearray)):
            picture = bytes(image)
            headers = {"Content-Type": _picture_type(picture)}
            return self._json("POST", "/predict", params=choices, content=picture, headers=headers)
        return self._json("POST", "/predict", body={"image": _numbers(image), **choices})

    def predict_many(
        self,
        images: Any,
        experiment: str | None = None,
        arm: str | None = None,
        replicate: int | None = None,
        statistics: str | None = None,
    ) -> Json:
        """Return `predictions`, one for each image in their order, all by the same network.

        `images` is always several: a sequence of images, each in numbers as `predict` takes them, or a NumPy array of
        n×784 or n×28×28. With batch statistics they are one batch: each answer then depends on the other images.
        """
        choices = given(experiment=experiment, arm=arm, replicate=replicate, statistics=statistics)
        numbers = [_numbers(image) for image in _numbers(images)]
        return self._json("POST", "/predict", body={"images": numbers, **choices})

    def network(self, id: str, arm: str, replicate: int | None = None) -> Json:
        """Return a trained network: its layers, what they learned, and the statistics they gathered."""
        return self._json("GET", _path("experiments", id, "networks", arm), params={"replicate": replicate})

    def digits(self, count: int = 10, dataset: str | None = None) -> Json:
        """Return `dataset`, else the server's, and the first `digits` of its test images: `index`, `label`, `image`."""
        return self._json("GET", "/digits", params={"count": count, "dataset": dataset})

    def health(self) -> Json:
        """Return what the server says of itself when it is ready; ApiProblem with status 503 when it is not."""
        return self._json("GET", "/health/ready")

    def workers(self) -> Json:
        """Return `workers`: what each trains on, how much it trains now, and when it was heard of last."""
        return self._json("GET", "/workers")

    def presets(self) -> Json:
        """Return `presets`, the named settings: what each shows, the spec it sets, what the lesson published."""
        return self._json("GET", "/presets")

    def submit_sweep(
        self,
        base: Mapping[str, Any] | None = None,
        grid: Mapping[str, Sequence[Any]] | None = None,
        presets: str | Sequence[str] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Json:
        """Submit one experiment for each combination of the values in the grid, and return the sweep.

        `base` is the spec they share. `presets` is one more axis: names, or "lesson" for all that the lesson ran.
        For one `idempotency_key` the server makes one sweep; the request is sent again as by `submit`.
        """
        return self._make("/sweeps", given(base=base, grid=grid, presets=presets), idempotency_key)

    def sweep(self, id: str) -> Json:
        """Return one sweep as it stands, with all its experiments."""
        return self._json("GET", _path("sweeps", id), params={"format": "json"})

    def sweeps(self, limit: int = 20, cursor: str | None = None) -> Json:
        """Return one page, newest first: `sweeps` without their experiments, and `next_cursor`, None on the last."""
        return self._json("GET", "/sweeps", params={"limit": limit, "cursor": cursor})

    def sweep_csv(self, id: str) -> str:
        """Return the sweep as a CSV table, a row for each experiment."""
        return self._send("GET", _path("sweeps", id), params={"format": "csv"}).text

    def sweep_curves(self, id: str, format: Literal["png", "svg"] = "png", first: int = 0, count: int = 24) -> bytes:
        """Return a picture of the curves of `count` experiments side by side, from position `first` on."""
        choices = {"format": format, "first": first, "count": count}
        return self._send("GET", _path("sweeps", id, "curves"), params=choices).content

    def cancel_sweep(self, id: str) -> Json:
        """Ask for all its experiments to be stopped, and return the sweep."""
        return self._json("POST", _path("sweeps", id, "cancel"))

    def follow(self, id: str, poll_interval_s: float = 0.5) -> Iterator[Json]:
        """Yield the experiment now and after every interval, for the last time when it has ended.

        A server that goes away for a few seconds in between is waited for.
        """
        return _follow(lambda: self.experiment(id), poll_interval_s)

    def watch(self, id: str) -> Generator[Event, None, None]:
        """Yield what happens to the experiment as the server tells it, up to the event `end`.

        The first event is `experiment`, with what `experiment` returns; it comes again whenever an arm changes its
        status. `points` are further points of an arm's curve: `arm`, `steps`, `mean`, `min`, `max`, `std` with a number
        for each step, and `replicates` with such a list for each replicate; `restarted` says that the arm's earlier
        points are void, and of two for one step the later counts. `progress` is how far both arms are. Accuracies are
        0 to 1, steps are batches. `bnlab.watched.Watched` puts the events together.

        A stream that breaks off is resumed behind the last event; a server that goes away for a few seconds, or asks
        for a few, is waited for. The connection is closed with the generator. Raises UnexpectedAnswer if no stream of
        events comes.
        """
        return resumed(partial(self._stream, _path("experiments", id, "events"), silence_s=SILENCE_S), PATIENCE_S)

    def wait(
        self,
        id: str,
        poll_interval_s: float = 0.5,
        timeout_s: float | None = None,
        on_change: Callable[[Json], object] | None = None,
    ) -> Json:
        """Return the experiment once it has succeeded, failed or been cancelled; None waits for ever.

        `on_change` is called with the experiment whenever it differs from the last time. Raises WaitedTooLong.
        """
        return _last(self.follow(id, poll_interval_s), "experiment", timeout_s, on_change)

    def wait_for_sweep(
        self,
        id: str,
        poll_interval_s: float = 1.0,
        timeout_s: float | None = None,
        on_change: Callable[[Json], object] | None = None,
    ) -> Json:
        """Return the sweep once all its experiments have ended; otherwise as `wait`. Raises WaitedTooLong."""
        return _last(_follow(lambda: self.sweep(id), poll_interval_s), "sweep", timeout_s, on_change)


def _follow(read: Callable[[], Json], poll_interval_s: float) -> Iterator[Json]:
    """Yield what is read until it has ended; a server that has answered before may be away for PATIENCE_S."""
    answered_at: float | None = None
    while True:
        try:
            answer = read()
        except (ServerUnreachable, ApiProblem) as error:
            if answered_at is None or time.monotonic() - answered_at > PATIENCE_S or not passes(error):
                raise
        else:
            answered_at = time.monotonic()
            yield answer
            if answer["status"] in FINISHED:
                return
        time.sleep(poll_interval_s)


def _last(
    answers: Iterator[Json], what: str, timeout_s: float | None, on_change: Callable[[Json], object] | None
) -> Json:
    """Return the last answer, having told each change. Raises WaitedTooLong."""
    started, last = time.monotonic(), Json()
    for answer in answers:
        if on_change is not None and answer != last:
            on_change(answer)
        last = answer
        too_long = timeout_s is not None and time.monotonic() - started > timeout_s
        if too_long and answer["status"] not in FINISHED:
            raise WaitedTooLong(what=what, id=answer["id"], status=answer["status"], timeout_s=timeout_s)
    return last


def _path(collection: str, id: str, *rest: str) -> str:
    return "/".join(("", collection, *(quote(part, safe="") for part in (id, *rest))))


def _numbers(image: Any) -> Any:
    return image.tolist() if hasattr(image, "tolist") else image


def _picture_type(picture: bytes) -> str:
    kinds = (kind for beginning, kind in PICTURES.items() if picture.startswith(beginning))
    return next(kinds, "application/octet-stream")  # which the server refuses, naming the types it takes
