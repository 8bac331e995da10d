from __future__ import annotations

import dataclasses
import io
from types import SimpleNamespace

import pytest
from gops import HEADER

from stgvcodec.bitstream.container import writer
from stgvcodec.bitstream.container.overhead import file_framing_bytes, gop_framing_bytes


@pytest.fixture
def any_payload(monkeypatch):
    """The writer takes any bytes for a payload: a byte is the number of frames, three are that of Gaussians."""

    def read_header(payload):
        return SimpleNamespace(n_frames=payload[0], n_gaussians=int.from_bytes(payload[1:4], "little"))

    monkeypatch.setattr(writer, "payload_stream_bytes", lambda payload: {})
    monkeypatch.setattr(writer, "read_header", read_header)


@pytest.mark.usefixtures("any_payload")
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
    header = dataclasses.replace(HEADER, tool=tool)
    file = io.BytesIO()
    stgv = writer.StgvWriter(file, header)
    for pts, n_bytes, n_gaussians in gops:
        stgv.add_gop(bytes([len(pts)]) + n_gaussians.to_bytes(3, "little") + bytes(n_bytes - 4), pts)
    stgv.finish()

    n_frames = sum(len(pts) for pts, _, _ in gops)
    expected = file_framing_bytes(header, n_frames=n_frames, n_gops=len(gops))
    first_frame = 0
    for pts, n_bytes, n_gaussians in gops:
        expected += n_bytes + gop_framing_bytes(
            pts, first_frame=first_frame, payload_bytes=n_bytes, n_gaussians=n_gaussians
        )
        first_frame += len(pts)
    assert len(file.getvalue()) == expected
