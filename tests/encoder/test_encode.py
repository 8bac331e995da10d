from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import decoded_frames, moving_clip, psnr_db, write_folder, write_video

import stgvcodec
from stgvcodec import EncodeConfig, Selection, VideoDecoder, encode, read_info
from stgvcodec.encoder.presets import PRESETS
from stgvcodec.encoder.profiles import PROFILES
from stgvcodec.encoder.reports import EncodeReport
from stgvcodec.media import Crop, open_video
from stgvcodec.metrics import psnr_db as exact_psnr_db


def tiny(**options) -> EncodeConfig:
    return EncodeConfig(preset="tiny", **{"n_gaussians": 40, "scene_cut": False, **options})


def gop_lengths(report: EncodeReport) -> list[int]:
    return [gop.n_frames for gop in report.gops]


def mean_psnr_db(frames: np.ndarray, decoded: np.ndarray) -> float:
    return math.fsum(exact_psnr_db(a, b) for a, b in zip(frames, decoded, strict=True)) / len(frames)


FRESH_DECODE = """
import sys, numpy as np, stgvcodec
with stgvcodec.VideoDecoder(sys.argv[1], device="cpu") as decoder:
    np.save(sys.argv[2], decoder[:].permute(0, 2, 3, 1).numpy())
"""


def test_a_fresh_process_decodes_the_frames_whose_psnr_was_reported(encoded, decoded, tmp_path):
    """The process is given nothing but the file."""
    command = [sys.executable, "-c", FRESH_DECODE, str(encoded.path), str(tmp_path / "frames.npy")]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "STGV_THREADS": "3"})
    frames = np.load(tmp_path / "frames.npy")

    np.testing.assert_array_equal(frames, decoded)
    psnrs = [exact_psnr_db(a, b) for a, b in zip(encoded.frames, frames, strict=True)]
    for gop in encoded.report.gops:
        own = psnrs[gop.first_frame : gop.first_frame + gop.n_frames]
        assert gop.psnr_db == math.fsum(own) / len(own)
    assert encoded.report.psnr_db == math.fsum(psnrs) / len(psnrs)
    assert encoded.report.psnr_db == pytest.approx(
        np.mean([psnr_db(a, b) for a, b in zip(encoded.frames, frames, strict=True)]), abs=1e-9
    )


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_reported_psnr_is_that_of_the_same_back_end(clip_folder, clip, tmp_path, backend):
    report = encode(clip_folder, tmp_path / "a.stgv", config=tiny(gop=7), device="cpu", backend=backend)

    decoded = decoded_frames(tmp_path / "a.stgv", backend=backend)
    assert (report.backend, report.device) == (backend, "cpu")
    assert report.psnr_db == mean_psnr_db(clip, decoded)


def test_report_describes_the_file(encoded):
    report, info = encoded.report, read_info(encoded.path)

    assert report.path == encoded.path
    assert report.file_bytes == encoded.path.stat().st_size == info.file_bytes
    assert report.bpp == 8 * report.file_bytes / (48 * 32 * 7) == info.bpp
    assert (report.width, report.height, report.n_frames) == (48, 32, 7) == (info.width, info.height, info.n_frames)
    assert [(gop.first_frame, gop.n_frames, gop.n_gaussians, gop.n_bytes) for gop in report.gops] == [
        (gop.first_frame, gop.n_frames, gop.n_gaussians, gop.bytes) for gop in info.gops
    ]
    for gop in report.gops:
        assert set(gop.quantizer_cost_db) == {"means", "cholesky", "colors", "field"}
        assert gop.seconds > 0
    assert report.seconds >= sum(gop.seconds for gop in report.gops)


@pytest.mark.parametrize("options", [{}, {"bpp_target": 8.0, "n_gaussians": None}], ids=["gaussians", "bpp target"])
def test_any_number_of_threads_writes_the_same_file(tmp_path, monkeypatch, options):
    """With 600 Gaussians on 64x48, every kernel has several chunks."""
    source = write_folder(moving_clip(3, 64, 48), tmp_path / "clip")
    config = tiny(**{"n_gaussians": 600, **options})
    files = []
    for n_threads in ("1", "2", "3", "3"):
        monkeypatch.setenv("STGV_THREADS", n_threads)
        encode(source, tmp_path / "a.stgv", config=config, device="cpu")
        files.append((tmp_path / "a.stgv").read_bytes())

    assert files[0] == files[1] == files[2] == files[3]
    if not options:
        assert read_info(tmp_path / "a.stgv").gops[0].n_gaussians == 600


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"bpp_target": 12.0, "n_gaussians": None}], ids=["gaussians", "bpp target"])
def test_several_gops_at_once_write_the_same_file(tmp_path, options):
    """Without a target, it is also the file of one GoP at a time; a target's plans depend on how many are under way."""
    source = write_folder(moving_clip(10, 48, 32), tmp_path / "clip")
    config = tiny(gop=2, **options)
    files = []
    for jobs in (1, 3, 3):
        report = encode(source, tmp_path / "a.stgv", config=config, device="cpu", jobs=jobs)
        files.append((tmp_path / "a.stgv").read_bytes())
        assert [gop.first_frame for gop in report.gops] == [0, 2, 4, 6, 8]

    assert files[1] == files[2]
    if not options:
        assert files[0] == files[1]


