"""Every back end tried on a tiny clip, each in a process of its own, as a user would run it."""

from __future__ import annotations

import importlib.resources
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from stgvcodec.device import gpu_obstacle, resolve_device
from stgvcodec.errors import BackendUnavailableError

CANDIDATES = (("cuda", "triton"), ("cpu", "numba"), ("cuda", "reference"), ("cpu", "reference"))
"""Devices with the back ends that run on them, that which `auto` takes first."""

# The first seconds of the clip are dark: two frames from its middle have something to see.
_CLIP = "data/bunny.mp4"
_SOURCE_OPTIONS = ("--frames", "66:68", "--resize", "32x32")
_EFFORT = ("--preset", "draft", "--gaussians", "60")
# Kernels are compiled in less than two minutes on two slow cores.
_MOST_SECONDS = 900
# bitstream_spec.md section 7.7.
_MOST_DIFFERENCE = 2
# Sixty Gaussians on so small a picture reach more than 20 dB; a picture of noise has 5 to 10.
_LEAST_PSNR_DB = 15.0


@dataclass(frozen=True)
class Trial:
    """What came of a back end.

    Attributes:
        device: Kind of the device.
        backend: Name of the back end.
        encodes: Whether it encoded the clip; None where it had to decode only.
        decodes: Whether it decoded the clip.
        seconds: How long that took, starts of Python and compilation included.
        reason: Why it does not run; None where it does.
    """

    device: str
    backend: str
    encodes: bool | None
    decodes: bool
    seconds: float = 0.0
    reason: str | None = None


class _FailedError(Exception):
    """A process ended with an error; the message is its last line."""


def try_backends(scratch: Path, environment: Mapping[str, str] | None = None) -> Iterator[Trial]:
    """Run every back end: the first one that works encodes a clip and decodes it, the others decode its file.

    Args:
        scratch: Folder for the files that are written.
        environment: Environment variables of the processes, beside those of this one.

    Yields:
        A trial for each of `CANDIDATES`, as it is finished. Without a GPU only one says so.
    """
    no_gpu = gpu_obstacle()
    expected: npt.NDArray[np.int16] | None = None
    for device, backend in CANDIDATES:
        if device == "cuda" and no_gpu is not None:
            if backend != "reference":
                yield Trial(device, backend, None, False, reason=no_gpu)
            continue
        stgv, folder = scratch / "tiny.stgv", scratch / f"{device}-{backend}"
        options = ("--device", device, "--backend", backend)
        started = time.perf_counter()
        encodes: bool | None = None
        decodes = False
        reason = None
        try:
            resolve_device(device, backend)
            if expected is None:
                encodes = False
                with importlib.resources.as_file(importlib.resources.files("stgvcodec") / _CLIP) as clip:
                    _run(environment, "encode", clip, stgv, *_SOURCE_OPTIONS, *_EFFORT, *options, "-q", "-y")
                encodes = True
            _run(environment, "decode", stgv, folder, *options, "-q")
            frames = _frames(folder)
            if expected is None:
                _check_likeness(frames, scratch, environment)
                expected = frames
            elif np.abs(frames - expected).max() > _MOST_DIFFERENCE:
                raise _FailedError(f"its frames are up to {np.abs(frames - expected).max()} levels off")
            decodes = True
        except (_FailedError, BackendUnavailableError) as error:
            reason = str(error)
        yield Trial(device, backend, encodes, decodes, time.perf_counter() - started, reason)


def _check_likeness(frames: npt.NDArray[np.int16], scratch: Path, environment: Mapping[str, str] | None) -> None:
    """Refuse frames that are not those that were encoded."""
    from stgvcodec.media.reader import open_video
    from stgvcodec.media.selection import Selection

    selection = Selection.parse(frames=_SOURCE_OPTIONS[1], resize=_SOURCE_OPTIONS[3])
    with (
        importlib.resources.as_file(importlib.resources.files("stgvcodec") / _CLIP) as clip,
        open_video(clip, selection=selection) as video,
    ):
        source = np.stack([frame.rgb for frame in video]).astype(np.float64)
    mean_square = np.square(frames - source).mean()
    psnr_db = 10 * np.log10(255**2 / max(mean_square, 1e-9))
    if psnr_db < _LEAST_PSNR_DB:
        raise _FailedError(f"its frames have {psnr_db:.1f} dB, expected {_LEAST_PSNR_DB:g} or more")


def _frames(folder: Path) -> npt.NDArray[np.int16]:
    """Return the pictures of a folder. [n, H, W, 3]."""
    pictures = []
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            pictures.append(np.asarray(image.convert("RGB"), dtype=np.int16))
    return np.stack(pictures)


def _run(environment: Mapping[str, str] | None, *arguments: object) -> None:
    command = [sys.executable, "-m", "stgvcodec", *map(str, arguments)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=_MOST_SECONDS,
            env={**os.environ, **(environment or {})},
        )
    except OSError as error:
        raise _FailedError(f"{sys.executable} cannot be started anew: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise _FailedError(f"{arguments[0]} was not finished after {_MOST_SECONDS} s") from error
    if done.returncode == 0:
        return
    lines = done.stderr.strip().splitlines() or [f"{arguments[0]} ended with exit code {done.returncode}"]
    raise _FailedError(lines[-1].removeprefix("stgvcodec: error: "))
