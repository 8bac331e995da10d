from __future__ import annotations

import logging
import warnings
from types import SimpleNamespace

import pytest
import torch

from stgvcodec import device as device_module
from stgvcodec.device import own_environment, resolve_device, resolve_devices
from stgvcodec.errors import BackendUnavailableError, ConfigError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Machine:
    """A machine as torch would see it: a Hopper that works, unless told otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
        self._patch, self._folder = monkeypatch, tmp_path
        for name in ("CUDA_VISIBLE_DEVICES", "TRITON_INTERPRET"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        self.driver(there=True)
        self.torch_sees(True)
        self.gpu((9, 0), ["sm_80", "sm_90", "compute_90"])
        self.first_kernel(lambda: None)
        self.forget()

    def forget(self) -> None:
        device_module._gpu_obstacle.cache_clear()
        device_module._warn_once.cache_clear()

    def torch_sees(self, available: bool, warning: str = "") -> None:
        def is_available() -> bool:
            if warning:
                warnings.warn(warning, stacklevel=1)
            return available

        self._patch.setattr(torch.cuda, "is_available", is_available)

    def driver(self, *, there: bool) -> None:
        path = self._folder / "version"
        path.write_text("NVRM version") if there else path.unlink(missing_ok=True)
        self._patch.setattr(device_module, "_DRIVER_FILE", path)
        self._patch.setattr(device_module.shutil, "which", lambda name: None)

    def gpu(self, capability: tuple[int, int], architectures: list[str]) -> None:
        self._patch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        self._patch.setattr(torch.cuda, "get_arch_list", lambda: architectures)
        self._patch.setattr(torch.cuda, "get_device_name", lambda: "Test GPU")

    def first_kernel(self, run) -> None:
        def broken_gpu():
            return run()

        self._patch.setattr(device_module, "_broken_gpu", broken_gpu)

    def without_gpu(self) -> None:
        self.torch_sees(False)
        self.driver(there=False)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "gcc")
    yield Machine(monkeypatch, tmp_path)
    device_module._gpu_obstacle.cache_clear()
    device_module._warn_once.cache_clear()


@pytest.fixture(params=[True, False], ids=["GPU", "no GPU"])
def has_gpu(request, machine) -> bool:
    if not request.param:
        machine.without_gpu()
    return request.param


def test_cpu_is_always_there(has_gpu):
    assert resolve_device("cpu", "auto") == (CPU, "numba")
    assert resolve_device("cpu", "reference") == (CPU, "reference")


def test_auto_takes_the_gpu_if_there_is_one(has_gpu, caplog):
    assert resolve_device("auto", "reference")[0].type == ("cuda" if has_gpu else "cpu")
    assert resolve_device("auto", "auto") == ((CUDA, "triton") if has_gpu else (CPU, "numba"))
    assert not caplog.records


def test_auto_takes_the_device_of_the_back_end(has_gpu):
    assert resolve_device("auto", "numba") == (CPU, "numba")


def test_cuda_is_met_or_refused(has_gpu):
    if has_gpu:
        assert resolve_device("cuda", "reference") == (CUDA, "reference")
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
        ("cuda:", "auto", ConfigError),
        ("cuda:-1", "auto", ConfigError),
        ("auto:0", "auto", ConfigError),
    ],
)
def test_other_requests_are_refused(machine, device, backend, error):
    with pytest.raises(error, match=backend if error is BackendUnavailableError else "device"):
        resolve_device(device, backend)


def test_numba_on_cuda_is_refused(machine):
    with pytest.raises(BackendUnavailableError, match="numba"):
        resolve_device("cuda", "numba")


def failing() -> None:
    raise RuntimeError("CUDA error: no kernel image is available\nCompile with TORCH_USE_CUDA_DSA")


FAULTS = {
    "driver too old": (
        lambda m: m.torch_sees(False, "CUDA initialization: The NVIDIA driver on your system is too old\nUpdate it"),
        "driver on your system is too old",
    ),
    "driver without a GPU": (lambda m: m.torch_sees(False), "finds no GPU; see nvidia-smi"),
    "GPU of a generation that torch has dropped": (
        lambda m: m.gpu((5, 2), ["sm_75", "sm_80", "sm_90a"]),
        r"Test GPU has compute capability 5\.2, for which torch .* is not built \(it has sm_75, sm_80, sm_90a\)",
    ),
    "first kernel fails": (lambda m: m.first_kernel(failing), "does not answer: CUDA error: no kernel image"),
}


@pytest.mark.parametrize(("break_it", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_gpu_that_cannot_be_used(machine, caplog, break_it, reason):
    break_it(machine)
    for _ in range(3):
        assert resolve_device("auto", "auto") == (CPU, "numba")
    (record,) = caplog.records  # one warning, however often
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("using the CPU: ")
    assert "\n" not in record.getMessage()
    with pytest.raises(BackendUnavailableError, match=rf"'cuda' was asked for, but .*{reason}.*; use --device cpu"):
        resolve_device("cuda", "auto")
    caplog.clear()
    assert resolve_device("cpu", "auto") == (CPU, "numba")
    assert not caplog.records


def test_torch_without_cuda_beside_a_driver(machine, monkeypatch, caplog):
    machine.torch_sees(False)
    monkeypatch.setattr(torch.version, "cuda", None)

    assert resolve_device("auto", "auto") == (CPU, "numba")
    assert "built without CUDA" in caplog.text


@pytest.mark.parametrize("value", ["", "-1"])
def test_a_hidden_gpu_is_no_fault(machine, monkeypatch, caplog, value):
    machine.torch_sees(False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)

    assert resolve_device("auto", "auto") == (CPU, "numba")
    assert not caplog.records
    with pytest.raises(BackendUnavailableError, match="CUDA_VISIBLE_DEVICES hides"):
        resolve_device("cuda", "auto")


def test_a_gpu_too_old_for_the_kernels(machine, caplog):
    """Torch runs on it, so that it is used where it is asked for by name."""
    machine.gpu((7, 5), ["sm_70", "sm_75", "sm_90"])

    assert resolve_device("auto", "auto") == (CPU, "numba")
    assert "compute capability 8.0, this one has 7.5; --device cuda" in caplog.text
    assert resolve_device("cuda", "auto") == (CUDA, "reference")
    assert resolve_device("auto", "reference") == (CUDA, "reference")


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 6), ["sm_80", "sm_90"], True),
        ((8, 0), ["sm_86"], False),
        ((12, 0), ["sm_90", "sm_120"], True),
        ((10, 0), ["sm_90"], False),
        ((10, 0), ["sm_80", "compute_90"], True),
        ((9, 0), ["sm_90a"], True),
        ((9, 0), [], True),
    ],
    ids=str,
)
def test_architectures(machine, capability, architectures, runs):
    machine.gpu(capability, architectures)

    assert (resolve_device("auto", "reference")[0].type == "cuda") == runs


def test_the_gpu_is_tried_once(machine):
    tries = []
    machine.first_kernel(lambda: tries.append(1))
    for _ in range(3):
        resolve_device("auto", "reference")
        resolve_device("cuda", "reference")
    assert len(tries) == 1


def test_one_of_several_gpus(machine, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert resolve_device("cuda:1", "reference") == (torch.device("cuda", 1), "reference")
    with pytest.raises(ConfigError, match="device is 'cuda:2', expected one of the 2 here, counted from cuda:0"):
        resolve_device("cuda:2", "reference")


def gpus(*numbers: int) -> tuple[torch.device, ...]:
    return tuple(torch.device("cuda", number) for number in numbers)


def test_all_gpus_and_some_of_them(machine, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)

    assert resolve_devices("auto", "auto") == (gpus(0, 1, 2, 3), "triton")
    assert resolve_devices("cuda", "reference") == (gpus(0, 1, 2, 3), "reference")
    assert resolve_devices("cuda:2", "auto") == (gpus(2), "triton")
    assert resolve_devices("cuda:0,2", "auto") == (gpus(0, 2), "triton")
    assert resolve_devices("cuda:3, cuda:1", "auto") == (gpus(3, 1), "triton")
    assert resolve_devices("cuda:1,1", "auto") == (gpus(1, 1), "triton")
    assert resolve_devices("cpu", "auto") == ((CPU,), "numba")
    assert resolve_devices("cpu,cpu", "auto") == ((CPU, CPU), "numba")
    with pytest.raises(ConfigError, match="device is 'cuda:4', expected one of the 4 here"):
        resolve_devices("cuda:0,4", "auto")


def test_one_gpu_needs_no_number(machine, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    assert resolve_devices("auto", "auto") == ((CUDA,), "triton")
    assert resolve_devices("cuda", "auto") == ((CUDA,), "triton")


@pytest.mark.parametrize(
    "devices", ["cuda:0,cpu", "cuda,cuda", "auto,cpu", "0,1", "cuda:0,", ",", "cpu,0", "cuda:0,-1"]
)
def test_lists_of_something_else_are_refused(machine, monkeypatch, devices):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    with pytest.raises(ConfigError, match=f"device is '{devices}', expected several of one kind, such as cuda:0,2"):
        resolve_devices(devices, "reference")


def test_of_all_gpus_those_are_left_out_that_lack_the_kernels(machine, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    capabilities = {1: (7, 5)}
    monkeypatch.setattr(
        torch.cuda,
        "get_device_capability",
        lambda device=None: capabilities.get(getattr(device, "index", None), (9, 0)),
    )

    assert resolve_devices("cuda", "auto") == (gpus(0, 2), "triton")
    assert "cuda:1 is not used: " in caplog.text
    with pytest.raises(BackendUnavailableError, match="compute capability"):
        resolve_devices("cuda:0,1", "triton")


def test_a_process_sees_its_own_gpu_alone():
    plain = {"HOME": "/root"}
    assert own_environment(torch.device("cuda", 2), plain) == {**plain, "CUDA_VISIBLE_DEVICES": "2"}
    some = {"CUDA_VISIBLE_DEVICES": "5, GPU-8932f937,7"}
    assert own_environment(torch.device("cuda", 1), some) == {"CUDA_VISIBLE_DEVICES": "GPU-8932f937"}
    assert own_environment(CUDA, some) == {"CUDA_VISIBLE_DEVICES": "5"}
    assert own_environment(CPU, some) == some


@pytest.mark.gpu
def test_this_gpu_works():
    device_module._gpu_obstacle.cache_clear()

    assert resolve_device("auto", "auto")[0].type == "cuda"


def test_gpus_are_listed_with_what_keeps_triton_from_them(machine, monkeypatch):
    properties = SimpleNamespace(name="Test GPU", major=7, minor=5, total_memory=1 << 30)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: properties)
    machine.gpu((7, 5), ["sm_75"])
    (gpu,) = device_module.visible_gpus()
    assert (gpu.name, gpu.capability, gpu.memory_bytes) == ("Test GPU", (7, 5), 1 << 30)
    assert gpu.triton_obstacle == "backend 'triton' needs a GPU of compute capability 8.0, this one has 7.5"

    machine.without_gpu()
    machine.forget()
    assert device_module.visible_gpus() == ()
    assert device_module.gpu_obstacle() == "torch finds no usable CUDA GPU here"


def test_the_driver_says_its_version(monkeypatch, tmp_path):
    file = tmp_path / "version"
    monkeypatch.setattr(device_module, "_DRIVER_FILE", file)
    assert device_module.nvidia_driver() is None
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Mon Jan  6 2025\nGCC version: 12\n")
    assert device_module.nvidia_driver() == "570.86.15"
