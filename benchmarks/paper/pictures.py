"""One contact sheet of what was fitted: the middle of a frame of each clip, by the recipes that the tables compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from benchmarks.paper.clips import CLIPS
from benchmarks.paper.recipes import RECIPES
from stgvcodec.ops.rasterize import to_uint8
from stgvcodec.report.contact_sheet import contact_sheet

_SIDE_PX = 256
_SOURCE = "source"
# Rows of a clip: what was done to the frames, and whose pictures stand side by side behind the first.
_FITS = ("positional, no key frame", "paper", "slow")
_ROWS = (("", _SOURCE), ("squares", "none"), ("white", "none"), ("x3", "slow, bicubic"))


def folder_of(results: Path) -> Path:
    """Where the pictures lie of which the sheet is made."""
    return results / "paper.png.d"


def keep(folder: Path, clip: str, recipe: str, truth: np.ndarray, pictures: Tensor) -> None:
    """Keep the middle of the middle frame of a GoP, [T, H, W, 3] float, and of its source, [T, H, W, 3] uint8."""
    k = len(truth) // 2
    folder_of(folder).mkdir(exist_ok=True)
    for name, frame in ((_SOURCE, truth[k]), (recipe, to_uint8(pictures[k].clone()).cpu().numpy())):
        Image.fromarray(_middle(frame)).save(_path(folder, clip, name))


def write_sheet(folder: Path) -> Path | None:
    """Write `paper.png` of the pictures that there are, black ones for others in their rows; None if there are none."""
    panels = []
    for clip in CLIPS:
        for corruption, first in _ROWS:
            names = [first if first == _SOURCE else RECIPES[first].on(corruption).name]
            names += [RECIPES[name].on(corruption).name for name in _FITS]
            paths = [_path(folder, clip, name) for name in names]
            if any(path.exists() for path in paths[1:]):
                blank = np.zeros_like(_read(next(path for path in paths if path.exists())))
                pictures = [_read(path) if path.exists() else blank for path in paths]
                panels += [(f"{clip}: {name}", picture) for name, picture in zip(names, pictures, strict=True)]
    if not panels:
        return None
    path = folder / "paper.png"
    Image.fromarray(contact_sheet(panels, n_columns=1 + len(_FITS))).save(path, optimize=True)
    return path


def _path(folder: Path, clip: str, name: str) -> Path:
    return folder_of(folder) / f"{clip}, {name.replace(': ', ', ')}.png"


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def _middle(frame: np.ndarray) -> np.ndarray:
    height, width, _ = frame.shape
    top, left = max(0, (height - _SIDE_PX) // 2), max(0, (width - _SIDE_PX) // 2)
    return np.ascontiguousarray(frame[top : top + _SIDE_PX, left : left + _SIDE_PX])
