"""Writes the files of formats 1.1 and 1.2 and stores what all decode to: `python tests/golden/make_golden.py`.

For a file of a release that is out, its expectation must never change: later releases add files of other names. So
two_gops.stgv is no longer made here: stgvcodec encoded it in format 1.0, 48x32, with uneven timestamps, a GoP of four
frames and a last one of a single frame. What the set files show is drawn by a seed: they hold the format, not the
encoder.
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
    PredictedGopSymbols,
    StgvReader,
    StgvWriter,
    StreamHeader,
    pack_gop,
    pack_predicted_gop,
    unpack_gop,
    unpack_predicted_gop,
)
from stgvcodec.media import read_image, write_png

FOLDER = Path(__file__).parent
HASHES = FOLDER / "hashes.json"
WIDTH, HEIGHT = 40, 27
PTS = ((-3, 0, 4, 5), (100,))
COMPACT, PAPER = (1, 1, 1), (0, 0, 0)
PREDICTED_FILE = "predicted.stgv"
AnySymbols = GopSymbols | GopSymbols | PredictedGopSymbols
SET_FILES = {
    "set_compact.stgv": ("compact", (COMPACT, (1, 0, 1))),
    "set_paper.stgv": ("paper", (PAPER, (0, 1, 0))),
}


def symbols_sha256(symbols: AnySymbols) -> str:
    """Of all arrays in the order of the dataclass, little-endian, each with its name, dtype and shape before it."""
    digest = hashlib.sha256()
    for field in dataclasses.fields(symbols):
        value = getattr(symbols, field.name)
        if field.name == "header":
            digest.update(repr(dataclasses.astuple(value)).encode())
            continue
        for array in value if isinstance(value, tuple) else (value,):
            digest.update(f"{field.name} {array.dtype.name} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def gop_symbols(reader: StgvReader, index: int) -> AnySymbols:
    """A GoP of a file of any format."""
    payload = reader.read_gop(index)
    if not reader.gops[index].is_key:
        return unpack_predicted_gop(payload)
    return unpack_gop(payload) if reader.header.format_version == (1, 0) else unpack_gop(payload)


def drawn_set(seed: int, n_frames: int, modes: tuple[int, int, int]) -> GopSymbols:
    """A GoP of 50 Gaussians over the picture that move a little, in point, shape and colour modes."""
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
        mlp_scales=floats(0.0625, 0.01, 0.0625, 0.01, 0.005, 0.001, 0.01, 0.001),
    )


def drawn_prediction(seed: int, n_frames: int) -> PredictedGopSymbols:
    """A GoP whose Gaussians are those before but for a few, with a field as of `drawn_set`."""
    alone = drawn_set(seed, n_frames, COMPACT)
    rng = np.random.default_rng(100 + seed)
    residuals = np.rint(rng.laplace(0, 1.5, (alone.header.n_gaussians, 8)))
    residuals[::3] = 0
    residuals[7], residuals[11] = -128, 127
    field = {
        name: getattr(alone, name)
        for name in (
            *("static_table", "dynamic_table", "mlp", "static_scales", "dynamic_scales", "mlp_scales"),
            *("shape_scale", "color_scale"),
        )
    }
    return PredictedGopSymbols(
        header=alone.header,
        residuals=residuals.astype(np.int8),
        point_scale=np.array([0.001953125, 0.003], np.float32),
        **{**field, "shape_scale": np.array([0.0078125, 0.01, 0.02], np.float32)},
    )


def stream_header(profile: str, version: tuple[int, int]) -> StreamHeader:
    return StreamHeader(
        width=WIDTH,
        height=HEIGHT,
        frame_rate=Fraction(24),
        time_base=Fraction(1, 48),
        color=ColorDescription(primaries=1, transfer=13, matrix=1, full_range=True),
        profile=profile,
        tool="golden",
        format_version=version,
    )


def write_set(path: Path, profile: str, modes: tuple[tuple[int, int, int], ...]) -> None:
    """A GoP of four frames at uneven times and one of a single frame, each in modes of its own."""
    header = stream_header(profile, (1, 1))
    with path.open("wb") as file:
        writer = StgvWriter(file, header)
        for seed, (pts, of_gop) in enumerate(zip(PTS, modes, strict=True)):
            writer.add_gop(pack_gop(drawn_set(seed, len(pts), of_gop)), pts)
        writer.finish()


def write_predicted(path: Path) -> None:
    """Two predicted GoPs behind a key GoP, the second of a single frame; then a key GoP and one predicted from it."""
    with path.open("wb") as file:
        writer = StgvWriter(file, stream_header("compact", (1, 2)))
        first_pts = 0
        for seed, (n_frames, is_key) in enumerate(((3, True), (3, False), (1, False), (2, True), (2, False))):
            pts = range(first_pts, first_pts + 2 * n_frames, 2)
            first_pts = pts.stop
            if is_key:
                writer.add_gop(pack_gop(drawn_set(20 + seed, n_frames, COMPACT)), pts)
            else:
                writer.add_gop(pack_predicted_gop(drawn_prediction(20 + seed, n_frames)), pts, predicted=True)
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
            "width": reader.header.width,
            "height": reader.header.height,
            "frame_rate": str(reader.header.frame_rate),
            "time_base": str(reader.header.time_base),
            "color": dataclasses.asdict(reader.header.color),
            "gops": [
                {
                    "first_frame": gop.first_frame,
                    "n_gaussians": gop.n_gaussians,
                    "pts": list(gop.pts),
                    "symbols_sha256": symbols_sha256(gop_symbols(reader, i)),
                    **({} if gop.is_key else {"is_key": False}),
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
    """Write everything."""
    for name, (profile, modes) in SET_FILES.items():
        write_set(FOLDER / name, profile, modes)
        store_frames(FOLDER / name)
    write_predicted(FOLDER / PREDICTED_FILE)
    store_frames(FOLDER / PREDICTED_FILE)
    files = sorted(FOLDER.glob("*.stgv"))
    HASHES.write_text(json.dumps({path.name: expectation(path) for path in files}, indent=2) + "\n")


if __name__ == "__main__":
    main()
