"""The clips of the paper: where they are looked for, how they are cut and sized, and how many Gaussians a GoP has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from stgvcodec.media import Selection, open_video

GOP = 10
CLIP = Path(__file__).parents[2] / "stgvcodec" / "data" / "bunny.mp4"
TINY_FRAMES, TINY_SIZE, TINY_GAUSSIANS = 4, (64, 32), 40


@dataclass(frozen=True)
class Clip:
    """A clip of the paper.

    Attributes:
        name: Its name in the tables.
        places: Where it may lie under the folder of `--data`, a file or a folder of images; the first that is there is
            taken. Without any it is the clip that comes with the package.
        crop: Centred rectangle that is cut out first, as `--crop` takes it.
        resize: Size after that, as `--resize` takes it.
        n_gaussians: Gaussians of a GoP.
        step: Every step-th frame is taken.
        most_frames: Only so many frames are taken; None takes all.
    """

    name: str
    places: tuple[str, ...] = ()
    crop: str | None = None
    resize: str | None = "1280x720"
    n_gaussians: int = 40_000
    step: int = 1
    most_frames: int | None = None

    def path(self, data: Path | None) -> Path | None:
        """Where the clip is; None if it is not at hand."""
        if not self.places:
            return CLIP
        found = [data / place for place in self.places if data is not None and (data / place).exists()]
        return found[0] if found else None

    @property
    def selection(self) -> Selection:
        frames = None if self.most_frames is None else f"0:{self.most_frames * self.step}"
        return Selection.parse(frames=frames, crop=self.crop, resize=self.resize)

    def tiny(self) -> Clip:
        """The same clip with few frames of a tiny size."""
        size = "x".join(map(str, TINY_SIZE))
        return replace(self, resize=size, n_gaussians=TINY_GAUSSIANS, most_frames=TINY_FRAMES)


def _uvg(name: str, stem: str) -> Clip:
    places = tuple(f"uvg/{stem}{suffix}" for suffix in ("", ".y4m", ".mp4", ".mkv"))
    return Clip(name, places, step=4)


CLIPS = {
    clip.name: clip
    for clip in (
        Clip("bunny", crop="1280x640", resize=None, n_gaussians=20_000),
        *(Clip(name, (f"davis/{name}", f"davis480/{name}")) for name in ("blackswan", "cows", "bmx-trees")),
        _uvg("beauty", "Beauty"),
        _uvg("bosphorus", "Bosphorus"),
        _uvg("honeybee", "HoneyBee"),
        _uvg("jockey", "Jockey"),
        _uvg("readysteadygo", "ReadySteadyGo"),
        _uvg("shakendry", "ShakeNDry"),
        _uvg("yachtride", "YachtRide"),
    )
}
"""Clips by name: Bunny, the sequences of DAVIS at hand, and UVG."""
UVG = tuple(name for name, clip in CLIPS.items() if clip.step > 1)


@lru_cache(maxsize=1)
def read_frames(clip: Clip, path: Path) -> np.ndarray:
    """All frames of a clip. [T, H, W, 3] uint8."""
    with open_video(path, selection=clip.selection) as video:
        return np.stack([frame.rgb for k, frame in enumerate(video) if k % clip.step == 0])


def gops(n_frames: int, gop: int = GOP) -> list[range]:
    """Frames of each GoP. A rest of less than half a GoP joins the last: the 132 frames of Bunny are 13 GoPs."""
    starts = list(range(0, n_frames, gop))
    if len(starts) > 1 and n_frames - starts[-1] < (gop + 1) // 2:
        starts.pop()
    return [range(start, end) for start, end in zip(starts, [*starts[1:], n_frames], strict=True)]
