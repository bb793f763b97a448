"""The settings: each one documented, read from the environment, and kept in the state folder where it is a place."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models.settings import MNIST_MIRRORS, Settings, read_settings

#: Each setting as the environment writes it, and as the program reads it.
SAMPLES: dict[str, tuple[str, Any]] = {
    "state_dir": ("/srv/bnlab", Path("/srv/bnlab")),
    "database_url": ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
    "broker_url": ("redis://h:6379/0", "redis://h:6379/0"),
    "data_dir": ("/data", Path("/data")),
    "dataset": ("mnist-5k", "mnist-5k"),
    "mnist_mirrors": ('["http://a", "http://b"]', ("http://a", "http://b")),
    "max_body_bytes": ("2048", 2048),
    "max_images_body_bytes": ("4096", 4096),
    "network_cache_bytes": ("3", 3),
    "keys": ("required", "required"),
    "requests_per_minute": ("60", 60),
    "wrong_keys_per_minute": ("5", 5),
    "max_active_experiments": ("9", 9),
    "max_bodies_bytes": ("8192", 8192),
    "header_timeout_s": ("3", 3.0),
    "body_timeout_s": ("4", 4.0),
    "log_format": ("json", "json"),
    "metrics_host": ("0.0.0.0", "0.0.0.0"),
    "metrics_port": ("9100", 9100),
    "device": ("gpu", "gpu"),
    "threads": ("4", 4),
    "write_interval_s": ("0.25", 0.25),
    "bell_interval_s": ("2", 2.0),
    "event_interval_s": ("2", 2.0),
    "lease_s": ("30", 30.0),
    "checkpoint_interval_s": ("5", 5.0),
    "hang_limit_s": ("60", 60.0),
    "max_crashes": ("5", 5),
    "max_queued_experiments": ("7", 7),
    "broker_poll_interval_s": ("1", 1.0),
}
#: Read too, but only together with an address: tests/test_models_passwords.py.
FILES = {"database_password_file", "broker_password_file"}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_each_setting_is_explained_in_sentences() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description[0].isupper(), name
        assert field.description.endswith("."), name


def test_each_setting_is_read_from_the_environment_with_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(SAMPLES) | FILES == set(Settings.model_fields)
    before = Settings()
    for name, (text, _) in SAMPLES.items():
        monkeypatch.setenv(name.upper(), text)
    assert Settings() == before  # without its prefix a variable belongs to somebody else
    for name, (text, value) in SAMPLES.items():
        assert getattr(before, name) != value
        monkeypatch.setenv(f"BNLAB_{name.upper()}", text)
        assert getattr(Settings(), name) == value


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Settings()
    for name in Settings.model_fields:
        monkeypatch.setenv(f"BNLAB_{name.upper()}", "")
    assert Settings() == before


def test_an_unknown_variable_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNLAB_SOMETHING_NEWER", "1")
    Settings()


def test_what_is_kept_is_kept_in_the_state_folder(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    assert settings.database_url == f"sqlite:///{tmp_path}/state/bnlab.sqlite3"
    assert settings.data_dir == tmp_path / "state" / "data"
    assert settings.broker_url == "filesystem://"
    assert Settings().state_dir == tmp_path / ".bnlab"  # of the folder it is started in
    assert list(tmp_path.iterdir()) == []  # to read settings makes nothing


def test_folders_are_absolute_and_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Settings(state_dir=Path("~/bnlab")).state_dir == tmp_path / "home" / "bnlab"
    assert Settings(data_dir=Path("digits")).data_dir == tmp_path / "digits"


def test_the_full_set_comes_by_default_from_more_than_one_public_mirror() -> None:
    settings = Settings()
    assert settings.dataset == "mnist"
    assert settings.mnist_mirrors == MNIST_MIRRORS
    assert len(MNIST_MIRRORS) >= 2
    assert all(mirror.startswith("https://") and not mirror.endswith("/") for mirror in MNIST_MIRRORS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dataset", "fashion"),
        ("max_body_bytes", "0"),
        ("max_body_bytes", "a lot"),
        ("network_cache_bytes", "-1"),
        ("threads", "0"),
        ("write_interval_s", "0"),
        ("bell_interval_s", "-1"),
        ("broker_poll_interval_s", "0"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_setting(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"BNLAB_{name.upper()}", text)
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert [error["loc"] for error in raised.value.errors()] == [(name,)]


@pytest.mark.parametrize("name", ["max_body_bytes", "max_images_body_bytes"])
def test_a_body_that_would_never_find_room_is_refused_with_what_would_be_right(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"BNLAB_{name.upper()}", "20000000")
    monkeypatch.setenv("BNLAB_MAX_BODIES_BYTES", "39999999")
    with pytest.raises(SystemExit) as ended:
        read_settings()
    said = str(ended.value)
    assert "BNLAB_MAX_BODIES_BYTES must be at least 40000000" in said
    assert f"BNLAB_{name.upper()}" in said
    assert "39999999" in said
    assert said.count("\n") == 0
    monkeypatch.setenv("BNLAB_MAX_BODIES_BYTES", "40000000")
    assert read_settings().max_bodies_bytes == 40_000_000


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(Settings(), "threads", 2)  # noqa: B010


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BNLAB_THREADS", "abc"),
        ("BNLAB_DATASET", "foo"),
        ("BNLAB_WRITE_INTERVAL_S", "0"),
        ("BNLAB_MNIST_MIRRORS", "foo"),
    ],
)
def test_a_wrong_setting_ends_a_process_with_one_line(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        read_settings()
    assert name.removeprefix("BNLAB_").lower() in str(ended.value).lower()
    assert "\n" not in str(ended.value)
