"""Sources that are opened anew by name, and read from the middle."""

from __future__ import annotations

import io
import pickle
from fractions import Fraction
from pathlib import Path

import fsspec
import numpy as np
import pytest
from clips import moving_clip, write_folder
from PIL import Image

from stgvcodec.errors import InputVideoError
from stgvcodec.media import open_video
from stgvcodec.media.frames import FramesSource
from stgvcodec.media.reader import VideoReader
from stgvcodec.media.selection import Selection
from stgvcodec.media.shared_source import SharedSource, shared_source

CASES = Path(__file__).parent / "cases"


def assert_read_from_the_middle(source: SharedSource, *, lead_seconds: float = 0.0) -> None:
    """Frames at any timestamps are those of a whole reading, of the source as another process opens it."""
    with pickle.loads(pickle.dumps(source)).opened() as video:
        frames = list(video)
        for first in range(0, len(frames), max(1, len(frames) // 5)):
            wanted = frames[first : first + 3]
            found = video.frames_at([frame.pts for frame in wanted], lead_seconds=lead_seconds)
            assert np.array_equal(found, [frame.rgb for frame in wanted]), first


@pytest.mark.parametrize(
    "name", ["avi_h264_bframes.avi", "opengop_uncut.ts", "vfr_last_frame_held.mp4", "mkv_crop.mkv"]
)
def test_video_files_are_read_from_the_middle(name):
    # Of the transport stream, bytes are looked up by a time that is not exact.
    assert_read_from_the_middle(shared_source(CASES / name, Selection(), None, None), lead_seconds=1.0)


def test_what_is_selected_is_applied(bunny):
    """Frames are known by their timestamps in the source; a range of them changes nothing."""
    selection = Selection.parse(frames="40:60", crop="640x360+100+50", resize="63x35")
    assert_read_from_the_middle(shared_source(bunny, selection, "bt601", None))


def test_images_are_read_from_the_middle(tmp_path):
    folder = write_folder(moving_clip(7), tmp_path / "images")
    assert_read_from_the_middle(shared_source(folder, Selection(), None, Fraction(30)), lead_seconds=0.1)
    pages = [Image.fromarray(frame) for frame in moving_clip(6)]
    for name, options in (("a.webp", {"duration": [40, 80, 40, 20, 40, 40], "lossless": True}), ("a.tiff", {})):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:], **options)
        assert_read_from_the_middle(shared_source(tmp_path / name, Selection(), None, None))


def test_frames_in_memory_are_read_from_the_middle():
    with VideoReader(FramesSource(moving_clip(5), fps=25), Selection(), None) as video:
        assert np.array_equal(video.frames_at([2, 3]), moving_clip(5)[2:4])


def test_of_what_is_behind_an_address_a_part_is_read(monkeypatch, bunny):
    files = fsspec.filesystem("memory")
    files.pipe_file("/films/bunny.mp4", bunny.read_bytes())
    n_read, read = [], io.BytesIO.read

    def counted(file, size=-1, /):
        data = read(file, size)
        n_read.append(len(data))
        return data

    try:
        monkeypatch.setattr(type(files.open("/films/bunny.mp4")), "read", counted)
        source = shared_source("memory://films/bunny.mp4", Selection(), None, None)
        with source.opened() as remote, open_video(bunny) as local:
            n_read.clear()
            pts = [frame.pts for _, frame in zip(range(6), local, strict=False)]
            found = remote.frames_at(pts[4:])
            assert 0 < sum(n_read) < bunny.stat().st_size
            assert np.array_equal(found, local.frames_at(pts[4:]))
    finally:
        files.rm("/", recursive=True)


def test_what_is_not_there_is_told(bunny):
    source = shared_source(bunny, Selection(), None, None)
    with source.opened() as video, pytest.raises(InputVideoError, match=r"bunny.mp4: has no frame of the timestamp 1 "):
        video.frames_at([1])
    gone = shared_source("memory://films/none.mp4", Selection(), None, None)
    with pytest.raises(InputVideoError, match=r"memory://films/none.mp4: cannot be read"), gone.opened():
        pass
    no_times = shared_source(CASES / "bad_sei.h264", Selection(), None, None)
    with no_times.opened() as video, pytest.raises(InputVideoError, match="cannot be read from the middle"):
        video.frames_at([3])


def test_names_are_those_of_any_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert shared_source("films/a.mp4", Selection(), None, None).name == str(tmp_path / "films/a.mp4")
    assert shared_source("s3://films/a.mp4", Selection(), None, None).name == "s3://films/a.mp4"
    for source in (b"bytes", io.BytesIO(b"file"), moving_clip(1)):
        assert shared_source(source, Selection(), None, None) is None
