"""Writes the golden files of format 2.0 and stores what they decode to: `python tests/golden/make_golden.py`.

For a file of a release that is out, its expectation must never change: later releases add files of other names. What
compact.stgv and paper.stgv show is drawn by a seed: they hold the format, not the encoder. two_gops.stgv is not made
here: stgvcodec encoded it with the profile paper, 48x32, with uneven timestamps, a GoP of four frames and a last one of
a single frame. worked_example.stgv is that of make_worked_example.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np

from stgvcodec import VideoDecoder
from stgvcodec.bitstream import (
    ColorDescription,
    GopHeader,
    GopSymbols,
    StgvReader,
    StgvWriter,
    StreamHeader,
    pack_gop,
    unpack_gop,
)
from stgvcodec.media import read_image, write_png

FOLDER = Path(__file__).parent
HASHES = FOLDER / "hashes.json"
WIDTH, HEIGHT = 40, 27
PTS = ((-3, 0, 4, 5), (100,))
COMPACT, PAPER = (1, 1, 1), (0, 0, 0)
HEADERS = {
    "compact.stgv": {"profile": "compact", "sample_aspect_ratio": Fraction(16, 15), "last_frame_duration": 7},
    "paper.stgv": {"profile": "paper"},
}
GOP_MODES = {"compact.stgv": (COMPACT, (1, 0, 1)), "paper.stgv": (PAPER, (0, 1, 0))}
# Files whose fields change shapes.
RESHAPED = ("compact.stgv",)
NOT_DRAWN = ("two_gops.stgv", "worked_example.stgv")


def symbols_sha256(symbols: GopSymbols) -> str:
    """Of the header, then of all arrays, little-endian, each with its name, dtype and shape before it."""
    digest = hashlib.sha256(repr(dataclasses.astuple(symbols.header)).encode())
    for field in dataclasses.fields(symbols):
        if field.name == "header":
            continue
        value = getattr(symbols, field.name)
        for array in value if isinstance(value, tuple) else (value,):
            digest.update(f"{field.name} {array.dtype.name} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def drawn_gop(seed: int, n_frames: int, modes: tuple[int, int, int], *, shape_head: bool) -> GopSymbols:
    """A GoP of 50 Gaussians over the picture that move a little, in point, shape and colour modes.

    With a `shape_head` they change their shapes too.
    """
    rng = np.random.default_rng(seed)
    point_mode, shape_mode, color_mode = modes
    header = GopHeader(
        n_frames=n_frames,
        n_gaussians=50,
        low_pass=0.125,
        point_mode=point_mode,
        shape_mode=shape_mode,
        color_mode=color_mode,
        cholesky_bits=8 if shape_mode else 6,
        color_stages=1 if color_mode else 2,
        color_codebook_size=1 if color_mode else 5,
        static_resolutions=((3, 2), (9, 8)),
        static_features=2,
        static_log2_size=6,
        dynamic_resolutions=((4, 3, 1), (9, 8, 3)),
        dynamic_features=2,
        dynamic_log2_size=6,
        mlp_width=8,
        n_frequencies=2,
        shape_head=int(shape_head),
        weight_bits=6,
    )

    def weights(shape: tuple[int, ...]) -> np.ndarray:
        return np.clip(np.rint(rng.laplace(0, 2, shape)), -32, 31).astype(np.int8)

    def floats(*values: float, present: int = 1) -> np.ndarray:
        return np.array(values * present, np.float32)

    n = header.n_gaussians
    patterns = rng.uniform(-1.1, 1.1, (n, 2)).astype(np.float16).view(np.uint16).astype(np.int32)
    halves = np.where(patterns >= 0x8000, 0xFFFF - patterns, patterns + 0x8000).astype(np.uint16)
    cells = rng.integers(0, 64, (n, 2)).astype(np.uint16)
    logs = np.stack([rng.integers(4, 14, n), rng.integers(4, 14, n), rng.integers(118, 138, n)], 1)
    luma = np.stack([rng.integers(128, 160, n), rng.integers(122, 135, n), rng.integers(125, 132, n)], 1)
    shapes = logs if shape_mode else rng.integers(0, 64, (n, 3))
    colors = luma if color_mode else rng.integers(0, 5, (n, 2))
    return GopSymbols(
        header=header,
        points=cells if point_mode else halves,
        shapes=shapes.astype(np.uint8),
        colors=colors.astype(np.uint8),
        codebooks=rng.uniform(-0.1, 0.5, header.codebooks_shape).astype(np.float16).view(np.uint16),
        static_table=weights((sum(header.static_entries), header.static_features)),
        dynamic_table=weights((sum(header.dynamic_entries), header.dynamic_features)),
        mlp=tuple(weights(shape) for shape in header.mlp_shapes),
        point_scale=floats(0.03125, 0.034, present=point_mode),
        point_offset=floats(-1.0, -1.09375, present=point_mode),
        shape_scale=floats(0.2, 0.1875, 0.2) if shape_mode else floats(0.1, 0.1, 0.11),
        shape_offset=floats(-0.25, -3.0, 0.0, present=1 - shape_mode),
        color_scale=floats(0.02, 0.03125, 0.03, present=color_mode),
        static_scales=floats(0.0625, 0.05),
        dynamic_scales=floats(0.05, 0.0625),
        mlp_scales=floats(
            0.0625, 0.01, 0.0625, 0.01, 0.005, 0.001, 0.01, 0.001, *((0.0625, 0.01) if shape_head else ())
        ),
    )


def write_drawn(path: Path) -> None:
    """A GoP of four frames at uneven times and one of a single frame, each in modes of its own."""
    header = StreamHeader(
        width=WIDTH,
        height=HEIGHT,
        frame_rate=Fraction(24),
        time_base=Fraction(1, 48),
        color=ColorDescription(primaries=1, transfer=13, matrix=1, full_range=True),
        tool="golden",
        **HEADERS[path.name],
    )
    with path.open("wb") as file:
        writer = StgvWriter(file, header)
        for seed, (pts, modes) in enumerate(zip(PTS, GOP_MODES[path.name], strict=True)):
            symbols = drawn_gop(seed, len(pts), modes, shape_head=path.name in RESHAPED)
            writer.add_gop(pack_gop(symbols), pts)
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
    for name in GOP_MODES:
        write_drawn(FOLDER / name)
    names = sorted((*GOP_MODES, *NOT_DRAWN))
    for name in names:
        store_frames(FOLDER / name)
    HASHES.write_text(json.dumps({name: expectation(FOLDER / name) for name in names}, indent=2) + "\n")


if __name__ == "__main__":
    main()
