"""`read_info`: what a `.stgv` file holds and what decoding it needs, without decoding it."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

from stgvcodec.bitstream import payloads
from stgvcodec.bitstream.container.reader import StgvReader, stream_bytes
from stgvcodec.bitstream.payload.header import GopSetHeader
from stgvcodec.bitstream.symbols import GopHeader
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.codec.reports import GopInfo, StreamInfo

# Of any kind of payload, those that a Gaussian more makes longer.
_GAUSSIAN_STREAMS = ("means", "cholesky", "color_indices", "points", "point_bits", "shapes", "colors", "residuals")
# By number.
_MODES = {
    "point_mode": ("half", "grid"),
    "shape_mode": ("affine", "log-shear"),
    "color_mode": ("codebooks", "ycocg"),
}


def read_info(path: str | Path) -> StreamInfo:
    """Describe a `.stgv` file.

    Args:
        path: The file.

    Returns:
        Everything that `stgvcodec info` prints.

    Raises:
        BitstreamError: not a `.stgv` file, or damaged.
        InputVideoError: no such file.
    """
    with StgvReader(path) as reader:
        return stream_info(reader, Path(path))


def stream_info(reader: StgvReader, path: Path) -> StreamInfo:
    """Describe an open file; see `read_info`."""
    header = reader.header
    gops: list[GopInfo] = []
    memory = 0
    for i, entry in enumerate(reader.gops):
        payload = reader.read_gop(i)
        gop_header = payloads.read_header(header.profile_id, payload, predicted=not entry.is_key)
        memory = max(memory, _decode_memory_bytes(gop_header, header.width, header.height))
        gops.append(
            GopInfo(
                first_frame=entry.first_frame,
                n_frames=entry.n_frames,
                n_gaussians=entry.n_gaussians,
                bytes=entry.n_bytes,
                streams=payloads.stream_bytes(header.profile_id, payload, predicted=not entry.is_key),
                header=_named(gop_header),
                is_key=entry.is_key,
            )
        )
    n_frames = sum(gop.n_frames for gop in gops)
    streams = stream_bytes((gop.streams for gop in gops), reader.file_bytes)
    pts = [pts for entry in reader.gops for pts in entry.pts]
    duration = float((pts[-1] - pts[0]) * header.time_base + 1 / header.frame_rate) if pts else 0.0
    return StreamInfo(
        path=path,
        file_bytes=reader.file_bytes,
        width=header.width,
        height=header.height,
        n_frames=n_frames,
        frame_rate=header.frame_rate,
        time_base=header.time_base,
        variable_frame_rate=len({later - earlier for earlier, later in pairwise(pts)}) > 1,
        duration_seconds=duration,
        bpp=8.0 * reader.file_bytes / max(header.width * header.height * n_frames, 1),
        profile=header.profile,
        format_version=".".join(str(number) for number in header.format_version),
        tool=header.tool,
        color=header.color,
        streams=streams,
        bits_per_gaussian={
            name: 8.0 * streams[name] / max(sum(gop.n_gaussians for gop in gops if name in gop.streams), 1)
            for name in _GAUSSIAN_STREAMS
            if name in streams
        },
        gops=tuple(gops),
        n_key_gops=sum(gop.is_key for gop in gops),
        longest_chain=max((i - reader.key_of(i) + 1 for i in range(len(gops))), default=1),
        decode_memory_bytes=memory,
        limits=dict(LIMITS),
    )


def _named(header: GopHeader | GopSetHeader) -> dict[str, object]:
    """Every field of a GoP's header, modes by their names."""
    return {
        name: _MODES[name][value] if name in _MODES else value for name, value in dataclasses.asdict(header).items()
    }


def _decode_memory_bytes(header: GopHeader | GopSetHeader, width: int, height: int) -> int:
    """Estimate for one frame at a time: parameters, activations of the field, float and 8-bit frame, pixel buffers."""
    n_tables = (
        sum(header.static_entries) * header.static_features + sum(header.dynamic_entries) * header.dynamic_features
    )
    per_gaussian = 4 * (8 + 5 + header.n_field_inputs + 3 * header.mlp_width)
    return 4 * n_tables + per_gaussian * header.n_gaussians + width * height * 3 * (4 + 4 + 1)
