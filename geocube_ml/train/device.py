"""On what a network is trained."""

from __future__ import annotations

import contextlib

import torch

from geocube_ml.errors import InputError


def chosen_device(name: str) -> torch.device:
    """The device of a spec: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    InputError
        It is not there.
    """
    n = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if n else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= n:
        built = torch.version.cuda or "none, it is a build for processors"
        raise InputError(
            f"The device {name!r} is not there: torch sees {n} CUDA devices (CUDA of torch: "
            f"{built}). Take `device: auto` or `device: cpu`, or mend the driver."
        )
    return device


def precision(device: torch.device, mixed: bool) -> contextlib.AbstractContextManager[object]:
    """Mixed precision within the block: bfloat16 on CUDA devices that have it, where wanted.

    It has the range of float32, so that no loss needs scaling.
    """
    if mixed and device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()
