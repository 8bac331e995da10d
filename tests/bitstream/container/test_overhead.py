from __future__ import annotations

import io
from fractions import Fraction

import pytest
from rate_simulation import TrustingWriter

from stgvcodec.bitstream.container.file_header import ColorDescription, StreamHeader
from stgvcodec.bitstream.container.overhead import file_framing_bytes, gop_framing_bytes


@pytest.mark.parametrize("tool", ["", "stgvcodec 1.2.3"])
@pytest.mark.parametrize(
    "gops",
    [
        pytest.param([((0,), 4, 1)], id="one frame"),
        pytest.param([((0, 512, 1024), 5_000, 90), ((1536, 2048), 130, 20_000)], id="even"),
        pytest.param([((-70_000, 1, 90_000), 127, 3), ((90_001, 10**12), 128, 4_000_000)], id="uneven"),
        pytest.param([(tuple(range(64 * i, 64 * i + 64)), 70_000, 12_345) for i in range(150)], id="many"),
    ],
)
def test_a_file_has_as_many_bytes_as_its_framing_and_payloads(gops, tool):
    header = StreamHeader(640, 360, Fraction(24), Fraction(1, 12_288), ColorDescription(1, 1, 1, False), "paper", tool)
    file = io.BytesIO()
    writer = TrustingWriter(file, header)
    for pts, n_bytes, n_gaussians in gops:
        writer.add_gop(n_gaussians.to_bytes(4, "little") + bytes(n_bytes - 4), pts)
    writer.finish()

    n_frames = sum(len(pts) for pts, _, _ in gops)
    expected = file_framing_bytes(header, n_frames=n_frames, n_gops=len(gops))
    first_frame = 0
    for pts, n_bytes, n_gaussians in gops:
        expected += n_bytes + gop_framing_bytes(
            pts, first_frame=first_frame, payload_bytes=n_bytes, n_gaussians=n_gaussians
        )
        first_frame += len(pts)
    assert len(file.getvalue()) == expected
