from __future__ import annotations

import pytest
import torch

from stgvcodec.codec.device import resolve_device
from stgvcodec.errors import BackendUnavailableError, ConfigError


@pytest.fixture(params=[True, False], ids=["GPU", "no GPU"])
def has_gpu(request, monkeypatch) -> bool:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    return request.param


def test_cpu_is_always_there(has_gpu):
    assert resolve_device("cpu", "auto") == (torch.device("cpu"), "numba")
    assert resolve_device("cpu", "reference") == (torch.device("cpu"), "reference")


def test_auto_takes_the_gpu_if_there_is_one(has_gpu):
    device, _ = resolve_device("auto", "reference")

    assert device.type == ("cuda" if has_gpu else "cpu")


def test_auto_takes_the_device_of_the_back_end(has_gpu):
    assert resolve_device("auto", "numba") == (torch.device("cpu"), "numba")


def test_cuda_is_met_or_refused(has_gpu):
    if has_gpu:
        assert resolve_device("cuda", "reference")[0].type == "cuda"
    else:
        with pytest.raises(BackendUnavailableError, match="--device cpu"):
            resolve_device("cuda", "reference")


@pytest.mark.parametrize(
    ("device", "backend", "error"),
    [
        ("cpu", "triton", BackendUnavailableError),
        ("cpu", "opencl", BackendUnavailableError),
        ("mps", "auto", ConfigError),
        ("", "auto", ConfigError),
    ],
)
def test_other_requests_are_refused(device, backend, error):
    with pytest.raises(error, match=backend if error is BackendUnavailableError else "device"):
        resolve_device(device, backend)


def test_numba_on_cuda_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    with pytest.raises(BackendUnavailableError, match="numba"):
        resolve_device("cuda", "numba")
