"""Files of GoPs of different modes, from bytes to frames: reading, random access, and what `info` says."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest
import torch
from clips import assert_same_pixels
from gops import modes, random_gop, write_gops

from stgvcodec import VideoDecoder, compare, decode, read_info
from stgvcodec.bitstream import pack_gop
from stgvcodec.bitstream.syntax.versions import PROFILES
from stgvcodec.decoder.gop_renderer import GopRenderer

WIDTH, HEIGHT = 48, 32
GOPS = [
    random_gop(1, n_frames=3),
    random_gop(2, n_frames=2, low_pass=0.25, **modes(0, 1, 0)),
    random_gop(3, n_frames=3, n_gaussians=1),
    random_gop(4, n_frames=1, **modes(0, 0, 1)),
]
N_FRAMES = [gop.header.n_frames for gop in GOPS]


@pytest.fixture(scope="module", params=list(PROFILES))
def path(request, tmp_path_factory) -> Path:
    """Four GoPs of different modes."""
    payloads = [pack_gop(gop) for gop in GOPS]
    name = tmp_path_factory.mktemp("modes") / "modes.stgv"
    return write_gops(name, payloads, width=WIDTH, height=HEIGHT, profile=request.param)


def rendered(payload: bytes) -> torch.Tensor:
    gop = GopRenderer(payload, width=WIDTH, height=HEIGHT, device=torch.device("cpu"), backend="numba")
    return gop.frames_tensor(range(gop.spec.n_frames))


def test_the_frames_of_a_file_are_those_of_its_symbols(path):
    with VideoDecoder(path, device="cpu") as decoder:
        frames = decoder[:].permute(0, 2, 3, 1)
    expected = [rendered(pack_gop(gop)) for gop in GOPS]
    assert torch.equal(frames, torch.cat(expected))


def test_random_access_equals_sequential(path):
    order = [i for i in range(sum(N_FRAMES)) for _ in range(2)]
    random.Random(0).shuffle(order)
    with VideoDecoder(path, device="cpu") as decoder:
        frames = decoder[:]
        for i in order:
            assert torch.equal(decoder[i], frames[i])
    with VideoDecoder(path, device="cpu", backend="reference") as decoder:
        assert_same_pixels(decoder[-1].numpy(), frames[-1].numpy())
        assert decoder.gaussians_at(0)[0].shape == (63, 2)


def test_decode_and_compare(path, tmp_path):
    done = decode(path, tmp_path / "frames", device="cpu")

    assert (done.width, done.height, done.n_frames) == (WIDTH, HEIGHT, sum(N_FRAMES))
    assert compare(tmp_path / "frames", path, device="cpu").psnr_db is None


def test_info_adds_up_and_names_modes(path):
    info = read_info(path)

    assert sum(info.streams.values()) == info.file_bytes == path.stat().st_size
    n_gaussians = sum(gop.header.n_gaussians for gop in GOPS)
    assert info.bits_per_gaussian == {
        name: 8 * info.streams[name] / n_gaussians for name in ("points", "point_bits", "shapes", "colors")
    }
    names = [tuple(gop.header[f"{name}_mode"] for name in ("point", "shape", "color")) for gop in info.gops]
    assert names == [
        ("grid", "log-shear", "ycocg"),
        ("half", "log-shear", "codebooks"),
        ("grid", "log-shear", "ycocg"),
        ("half", "affine", "ycocg"),
    ]
    for gop, symbols in zip(info.gops, GOPS, strict=True):
        expected = dataclasses.asdict(symbols.header)
        assert {name: gop.header[name] for name in expected if not name.endswith("mode")} == {
            name: value for name, value in expected.items() if not name.endswith("mode")
        }
    assert info.profile in PROFILES
    assert WIDTH * HEIGHT * 3 < info.decode_memory_bytes < 1 << 20


@pytest.mark.gpu
def test_a_gpu_decodes_the_file(path):
    """The threads that read ahead take part; decoding twice gives the same bits."""
    with VideoDecoder(path, device="cpu") as decoder:
        expected = decoder[:].permute(0, 2, 3, 1).numpy()
    with VideoDecoder(path, device="cuda") as decoder:
        frames = decoder[:]
        assert torch.equal(decoder[:], frames)
        assert_same_pixels(frames.permute(0, 2, 3, 1).cpu().numpy(), expected)
        for i in (sum(N_FRAMES) - 1, 0, 4):
            assert_same_pixels(decoder[i].permute(1, 2, 0).cpu().numpy(), expected[i])
