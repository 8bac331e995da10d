"""Writes tests/golden/worked_example.stgv, and its hex dump into bitstream_spec.md. Takes no arguments.

The text below the dump explains each byte and is kept by hand; test_worked_example.py holds it to the file.
"""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np

from stgvcodec.bitstream import ColorDescription, GopHeader, GopSymbols, StgvWriter, StreamHeader, pack_gop

GOLDEN = Path(__file__).with_name("worked_example.stgv")
SPEC = Path(__file__).parents[2] / "bitstream_spec.md"
BEGIN = "<!-- worked example: written by tests/golden/make_worked_example.py -->"
END = "<!-- end of worked example -->"

STREAM_HEADER = StreamHeader(
    width=8,
    height=8,
    frame_rate=Fraction(25, 1),
    time_base=Fraction(1, 25),
    color=ColorDescription(primaries=1, transfer=13, matrix=1, full_range=True),
    profile="compact",
    tool="example",
    sample_aspect_ratio=Fraction(1),
    last_frame_duration=1,
)
PTS = (0, 1)


def worked_example_symbols() -> GopSymbols:
    """Three Gaussians, two frames, one dense 2D level, one hashed 3D level, four neurons."""
    header = GopHeader(
        n_frames=2,
        n_gaussians=3,
        low_pass=0.0,
        point_mode=1,
        shape_mode=1,
        color_mode=1,
        cholesky_bits=8,
        color_stages=1,
        color_codebook_size=1,
        static_resolutions=((1, 1),),
        static_features=1,
        static_log2_size=2,
        dynamic_resolutions=((1, 1, 1),),
        dynamic_features=1,
        dynamic_log2_size=2,
        mlp_width=4,
        n_frequencies=1,
        shape_head=1,
        weight_bits=6,
    )
    return GopSymbols(
        header=header,
        points=np.array([[32, 32], [96, 48], [64, 96]], np.uint16),
        shapes=np.array([[3, 3, 128], [4, 3, 131], [4, 5, 128]], np.uint8),
        colors=np.array([[136, 140, 124], [140, 124, 136], [141, 118, 123]], np.uint8),
        codebooks=np.zeros((0, 0, 3), np.uint16),
        static_table=np.array([[2], [-1], [0], [1]], np.int8),
        dynamic_table=np.array([[1], [0], [-2], [3]], np.int8),
        mlp=(
            np.array([[1, 0, 0, 1], [0, 2, 0, -1], [-1, 0, 1, 0], [0, 1, 0, 2]], np.int8),
            np.array([1, 0, 1, 0], np.int8),
            np.array([[1, 0, 0, -1], [0, 1, 0, 0], [0, 0, 1, 2], [1, 0, -1, 0]], np.int8),
            np.array([0, 0, 0, 0], np.int8),
            np.array([[1, 0, -1, 0], [0, 1, 0, 1]], np.int8),
            np.array([0, 0], np.int8),
            np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0]], np.int8),
            np.array([0, 0, 0], np.int8),
            # Only the shear changes: exp(0) = 1 keeps all numbers exact.
            np.array([[0, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 0]], np.int8),
            np.array([0, 1, 0], np.int8),
        ),
        point_scale=np.array([2**-6, 2**-6], np.float32),
        point_offset=np.array([-1.0, -1.0], np.float32),
        shape_scale=np.array([0.5, 0.5, 0.25], np.float32),
        shape_offset=np.zeros(0, np.float32),
        color_scale=np.full(3, 2**-5, np.float32),
        static_scales=np.array([0.25], np.float32),
        dynamic_scales=np.array([0.25], np.float32),
        mlp_scales=np.full(10, 0.25, np.float32),
    )


def worked_example_bytes() -> bytes:
    """The file."""
    file = io.BytesIO()
    writer = StgvWriter(file, STREAM_HEADER)
    writer.add_gop(pack_gop(worked_example_symbols()), PTS)
    writer.finish()
    return file.getvalue()


def hex_section(data: bytes) -> str:
    """A hex dump for the spec, 16 bytes a line with offsets."""
    rows = [f"{at:04x}  {data[at : at + 16].hex(' ')}" for at in range(0, len(data), 16)]
    return "\n".join([BEGIN, "```", *rows, "```", END])


def main() -> None:
    """Write the file and the section of the spec."""
    data = worked_example_bytes()
    GOLDEN.write_bytes(data)
    text = SPEC.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    SPEC.write_text(before + hex_section(data) + rest.split(END, 1)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
