"""The file broker's folders: what they hold before the first process uses them."""

from pathlib import Path

import pytest
from celery import Celery

from models.broker import celery_options, prepare_folders
from models.lanes import LANES, Lane
from models.settings import Settings


@pytest.mark.parametrize("lane", LANES)
def test_the_prepared_binding_is_the_one_the_transport_writes_itself(lane: Lane, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    prepare_folders(settings)
    binding = tmp_path / "broker" / "control" / f"{lane}.exchange"
    prepared = binding.read_text()
    binding.unlink()
    celery = Celery(set_as_current=False)
    celery.conf.update(celery_options(settings))
    with celery.connection_for_write() as connection:
        connection.default_channel.state.clear()  # of the whole process: who declared this queue before writes no more
        celery.amqp.queues[lane](connection.default_channel).declare()
    assert binding.read_text() == prepared


def test_preparing_the_folders_again_changes_nothing(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    prepare_folders(settings)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    prepare_folders(settings)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
