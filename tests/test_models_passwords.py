"""Passwords: read from files into addresses, refused while they are nobody's, and never said."""

import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection
from pydantic import ValidationError
from sqlalchemy import make_url

from models.passwords import SHORTEST, is_placeholder, read_password, with_password, without_password
from models.settings import Settings, read_settings

FIT = "pq7:w/K@d%e?f#g\"h'i\\j"
DATABASE, BROKER = "postgresql+psycopg://bnlab@db:5432/bnlab", "redis://broker:6379/0"
PLACEHOLDERS = [
    *("change-me", "CHANGE_ME", "password", "postgres", "Redis", "bnlab", "secret", "example", "P.A.S.S.W.O.R.D"),
    *(
        "changeme-changeme-changeme",
        "<your password here>",
        "password1234567890",
        "my.secret.postgres.password",
        "1234",
    ),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{FIT}\n")
    return path


@pytest.mark.parametrize("address", [DATABASE, "postgresql+psycopg://bnlab:@/bnlab?host=/run/postgresql"])
def test_the_database_s_driver_finds_the_password_of_the_file_in_the_address(address: str, file: Path) -> None:
    settings = Settings(database_url=address, database_password_file=file)
    assert make_url(settings.database_url) == make_url(address).set(password=FIT)


@pytest.mark.parametrize("address", [BROKER, "redis://:@broker:6379/0", "redis://user@broker:6379/0"])
def test_the_broker_s_client_finds_the_password_of_the_file_in_the_address(address: str, file: Path) -> None:
    connection = Connection(Settings(broker_url=address, broker_password_file=file).broker_url)
    assert connection.password == FIT
    assert (connection.hostname, connection.port, connection.virtual_host) == ("broker", 6379, "0")


PASSWORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=SHORTEST, max_size=80)


@given(PASSWORDS.filter(lambda password: len(set(password)) > 5 and not is_placeholder(password)))
def test_whatever_is_fit_arrives_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, password: str) -> None:
    file = tmp_path_factory.getbasetemp() / "password"
    file.write_text(password)
    assert make_url(with_password(DATABASE, file)).password == password
    assert Connection(with_password(BROKER, file)).password == password


@pytest.mark.parametrize("password", PLACEHOLDERS)
def test_a_placeholder_is_refused_in_a_file_and_in_an_address(password: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(password)
    with pytest.raises(ValueError, match="must be one line of 16 to 512 visible ASCII characters"):
        read_password(file)
    with pytest.raises(ValueError, match="default or placeholder"):
        with_password(f"redis://:{quote(password, safe='')}@broker", None)


@pytest.mark.parametrize(
    "password", ["", "\n", "f3a9c0d1e2b4567", "a" * 48, "f3a9c0d1 e2b45678", "f3a9c0d1e2b45678\nf3", "ä" * 20]
)
def test_an_unfit_password_is_refused(password: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(password)
    with pytest.raises(ValueError, match="must be one line"):
        read_password(file)


@pytest.mark.parametrize("password", ["f3a9c0d1e2b45678f3a9c0d1", "correct-horse-battery", FIT])
def test_a_password_that_somebody_chose_is_none_of_the_placeholders(password: str) -> None:
    assert not is_placeholder(password)


def test_an_address_without_a_password_is_left_as_it_is() -> None:
    for address in (
        "sqlite:///a/b.sqlite3",
        "filesystem://",
        DATABASE,
        BROKER,
        "postgresql+psycopg://postgres:@/x?host=/t",
    ):
        assert with_password(address, None) == address


@given(st.text("abc:/@;?& ", max_size=30), st.text("abc:/.", max_size=10))
def test_a_password_before_an_at_sign_is_never_shown_however_the_address_is_misspelt(before: str, after: str) -> None:
    assert "s3cret" not in without_password(f"{before}:s3cret{before}@{after}")


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """Return the line with which a process ends that is told this."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        read_settings()
    line = str(ended.value)
    assert "\n" not in line
    return line


def test_a_password_in_both_places_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql+psycopg://bnlab:another-Q-one@db/bnlab"
    line = refusal(monkeypatch, BNLAB_DATABASE_URL=url, BNLAB_DATABASE_PASSWORD_FILE=str(file))
    assert line.startswith("BNLAB_DATABASE_URL: the address must have no password of its own")
    assert "another-Q-one" not in line
    assert "postgresql+psycopg://bnlab:***@db/bnlab" in line


def test_a_password_that_no_address_can_take_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = refusal(monkeypatch, BNLAB_BROKER_PASSWORD_FILE=str(file))  # the broker of files
    assert line.startswith("BNLAB_BROKER_URL: the address must name a user or a host")


def test_a_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(tmp_path / "none")
    line = refusal(monkeypatch, BNLAB_DATABASE_PASSWORD_FILE=missing, BNLAB_DATABASE_URL=DATABASE)
    assert line.startswith("BNLAB_DATABASE_PASSWORD_FILE: the file ")
    assert missing in line
    assert "No such file" in line


def test_no_refusal_says_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_text("Password-Password")
    line = refusal(monkeypatch, BNLAB_BROKER_PASSWORD_FILE=str(file), BNLAB_BROKER_URL=BROKER)
    assert line.startswith("BNLAB_BROKER_PASSWORD_FILE: ")
    assert "Password-Password" not in line
    monkeypatch.setenv("BNLAB_BROKER_PASSWORD_FILE", "")
    line = refusal(monkeypatch, BNLAB_BROKER_URL="redis://:change.ME@broker")
    assert line.startswith("BNLAB_BROKER_URL: ")
    assert "change.ME" not in line
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert "change.ME" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://:p/w@h:p@broker/0", "redis://:***@broker/0"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://u@/d?host=/t&password=pw&x=1", "postgresql://u@/d?host=/t&password=***&x=1"),
        ("filesystem://", "filesystem://"),
        ("bnlab:s3cretpw@h/db", "***@h/db"),
        ("postgresql+psycopg:/bnlab:s3cretpw@h/db", "***@h/db"),
        ("redis//:s3cretpw@h", "***@h"),
        ("postgresql://ada@corp:s3cretpw@h/db", "***@h/db"),
        ("postgresql://bnlab;s3cretpw@h/db", "***@h/db"),
        ("postgresql://bnlab/s3cretpw@h/db", "***@h/db"),
        ("bnlab:s3cretpw://u:p@h", "***@h"),
        ("postgresql://u@/d?host=/t&password=p@w", "postgresql://u@/d?host=/t&password=***"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, shown: str) -> None:
    assert without_password(address) == shown
