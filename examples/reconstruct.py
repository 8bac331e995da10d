"""Encode a video and decode it again: python examples/reconstruct.py VIDEO FOLDER [PRESET BPP]."""

from __future__ import annotations

import sys
from pathlib import Path

import stgvcodec


def main(video: str, folder: str, preset: str = "fast", bpp: str = "0.2") -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    encoded, decoded = Path(folder, "clip.stgv"), Path(folder, "clip.mp4")
    config = stgvcodec.EncodeConfig(preset=preset, bpp_target=float(bpp))
    report = stgvcodec.encode(video, encoded, config=config)
    print(f"{report.file_bytes} bytes, {report.bpp:.3f} bits a pixel, {report.psnr_db:.2f} dB")
    shown = stgvcodec.decode(encoded, decoded)
    print(f"{shown.n_frames} frames of {shown.width}x{shown.height}, rendered in {shown.render_seconds:.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
