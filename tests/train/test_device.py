from __future__ import annotations

import contextlib

import pytest
import torch

from geocube_ml.errors import InputError
from geocube_ml.train.device import chosen_device, precision


@pytest.fixture
def two_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_auto_takes_a_cuda_device_where_there_is_one(two_devices):
    assert chosen_device("auto") == torch.device("cuda")
    assert chosen_device("cpu") == torch.device("cpu")
    assert chosen_device("cuda:1") == torch.device("cuda:1")


def test_auto_takes_the_processor_where_there_is_none(no_device):
    assert chosen_device("auto") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:2", "cuda:9"])
def test_a_device_beyond_the_last_is_refused(two_devices, name):
    with pytest.raises(InputError, match=rf"'{name}' is not there: torch sees 2 CUDA devices"):
        chosen_device(name)


def test_a_device_is_refused_where_there_is_none(no_device):
    with pytest.raises(InputError, match="torch sees 0 CUDA devices"):
        chosen_device("cuda")


@pytest.mark.parametrize(
    ("kind", "mixed", "has_it", "is_mixed"),
    [
        ("cuda", True, True, True),
        ("cuda", True, False, False),
        ("cuda", False, True, False),
        ("cpu", True, True, False),
    ],
)
def test_precision_is_mixed_on_devices_that_have_bfloat16(
    monkeypatch, kind, mixed, has_it, is_mixed
):
    made = []

    def autocast(device, dtype):
        made.append((device, dtype))
        return contextlib.nullcontext()

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_it)
    monkeypatch.setattr(torch, "autocast", autocast)
    with precision(torch.device(kind), mixed):
        pass
    assert made == ([("cuda", torch.bfloat16)] if is_mixed else [])
