from __future__ import annotations

from fractions import Fraction

import pytest
from gops import random_gop, write_gops

from stgvcodec import StreamInfo, VideoDecoder, __version__, read_info
from stgvcodec.bitstream import LIMITS, pack_gop
from stgvcodec.errors import BitstreamError, InputVideoError


def test_streams_add_up_to_the_file(encoded):
    info = read_info(encoded.path)

    assert info.file_bytes == encoded.path.stat().st_size
    assert sum(info.streams.values()) == info.file_bytes
    assert 0 < info.streams["container"] < info.file_bytes
    for name in ("points", "point_bits", "shapes", "colors", "side_info", "field"):
        assert info.streams[name] == sum(gop.streams[name] for gop in info.gops) > 0
    for gop in info.gops:
        assert sum(gop.streams.values()) < gop.bytes


def test_gops_are_listed(encoded):
    info = read_info(encoded.path)

    assert [(gop.first_frame, gop.n_frames, gop.n_gaussians) for gop in info.gops] == [(0, 4, 60), (4, 3, 60)]
    for gop in info.gops:
        assert gop.header["n_frames"] == gop.n_frames
        assert gop.header["n_gaussians"] == gop.n_gaussians
        modes = [gop.header[name] for name in ("point_mode", "shape_mode", "color_mode")]
        assert modes == ["grid", "log-shear", "ycocg"]
    assert sum(gop.bytes for gop in info.gops) < info.file_bytes


def test_the_header_is_told(encoded):
    info = read_info(encoded.path)

    assert isinstance(info, StreamInfo)
    assert info.path == encoded.path
    assert (info.width, info.height, info.n_frames) == (48, 32, 7)
    assert info.time_base == Fraction(1, 1000)
    assert info.bpp == 8 * info.file_bytes / (48 * 32 * 7)
    assert info.profile == "compact"
    assert info.tool == f"stgvcodec {__version__}"
    assert info.format_version.count(".") == 1
    assert info.limits == dict(LIMITS)


def test_duration_is_to_the_end_of_the_last_frame(encoded):
    info = read_info(encoded.path)

    assert info.duration_seconds == pytest.approx(0.390 - 0.080 + float(1 / info.frame_rate))


def test_memory_grows_with_picture_and_gaussians(tmp_path):
    def needed(width: int, height: int, n_gaussians: int) -> int:
        payload = pack_gop(random_gop(n_gaussians=n_gaussians))
        path = write_gops(tmp_path / "a.stgv", [payload], width=width, height=height)
        return read_info(path).decode_memory_bytes

    small, large, dense = needed(16, 16, 5), needed(64, 64, 5), needed(16, 16, 50)

    assert small > 16 * 16 * 3
    assert large - small >= (64 * 64 - 16 * 16) * 3 * 4  # a float frame
    assert dense > small


def test_metadata_of_a_decoder_is_the_same(encoded):
    with VideoDecoder(encoded.path, device="cpu") as decoder:
        assert decoder.metadata == read_info(encoded.path)


def test_other_files_are_refused(tmp_path, encoded):
    (tmp_path / "text.stgv").write_text("not one")
    (tmp_path / "empty.stgv").touch()
    (tmp_path / "cut.stgv").write_bytes(encoded.path.read_bytes()[:-1])

    with pytest.raises(InputVideoError):
        read_info(tmp_path / "missing.stgv")
    for name in ("text", "empty", "cut"):
        with pytest.raises(BitstreamError):
            read_info(tmp_path / f"{name}.stgv")
