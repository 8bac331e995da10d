"""Writes the golden files of format 2.0 and stores what they decode to: `python tests/golden/make_golden.py`.

Format 2.0 is frozen: the files that section 10 of bitstream_spec.md lists, and what they decode to, never change. Later
versions add files of other names; this script shows how the frozen ones were made. What the files of `FILES` show is
drawn by a seed: they hold the format, not the encoder. two_gops.stgv is not made here: stgvcodec encoded it with the
profile paper, 48x32, with uneven timestamps, a GoP of four frames and a last one of a single frame. worked_example.stgv
is that of make_worked_example.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from stgvcodec import VideoDecoder
from stgvcodec.bitstream import (
    ChunkType,
    ColorDescription,
    GopHeader,
    GopSymbols,
    StgvReader,
    StgvWriter,
    StreamHeader,
    pack_gop,
    unpack_gop,
)
from stgvcodec.bitstream.container.tracks import PacketGroup, pack_metadata, pack_track
from stgvcodec.evaluation.conformance import HASHES, symbols_sha256
from stgvcodec.media import read_image, write_png
from stgvcodec.tracks import Track, TrackPacket

FOLDER = Path(__file__).parent
COMPACT, PAPER = (1, 1, 1), (0, 0, 0)
NOT_DRAWN = ("two_gops.stgv", "worked_example.stgv")


def drawn_header(n_frames: int, modes: tuple[int, int, int], *, shape_head: bool, **changes: Any) -> GopHeader:
    """A header of 50 Gaussians in point, shape and colour modes; `changes` are its attributes."""
    point_mode, shape_mode, color_mode = modes
    sizes: dict[str, Any] = {
        "n_frames": n_frames,
        "n_gaussians": 50,
        "low_pass": 0.125,
        "point_mode": point_mode,
        "shape_mode": shape_mode,
        "color_mode": color_mode,
        "cholesky_bits": 8 if shape_mode else 6,
        "color_stages": 1 if color_mode else 2,
        "color_codebook_size": 1 if color_mode else 5,
        "static_resolutions": ((3, 2), (9, 8)),
        "static_features": 2,
        "static_log2_size": 6,
        "dynamic_resolutions": ((4, 3, 1), (9, 8, 3)),
        "dynamic_features": 2,
        "dynamic_log2_size": 6,
        "mlp_width": 8,
        "n_frequencies": 2,
        "shape_head": int(shape_head),
        "weight_bits": 6,
    }
    return GopHeader(**{**sizes, **changes})


def drawn_gop(seed: int, header: GopHeader, spread: float) -> GopSymbols:
    """A GoP whose Gaussians lie all over the picture and move a little; with a shape head they change their shapes.

    Weights have a Laplace distribution of scale `spread`.
    """
    rng = np.random.default_rng(seed)
    half_weight, n_shapes = 1 << (header.weight_bits - 1), 1 << header.cholesky_bits

    def weights(shape: tuple[int, ...]) -> np.ndarray:
        return np.clip(np.rint(rng.laplace(0, spread, shape)), -half_weight, half_weight - 1).astype(np.int8)

    def floats(*values: float, present: int = 1) -> np.ndarray:
        return np.array(values * present, np.float32)

    def levels(*values: float, resolutions: tuple[tuple[int, ...], ...]) -> np.ndarray:
        return floats(*itertools.islice(itertools.cycle(values), len(resolutions)))

    n = header.n_gaussians
    patterns = rng.uniform(-1.1, 1.1, (n, 2)).astype(np.float16).view(np.uint16).astype(np.int32)
    halves = np.where(patterns >= 0x8000, 0xFFFF - patterns, patterns + 0x8000).astype(np.uint16)
    cells = rng.integers(0, 64, (n, 2)).astype(np.uint16)
    logs = np.stack([rng.integers(4, 14, n), rng.integers(4, 14, n), rng.integers(118, 138, n)], 1)
    luma = np.stack([rng.integers(128, 160, n), rng.integers(122, 135, n), rng.integers(125, 132, n)], 1)
    shapes = logs if header.shape_mode else rng.integers(0, n_shapes, (n, 3))
    stages = (n, header.color_stages)
    colors = luma if header.color_mode else rng.integers(0, header.color_codebook_size, stages)
    # The largest shapes are about as large for any number of bits, and pictures as bright for any number of Gaussians.
    affine, dim = 64 / n_shapes, min(50 / n, 1.0)
    return GopSymbols(
        header=header,
        points=cells if header.point_mode else halves,
        shapes=shapes.astype(np.uint8),
        colors=colors.astype(np.uint8),
        codebooks=(dim * rng.uniform(-0.1, 0.5, header.codebooks_shape)).astype(np.float16).view(np.uint16),
        static_table=weights((sum(header.static_entries), header.static_features)),
        dynamic_table=weights((sum(header.dynamic_entries), header.dynamic_features)),
        mlp=tuple(weights(shape) for shape in header.mlp_shapes),
        point_scale=floats(0.03125, 0.034, present=header.point_mode),
        point_offset=floats(-1.0, -1.09375, present=header.point_mode),
        shape_scale=floats(0.2, 0.1875, 0.2)
        if header.shape_mode
        else floats(0.1 * affine, 0.1 * affine, 0.11 * affine),
        shape_offset=floats(-0.25, -3.0, 0.0, present=1 - header.shape_mode),
        color_scale=floats(0.02 * dim, 0.03125 * dim, 0.03 * dim, present=header.color_mode),
        static_scales=levels(0.0625, 0.05, resolutions=header.static_resolutions),
        dynamic_scales=levels(0.05, 0.0625, resolutions=header.dynamic_resolutions),
        mlp_scales=floats(
            0.0625, 0.01, 0.0625, 0.01, 0.005, 0.001, 0.01, 0.001, *((0.0625, 0.01) if header.shape_head else ())
        ),
    )


@dataclass(frozen=True)
class Drawn:
    """A drawn file.

    Attributes:
        header: Attributes of the file header that differ from `write_drawn`'s.
        gops: Header of each GoP, and the timestamps of its frames.
        chunks: Types and payloads of ancillary chunks, which stand before the GoPs.
        spread: Scale of the distribution of the weights.
    """

    header: dict[str, Any]
    gops: list[tuple[GopHeader, tuple[int, ...]]]
    chunks: tuple[tuple[int, bytes], ...] = ()
    spread: float = 2.0


def all_modes() -> list[tuple[GopHeader, tuple[int, ...]]]:
    """A GoP in each combination of modes, without and with a head for shapes, of one to three frames."""
    gops = []
    for i, (*modes, shape_head) in enumerate(itertools.product((0, 1), repeat=4)):
        point, shape, color = modes
        header = drawn_header(
            1 + i % 3, (point, shape, color), shape_head=bool(shape_head), n_gaussians=20 + i, low_pass=0.25 * (i % 2)
        )
        gops.append((header, tuple(100 * i + k * k + 2 * k for k in range(header.n_frames))))
    return gops


ONE_LEVEL = {
    "static_resolutions": ((1, 1),),
    "static_features": 1,
    "static_log2_size": 1,
    "dynamic_resolutions": ((1, 1, 1),),
    "dynamic_features": 1,
    "dynamic_log2_size": 1,
    "mlp_width": 1,
    "n_frequencies": 1,
    "weight_bits": 1,
}
# As many of everything as the format allows, where that takes few bytes.
MANY_LEVELS = {
    "static_resolutions": (*((3 + i, 2 + i) for i in range(15)), (65535, 65535)),
    "static_features": 8,
    "static_log2_size": 4,
    "dynamic_resolutions": (*((2 + i, 3 + i, 1 + i) for i in range(15)), (65535, 65535, 65535)),
    "dynamic_features": 8,
    "dynamic_log2_size": 4,
    "mlp_width": 17,
    "n_frequencies": 16,
    "weight_bits": 8,
    "cholesky_bits": 8,
    "color_stages": 8,
    "color_codebook_size": 7,
}
SOUND = Track(
    "audio",
    "opus",
    Fraction(1, 48000),
    "matroska",
    b"set-up",
    sample_rate=48000,
    n_channels=2,
    tags={"language": "eng"},
)
SUBTITLES = Track("subtitle", "subrip", Fraction(1, 1000), "mp4", b"set-up", dispositions=("default", "forced"))
# Chunks that a decoder of pictures skips. Nothing decodes the packets.
ANCILLARY = (
    (ChunkType.METADATA, pack_metadata({"title": "Golden", "comment": "two\nlines"})),
    (ChunkType.TRACK, pack_track(0, SOUND)),
    (ChunkType.TRACK, pack_track(3, SUBTITLES)),
    (
        ChunkType.TRACK_PACKETS,
        PacketGroup(0, [TrackPacket(-312, 960, True, b"first"), TrackPacket(648, 960, False, b"")]).to_bytes(),
    ),
    (ChunkType.TRACK_PACKETS, PacketGroup(3, [TrackPacket(5, 0, True, b"text")]).to_bytes()),
    (0x7ABC, b"private"),
)
LARGE_TABLE = {"static_resolutions": ((3, 2), (30, 30)), "static_log2_size": 10}
PTS = ((-3, 0, 4, 5), (100,))
FILES = {
    "compact.stgv": Drawn(
        {"profile": "compact", "sample_aspect_ratio": Fraction(16, 15), "last_frame_duration": 7},
        [
            (drawn_header(len(pts), modes, shape_head=True), pts)
            for pts, modes in zip(PTS, (COMPACT, (1, 0, 1)), strict=True)
        ],
    ),
    "paper.stgv": Drawn(
        {"profile": "paper"},
        [
            (drawn_header(len(pts), modes, shape_head=False), pts)
            for pts, modes in zip(PTS, (PAPER, (0, 1, 0)), strict=True)
        ],
    ),
    "all_modes.stgv": Drawn(
        {
            "width": 29,
            "height": 21,
            "profile": "compact",
            "frame_rate": Fraction(30000, 1001),
            "time_base": Fraction(1, 90000),
            "color": ColorDescription(primaries=9, transfer=16, matrix=9, full_range=False),
            "tool": "golden, ü",
        },
        all_modes(),
        ANCILLARY,
    ),
    "smallest.stgv": Drawn(
        {"width": 1, "height": 1, "profile": "compact", "last_frame_duration": 2**40, "tool": ""},
        [(drawn_header(1, COMPACT, shape_head=False, n_gaussians=1, **ONE_LEVEL), (0,))],
    ),
    "extremes.stgv": Drawn(
        {
            "width": 131,
            "height": 3,
            "profile": "paper",
            "sample_aspect_ratio": Fraction(2**32 - 1, 2),
            "tool": 64 * "x",
        },
        [
            (drawn_header(3, PAPER, shape_head=True, **MANY_LEVELS), (-(2**62), 2**40 - 2**62, 2**41 - 2**62)),
            (
                drawn_header(
                    2, PAPER, shape_head=True, cholesky_bits=1, color_stages=1, color_codebook_size=256, **ONE_LEVEL
                ),
                (2**62 - 1, 2**62),
            ),
        ],
    ),
    # Enough Gaussians for several classes of contexts, and a large table of weights that are nearly all 0.
    "classes.stgv": Drawn(
        {"width": 64, "height": 31, "profile": "compact"},
        [
            (drawn_header(2, modes, shape_head=False, n_gaussians=600, **LARGE_TABLE), (2 * i, 2 * i + 1))
            for i, modes in enumerate((COMPACT, PAPER))
        ],
        spread=0.1,
    ),
}


def write_drawn(path: Path) -> None:
    """Write a file of `FILES`."""
    drawn = FILES[path.name]
    usual = {
        "width": 40,
        "height": 27,
        "frame_rate": Fraction(24),
        "time_base": Fraction(1, 48),
        "color": ColorDescription(primaries=1, transfer=13, matrix=1, full_range=True),
        "tool": "golden",
    }
    with path.open("wb") as file:
        writer = StgvWriter(file, StreamHeader(**{**usual, **drawn.header}))
        for chunk_type, payload in drawn.chunks:
            writer.add_chunk(chunk_type, payload)
        for seed, (header, pts) in enumerate(drawn.gops):
            writer.add_gop(pack_gop(drawn_gop(seed, header, drawn.spread)), pts)
        writer.finish()


def expectation(path: Path) -> dict[str, object]:
    """What a file holds, and the hash of the stored frames that a decoder must meet within the format's tolerance."""
    frames = hashlib.sha256()
    for picture in sorted(path.with_suffix("").glob("*.png")):
        frames.update(read_image(picture).tobytes())
    with StgvReader(path) as reader:
        return {
            "frames_sha256": frames.hexdigest(),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "format_version": list(reader.header.format_version),
            "profile": reader.header.profile,
            "width": reader.header.width,
            "height": reader.header.height,
            "frame_rate": str(reader.header.frame_rate),
            "time_base": str(reader.header.time_base),
            "sample_aspect_ratio": str(reader.header.sample_aspect_ratio),
            "last_frame_duration": reader.header.last_frame_duration,
            "color": dataclasses.asdict(reader.header.color),
            "gops": [
                {
                    "first_frame": gop.first_frame,
                    "n_gaussians": gop.n_gaussians,
                    "pts": list(gop.pts),
                    "symbols_sha256": symbols_sha256(unpack_gop(reader.read_gop(i))),
                }
                for i, gop in enumerate(reader.gops)
            ],
        }


def store_frames(path: Path) -> None:
    """The frames of the reference, beside the file in a folder of its name."""
    folder = path.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with VideoDecoder(path, device="cpu", backend="reference") as decoder:
        for i, frame in enumerate(decoder.iter_frames()):
            write_png(folder / f"{i:06d}.png", frame.numpy())


def main() -> None:
    """Write everything but the files of `NOT_DRAWN`, whose frames are stored all the same."""
    for name in FILES:
        write_drawn(FOLDER / name)
    names = sorted((*FILES, *NOT_DRAWN))
    for name in names:
        store_frames(FOLDER / name)
    (FOLDER / HASHES).write_text(json.dumps({name: expectation(FOLDER / name) for name in names}, indent=2) + "\n")


if __name__ == "__main__":
    main()
