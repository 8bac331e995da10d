"""Print a rate-distortion curve of a video: python examples/rd_curve.py VIDEO FOLDER [PRESET BPP].

`stgvcodec rd` does this beside other codecs, with BD-rates and a figure.
"""

from __future__ import annotations

import sys
from pathlib import Path

import stgvcodec


def main(video: str, folder: str, preset: str = "fast", bpp: str = "0.2") -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    print("bits a pixel   PSNR   MS-SSIM")
    for rate in (float(bpp) / 2, float(bpp), float(bpp) * 2):
        encoded = Path(folder, f"{rate}.stgv")
        report = stgvcodec.encode(video, encoded, config=stgvcodec.EncodeConfig(preset=preset, bpp_target=rate))
        quality = stgvcodec.compare(video, encoded)
        # MS-SSIM needs pictures of more than 160 rows.
        ms_ssim = "-" if quality.ms_ssim is None else f"{quality.ms_ssim:.4f}"
        print(f"{report.bpp:12.4f}   {quality.psnr_db:5.2f}   {ms_ssim}")


if __name__ == "__main__":
    main(*sys.argv[1:])
