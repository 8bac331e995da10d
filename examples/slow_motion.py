"""Encode every second frame and draw the others: python examples/slow_motion.py VIDEO FOLDER [PRESET BPP].

What is drawn is compared with the frames that were left out, beside the frame before and the mean of both neighbours.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import stgvcodec
from stgvcodec.media import open_video


def psnr_db(truth: np.ndarray, pictures: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(truth.astype(float) - pictures).mean()))


def main(video: str, folder: str, preset: str = "fast", bpp: str = "0.5") -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    with open_video(video) as reader:
        frames = np.stack([frame.rgb for frame in reader])  # [T, H, W, 3]
        fps = reader.frame_rate
    kept, left_out = frames[::2], frames[1:-1:2]
    config = stgvcodec.EncodeConfig(preset=preset, bpp_target=float(bpp))
    stgvcodec.encode(kept, Path(folder, "half-rate.stgv"), config=config, fps=fps / 2)

    with stgvcodec.VideoDecoder(Path(folder, "half-rate.stgv"), dimension_order="NHWC") as decoder:
        decoded = decoder[:].cpu().numpy()
        times = [(2 * i + 1) / float(fps) for i in range(len(left_out))]
        between = np.stack([picture.cpu().numpy() for picture in decoder.iter_pictures(times)])
    mean = (decoded[:-1].astype(float) + decoded[1:]) / 2
    for name, pictures in (("frame before", decoded[:-1]), ("mean of two", mean), ("drawn between", between)):
        print(f"{name}: {psnr_db(left_out, pictures[: len(left_out)]):.2f} dB")

    stgvcodec.decode(Path(folder, "half-rate.stgv"), Path(folder, "slow.mp4"), fps=2 * fps)


if __name__ == "__main__":
    main(*sys.argv[1:])
