"""A complete file is told from that of another source, and never taken for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import moving_clip, write_folder, write_video
from track_clips import write_with_tracks

from stgvcodec import EncodeConfig, Selection, encode
from stgvcodec.encoder.complete_file import check_complete
from stgvcodec.errors import BitstreamError, ConfigError, InputVideoError

CONFIG = EncodeConfig(preset="draft", n_gaussians=9, gop=2)
CASES = Path(__file__).parents[1] / "media" / "cases"
TIMES = [40 * t for t in range(6)]


def encoded(source: Path, folder: Path, **options: object) -> Path:
    encode(source, folder / "a.stgv", config=CONFIG, device="cpu", **options)
    return folder / "a.stgv"


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("vfr_last_frame_held.mkv", None),
        ("opengop_cut.mp4", (22, None)),
        ("avi_packed_bframes.avi", (0, 4)),
        ("starts_mid_gop.ts", (21, None)),
    ],
)
def test_the_file_of_a_source_is_told_to_be_so(tmp_path, name, frames):
    selection = Selection(frames=frames, resize=(32, 20))
    path = encoded(CASES / name, tmp_path, selection=selection)
    check_complete(path, CASES / name, config=CONFIG, selection=selection)


def test_other_kinds_of_sources_are_told_too(tmp_path):
    """Images; a mask; a stream without timestamps, of which only its header and its beginning are compared."""
    folder = write_folder(moving_clip(4, 32, 32), tmp_path / "images")
    mask = np.zeros((32, 32), np.uint8)
    mask[4:, :28] = 1
    path = encoded(folder, tmp_path, fps=30, mask=mask)
    check_complete(path, folder, config=CONFIG, selection=Selection(), fps=30, mask=mask)
    raw, some = CASES / "bad_sei.h264", Selection(frames=(0, 3), resize=(32, 20))
    check_complete(encoded(raw, tmp_path, selection=some), raw, config=CONFIG, selection=some)


@pytest.mark.parametrize(
    ("frames", "pts", "said"),
    [
        (moving_clip(6, 48, 32), TIMES, "width 32 where 48 is expected$"),
        (moving_clip(6, 32, 32), [t + 40 for t in TIMES], "its first frame has the timestamp 0, expected 40$"),
        (moving_clip(5, 32, 32), TIMES[:5], "the source has no frame of the timestamp 200 of its last one$"),
        (moving_clip(6, 32, 32), [*TIMES, 240], "the source has frames behind its last one, of the timestamp 200$"),
        (255 - moving_clip(6, 32, 32), TIMES, "its last picture has nothing to do with that of the source$"),
    ],
    ids=["size", "first", "shorter", "longer", "picture"],
)
def test_another_source_is_refused(tmp_path, frames, pts, said):
    path = encoded(write_video(moving_clip(6, 32, 32), tmp_path / "a.mkv", TIMES), tmp_path)
    if len(pts) > len(frames):
        frames = np.concatenate([frames, frames[-1:]])
    other = write_video(frames, tmp_path / "b.mkv", pts)
    said = said.removesuffix("$") + ("; move it, or write over it with -y" if said.endswith("$") else "")
    with pytest.raises(ConfigError, match=rf"a.stgv: is there, of another source or with other options: .*{said}"):
        check_complete(path, other, config=CONFIG, selection=Selection())


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ((0, 6), "the source has frames behind its last one, of the timestamp 120"),
        ((0, 3), "it has 4 frames, expected at most 3"),
        ((2, 4), "its first frame has the timestamp 0, expected 80"),
        ((2, 6), "its first frame has the timestamp 0, expected 80"),
        (None, "the source has frames behind its last one, of the timestamp 120"),
    ],
)
def test_frames_that_another_range_takes_are_refused(tmp_path, frames, said):
    source = write_video(moving_clip(6, 32, 32), tmp_path / "a.mkv", TIMES)
    path = encoded(source, tmp_path, selection=Selection(frames=(0, 4)))
    check_complete(path, source, config=CONFIG, selection=Selection(frames=(0, 4)))
    with pytest.raises(ConfigError, match=said):
        check_complete(path, source, config=CONFIG, selection=Selection(frames=frames))


def test_a_range_that_goes_beyond_the_source_ends_with_it(tmp_path):
    source = write_video(moving_clip(6, 32, 32), tmp_path / "a.mkv", TIMES)
    path = encoded(source, tmp_path, selection=Selection(frames=(2, 20)))
    check_complete(path, source, config=CONFIG, selection=Selection(frames=(2, 20)))
    check_complete(path, source, config=CONFIG, selection=Selection(frames=(2, None)))


def test_the_beginning_of_a_range_of_time_is_compared(tmp_path):
    source = write_video(moving_clip(6, 32, 32), tmp_path / "a.mkv", TIMES)
    path = encoded(source, tmp_path, selection=Selection.parse(time="0.08:0.2"))
    check_complete(path, source, config=CONFIG, selection=Selection.parse(time="0.08:0.2"))
    with pytest.raises(ConfigError, match="its first frame has the timestamp 80, expected 40"):
        check_complete(path, source, config=CONFIG, selection=Selection.parse(time="0.04:0.2"))


def test_what_cannot_be_read_is_named(tmp_path):
    source = write_with_tracks(tmp_path / "a.mkv", [], [], frames=moving_clip(3, 32, 32))
    path = encoded(source, tmp_path)
    with pytest.raises(InputVideoError, match=r"gone.mkv: does not exist"):
        check_complete(path, tmp_path / "gone.mkv", config=CONFIG, selection=Selection())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BitstreamError):
        check_complete(path, source, config=CONFIG, selection=Selection())
