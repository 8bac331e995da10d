"""`encode` with GoPs predicted from the one before: real fits, small."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from clips import moving_clip, panning_clip, psnr_db, write_folder
from fits import CPU, HEIGHT, WIDTH, fitted, gop_config, noisy_clip

from stgvcodec import EncodeConfig, VideoDecoder, encode
from stgvcodec.bitstream.container.file_header import PROFILES as PROFILE_IDS
from stgvcodec.codec.gop_prediction import Predecessor
from stgvcodec.decoder.gop_renderer import GopRenderer
from stgvcodec.encoder.encode_gop import encode_gop
from stgvcodec.errors import ConfigError
from stgvcodec.fit.phases import QUANTIZED_STREAMS
from stgvcodec.metrics import psnr_db as exact_psnr_db


def still_clip(n_frames: int, *, cut_at: int | None = None) -> np.ndarray:
    """A picture in which one corner changes; another picture from `cut_at` on. [T, 32, 48, 3] uint8."""
    frames = np.repeat(moving_clip(1), n_frames, axis=0)
    frames[:, :8, :8] = moving_clip(n_frames)[:, :8, :8]
    if cut_at is not None:
        frames[cut_at:] = moving_clip(1, phase=2.0)[:, ::-1]
    return frames


def predecessor(frames: np.ndarray, **values: object) -> Predecessor:
    found = encode_gop(frames, gop_config("compact", **values), 0).as_predecessor
    assert found is not None
    return found


def tiny(**options: object) -> EncodeConfig:
    return EncodeConfig(**{"preset": "tiny", "n_gaussians": 40, "gop": 4, "key_interval": 100, **options})


def test_a_still_picture_is_predicted_and_decodes_in_a_fresh_process(tmp_path):
    frames = still_clip(11)
    path = tmp_path / "a.stgv"
    report = encode(write_folder(frames, tmp_path / "in"), path, config=tiny(), device="cpu")

    assert [gop.is_key for gop in report.gops] == [True, False, False]
    assert len({gop.n_gaussians for gop in report.gops}) == 1
    program = (
        "import sys, numpy as np, stgvcodec\n"
        "with stgvcodec.VideoDecoder(sys.argv[1], device='cpu') as decoder:\n"
        "    np.save(sys.argv[2], np.stack([decoder[i].permute(1, 2, 0).numpy() for i in reversed(range(11))]))\n"
    )
    command = [sys.executable, "-c", program, str(path), str(tmp_path / "frames.npy")]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "STGV_THREADS": "2"})
    decoded = np.load(tmp_path / "frames.npy")[::-1]
    assert report.psnr_db == pytest.approx(np.mean([psnr_db(a, b) for a, b in zip(frames, decoded, strict=True)]))


def test_a_predicted_gop_of_a_still_picture_costs_a_fraction(tmp_path):
    source = write_folder(still_clip(12), tmp_path / "in")
    sizes = {}
    for key_interval in (1, 100):
        config = tiny(key_interval=key_interval, n_gaussians=300)
        report = encode(source, tmp_path / "a.stgv", config=config, device="cpu")
        sizes[key_interval] = [gop.n_bytes for gop in report.gops]

    assert sizes[100][0] == sizes[1][0]
    assert max(sizes[100][1:]) < 0.75 * min(sizes[1][1:])


def test_a_gop_behind_a_cut_stands_alone(tmp_path):
    source = write_folder(still_clip(12, cut_at=4), tmp_path / "in")
    report = encode(source, tmp_path / "a.stgv", config=tiny(scene_cut=False), device="cpu")

    assert [gop.is_key for gop in report.gops] == [True, True, False]


def test_without_an_interval_every_gop_stands_alone(tmp_path):
    source = write_folder(still_clip(8), tmp_path / "in")
    report = encode(source, tmp_path / "a.stgv", config=tiny(key_interval=1), device="cpu")

    assert all(gop.is_key for gop in report.gops)


def test_any_number_of_threads_and_jobs_makes_the_same_file(tmp_path, monkeypatch):
    source = write_folder(still_clip(12), tmp_path / "in")
    files = []
    for threads, jobs in (("1", 1), ("3", 1), ("2", 3)):
        monkeypatch.setenv("STGV_THREADS", threads)
        encode(source, tmp_path / "a.stgv", config=tiny(), device="cpu", jobs=jobs)
        files.append((tmp_path / "a.stgv").read_bytes())
    assert files[0] == files[1] == files[2]


def test_profile_paper_and_an_interval_exclude_each_other():
    with pytest.raises(ConfigError, match="profile paper predicts no GoPs, but a key interval of 50 frames was given"):
        EncodeConfig(profile="paper", key_interval=50)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_training_saw_what_the_decoder_computes(monkeypatch, backend):
    """The trainer's quantised values are the decoder's, bit for bit, in the order of the GoP before."""
    config = gop_config("compact", before=predecessor(noisy_clip(3)), backend=backend)
    trainer, payload = fitted(monkeypatch, noisy_clip(5)[2:], config)

    with torch.no_grad():
        seen, _ = trainer.quantizers.quantize(trainer.model.values(), QUANTIZED_STREAMS)
    decoder = GopRenderer(
        payload.bytes,
        width=WIDTH,
        height=HEIGHT,
        device=CPU,
        backend=backend,
        profile=PROFILE_IDS["compact"],
        predicted=True,
        before=config.before.gaussians,
    )

    assert not payload.is_key
    assert payload.stats.n_gaussians == config.before.n_gaussians
    for mine, theirs in zip(seen[:3], decoder.values[:3], strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(
        (*seen.field[:2], *seen.field.weights), (*decoder.values.field[:2], *decoder.values.field.weights), strict=True
    ):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(payload.as_predecessor.gaussians, decoder.last_frame(), strict=True):
        assert torch.equal(mine, theirs)


def test_figures_are_those_of_the_decoder(tmp_path):
    frames = still_clip(8)
    report = encode(write_folder(frames, tmp_path / "in"), tmp_path / "a.stgv", config=tiny(), device="cpu")

    with VideoDecoder(tmp_path / "a.stgv", device="cpu") as decoder:
        decoded = decoder[4:8].permute(0, 2, 3, 1).numpy()
    psnrs = [exact_psnr_db(a, b) for a, b in zip(frames[4:], decoded, strict=True)]
    assert not report.gops[1].is_key
    assert report.gops[1].psnr_db == math.fsum(psnrs) / 4


@pytest.mark.parametrize("target", [1500, 2200])
def test_a_predicted_gop_stays_within_its_bytes(target):
    before = predecessor(noisy_clip(3, amplitude=40))
    frames = noisy_clip(6, amplitude=60)[3:]
    config = gop_config("compact", before=before, target_bytes=target)

    assert len(encode_gop(frames, config, 0).bytes) <= 1.005 * target


def pan(n_frames: int, speed: float, first: int = 0) -> np.ndarray:
    return panning_clip(first + n_frames, (speed, 0.0))[first:]


@pytest.mark.parametrize(
    ("frames", "is_alike"),
    [
        (pan(4, 0.0, first=3), True),
        (pan(4, 0.2, first=3), True),
        (pan(8, 3.0, first=3), False),
        (pan(4, 0.0)[:, ::-1, ::-1], False),
    ],
    ids=["still", "slow", "pan", "another picture"],
)
def test_what_goes_on_as_before_and_hardly_moves_is_predicted(frames, is_alike):
    before = predecessor(pan(3, 0.0), n_gaussians=300)

    assert before.explains(np.ascontiguousarray(frames), backend="numba") == is_alike
