"""What a case is run through, and how far it comes: from the framing to pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from stgvcodec.bitstream import GopHeader, StgvReader, unpack_gop
from stgvcodec.bitstream.container.verification import verify
from stgvcodec.bitstream.payload.head import read_header
from stgvcodec.bitstream.payload.memory_layout import memory_layout
from stgvcodec.bitstream.payload.pack import unpack_gop_slowly
from stgvcodec.bitstream.syntax.tables import STREAMS
from stgvcodec.cli.info import as_dict, general, gop_headers, gop_table, needs, rate_table
from stgvcodec.cli.output import json_text
from stgvcodec.decoder.decode_budget import DecodeBudget
from stgvcodec.decoder.gop_renderer import GopRenderer, unpack
from stgvcodec.decoder.stream_info import stream_info
from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.errors import BitstreamError, BudgetError, StgvError
from stgvcodec.evaluation.conformance import symbols_sha256

STAGES = ("framing", "header", "index", "head", "ancillary", "entropy", "budgets", "too large", "rendered")
"""Where a case ended: refused by a stage, or not rendered here because that would take long, or rendered."""

_HAS_TRITON = importlib.util.find_spec("triton") is not None
# Sections of errors in tracks and metadata.
_ANCILLARY = ("track", "track packets", "metadata")
_CPU = torch.device("cpu")
# What is rendered: pixels times Gaussians, and multiplications of the field, in the frames of a GoP.
_MAX_SPLATS, _MAX_PRODUCTS = 1 << 23, 1 << 24
# GoPs of a file that are decoded to frames; the symbols of all are checked.
_MAX_GOPS = 3
# Bytes of a GoP's symbols up to which the reference decodes them too.
_MAX_SLOW_BYTES = 1 << 14
# Most cases have GoPs of cases before them, which are looked at once.
_N_KNOWN_GOPS = 1 << 10


def reach(data: bytes) -> str:
    """Decode a file as far as it goes; return the name of the stage, one of `STAGES`, at which it ended.

    Raises:
        Exception: a fault of the package; errors that it promises (`StgvError`) are none.
    """
    reader = None
    try:
        reader = StgvReader(io.BytesIO(data))
        stage = _read_all(reader, data)
    except BitstreamError as error:
        _check_place(error, data)
        stage = _stage_of(error.section, is_open=reader is not None)
    except StgvError:
        stage = "too large"
    _recover(data, reader, stage)
    if reader is None:
        return stage
    # A GoP that is in order is decoded, whatever is wrong with others.
    share = zlib.crc32(data)
    backend = "reference" if share % 16 == 0 else "numba"
    first = share % max(len(reader.gops), 1)
    for index in range(first, min(first + _MAX_GOPS, len(reader.gops))):
        with contextlib.suppress(StgvError):
            payload = reader.read_gop(index)
            is_small = _decode(payload, reader.header.width, reader.header.height, backend)
            if stage == "rendered" and not is_small:
                stage = "too large" if _is_within_budgets(payload, reader) else "budgets"
    if stage == "rendered" and share % 8 == 1:
        with VideoDecoder(data, device="cpu") as decoder:
            assert decoder.get_frame_at(len(decoder) - 1).data.dtype == torch.uint8
    return stage


def forget() -> None:
    """Look at every GoP again, also at those of cases before."""
    _decode.cache_clear()
    _compare_symbols.cache_clear()


def _read_all(reader: StgvReader, data: bytes) -> str:
    """Do what `stgvcodec info` and `stgvcodec verify` do; return "rendered"."""
    info = stream_info(reader, Path("fuzz.stgv"))
    if zlib.crc32(data) % 4 == 0:
        assert json_text(as_dict(info))
        assert all(text(info) for text in (general, rate_table, gop_table, needs, gop_headers))
    verify(reader)
    return "rendered"


def _recover(data: bytes, reader: StgvReader | None, stage: str) -> None:
    """Read a file with `keep_going`; of one that `reader` found intact, that must find the same."""
    try:
        recovered = StgvReader(io.BytesIO(data), keep_going=True)
    except StgvError:
        assert stage != "rendered"
        return
    if reader is not None and stage == "rendered":
        assert (recovered.damage, recovered.gops, recovered.chunks) == ((), reader.gops, reader.chunks)
        return
    if stage != "entropy":  # There, the file has been described already.
        with contextlib.suppress(StgvError):
            stream_info(recovered, Path("fuzz.stgv"), keep_going=True)
    for index in range(len(recovered.gops)):
        with contextlib.suppress(StgvError):
            _compare_symbols(recovered.read_gop(index))


def _stage_of(section: str, *, is_open: bool) -> str:
    if not is_open:
        return {"file header": "header", "index": "index"}.get(section, "framing")
    if section in {f"GoP {name}" for name in STREAMS}:
        return "entropy"
    if section == "GoP header":
        return "head"
    return "ancillary" if section.endswith("chunk") or section in _ANCILLARY else "framing"


def _check_place(error: BitstreamError, data: bytes) -> None:
    """The place of an error lies in the file."""
    assert error.offset is not None, error
    assert 0 <= error.offset <= len(data), error
    assert "\n" not in str(error), error


@lru_cache(_N_KNOWN_GOPS)
def _compare_symbols(payload: bytes) -> None:
    """The compiled decoder and the reference give the same symbols, or both refuse with the same error.

    Raises:
        BitstreamError: the header of the payload is damaged.
    """
    if memory_layout(read_header(payload)).n_bytes > _MAX_SLOW_BYTES:
        with contextlib.suppress(BitstreamError):
            unpack_gop(payload)
        return
    results = []
    for decoded in (unpack_gop, unpack_gop_slowly):
        try:
            results.append(symbols_sha256(decoded(payload)))
        except BitstreamError as error:
            results.append(str(error))
    assert results[0] == results[1], results


@lru_cache(_N_KNOWN_GOPS)
def _decode(payload: bytes, width: int, height: int, backend: str) -> bool:
    """Decode a GoP to its frames; return whether they are few and small enough for that.

    Raises:
        BitstreamError: the payload is damaged.
    """
    _compare_symbols(payload)
    frames = _frames_to_render(read_header(payload), width, height)
    if frames:
        _render(payload, width, height, backend, frames)
    return bool(frames)


def _is_within_budgets(payload: bytes, reader: StgvReader) -> bool:
    """Whether a decoder would take a GoP by its header and the file's."""
    header, size, budget = read_header(payload), (reader.header.width, reader.header.height), DecodeBudget()
    try:
        budget.check_picture(*size, header.n_gaussians)
        budget.check_gop(header, width=size[0], height=size[1], payload_bytes=len(payload), n_gops=1, backend="numba")
    except BudgetError:
        return False
    return True


