"""What each preset reaches, and in which time: Big Buck Bunny through encoder, file and decoder.

    python benchmarks/presets.py --csv benchmarks/data/presets_cpu.csv
    python benchmarks/presets.py --device cuda --csv benchmarks/data/presets_cuda.csv

On a CPU 48 frames at 320x180 and 0.25 bits a pixel. On a GPU the 132 frames of the paper, 640x1280, with its 20 000
Gaussians a GoP of 10; `paper`, with its 80 000 steps, on the first two GoPs only, and `slow` on those again. Seconds
are all of `encode`, reading and writing included; on a GPU a first short encode, which compiles, does not count.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from bunny_fit import similarity
from gop_fit import CLIP
from harness import commit, print_rows, write_csv

import stgvcodec
from stgvcodec.encoder.presets import PRESETS
from stgvcodec.media import open_video

COLUMNS = ("preset", "clip", "steps", "seconds", "bpp", "psnr_db", "ms_ssim", "device", "commit")
EFFORTS = ("draft", "fast", "medium", "slow")
TWO_GOPS = ("slow", "paper")


def row(preset: str, clip: str, selection: stgvcodec.Selection, device: str, **options: object) -> tuple[object, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.stgv"
        config = stgvcodec.EncodeConfig(preset=preset, **options)
        report = stgvcodec.encode(CLIP, path, config=config, selection=selection, device=device)
        with stgvcodec.VideoDecoder(path, device=device) as decoder, open_video(CLIP, selection=selection) as video:
            pairs = zip(video, decoder.iter_frames(), strict=True)
            ssim = np.mean([similarity(torch.from_numpy(frame.rgb).to(coded.device), coded) for frame, coded in pairs])
    steps = sum(phase.n_steps for phase in (*PRESETS[preset].phases, *PRESETS[preset].finetuning))
    figures = (f"{report.seconds:.1f}", f"{report.bpp:.4f}", f"{report.psnr_db:.2f}", f"{ssim:.4f}")
    rows = (preset, clip, steps, *figures, f"{report.device}, {report.backend}", commit())
    print_rows([rows], COLUMNS)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", nargs="+", choices=(*EFFORTS, "paper"), default=(*EFFORTS, "paper"))
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    rows = []
    if options.device == "cpu":
        selection = stgvcodec.Selection.parse(frames="0:48", resize="320x180")
        chosen = [preset for preset in EFFORTS if preset in options.only]
        rows += [row(preset, "48 frames, 320x180", selection, "cpu", bpp_target=0.25) for preset in chosen]
    else:
        whole, two = (stgvcodec.Selection.parse(frames=frames, crop="1280x640") for frames in ("0:132", "0:20"))
        fixed = {"n_gaussians": 20_000, "gop": 10, "scene_cut": False}
        # A GoP of 10 and one of 2, as the clip ends: both compile.
        row("draft", "warm-up", stgvcodec.Selection.parse(frames="0:12", crop="1280x640"), "cuda", **fixed)
        parts = (("132 frames, 1280x640", whole, EFFORTS), ("20 frames, 1280x640", two, TWO_GOPS))
        for clip, selection, presets in parts:
            chosen = [preset for preset in presets if preset in options.only]
            rows += [row(preset, clip, selection, "cuda", **fixed) for preset in chosen]
    print_rows(rows, COLUMNS)
    if options.csv:
        write_csv(options.csv, rows, COLUMNS)


if __name__ == "__main__":
    main()
