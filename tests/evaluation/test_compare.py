from __future__ import annotations

import pytest
from clips import moving_clip, psnr_db, write_folder, write_video

from stgvcodec import EncodeConfig, Selection, compare, decode, encode
from stgvcodec.errors import BackendUnavailableError, BitstreamError, ConfigError, InputVideoError
from stgvcodec.media import Crop


def test_identical_videos_have_no_psnr(clip_video, clip_folder):
    result = compare(clip_video, clip_folder)

    assert result.psnr_db is None
    assert (result.n_frames, result.n_identical_frames) == (7, 7)
    assert all(frame.psnr_db is None for frame in result.per_frame)


def test_a_stgv_file_has_the_psnr_that_was_reported(encoded):
    result = compare(encoded.source, encoded.path, device="cpu")

    assert result.psnr_db == encoded.report.psnr_db
    assert compare(encoded.path, encoded.source, device="cpu").psnr_db == result.psnr_db


def test_per_frame_figures(encoded, clip, decoded):
    result = compare(encoded.source, encoded.path, device="cpu")

    assert [frame.index for frame in result.per_frame] == list(range(7))
    assert [frame.psnr_db for frame in result.per_frame] == pytest.approx(
        [psnr_db(a, b) for a, b in zip(clip, decoded, strict=True)]
    )


def test_only_differing_frames_count(clip, tmp_path):
    changed = clip.copy()
    changed[2] ^= 1
    changed[5] ^= 3
    reference, distorted = (write_folder(frames, tmp_path / n) for n, frames in (("a", clip), ("b", changed)))

    result = compare(reference, distorted)

    psnrs = [psnr_db(clip[i], changed[i]) for i in (2, 5)]
    assert result.psnr_db == pytest.approx(sum(psnrs) / 2)
    assert result.n_identical_frames == 5
    assert [frame.index for frame in result.per_frame if frame.psnr_db is not None] == [2, 5]


@pytest.mark.parametrize(("side", "has_one"), [(160, False), (161, True)])
def test_ms_ssim_needs_more_than_160_pixels(tmp_path, side, has_one):
    frames = moving_clip(1, 170, side)
    reference, distorted = (write_folder(f, tmp_path / n) for n, f in (("a", frames), ("b", frames ^ 8)))

    result = compare(reference, distorted)

    assert (result.ms_ssim is not None) == has_one
    assert (result.per_frame[0].ms_ssim is not None) == has_one
    if has_one:
        assert 0.5 < result.ms_ssim < 1.0


class TestSelection:
    """A side that already is what the selection leads to is taken as it is."""

    SELECTION = Selection(frames=(1, 4), crop=Crop(30, 20, 4, 6))

    @pytest.fixture
    def part(self, clip_folder, tmp_path):
        """The clip's selected part, encoded, and the report, whose figures are right."""
        path = tmp_path / "part.stgv"
        config = EncodeConfig(preset="tiny", n_gaussians=30, scene_cut=False)
        return path, encode(clip_folder, path, config=config, selection=self.SELECTION, device="cpu")

    def test_source_against_its_encoded_part(self, clip_folder, part):
        path, report = part

        assert compare(clip_folder, path, selection=self.SELECTION, device="cpu").psnr_db == report.psnr_db
        assert compare(path, clip_folder, selection=self.SELECTION, device="cpu").psnr_db == report.psnr_db

    def test_source_against_its_decoded_part(self, clip_folder, part, tmp_path):
        path, report = part
        decode(path, tmp_path / "out", device="cpu")

        result = compare(clip_folder, tmp_path / "out", selection=self.SELECTION)

        assert result.psnr_db == report.psnr_db
        assert result.n_frames == 3

    def test_both_sides_of_full_size(self, clip, clip_folder, tmp_path):
        other = write_folder(clip ^ 5, tmp_path / "other")

        result = compare(clip_folder, other, selection=self.SELECTION)

        expected = [psnr_db(clip[i, 6:26, 4:34], clip[i, 6:26, 4:34] ^ 5) for i in (1, 2, 3)]
        assert result.psnr_db == pytest.approx(sum(expected) / 3)
        assert result.n_frames == 3

    def test_resize(self, clip_folder, tmp_path):
        selection = Selection(resize=(24, 16))
        config = EncodeConfig(preset="tiny", n_gaussians=30, scene_cut=False)
        report = encode(clip_folder, tmp_path / "a.stgv", config=config, selection=selection, device="cpu")

        assert compare(clip_folder, tmp_path / "a.stgv", selection=selection, device="cpu").psnr_db == report.psnr_db

    def test_a_stgv_file_is_cut_and_cropped_as_its_source_is(self, encoded, clip, decoded):
        selection = Selection(frames=(2, 6), crop=Crop(20, 10, 4, 8))

        result = compare(encoded.source, encoded.path, selection=selection, device="cpu")

        assert [frame.psnr_db for frame in result.per_frame] == pytest.approx(
            [psnr_db(a[8:18, 4:24], b[8:18, 4:24]) for a, b in zip(clip[2:6], decoded[2:6], strict=True)]
        )

    def test_a_stgv_file_is_resized_as_a_folder_of_its_frames_is(self, encoded, decoded, tmp_path):
        folder = write_folder(decoded, tmp_path / "decoded")

        result = compare(folder, encoded.path, selection=Selection(resize=(24, 16)), device="cpu")

        assert result.psnr_db is None


def test_other_sizes_are_refused(encoded, tmp_path):
    other = write_folder(moving_clip(7, 50, 32), tmp_path / "other")

    with pytest.raises(ConfigError, match=r"50x32.*48x32"):
        compare(other, encoded.path, device="cpu")


@pytest.mark.parametrize("n_frames", [5, 9])
def test_other_lengths_are_refused(encoded, clip_folder, tmp_path, n_frames):
    other = write_folder(moving_clip(n_frames), tmp_path / "other")

    for pair in ((other, encoded.path), (clip_folder, other)):
        with pytest.raises(ConfigError, match=f"ends after {min(7, n_frames)} frames"):
            compare(*pair, device="cpu")


def test_timestamps_have_no_part(clip, clip_folder, tmp_path):
    other = write_video(clip, tmp_path / "other.mkv", range(0, 700, 100))

    assert compare(clip_folder, other).psnr_db is None


def test_progress_counts_frames(clip_folder):
    seen = []

    compare(clip_folder, clip_folder, progress=seen.append)

    assert [progress.frames_done for progress in seen] == list(range(1, 8))
    assert seen[-1].fraction == 1.0


def test_sides_that_cannot_be_read(encoded, clip_folder, tmp_path, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    (tmp_path / "text.stgv").write_text("not one")

    with pytest.raises(InputVideoError, match="missing"):
        compare(clip_folder, tmp_path / "missing.mp4")
    with pytest.raises(InputVideoError, match="missing"):
        compare(tmp_path / "missing.stgv", clip_folder)
    with pytest.raises(BitstreamError):
        compare(clip_folder, tmp_path / "text.stgv")
    with pytest.raises(BackendUnavailableError):
        compare(encoded.path, clip_folder, backend="triton", device="cpu")
