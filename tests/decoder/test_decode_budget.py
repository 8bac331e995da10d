"""What a file may ask of a decoder: refused by its headers before it is unpacked, and enough for any usual file."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from gops import SMALLEST_FIELD, gop_header, random_gop, write_gops

from stgvcodec import VideoDecoder, compare, decode, read_info
from stgvcodec.bitstream import pack_gop
from stgvcodec.cli.decode import decode_command
from stgvcodec.decoder import prefetch
from stgvcodec.decoder.decode_budget import (
    DEFAULT_MAX_MEMORY,
    DEFAULT_MAX_WORK,
    DecodeBudget,
    decode_memory_bytes,
    frame_work_px,
)
from stgvcodec.decoder.pair_bound import SplatExtents
from stgvcodec.errors import BudgetError, ConfigError

# About those of presets for 854x480.
FIELD = {
    "static_resolutions": tuple((16 << i, 9 << i) for i in range(5)),
    "static_log2_size": 15,
    "dynamic_resolutions": tuple((16 << i, 9 << i, 4 + i) for i in range(5)),
    "dynamic_features": 4,
    "dynamic_log2_size": 16,
    "mlp_width": 64,
    "n_frequencies": 6,
}


def spread_gop(n_gaussians, largest=255, **changes):
    """A GoP whose Gaussians lie all over the picture. `largest` bounds the symbols of their sizes."""
    gop = random_gop(n_gaussians=n_gaussians, n_frames=2, **{**FIELD, **changes})
    shapes = np.concatenate([np.minimum(gop.shapes[:, :2], largest), gop.shapes[:, 2:]], axis=1)
    return dataclasses.replace(
        gop,
        points=np.random.default_rng(0).integers(0, 2**16, gop.points.shape).astype(np.uint16),
        point_scale=np.full(2, 2.0**-15, np.float32),
        point_offset=np.full(2, -1.0, np.float32),
        shapes=shapes.astype(np.uint8),
    )


def wide_gop(n_gaussians, **changes):
    """A GoP whose Gaussians each cover all of a picture of 63x100."""
    gop = random_gop(n_gaussians=n_gaussians, n_frames=1, moves=False, **{**SMALLEST_FIELD, **changes})
    shapes = np.full_like(gop.shapes, 128)
    shapes[:, :2] = 45
    return dataclasses.replace(gop, shapes=shapes)


@pytest.fixture
def no_unpacking(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a GoP is unpacked")

    monkeypatch.setattr(prefetch, "unpack", refuse)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_gops(tmp_path_factory.mktemp("small") / "a.stgv", [pack_gop(random_gop())] * 2)


def test_a_picture_too_large_is_refused_before_anything_is_unpacked(tmp_path, no_unpacking):
    path = write_gops(tmp_path / "a.stgv", [pack_gop(random_gop())], width=16384, height=8192)
    with VideoDecoder(path, device="cpu") as decoder:
        with pytest.raises(
            BudgetError, match=r"a.stgv: a picture of 16384x8192 .* --max-memory if you trust"
        ) as caught:
            next(decoder.iter_frames())
        with pytest.raises(BudgetError, match="a picture of 16384x8192"):
            decoder[0]
        with pytest.raises(BudgetError, match="a picture of 16384x8192"):
            decoder.render(decoder.metadata.begin_stream_seconds)
    assert caught.value.exit_code == 7
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_need_and_a_bound_that_are_close_differ(tmp_path):
    path = write_gops(tmp_path / "a.stgv", [pack_gop(random_gop())], width=64, height=64)
    with (
        VideoDecoder(path, device="cpu", max_memory=10_000) as decoder,
        pytest.raises(BudgetError, match=r"may need 0\.107 MB of memory to decode, expected 0\.01 MB at most"),
    ):
        decoder[0]


def test_a_smaller_size_of_a_large_picture_may_fit(tmp_path):
    path = write_gops(tmp_path / "a.stgv", [pack_gop(random_gop())], width=16384, height=8192)
    with VideoDecoder(path, device="cpu") as decoder:
        assert next(decoder.iter_frames(size=(64, 128))).shape == (64, 128, 3)
        with pytest.raises(BudgetError, match="a picture of 16384x8192"):  # The same GoP, which is unpacked already.
            next(decoder.iter_frames())


def test_a_field_too_large_is_refused_by_its_header(tmp_path, no_unpacking):
    """The index says nothing of hash tables."""
    gop = random_gop(static_resolutions=((500, 500),) * 4, static_features=8, static_log2_size=18)
    path = write_gops(tmp_path / "a.stgv", [pack_gop(gop)])
    with (
        VideoDecoder(path, device="cpu", max_memory=10**7) as decoder,
        pytest.raises(BudgetError, match=r"a GoP of 63 Gaussians may need [\d.]+ MB"),
    ):
        decoder[0]


def test_gops_ahead_are_held_to_the_budget_too(tmp_path):
    large = random_gop(1, static_resolutions=((500, 500),) * 4, static_features=8, static_log2_size=18)
    path = write_gops(tmp_path / "a.stgv", [pack_gop(random_gop()), pack_gop(large)])
    with VideoDecoder(path, device="cpu", max_memory=10**7) as decoder:
        assert decoder[0:5].shape[0] == 5
        with pytest.raises(BudgetError, match="a GoP of 63 Gaussians"):
            decoder[:]


def test_a_frame_of_many_wide_gaussians_is_refused_before_it_is_rendered(tmp_path, monkeypatch):
    path = write_gops(tmp_path / "a.stgv", [pack_gop(wide_gop(2**18))])
    rendered = []
    monkeypatch.setattr("stgvcodec.decoder.gop_renderer.rasterize_uint8", lambda *_, **__: rendered.append(1))
    with (
        VideoDecoder(path, device="cpu") as decoder,
        pytest.raises(BudgetError, match=r"63x100 may take the work of \d+ Gaussians .* 8192 .*max-work"),
    ):
        decoder[0]
    assert not rendered


def test_a_wide_network_is_work_too():
    extents = SplatExtents(np.ones(1000, np.float32), np.ones(1000, np.float32))

    def work(mlp_width):
        header = gop_header(n_gaussians=1000, **{**FIELD, "mlp_width": mlp_width})
        return frame_work_px(header, extents, 1.0, width=64, height=64)

    assert work(512) - work(1) > 1000 * 512 * 512 / 16


def test_bounds_can_be_raised(tmp_path, small):
    wide = write_gops(tmp_path / "a.stgv", [pack_gop(wide_gop(2**17, shape_head=0))])
    needed = read_info(small).decode_memory_bytes
    with VideoDecoder(small, device="cpu", max_memory=needed) as decoder:
        assert len(decoder[:]) == 10
    with VideoDecoder(small, device="cpu", max_memory=needed // 2) as decoder, pytest.raises(BudgetError):
        decoder[:]
    with pytest.raises(BudgetError):
        decode(small, tmp_path / "a.y4m", device="cpu", max_memory=needed // 2)
    with pytest.raises(BudgetError):
        compare(small, small, device="cpu", max_memory=needed // 2)
    with VideoDecoder(wide, device="cpu", max_work=1e9) as decoder:
        assert decoder[0].shape == (3, 100, 63)


@pytest.mark.parametrize("bounds", [{"max_memory": 0}, {"max_memory": -1}, {"max_work": 0}, {"max_work": float("nan")}])
def test_bounds_are_above_zero(small, bounds):
    with pytest.raises(ConfigError, match=r"max_\w+ is .*, expected more than 0"):
        VideoDecoder(small, device="cpu", **bounds)


def test_bounds_are_kept_by_copies(small):
    with VideoDecoder(small, device="cpu", max_memory=1000) as decoder:
        copy = pickle.loads(pickle.dumps(decoder))
    with copy, pytest.raises(BudgetError):
        copy[0]


def test_the_largest_video_with_a_million_gaussians_is_within_the_defaults():
    needed = decode_memory_bytes(
        gop_header(n_gaussians=2**20, **FIELD), width=7680, height=4320, payload_bytes=5_000_000, n_gops=7
    )
    assert needed <= DEFAULT_MAX_MEMORY
    DecodeBudget().check_picture(7680, 4320, 2**20)


SIZES = {
    "854x480": (854, 480, 25_000, 255, 8),
    "1920x1080": (1920, 1080, 60_000, 255, 8),
    "1920x1080 with 2^20": (1920, 1080, 2**20, 3, 3),
}
PEAK = """
import sys
from stgvcodec import VideoDecoder

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024

warm, path = sys.argv[1:]
with VideoDecoder(warm, device="cpu") as decoder:
    decoder[:]
open("/proc/self/clear_refs", "w").write("5")
before = peak()
with VideoDecoder(path, device="cpu") as decoder:
    for frame in decoder.iter_frames():
        pass
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
@pytest.mark.parametrize(("width", "height", "n_gaussians", "largest", "n_gops"), SIZES.values(), ids=SIZES)
def test_the_estimate_holds_and_is_not_much_more(tmp_path, small, width, height, n_gaussians, largest, n_gops):
    payload = pack_gop(spread_gop(n_gaussians, largest=largest))
    path = write_gops(tmp_path / "a.stgv", [payload] * n_gops, width=width, height=height)

    command = [sys.executable, "-c", PEAK, str(small), str(path)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)

    measured, estimate = int(ran.stdout), read_info(path).decode_memory_bytes
    assert measured <= estimate <= 3 * measured


def test_default_bounds_are_those_of_the_help():
    text = " ".join(CliRunner().invoke(decode_command, ["--help"]).output.split())
    assert f"[default: {DEFAULT_MAX_MEMORY // 10**9}G]" in text
    assert f"[default: {DEFAULT_MAX_WORK}]" in text
