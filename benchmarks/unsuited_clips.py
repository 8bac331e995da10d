"""Draw clips that this codec is bad at, beside one that it is made for, as folders of images.

    python -m benchmarks.unsuited_clips FOLDER
    stgvcodec rd FOLDER/text --bpp 0.4 --preset fast --anchors x264 -o text.png

`text` is a page that scrolls, `graphics` a bar chart with a line, both with sharp edges; `film` is Big Buck Bunny and
`noise` the same with white Gaussian noise of 12 levels. All have 16 frames of 320x180.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.paper.clips import CLIP
from stgvcodec.media import Selection, open_video

WIDTH, HEIGHT, N_FRAMES = 320, 180, 16
PAGE = Path(__file__).parents[1] / "bitstream_spec.md"
COLORS = ((200, 30, 30), (30, 120, 200), (40, 160, 60))


def text() -> Iterator[Image.Image]:
    lines, font = PAGE.read_text(encoding="utf-8").splitlines()[100:120], ImageFont.load_default(size=11)
    for t in range(N_FRAMES):
        image = Image.new("RGB", (WIDTH, HEIGHT), "white")
        draw = ImageDraw.Draw(image)
        for i, line in enumerate(lines):
            draw.text((4, 4 + 13 * i - 2 * t), line[:60], fill="black", font=font)
        yield image


def graphics() -> Iterator[Image.Image]:
    for t in range(N_FRAMES):
        image = Image.new("RGB", (WIDTH, HEIGHT), (245, 245, 245))
        draw = ImageDraw.Draw(image)
        for i in range(6):
            top = 140 - 15 * ((i * 7 + t) % 8)
            draw.rectangle((20 + 48 * i, top, 55 + 48 * i, 160), fill=COLORS[i % 3], outline="black")
        draw.line([(x, 80 + 40 * np.sin(x / 20 + t / 4)) for x in range(0, WIDTH, 4)], fill="black", width=2)
        yield image


def film(sigma: float = 0.0) -> Iterator[Image.Image]:
    rng = np.random.default_rng(0)
    selection = Selection.parse(frames=f"0:{N_FRAMES}", crop="1280x720", resize=f"{WIDTH}x{HEIGHT}")
    with open_video(CLIP, selection=selection) as video:
        for frame in video:
            noisy = frame.rgb + sigma * rng.standard_normal(frame.rgb.shape)
            yield Image.fromarray(np.clip(noisy, 0, 255).round().astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name, frames in (("text", text()), ("graphics", graphics()), ("film", film()), ("noise", film(12.0))):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for t, image in enumerate(frames):
            image.save(folder / name / f"{t:04d}.png")


if __name__ == "__main__":
    main()