def _frames_to_render(header: GopHeader, width: int, height: int) -> Sequence[int]:
    """All frames of a GoP, or the first and the last one where all are too much work, or none."""
    n, n_inputs = header.n_gaussians, header.n_field_inputs + header.mlp_width
    entries = (
        sum(header.static_entries) * header.static_features + sum(header.dynamic_entries) * header.dynamic_features
    )
    for frames in (range(header.n_frames), sorted({0, header.n_frames - 1})):
        n_splats = n * len(frames)
        n_products = n_splats * n_inputs * header.mlp_width + entries
        if n_splats * width * height <= _MAX_SPLATS and n_products <= _MAX_PRODUCTS:
            return frames
    return ()


def _render(payload: bytes, width: int, height: int, backend: str, indices: Sequence[int]) -> None:
    if _HAS_TRITON:
        # The host's half of the way to a GPU: it bounds the room that the rasteriser needs.
        unpacked = unpack(payload, width=width, height=height, device=_CPU, backend="triton")
        assert unpacked.extents is not None
        unpacked = dataclasses.replace(unpacked, extents=None)
    else:
        unpacked = unpack(payload, width=width, height=height, device=_CPU, backend=backend)
    gop = GopRenderer(unpacked, width=width, height=height, device=_CPU, backend=backend)
    frames = gop.frames_tensor(indices)
    assert frames.shape == (len(indices), height, width, 3)
    assert frames.dtype == torch.uint8
    # Memory that nobody wrote would differ from one time to the next.
    if zlib.crc32(payload) % 4 == 0:
        assert np.array_equal(gop.frames_tensor([0])[0].numpy(), frames[0].numpy())
