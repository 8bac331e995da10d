"""Encodes two_gops.stgv anew and stores what every file here decodes to: `python tests/golden/make_golden.py`.

For a file of a release that is out, its expectation must never change: later releases add files of other names.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
HASHES = FOLDER / "hashes.json"
sys.path.insert(0, str(FOLDER.parent))

from clips import moving_clip, write_video  # noqa: E402

from stgvcodec import EncodeConfig, VideoDecoder, encode  # noqa: E402
from stgvcodec.bitstream import GopSymbols, StgvReader, unpack_gop  # noqa: E402
from stgvcodec.media import read_image, write_png  # noqa: E402

PTS = (0, 40, 100, 120, 200)


def symbols_sha256(symbols: GopSymbols) -> str:
    """Of all arrays in the order of the dataclass, little-endian, each with its name, dtype and shape before it."""
    digest = hashlib.sha256()
    for field in dataclasses.fields(GopSymbols):
        value = getattr(symbols, field.name)
        if field.name == "header":
            digest.update(repr(dataclasses.astuple(value)).encode())
            continue
        for array in value if isinstance(value, tuple) else (value,):
            digest.update(f"{field.name} {array.dtype.name} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def encode_two_gops(path: Path) -> None:
    """48x32, uneven timestamps, a GoP of four frames and a last one of a single frame."""
    with tempfile.TemporaryDirectory() as folder:
        source = write_video(moving_clip(len(PTS)), Path(folder) / "clip.mkv", PTS, Fraction(1, 1000))
        config = EncodeConfig(preset="draft", gop=4, n_gaussians=80, scene_cut=False, seed=1)
        encode(source, path, config=config, device="cpu")


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
    """Write everything."""
    encode_two_gops(FOLDER / "two_gops.stgv")
    files = sorted(FOLDER.glob("*.stgv"))
    for path in files:
        store_frames(path)
    HASHES.write_text(json.dumps({path.name: expectation(path) for path in files}, indent=2) + "\n")


if __name__ == "__main__":
    main()
