from __future__ import annotations

import shutil

import pytest
import torch

from stgvcodec.errors import BackendUnavailableError
from stgvcodec.ops.backends import resolve_backend, select

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TABLE = {"reference": 1, "numba": 2, "triton": 3}


@pytest.fixture(autouse=True)
def _a_fine_gpu(monkeypatch):
    """Its capability is 9.0, there is a compiler, and nothing is interpreted."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("CC", "gcc")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))


@pytest.mark.parametrize(("device", "expected"), [(CPU, 2), (CUDA, 3)], ids=["cpu", "cuda"])
def test_auto_takes_the_fastest(device, expected):
    assert select(TABLE, "auto", device) == expected


def test_auto_takes_what_an_operator_has():
    assert select({"reference": 1, "numba": 2}, "auto", CUDA) == 1


@pytest.mark.parametrize(
    ("requested", "device", "named"),
    [
        ("numba", CUDA, "runs on cpu, not on cuda"),
        ("triton", CPU, "runs on cuda, not on cpu"),
        ("cudnn", CPU, "does not exist; choose one of auto, reference, numba, triton"),
    ],
)
def test_what_cannot_be_met_is_refused(requested, device, named):
    with pytest.raises(BackendUnavailableError, match=named):
        resolve_backend(requested, device)


def test_an_operator_without_the_back_end_says_so():
    with pytest.raises(BackendUnavailableError, match="'triton' does not have this operator; use --backend auto"):
        select({"reference": 1}, "triton", CUDA)


def test_an_old_gpu_is_named_and_auto_takes_the_reference(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))

    assert resolve_backend("auto", CUDA) == "reference"
    with pytest.raises(BackendUnavailableError, match=r"compute capability 8\.0, this one has 7\.5"):
        resolve_backend("triton", CUDA)


def test_a_folder_for_kernels_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "file" / "cache"))

    assert resolve_backend("auto", CUDA) == "reference"
    with pytest.raises(BackendUnavailableError, match=r"cannot write .*file/cache; name one .* by TRITON_CACHE_DIR"):
        resolve_backend("triton", CUDA)


def test_no_compiler_is_named_and_auto_takes_the_reference(monkeypatch):
    monkeypatch.delenv("CC")
    monkeypatch.setattr(shutil, "which", lambda name: None)

    assert resolve_backend("auto", CUDA) == "reference"
    with pytest.raises(BackendUnavailableError, match=r"C compiler.*install gcc"):
        resolve_backend("triton", CUDA)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    assert resolve_backend("auto", CPU) == "reference"
    with pytest.raises(BackendUnavailableError, match="needs the package numba, which is not installed"):
        resolve_backend("numba", CPU)


def test_the_interpreter_lets_triton_run_anywhere_when_asked(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")

    assert resolve_backend("triton", CPU) == "triton"
    assert resolve_backend("auto", CPU) == "numba"
