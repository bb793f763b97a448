"""Every setting: its name with its unit, its default and one sentence; read from the environment, prefix `BNLAB_`."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from models.passwords import read_password, with_password, without_password
from models.spec import DatasetName, Device

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)

Folder = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


def _checked(file: Path) -> Path:
    """Refuse a file whose password is not fit, by the name of its own setting."""
    read_password(file)
    return file


PasswordFile = Annotated[Folder, AfterValidator(_checked)]


def _in_state_dir(name: str) -> Any:
    """Return a default that lies in the state folder."""
    return lambda settings: settings["state_dir"] / name


class Settings(BaseSettings):
    """What the processes are told from outside; the same class for the API, the workers and the migrations."""

    model_config = SettingsConfigDict(
        env_prefix="BNLAB_",
        frozen=True,
        extra="ignore",
        validate_default=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,  # an address may have a password in it
    )

    state_dir: Folder = Field(
        Path(".bnlab"),
        description="Folder of the embedded set-up: its SQLite file, the broker's messages, the logs, the data sets.",
    )
    database_password_file: PasswordFile | None = Field(
        None, description="File with the database's password; the address then has none, and gets it from here."
    )
    broker_password_file: PasswordFile | None = Field(
        None, description="File with the broker's password; the address then has none, and gets it from here."
    )
    database_url: str = Field(
        default_factory=lambda settings: f"sqlite:///{settings['state_dir'] / 'bnlab.sqlite3'}",
        description="SQLAlchemy address of the database; unset: a SQLite file in the state folder.",
    )
    broker_url: str = Field(
        "filesystem://", description="Celery address of the broker; `filesystem://`: files in the state folder."
    )
    data_dir: Folder = Field(
        default_factory=_in_state_dir("data"),
        description="Folder with the four MNIST files; unset: `data` in the state folder.",
    )
    dataset: DatasetName = Field("mnist", description="The data set an experiment gets when it names none.")
    mnist_mirrors: tuple[str, ...] = Field(
        MNIST_MIRRORS, description="Where the MNIST files are fetched from when the data folder lacks them, in order."
    )
    keys: Literal["auto", "required", "off"] = Field(
        "auto",
        description="Whether a request needs an API key; `auto`: not while the API listens to this machine alone; "
        "`off` is refused anywhere else.",
    )
    requests_per_minute: int = Field(
        6_000, ge=1, le=10_000_000, description="Requests of one API key in a minute, unless the key has its own limit."
    )
    wrong_keys_per_minute: int = Field(
        30, ge=1, le=10_000_000, description="Requests with a wrong API key, from one address in a minute."
    )
    max_active_experiments: int = Field(
        1_000,
        ge=1,
        le=1_000_000,
        description="Experiments of one API key that wait or run, unless the key has its own limit.",
    )
    max_body_bytes: int = Field(1_048_576, ge=1_024, description="The largest request body, in bytes.")
    max_images_body_bytes: int = Field(
        16_777_216, ge=1_024, description="The largest body of `/predict`, which takes up to 1,000 images, in bytes."
    )
    max_bodies_bytes: int = Field(
        33_554_432,
        ge=1_024,
        description="All request bodies that are being received or read, in bytes, at least twice the largest one; "
        "beyond, 503.",
    )
    header_timeout_s: float = Field(
        10.0, gt=0, le=3_600, description="Seconds a client has to send the head of a request, or to begin one."
    )
    body_timeout_s: float = Field(
        60.0, gt=0, le=3_600, description="Seconds a client has to send a body, and to take each part of an answer."
    )
    network_cache_bytes: int = Field(
        67_108_864, ge=0, description="Memory for trained networks that the API keeps ready to predict, in bytes."
    )
    log_format: Literal["text", "json"] = Field("text", description="How a line of the logs is written.")
    metrics_host: str = Field("127.0.0.1", description="Where the Prometheus metrics of a process are to be had.")
    metrics_port: int = Field(
        0, ge=0, le=65_535, description="Port of the Prometheus metrics of an API or worker process; 0: none."
    )
    device: Device = Field(
        "auto", description="What a worker trains on: `cpu`, `gpu`, or `auto`, a GPU where the machine has one."
    )
    threads: int = Field(
        1, ge=1, le=256, description="Threads of one worker process; part of what makes two runs the same to the bit."
    )
    write_interval_s: float = Field(
        0.5, gt=0, le=60, description="Seconds between two writes of a running arm's points and progress."
    )
    event_interval_s: float = Field(
        0.5,
        gt=0,
        le=60,
        description="Seconds between two looks of an API process at the experiments whose events somebody follows.",
    )
    lease_s: float = Field(
        15.0,
        ge=1,
        le=3_600,
        description="Seconds a worker holds an arm unless it renews; so long an arm waits whose host is gone.",
    )
    checkpoint_interval_s: float = Field(
        2.0,
        gt=0,
        le=3_600,
        description="Seconds between two checkpoints of a running arm, at least; a crash loses them.",
    )
    hang_limit_s: float = Field(
        300.0, gt=0, le=86_400, description="Seconds without progress after which a worker's process ends itself."
    )
    max_crashes: int = Field(
        3, ge=1, le=1_000, description="How often an arm may kill its process without getting further, until it fails."
    )
    max_queued_experiments: int = Field(
        10_000, ge=1, le=1_000_000, description="How many experiments may wait; beyond, submitting is refused (429)."
    )
    bell_interval_s: float = Field(
        1.0,
        gt=0,
        le=3_600,
        description="Seconds between two looks of a worker at arms whose message was lost or whose worker is gone.",
    )
    broker_poll_interval_s: float = Field(
        0.05, gt=0, le=60, description="Seconds between two looks at the broker's folder (`filesystem://` only)."
    )

    @model_validator(mode="after")
    def _check_room(self) -> Self:
        """Refuse a bound of all bodies that one body alone could never keep: half of it is for small ones."""
        name = max("max_body_bytes", "max_images_body_bytes", key=lambda name: int(getattr(self, name)))
        needed = 2 * getattr(self, name)
        if self.max_bodies_bytes < needed:
            raise ValueError(
                f"BNLAB_MAX_BODIES_BYTES must be at least {needed}, twice BNLAB_{name.upper()}, for a large body may "
                f"take half of it; received {self.max_bodies_bytes}"
            )
        return self

    @field_validator("database_url", "broker_url")
    @classmethod
    def _with_password(cls, address: str, info: ValidationInfo) -> str:
        """Put the password of the file into the address; a file that was refused has its own error."""
        file = f"{str(info.field_name).removesuffix('_url')}_password_file"
        return with_password(address, info.data[file]) if file in info.data else address


#: pydantic's word for a default that depends on a setting which is wrong.
_FOLLOWS_FROM_ANOTHER = "default_factory_not_called"


def read_settings() -> Settings:
    """Return the settings of the environment; of wrong ones, end the process with a line for each."""
    if wrong := refused():
        sys.exit("\n".join(wrong))
    return Settings()


def refused() -> list[str]:
    """Return a line for each setting of the environment that is wrong."""
    try:
        Settings()
    except ValidationError as error:
        return [_line(detail) for detail in error.errors() if detail["type"] != _FOLLOWS_FROM_ANOTHER]
    except SettingsError as error:  # a list that is no JSON
        return [f"A setting cannot be read: {error}; a list is written as JSON."]
    return []


def _line(detail: ErrorDetails) -> str:
    """Return a wrong setting in words: the variable, what is allowed, what came, but no password."""
    said = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:  # it is wrong beside another one
        return f"The settings do not fit each other: {said}."
    return f"BNLAB_{str(detail['loc'][0]).upper()}: {said}; received {without_password(str(detail['input']))!r}."
