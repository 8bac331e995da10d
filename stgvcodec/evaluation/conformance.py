"""`check_conformance`: holds every back end of this machine to files whose symbols and frames are known."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from stgvcodec.bitstream.container.reader import StgvReader
from stgvcodec.bitstream.payload.pack import unpack_gop, unpack_gop_slowly
from stgvcodec.bitstream.payload.symbols import GopSymbols
from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.device import resolve_device
from stgvcodec.errors import BackendUnavailableError, InputVideoError, StgvError
from stgvcodec.media.reader import read_image

HASHES = "hashes.json"
"""Name of the file that has the SHA-256 of the symbols of each file's GoPs."""

MOST = 2
"""bitstream_spec.md section 7.7: no sample may differ by more levels than these."""
USUAL = 1
"""Levels by which any sample may differ; by more than these only a share of the samples of a frame."""
SHARE = 1e-4
"""This share."""

_CANDIDATES = (("cpu", "reference"), ("cpu", "numba"), ("cpu", "triton"), ("cuda", "reference"), ("cuda", "triton"))


@dataclass(frozen=True)
class Conformance:
    """How a back end decodes a file.

    Attributes:
        path: The file.
        device: Kind of the device.
        backend: Name of the back end.
        n_frames: Number of frames; 0 where the file was refused.
        max_difference: Largest difference of a sample from the expected frames, levels.
        n_differing_pixels: Number of pixels of which a sample differs.
        n_samples_beyond: Number of samples that differ by more than one level.
        symbols_identical: Whether the symbols of all GoPs are those expected; None where no hashes are stored.
        within_bound: Whether symbols and frames are what the specification demands.
        error: Why the file was refused, or the expected frames cannot be compared; None if all went well.
    """

    path: Path
    device: str
    backend: str
    n_frames: int = 0
    max_difference: int = 0
    n_differing_pixels: int = 0
    n_samples_beyond: int = 0
    symbols_identical: bool | None = None
    within_bound: bool = False
    error: str | None = None


def available_backends() -> tuple[tuple[str, str], ...]:
    """Return the kinds of devices with the back ends that run on them on this machine."""
    found = []
    for device, backend in _CANDIDATES:
        try:
            resolve_device(device, backend)
        except BackendUnavailableError:
            continue
        found.append((device, backend))
    return tuple(found)


def symbols_sha256(symbols: GopSymbols) -> str:
    """Return the SHA-256 of the header, then of all arrays, little-endian, each behind its name, dtype and shape."""
    digest = hashlib.sha256(repr(dataclasses.astuple(symbols.header)).encode())
    for field in dataclasses.fields(symbols):
        if field.name == "header":
            continue
        value = getattr(symbols, field.name)
        for array in value if isinstance(value, tuple) else (value,):
            digest.update(f"{field.name} {array.dtype.name} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def check_conformance(folder: Path) -> Iterator[Conformance]:
    """Decode the `.stgv` files of a folder on every back end, and compare with what is expected of them.

    The frames that are expected of `name.stgv` are the images of the folder `name` beside it, in the order of their
    names. Where the folder has a `hashes.json` as tests/golden has it, symbols are held to it.

    Args:
        folder: A folder with `.stgv` files.

    Yields:
        A result for each file and back end.

    Raises:
        InputVideoError: the folder has no `.stgv` files, or its hashes cannot be read.
    """
    paths = sorted(folder.glob("*.stgv"))
    if not paths:
        raise InputVideoError(f"{folder}: no .stgv files here, expected some with their frames beside them")
    hashes = _read_hashes(folder / HASHES)
    backends = available_backends()
    for path in paths:
        for device, backend in backends:
            try:
                yield _checked(path, device, backend, hashes.get(path.name))
            except StgvError as error:
                yield Conformance(path, device, backend, error=str(error))


def _read_hashes(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the hash of each GoP's symbols by the name of its file."""
    if not path.exists():
        return {}
    try:
        stored: Mapping[str, Mapping[str, list[Mapping[str, str]]]] = json.loads(path.read_text(encoding="utf-8"))
        return {name: tuple(gop["symbols_sha256"] for gop in file["gops"]) for name, file in stored.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputVideoError(
            f"{path}: cannot be read as the hashes of symbols ({error}); tests/golden/{HASHES} shows its form"
        ) from error


def _checked(path: Path, device: str, backend: str, hashes: tuple[str, ...] | None) -> Conformance:
    unpack = unpack_gop_slowly if backend == "reference" else unpack_gop
    with StgvReader(path) as reader:
        found = tuple(symbols_sha256(unpack(reader.read_gop(i))) for i in range(len(reader.gops)))
    symbols_identical = None if hashes is None else found == hashes
    pictures = sorted(path.with_suffix("").glob("*.png"))
    most = n_pixels = n_beyond = 0
    is_within = symbols_identical is not False
    with VideoDecoder(path, device=device, backend=backend) as decoder:
        if len(decoder) != len(pictures):
            raise InputVideoError(
                f"{path.with_suffix('')}: {len(pictures)} images, expected {len(decoder)}, one a frame"
            )
        for frame, picture in zip(decoder.iter_frames(), pictures, strict=True):
            difference = _difference(frame, picture)
            beyond = int(np.count_nonzero(difference > USUAL))
            most = max(most, int(difference.max()))
            n_pixels += int(np.count_nonzero(difference.any(axis=2)))
            n_beyond += beyond
            is_within &= beyond <= SHARE * difference.size
    return Conformance(
        path=path,
        device=device,
        backend=backend,
        n_frames=len(pictures),
        max_difference=most,
        n_differing_pixels=n_pixels,
        n_samples_beyond=n_beyond,
        symbols_identical=symbols_identical,
        within_bound=is_within and most <= MOST,
    )


def _difference(frame: torch.Tensor, picture: Path) -> npt.NDArray[np.int16]:
    """Absolute differences of a decoded frame from an expected one, levels. [H, W, 3] int16."""
    got, expected = frame.cpu().numpy(), read_image(picture)
    if got.shape != expected.shape:
        raise InputVideoError(
            f"{picture}: {expected.shape[1]}x{expected.shape[0]} pixels, expected {got.shape[1]}x{got.shape[0]}"
        )
    difference: npt.NDArray[np.int16] = np.abs(got.astype(np.int16) - expected.astype(np.int16))
    return difference
