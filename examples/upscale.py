"""Encode at half the size and draw at the full one: python examples/upscale.py VIDEO FOLDER [PRESET BPP].

The Gaussians are drawn larger; the same frames, decoded at half the size and enlarged by Lanczos' filter, are beside.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import stgvcodec
from stgvcodec.media import open_video


def psnr_db(truth: np.ndarray, pictures: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(truth.astype(float) - pictures).mean()))


def main(video: str, folder: str, preset: str = "fast", bpp: str = "1") -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    with open_video(video) as reader:
        truth = np.stack([frame.rgb for frame in reader])  # [T, H, W, 3]
        width, height = reader.width, reader.height
    half = stgvcodec.Selection(resize=(width // 2, height // 2))
    config = stgvcodec.EncodeConfig(preset=preset, bpp_target=float(bpp))
    stgvcodec.encode(video, Path(folder, "half.stgv"), config=config, selection=half)

    with stgvcodec.VideoDecoder(Path(folder, "half.stgv")) as decoder:
        drawn = np.stack([frame.cpu().numpy() for frame in decoder.iter_frames(size=(height, width))])
        small = [Image.fromarray(frame.cpu().numpy()) for frame in decoder.iter_frames()]
    enlarged = np.stack([np.asarray(frame.resize((width, height), Image.Resampling.LANCZOS)) for frame in small])
    print(f"drawn at twice the size: {psnr_db(truth, drawn):.2f} dB")
    print(f"enlarged by Lanczos: {psnr_db(truth, enlarged):.2f} dB")


if __name__ == "__main__":
    main(*sys.argv[1:])
