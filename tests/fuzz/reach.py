"""What a case is run through, and how far it comes: from the framing to pictures."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import zlib
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
from stgvcodec.decoder.gop_renderer import GopRenderer, unpack
from stgvcodec.decoder.stream_info import stream_info
from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.errors import BitstreamError, StgvError
from stgvcodec.evaluation.conformance import symbols_sha256

STAGES = ("framing", "header", "index", "head", "ancillary", "entropy", "too large", "rendered")
"""Where a case ended: refused by a stage, or not rendered because that would take much time or memory, or rendered."""

_HAS_TRITON = importlib.util.find_spec("triton") is not None
# Sections of errors in tracks and metadata.
_ANCILLARY = ("track", "track packets", "metadata")
_CPU = torch.device("cpu")
# What is rendered: pixels times Gaussians, and multiplications of the field, in all frames of a GoP.
_MAX_SPLATS, _MAX_PRODUCTS = 1 << 25, 1 << 26
# GoPs of a file that are decoded to frames; the symbols of all are checked.
_MAX_GOPS = 3
# Bytes of a GoP's symbols up to which the reference decodes them too.
_MAX_SLOW_BYTES = 1 << 14


def reach(data: bytes) -> str:
    """Decode a file as far as it goes; return the name of the stage, one of `STAGES`, at which it ended.

    Raises:
        Exception: a fault of the package; errors that it promises (`StgvError`) are none.
    """
    with contextlib.suppress(StgvError), StgvReader(io.BytesIO(data), keep_going=True) as recovered:
        stream_info(recovered, Path("fuzz.stgv"), keep_going=True)
        for index in range(len(recovered.gops)):
            with contextlib.suppress(StgvError):
                recovered.unpack(index)
    try:
        reader = StgvReader(io.BytesIO(data))
    except BitstreamError as error:
        return {"file header": "header", "index": "index"}.get(error.section, "framing")
    except StgvError:
        return "too large"
    stage = "rendered"
    try:
        info = stream_info(reader, Path("fuzz.stgv"))
        assert json_text(as_dict(info))
        # What `stgvcodec info` shows.
        assert all(text(info) for text in (general, rate_table, gop_table, needs, gop_headers))
        verify(reader)
    except BitstreamError as error:
        _check_place(error, data)
        stage = _stage_of(error.section)
    except StgvError:
        stage = "too large"
    # A GoP that is in order is decoded, whatever is wrong with others.
    share = zlib.crc32(data)
    backend = "reference" if share % 16 == 0 else "numba"
    first = share % max(len(reader.gops), 1)
    for index in range(first, min(first + _MAX_GOPS, len(reader.gops))):
        with contextlib.suppress(StgvError):
            payload = reader.read_gop(index)
            _compare_symbols(payload)
            header = read_header(payload)
            if not _is_small(header, reader.header.width, reader.header.height):
                stage = "too large" if stage == "rendered" else stage
                continue
            _render(payload, reader.header.width, reader.header.height, backend)
    if stage == "rendered" and share % 8 == 1:
        with VideoDecoder(data, device="cpu") as decoder:
            assert decoder.get_frame_at(len(decoder) - 1).data.dtype == torch.uint8
    return stage


def _stage_of(section: str) -> str:
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


def _compare_symbols(payload: bytes) -> None:
    """The compiled decoder and the reference give the same symbols, or both refuse with the same error."""
    if memory_layout(read_header(payload)).n_bytes > _MAX_SLOW_BYTES:
        unpack_gop(payload)
        return
    results = []
    for decoded in (unpack_gop, unpack_gop_slowly):
        try:
            results.append(symbols_sha256(decoded(payload)))
        except BitstreamError as error:
            results.append(str(error))
    assert results[0] == results[1], results


def _is_small(header: GopHeader, width: int, height: int) -> bool:
    n_splats = header.n_frames * header.n_gaussians
    n_inputs = header.n_field_inputs + header.mlp_width
    entries = (
        sum(header.static_entries) * header.static_features + sum(header.dynamic_entries) * header.dynamic_features
    )
    return (
        n_splats * width * height <= _MAX_SPLATS and n_splats * n_inputs * header.mlp_width + entries <= _MAX_PRODUCTS
    )


def _render(payload: bytes, width: int, height: int, backend: str) -> None:
    if _HAS_TRITON:
        # The host's half of the way to a GPU: it bounds the room that the rasteriser needs.
        assert unpack(payload, width=width, height=height, device=_CPU, backend="triton").extents is not None
    gop = GopRenderer(payload, width=width, height=height, device=_CPU, backend=backend)
    frames = gop.frames_tensor(range(gop.spec.n_frames))
    assert frames.shape == (gop.spec.n_frames, height, width, 3)
    assert frames.dtype == torch.uint8
    # Memory that nobody wrote would differ from one time to the next.
    assert np.array_equal(gop.frames_tensor([0])[0].numpy(), frames[0].numpy())