@pytest.mark.slow
def test_more_bits_are_never_worse_than_fewer(tmp_path):
    """From few bits to more than the content can use; finer steps once cut off colours, which cost several dB."""
    clip = Path(stgvcodec.__file__).parent / "data" / "bunny.mp4"
    selection = Selection.parse(frames="0:12", resize="160x80")
    psnrs = []
    for bpp in (0.05, 0.1, 0.2, 0.4, 0.8):
        config = EncodeConfig(preset="fast", bpp_target=bpp)
        report = encode(clip, tmp_path / "a.stgv", config=config, selection=selection, device="cpu")
        assert report.bpp <= 1.02 * bpp
        psnrs.append(report.psnr_db)

    assert psnrs == sorted(psnrs)
    assert psnrs[-1] - psnrs[0] > 8.0


FRESH_ENCODE = """
import sys, torch
from stgvcodec import EncodeConfig, encode
from stgvcodec.encoder.presets import PRESETS, Preset
from stgvcodec.fit.phases import LearningRates, Phase, finetuning_phases
torch.set_num_threads(3)
torch.rand(5)
PRESETS["tiny"] = eval(sys.argv[3])
encode(sys.argv[1], sys.argv[2], config=EncodeConfig(preset="tiny", n_gaussians=60, scene_cut=False), device="cpu")
"""


@pytest.mark.slow
def test_another_process_writes_the_same_file(encoded, tmp_path):
    target = tmp_path / "again.stgv"
    command = [sys.executable, "-c", FRESH_ENCODE, str(encoded.source), str(target), repr(PRESETS["tiny"])]

    subprocess.run(command, check=True, env={**os.environ, "STGV_THREADS": "3"})

    assert target.read_bytes() == encoded.path.read_bytes()


def test_another_seed_writes_another_file(clip_folder, tmp_path):
    for seed in (0, 1, (1 << 63) - 1):
        encode(clip_folder, tmp_path / f"{seed}.stgv", config=tiny(seed=seed, gop=4), device="cpu")

    assert len({path.read_bytes() for path in tmp_path.glob("*.stgv")}) == 3


@pytest.mark.parametrize(
    ("gop", "n_gaussians", "expected"), [(3, 1, [3, 3, 1]), (7, 77, [7]), (100, 77, [7]), (1, 1, [1] * 7)]
)
def test_gops_and_gaussians_are_as_asked(clip_folder, tmp_path, gop, n_gaussians, expected):
    report = encode(clip_folder, tmp_path / "a.stgv", config=tiny(gop=gop, n_gaussians=n_gaussians), device="cpu")

    assert gop_lengths(report) == expected
    assert {gop.n_gaussians for gop in report.gops} == {n_gaussians}
    with VideoDecoder(tmp_path / "a.stgv", device="cpu") as decoder:
        assert len(decoder) == decoder[:].shape[0] == 7


