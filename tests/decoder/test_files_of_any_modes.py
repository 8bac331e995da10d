"""Files of GoPs of different modes, from bytes to frames: reading, random access, damage, and what `info` says."""

from __future__ import annotations

import dataclasses
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import assert_same_pixels
from random_gops import random_gop

from stgvcodec import VideoDecoder, compare, decode, read_info
from stgvcodec.bitstream import ColorDescription, StgvReader, StgvWriter, StreamHeader, pack_gop
from stgvcodec.bitstream.syntax.versions import PROFILES
from stgvcodec.decoder.gop_renderer import GopRenderer, unpack
from stgvcodec.errors import BitstreamError

CPU = torch.device("cpu")
WIDTH, HEIGHT = 48, 32
SIZE = {"width": WIDTH, "height": HEIGHT}
GOPS = [
    random_gop((1, 1, 1), n_frames=3, seed=1),
    random_gop((0, 1, 0), n_frames=2, seed=2, low_pass=0.25),
    random_gop((1, 1, 1), n_frames=3, seed=3, n_gaussians=1),
    random_gop((0, 0, 1), n_frames=1, seed=4),
]
N_FRAMES = [gop.header.n_frames for gop in GOPS]


def written(path: Path, payloads: list[bytes], profile: str, n_frames: list[int]) -> Path:
    header = StreamHeader(
        width=WIDTH,
        height=HEIGHT,
        frame_rate=Fraction(25),
        time_base=Fraction(1, 1000),
        color=ColorDescription(primaries=1, transfer=13, matrix=0, full_range=True),
        profile=profile,
        tool="test",
    )
    with path.open("wb") as file:
        writer = StgvWriter(file, header)
        n_done = 0
        for payload, n in zip(payloads, n_frames, strict=True):
            writer.add_gop(payload, range(40 * n_done, 40 * (n_done + n), 40))
            n_done += n
        writer.finish()
    return path


@pytest.fixture(scope="module", params=list(PROFILES))
def path(request, tmp_path_factory) -> Path:
    """Four GoPs of different modes."""
    name = tmp_path_factory.mktemp("sets") / "sets.stgv"
    return written(name, [pack_gop(gop) for gop in GOPS], request.param, N_FRAMES)


def rendered(payload: bytes, *, backend: str = "numba", device: torch.device = CPU) -> torch.Tensor:
    gop = GopRenderer(payload, **SIZE, device=device, backend=backend)
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
        assert decoder.gaussians_at(0)[0].shape == (61, 2)


def test_decode_and_compare(path, tmp_path):
    done = decode(path, tmp_path / "frames", device="cpu")

    assert (done.width, done.height, done.n_frames) == (WIDTH, HEIGHT, sum(N_FRAMES))
    assert compare(tmp_path / "frames", path, device="cpu").psnr_db is None
    assert decode(path, tmp_path / "large", device="cpu", scale=2.0).width == 2 * WIDTH


def test_damage_is_refused(path):
    payload = pack_gop(GOPS[0])
    for damaged in (b"", payload[:5], payload[:-1], payload + b"\1"):
        with pytest.raises(BitstreamError):
            unpack(damaged, **SIZE, device=CPU, backend="numba")

    data = bytearray(path.read_bytes())
    with StgvReader(path) as reader:
        second = reader.gops[1]
    data[second.offset + second.n_bytes // 2] ^= 1
    broken = path.with_name("broken.stgv")
    broken.write_bytes(data)
    with VideoDecoder(broken, device="cpu") as decoder, pytest.raises(BitstreamError, match="GoP 1"):
        decoder[N_FRAMES[0]]
    with VideoDecoder(broken, device="cpu", keep_going=True) as decoder:
        assert len(decoder) == sum(N_FRAMES) - N_FRAMES[1]
        assert "frames 3 to 4 are missing" in decoder.damage
        kept = decoder[:]
    with VideoDecoder(path, device="cpu") as decoder:
        intact = [*range(N_FRAMES[0]), *range(sum(N_FRAMES[:2]), sum(N_FRAMES))]
        assert torch.equal(kept, decoder.get_frames_at(intact).data)


def test_info_adds_up_and_names_modes(path):
    info = read_info(path)

    assert sum(info.streams.values()) == info.file_bytes == path.stat().st_size
    n_gaussians = sum(gop.header.n_gaussians for gop in GOPS)
    assert info.bits_per_gaussian == {
        name: 8 * info.streams[name] / n_gaussians for name in ("points", "point_bits", "shapes", "colors")
    }
    modes = [tuple(gop.header[f"{name}_mode"] for name in ("point", "shape", "color")) for gop in info.gops]
    assert modes == [
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


def test_metadata_of_a_decoder_is_the_same(path):
    with VideoDecoder(path, device="cpu") as decoder:
        assert decoder.metadata == read_info(path)


@pytest.mark.gpu
def test_a_gpu_decodes_the_file(path):
    """Through the threads that read ahead; twice the same bits, in any order."""
    with VideoDecoder(path, device="cpu") as decoder:
        expected = decoder[:].permute(0, 2, 3, 1).numpy()
    with VideoDecoder(path, device="cuda") as decoder:
        frames = decoder[:]
        assert torch.equal(decoder[:], frames)
        assert_same_pixels(frames.permute(0, 2, 3, 1).cpu().numpy(), expected)
        for i in (sum(N_FRAMES) - 1, 0, 4):
            assert_same_pixels(decoder[i].permute(1, 2, 0).cpu().numpy(), expected[i])


@pytest.mark.gpu
def test_a_gpu_is_not_waited_for(path):
    with VideoDecoder(path, device="cuda") as decoder:
        expected = decoder[:]
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            again = decoder[:]
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.equal(again, expected)
        assert np.isfinite(decoder.gaussians_at(0)[0].cpu().numpy()).all()
