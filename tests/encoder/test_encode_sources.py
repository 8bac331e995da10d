"""Frames from Python become the same file as the same frames from the disk."""

from __future__ import annotations

import io

import pytest
import torch

from stgvcodec import EncodeConfig, Selection, VideoDecoder, encode


def tiny(**options) -> EncodeConfig:
    return EncodeConfig(preset="tiny", scene_cut=False, **options)


@pytest.fixture(scope="module")
def from_folder(clip_folder, tmp_path_factory) -> bytes:
    from fits import TINY

    from stgvcodec.encoder.presets import PRESETS

    path = tmp_path_factory.mktemp("folder") / "a.stgv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        encode(clip_folder, path, config=tiny(n_gaussians=20), device="cpu")
    return path.read_bytes()


SOURCES = {
    "array": lambda clip: clip,
    "tensor": lambda clip: torch.from_numpy(clip).permute(0, 3, 1, 2),
    "iterator": iter,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_frames_and_a_folder_of_them_give_one_file(from_folder, clip, tmp_path, kind):
    report = encode(SOURCES[kind](clip), tmp_path / "a.stgv", config=tiny(n_gaussians=20), fps=24, device="cpu")

    assert (tmp_path / "a.stgv").read_bytes() == from_folder
    assert (report.n_frames, report.tracks) == (7, ())


def test_with_a_target_frames_are_read_twice(clip, tmp_path):
    files = []
    for kind in ("array", "iterator"):
        config = tiny(bpp_target=3.0, gop=4)
        encode(SOURCES[kind](clip), tmp_path / kind, config=config, fps=24, selection=Selection((0, 5)), device="cpu")
        files.append((tmp_path / kind).read_bytes())
    assert files[0] == files[1]


def test_a_video_file_in_memory_and_what_a_decoder_gives(encoded, tmp_path):
    video = io.BytesIO(encoded.source.read_bytes())
    encode(video, tmp_path / "a.stgv", config=tiny(n_gaussians=60), device="cpu")
    assert (tmp_path / "a.stgv").read_bytes() == encoded.path.read_bytes()

    with VideoDecoder(encoded.path, device="cpu") as decoder:
        batch = decoder.get_all_frames()
        encode(decoder, tmp_path / "c.stgv", config=tiny(n_gaussians=20), device="cpu", selection=Selection((0, 5)))
        with VideoDecoder(tmp_path / "c.stgv", device="cpu") as again:
            first_five = again.get_all_frames().pts_seconds.tolist()
    assert first_five == pytest.approx(batch.pts_seconds[:5].tolist(), abs=1e-6)
    encode(batch, tmp_path / "b.stgv", config=tiny(n_gaussians=20), device="cpu")
    with VideoDecoder(tmp_path / "b.stgv", device="cpu") as again:
        times = again.get_all_frames()
    assert times.pts_seconds.tolist() == pytest.approx(batch.pts_seconds.tolist(), abs=1e-6)
    assert times.duration_seconds.tolist() == pytest.approx(batch.duration_seconds.tolist(), abs=2e-6)
