"""Where the memory of a CPU is used up, an error says so and what to do."""

from __future__ import annotations

import errno
import subprocess
import sys

import numpy as np
import pytest
import torch
from gops import random_gop, write_gops

from stgvcodec import StgvError, VideoDecoder, compare, decode
from stgvcodec.bitstream import pack_gop
from stgvcodec.decoder import gop_renderer, prefetch
from stgvcodec.errors import ConfigError, is_out_of_memory, naming_memory

OF_TORCH = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to ..."
ERRORS = {
    "torch": RuntimeError(OF_TORCH),
    "torch on Windows": RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory"),
    "a GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
    "numpy": np._core._exceptions._ArrayMemoryError((1 << 40,), np.dtype(np.uint8)),
    "numba": MemoryError("Allocation failed (probably too large)."),
    "a thread": RuntimeError("can't start new thread"),
    "the system": OSError(errno.ENOMEM, "Cannot allocate memory"),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_gops(tmp_path_factory.mktemp("file") / "a.stgv", [pack_gop(random_gop())] * 2)


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_errors_that_say_so(error):
    assert is_out_of_memory(error)
    said = "out of memory while it is tried: close other programs, or try less"
    with pytest.raises(StgvError, match=said) as caught, naming_memory("it is tried", "try less"):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [RuntimeError("of another kind"), OSError(errno.EIO, "I/O"), ConfigError("memory")])
def test_other_errors_stay(error):
    with pytest.raises(type(error)) as caught, naming_memory("it is tried", "try less"):
        raise error
    assert caught.value is error


def failing(calls):
    """A function in whose place memory is used up; `calls` gets an item a call."""

    def fail(*_, **__):
        calls.append(1)
        raise RuntimeError(OF_TORCH)

    return fail


def test_a_frame_that_does_not_fit(path, monkeypatch, caplog):
    """Frames are rendered one by one before that is said."""
    calls = []
    monkeypatch.setattr(gop_renderer, "rasterize_uint8", failing(calls))
    with (
        VideoDecoder(path, device="cpu") as decoder,
        pytest.raises(StgvError, match=r"a single frame of 63x100 with 63 Gaussians does not fit .* of cpu .*--scale$"),
    ):
        decoder[:]
    assert len(calls) == 3  # 5 frames at once, then 2, then 1.
    assert "going on with 2" in caplog.text


def test_a_gop_that_does_not_fit(path, tmp_path, monkeypatch):
    monkeypatch.setattr(prefetch, "unpack", failing([]))
    with VideoDecoder(path, device="cpu") as decoder:
        for read in (lambda: decoder[0], lambda: decoder[:], lambda: next(decoder.iter_frames())):
            with pytest.raises(StgvError, match="out of memory while a GoP is unpacked"):
                read()
    with pytest.raises(StgvError, match="out of memory while a GoP is unpacked"):
        decode(path, tmp_path / "a.y4m", device="cpu")
    assert not (tmp_path / "a.y4m").exists()


def test_frames_that_do_not_fit_together(path, monkeypatch):
    with VideoDecoder(path, device="cpu") as decoder:
        monkeypatch.setattr(torch, "empty", failing([]))
        with pytest.raises(StgvError, match=r"while 2 frames of 63x100 are put together: .* ask for fewer at once"):
            decoder[0:2]


def test_what_is_beside_the_frames(path, tmp_path, monkeypatch):
    monkeypatch.setattr("stgvcodec.decoder.decode_file.open_writer", failing([]))
    with pytest.raises(StgvError, match="out of memory while a file is decoded: close other programs"):
        decode(path, tmp_path / "a.mp4", device="cpu")
    monkeypatch.setattr("stgvcodec.evaluation.compare.SequenceMetrics", failing([]))
    with pytest.raises(StgvError, match="out of memory while videos are compared"):
        compare(path, path, device="cpu")


LIMITED = """
import resource, sys
from stgvcodec import VideoDecoder
from stgvcodec.errors import StgvError

warm, path = sys.argv[1:]
with VideoDecoder(warm, device="cpu") as decoder:
    decoder[0]
with VideoDecoder(path, device="cpu", max_memory=10**12) as decoder:
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), resource.RLIM_INFINITY))
    try:
        decoder[0]
    except StgvError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_a_process_with_little_memory_says_so(path, tmp_path):
    large = write_gops(tmp_path / "large.stgv", [pack_gop(random_gop())], width=16384, height=8192)
    command = [sys.executable, "-c", LIMITED, str(path), str(large)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "StgvError" in ran.stdout
    assert "of memory" in ran.stdout or "does not fit" in ran.stdout
