from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gops import random_gop, write_gops

from stgvcodec import FrameBatch, VideoDecoder
from stgvcodec.bitstream import pack_gop
from stgvcodec.errors import ConfigError, MissingFileError
from stgvcodec.integrations import clip_dataset
from stgvcodec.integrations.clip_dataset import ClipDataset


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[Path]:
    """Files of 9, 2 and 6 frames."""
    folder = tmp_path_factory.mktemp("clips")
    gops = [pack_gop(random_gop(seed, n_frames=n)) for seed, n in enumerate((3, 3, 3, 2))]
    parts = {"nine": gops[:3], "two": gops[3:], "six": gops[1:3]}
    return [write_gops(folder / f"{name}.stgv", part) for name, part in parts.items()]


@pytest.fixture(scope="module")
def frames(paths) -> list[torch.Tensor]:
    videos = []
    for path in paths:
        with VideoDecoder(path, device="cpu") as decoder:
            videos.append(decoder[:])
    return videos


def test_clips_follow_one_another_through_the_files(paths, frames):
    clips = ClipDataset(paths, n_frames=4)

    nine, _, six = frames
    expected = [nine[0:4], nine[4:8], six[0:4]]
    assert len(clips) == 3
    for clip, wanted in zip([clips[i] for i in range(3)], expected, strict=True):
        assert torch.equal(clip, wanted)
    assert torch.equal(clips[-1], expected[-1])
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"clip {index} of 3 clips"):
            clips[index]


@pytest.mark.parametrize(
    ("steps", "starts"),
    [({"frame_step": 2}, [(0, 0), (2, 0)]), ({"frame_step": 2, "clip_step": 2}, [(0, 0), (0, 2), (0, 4), (2, 0)])],
)
def test_steps_of_frames_and_of_clips(paths, frames, steps, starts):
    clips = ClipDataset(paths, n_frames=3, **steps)

    expected = [frames[file][start : start + 5 : 2] for file, start in starts]
    assert len(clips) == len(expected)
    assert all(torch.equal(clips[i], wanted) for i, wanted in enumerate(expected))


def test_a_transform_gets_the_times_too(paths):
    def begins(clip: FrameBatch) -> float:
        return float(clip.pts_seconds[0])

    with VideoDecoder(paths[0], device="cpu") as decoder:
        expected = decoder.get_frame_at(4).pts_seconds
    assert ClipDataset([paths[0].read_bytes()], n_frames=4, transform=begins)[1] == expected


def test_few_files_are_open_at_a_time(paths, monkeypatch):
    monkeypatch.setattr(clip_dataset, "_MOST_OPEN", 2)
    clips = ClipDataset(paths * 4, n_frames=2)
    for i in range(0, len(clips), 3):
        clips[i]
        open_files = [fd.resolve() for fd in Path("/proc/self/fd").glob("*") if fd.resolve() in paths]
        assert len(open_files) <= 2


def test_it_is_pickled_without_its_files(paths):
    clips = ClipDataset(paths, n_frames=4)
    first = clips[0]
    again = pickle.loads(pickle.dumps(clips))
    assert len(pickle.dumps(clips)) < 2000
    assert torch.equal(again[0], first)


def test_what_cannot_be_is_refused(paths):
    for name in ("n_frames", "frame_step", "clip_step"):
        with pytest.raises(ConfigError, match=f"{name} is 0, expected at least 1"):
            ClipDataset(paths, **{"n_frames": 1, name: 0})
    with pytest.raises(MissingFileError):
        ClipDataset([*paths, "missing.stgv"], n_frames=1)
    assert len(ClipDataset([], n_frames=1)) == 0


WORKERS = """
import sys
import torch
from stgvcodec.integrations.clip_dataset import ClipDataset

if __name__ == "__main__":
    clips = ClipDataset(sys.argv[1:], n_frames=2)
    expected = torch.stack([clips[i] for i in range(len(clips))])  # The parent has files open before workers do.
    for kind in ("fork", "forkserver", "spawn"):
        loader = torch.utils.data.DataLoader(
            clips, batch_size=3, num_workers=2, multiprocessing_context=kind, timeout=100, persistent_workers=True
        )
        for _ in range(2):
            assert torch.equal(torch.cat(list(loader)), expected), kind
    print(len(expected), "clips")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_workers_of_a_loader_that_were_started_in_every_way(paths, tmp_path):
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    command = [sys.executable, str(script), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "8 clips\n", done.stderr
