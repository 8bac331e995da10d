"""Remove three kinds of noise by encoding: python examples/denoise.py VIDEO FOLDER [PRESET BPP].

A model that is small and moves smoothly has little room for noise. The kinds are those of Table VI of the paper; two
classical filters of SciPy (pip install 'stgvcodec[rd]') are beside. Everything is compared with the clean video.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

import stgvcodec
from stgvcodec.media import open_video

# Each leaves a typical clip at 27 to 28 dB.
SIGMA, SHARE = 11.5, 0.006


def noisy(clean: np.ndarray, kind: str) -> np.ndarray:
    """The clip [T, H, W, 3] with white Gaussian noise, or with some pixels black, or black and white."""
    rng = np.random.default_rng(0)
    if kind == "white":
        return np.clip(np.rint(clean + SIGMA * rng.standard_normal(clean.shape)), 0, 255).astype(np.uint8)
    hit = rng.random(clean.shape[:3]) < SHARE
    color = np.zeros(hit.sum()) if kind == "black" else 255 * (rng.random(hit.sum()) < 0.5)
    result = clean.copy()
    result[hit] = color[:, None]
    return result


def psnr_db(truth: np.ndarray, pictures: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(truth.astype(float) - pictures).mean()))


def main(video: str, folder: str, preset: str = "fast", bpp: str = "0.3") -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    with open_video(video) as reader:
        clean = np.stack([frame.rgb for frame in reader])  # [T, H, W, 3]
        fps = reader.frame_rate
    print("noise           noisy  Gaussian  median  encoded, dB")
    for kind in ("white", "black", "salt and pepper"):
        source = noisy(clean, kind)
        encoded = Path(folder, f"{kind}.stgv")
        stgvcodec.encode(source, encoded, config=stgvcodec.EncodeConfig(preset=preset, bpp_target=float(bpp)), fps=fps)
        with stgvcodec.VideoDecoder(encoded, dimension_order="NHWC") as decoder:
            results = [
                source,
                ndimage.gaussian_filter(source, (0, 1, 1, 0)),
                ndimage.median_filter(source, (1, 3, 3, 1)),
                decoder[:].cpu().numpy(),
            ]
        print(f"{kind:16}" + "  ".join(f"{psnr_db(clean, result):6.2f}" for result in results))


if __name__ == "__main__":
    main(*sys.argv[1:])
