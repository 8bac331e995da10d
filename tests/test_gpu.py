"""The codec on a CUDA device. Skipped without one, unless STGV_REQUIRE_GPU=1 (tests/conftest.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from clips import assert_same_pixels, decoded_frames, moving_clip, psnr_db, read_frames, write_folder

from stgvcodec import EncodeConfig, VideoDecoder, compare, decode, encode
from stgvcodec.encoder.reports import EncodeReport

pytestmark = pytest.mark.gpu

GOLDEN = Path(__file__).parent / "golden"
N_FRAMES, WIDTH, HEIGHT = 5, 160, 120


@pytest.fixture
def source(tmp_path) -> Path:
    return write_folder(moving_clip(N_FRAMES, WIDTH, HEIGHT), tmp_path / "clip")


@pytest.fixture
def on_gpu(source, tmp_path) -> tuple[Path, EncodeReport]:
    """Encoded on the GPU in GoPs of four frames and one."""
    path = tmp_path / "gpu.stgv"
    config = EncodeConfig(preset="tiny", n_gaussians=300, scene_cut=False)
    return path, encode(source, path, config=config, device="cuda")


def test_a_device_is_there():
    assert torch.cuda.is_available()


def test_encode_reports_what_the_gpu_decodes(on_gpu):
    path, report = on_gpu

    assert report.device.startswith("cuda")
    assert report.backend != "numba"
    assert [gop.n_frames for gop in report.gops] == [4, 1]
    frames = decoded_frames(path, device="cuda", backend=report.backend)
    psnrs = [psnr_db(a, b) for a, b in zip(moving_clip(N_FRAMES, WIDTH, HEIGHT), frames, strict=True)]
    assert report.psnr_db == pytest.approx(np.mean(psnrs), abs=1e-9)


def test_decoding_twice_gives_the_same_bits(on_gpu):
    path, _ = on_gpu

    np.testing.assert_array_equal(decoded_frames(path, device="cuda"), decoded_frames(path, device="cuda"))


def test_random_access_gives_the_frames_of_a_sequential_read(on_gpu):
    """They agree within the format's tolerance: a GPU's matrix products may round by the size of their batch."""
    path, _ = on_gpu
    frames = decoded_frames(path, device="cuda")
    with VideoDecoder(path, device="cuda") as decoder:
        for i in (4, 0, 3, 3, 1, -1):
            assert_same_pixels(decoder[i].permute(1, 2, 0).cpu().numpy(), frames[i])


def test_frames_stay_on_the_device(on_gpu):
    path, _ = on_gpu
    with VideoDecoder(path) as decoder:
        assert decoder.device.type == "cuda"
        assert decoder[0].device.type == decoder.get_frames_at([0, 4]).data.device.type == "cuda"


@pytest.fixture
def no_waiting():
    """Whatever waits for the GPU is an error."""

    def forbid() -> None:
        torch.cuda.set_sync_debug_mode("error")

    yield forbid
    torch.cuda.set_sync_debug_mode("default")


def test_frames_are_asked_for_without_waiting(on_gpu, no_waiting):
    """That holds after the first call, which compiles kernels and reads tables that are kept."""
    path, _ = on_gpu
    with VideoDecoder(path, device="cuda") as decoder:
        expected = decoder[:]
        no_waiting()
        again = decoder[:]
        picked = decoder.get_frames_at([4, 1, 0]).data
        one = decoder[3]
        torch.cuda.set_sync_debug_mode("default")
        assert torch.equal(again, expected)
        assert_same_pixels(picked.cpu().numpy(), expected[[4, 1, 0]].cpu().numpy())
        assert_same_pixels(one.cpu().numpy(), expected[3].cpu().numpy())


def test_reading_ahead_gives_the_frames_of_each_gop_alone(on_gpu):
    path, _ = on_gpu
    with VideoDecoder(path, device="cuda") as decoder:
        together = decoder[:]
        assert torch.equal(torch.cat([decoder[4:5], decoder[0:4]]), together[[4, 0, 1, 2, 3]])


def test_another_stream_than_the_default(on_gpu):
    """The symbols are sent on the stream of whoever asks for the frames."""
    path, _ = on_gpu
    with VideoDecoder(path, device="cuda") as decoder:
        expected = decoder[:]
        torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), VideoDecoder(path, device="cuda") as decoder:
        frames = [decoder[:] for _ in range(5)]
    stream.synchronize()
    assert all(torch.equal(got, expected) for got in frames)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_cpu_and_gpu_decode_alike(on_gpu, backend):
    path, _ = on_gpu

    assert_same_pixels(decoded_frames(path, device="cuda"), decoded_frames(path, device="cpu", backend=backend))


def test_what_a_cpu_encodes_a_gpu_decodes(encoded):
    assert_same_pixels(decoded_frames(encoded.path, device="cuda"), decoded_frames(encoded.path, device="cpu"))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.stgv")), ids=lambda path: path.stem)
def test_golden_files(path):
    assert_same_pixels(decoded_frames(path, device="cuda"), read_frames(path.with_suffix("")))


def test_decode_and_compare(on_gpu, source, tmp_path):
    path, report = on_gpu

    done = decode(path, tmp_path / "out", device="cuda")

    assert done.device.startswith("cuda")
    assert compare(source, path, device="cuda", backend=report.backend).psnr_db == report.psnr_db
    assert compare(tmp_path / "out", path, device="cuda").psnr_db is None


def test_a_bpp_target_is_met(source, tmp_path):
    config = EncodeConfig(preset="tiny", gop=5, bpp_target=1.0, scene_cut=False)

    report = encode(source, tmp_path / "a.stgv", config=config, device="cuda")

    assert report.bpp == pytest.approx(1.0, rel=0.1)
