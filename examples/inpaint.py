"""Fill five masked squares a frame from the rest of the video: python examples/inpaint.py VIDEO FOLDER [PRESET BPP].

The squares have 50 pixels on a side in a picture of 720 rows, as in Table III of the paper, and lie elsewhere in each
frame. The encoder sees nothing of what they hide; what a decoder draws there is compared with it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import stgvcodec
from stgvcodec.media import open_video


def random_squares(shape: tuple[int, ...], n_squares: int = 5) -> np.ndarray:
    """Masks [T, H, W] with True where a pixel is hidden."""
    _, height, width = shape
    side = max(1, height * 50 // 720)
    rng = np.random.default_rng(0)
    masks = np.zeros(shape, bool)
    for mask in masks:
        for _ in range(n_squares):
            y, x = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
            mask[y : y + side, x : x + side] = True
    return masks


def main(video: str, folder: str, preset: str = "fast", bpp: str = "1") -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    with open_video(video) as reader:
        frames = np.stack([frame.rgb for frame in reader])  # [T, H, W, 3]
        fps = reader.frame_rate
    masks = random_squares(frames.shape[:3])
    config = stgvcodec.EncodeConfig(preset=preset, bpp_target=float(bpp))
    stgvcodec.encode(frames, Path(folder, "masked.stgv"), config=config, mask=masks, fps=fps)

    with stgvcodec.VideoDecoder(Path(folder, "masked.stgv"), dimension_order="NHWC") as decoder:
        filled = decoder[:].cpu().numpy()
    for name, pictures in (("black", np.zeros_like(frames)), ("filled", filled)):
        hidden = np.square(frames[masks].astype(float) - pictures[masks]).mean()
        print(f"{name}: {10 * np.log10(255**2 / hidden):.2f} dB over the hidden pixels")


if __name__ == "__main__":
    main(*sys.argv[1:])
