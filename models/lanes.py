"""Lanes: workers with a GPU and workers without one take different arms, and each kind has bells of its own."""

from typing import Literal, get_args

from models.spec import Device

#: What a worker trains on; its queue of bells has the same name.
Lane = Literal["cpu", "gpu"]
LANES: tuple[Lane, ...] = get_args(Lane)


def taken_by(lane: Lane) -> tuple[Device, ...]:
    """Return which arms a worker of this lane may take, by the device their spec asks for."""
    return ("auto", lane)


def open_to(device: Device) -> tuple[Lane, ...]:
    """Return the lanes whose workers may take an arm that asks for this device."""
    return LANES if device == "auto" else (device,)