@pytest.mark.parametrize(("scene_cut", "expected"), [(True, [3, 4]), (False, [6, 1])])
def test_gops_split_at_a_cut(tmp_path, scene_cut, expected):
    frames = np.concatenate((moving_clip(3) // 4, 255 - moving_clip(4) // 4))
    source = write_folder(frames, tmp_path / "clip")

    report = encode(source, tmp_path / "a.stgv", config=tiny(gop=6, scene_cut=scene_cut), device="cpu")

    assert gop_lengths(report) == expected


def test_variable_frame_rates_keep_their_timestamps(encoded):
    with VideoDecoder(encoded.path, device="cpu") as decoder:
        assert [decoder.pts(i) for i in range(7)] == list(encoded.pts)
        assert decoder.metadata.time_base == Fraction(1, 1000)
        assert [frame.pts_seconds for frame in map(decoder.get_frame_at, range(7))] == [t / 1000 for t in encoded.pts]


@pytest.mark.parametrize("time_base", [Fraction(1, 1000), Fraction(1, 90000), Fraction(1001, 30000)], ids=str)
def test_rate_and_time_base_are_exact(tmp_path, time_base):
    pts = (0, 7, 8)
    source = write_video(moving_clip(3), tmp_path / "in.nut", pts, time_base)

    encode(source, tmp_path / "a.stgv", config=tiny(n_gaussians=5), device="cpu")

    with VideoDecoder(tmp_path / "a.stgv", device="cpu") as decoder, open_video(source) as video:
        assert decoder.metadata.time_base == video.time_base
        assert decoder.metadata.frame_rate == video.frame_rate
        own = [decoder.pts(i) * decoder.metadata.time_base for i in range(3)]
        assert own == [frame.pts * video.time_base for frame in video] == [stamp * time_base for stamp in pts]


@pytest.mark.parametrize(("width", "height"), [(63, 37), (17, 9), (1, 1), (1, 8), (9, 1), (2, 2)])
def test_any_size(tmp_path, width, height):
    frames = moving_clip(3, width, height)
    source = write_folder(frames, tmp_path / "clip")

    report = encode(source, tmp_path / "a.stgv", config=tiny(n_gaussians=20), device="cpu")

    assert (report.width, report.height) == (width, height)
    with VideoDecoder(tmp_path / "a.stgv", device="cpu") as decoder:
        assert decoder[:].shape == (3, 3, height, width)
    assert math.isfinite(report.bpp)


@pytest.mark.parametrize("preset", ["draft", "medium"])
def test_presets_size_themselves(tmp_path, monkeypatch, preset):
    """Number of Gaussians and field come from the pixels; the phases are cut short here."""
    short = {"phases": PRESETS["tiny"].phases, "finetuning": PRESETS["tiny"].finetuning}
    monkeypatch.setitem(PRESETS, preset, dataclasses.replace(PRESETS[preset], **short))
    source = write_folder(moving_clip(2), tmp_path / "clip")

    report = encode(source, tmp_path / "a.stgv", config=EncodeConfig(preset=preset), device="cpu")

    assert 1 <= report.gops[0].n_gaussians < 48 * 32


@pytest.mark.parametrize(
    ("plain", "changed"),
    [
        ({}, {"key_frame": "first"}),
        ({}, {"initialization": "random"}),
        ({"profile": "paper"}, {"profile": "paper", "color_stages": 3, "color_codebook_size": 5}),
    ],
    ids=str,
)
def test_an_override_of_the_preset_changes_the_fit(clip_folder, tmp_path, plain, changed):
    selection = Selection(frames=(0, 4))
    paths = [tmp_path / "plain.stgv", tmp_path / "changed.stgv"]
    for path, options in zip(paths, (plain, changed), strict=True):
        encode(clip_folder, path, config=tiny(**options), selection=selection, device="cpu")

    assert paths[0].read_bytes() != paths[1].read_bytes()
    header = read_info(paths[1]).gops[0].header
    if plain:
        assert (header["color_stages"], header["color_codebook_size"]) == (3, 5)


def test_selection_is_applied(clip_folder, clip, tmp_path):
    selection = Selection(frames=(2, 5), crop=Crop(30, 20, 4, 6))

    report = encode(clip_folder, tmp_path / "a.stgv", config=tiny(), selection=selection, device="cpu")

    assert (report.width, report.height, report.n_frames) == (30, 20, 3)
    decoded = decoded_frames(tmp_path / "a.stgv")
    assert report.psnr_db == mean_psnr_db(clip[2:5, 6:26, 4:34], decoded)


@pytest.mark.parametrize("profile", PROFILES)
def test_progress_runs_from_start_to_end(clip_folder, tmp_path, profile):
    seen = []

    encode(clip_folder, tmp_path / "a.stgv", config=tiny(profile=profile), device="cpu", progress=seen.append)

    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert fractions[0] > 0
    assert fractions[-1] == pytest.approx(1.0)
    assert {progress.n_frames for progress in seen} == {7}
    assert [progress.frames_done for progress in seen] == sorted(progress.frames_done for progress in seen)
    names = {progress.phase.partition(": ")[2] for progress in seen}
    finetuning = PROFILES[profile].finetuning(PRESETS["tiny"].finetuning)
    assert names == {"finished", *(phase.name for phase in (*PRESETS["tiny"].phases, *finetuning))}
    assert all(progress.psnr_db is not None and progress.step <= progress.n_steps for progress in seen)


def test_an_identical_frame_does_not_make_the_mean_infinite(tmp_path):
    """A clip that fades up from black has black frames, which come back exactly."""
    frames = moving_clip(2)
    frames[0] = 0
    source = write_folder(frames, tmp_path / "clip")

    report = encode(source, tmp_path / "a.stgv", config=tiny(gop=1, n_gaussians=10), device="cpu")

    decoded = decoded_frames(tmp_path / "a.stgv")
    assert not decoded[0].any()
    assert report.gops[0].psnr_db == math.inf
    assert report.psnr_db == pytest.approx(exact_psnr_db(frames[1], decoded[1]), abs=1e-9)


def test_the_global_generators_have_no_part(clip_folder, tmp_path):
    files = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        encode(clip_folder, tmp_path / "a.stgv", config=tiny(), selection=Selection(frames=(0, 2)), device="cpu")
        files.append((tmp_path / "a.stgv").read_bytes())

    assert files[0] == files[1]


def test_paths_may_be_text_and_the_destination_may_be_replaced(clip_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.stgv").write_bytes(b"old")

    report = encode(str(clip_folder), "a.stgv", config=tiny(), selection=Selection(frames=(0, 1)), device="cpu")

    assert report.path == Path("a.stgv")
    assert read_info("a.stgv").n_frames == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.stgv"]
