"""Peak memory of encoding, as the film gets longer: one GoP of frames is in memory at a time.

    python benchmarks/memory.py --csv benchmarks/data/encode_memory.csv

Encodes 720p films of 10, 60 and 240 frames (Big Buck Bunny, looped), each in a process of its own, with few Gaussians
and very few steps, on which memory does not depend. Peak is the process's largest resident set.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from gop_fit import CLIP
from harness import commit, device_name, print_rows, write_csv

from stgvcodec.media import open_video, open_writer

COLUMNS = ("frames", "size", "gop", "peak_mib", "device", "commit")
FILM_LENGTHS = (10, 60, 240)
GOP = 10

_ENCODE = """
import dataclasses, resource, sys
from stgvcodec.encoder import presets
from stgvcodec.encoder.config import EncodeConfig
from stgvcodec.encoder.encode import encode

tiny = presets.PRESETS["draft"]
few = lambda phases: tuple(dataclasses.replace(phase, n_steps=2) for phase in phases)
presets.PRESETS["draft"] = dataclasses.replace(tiny, phases=few(tiny.phases), finetuning=few(tiny.finetuning))
config = EncodeConfig(preset="draft", gop=int(sys.argv[3]), n_gaussians=2000, scene_cut=False)
encode(sys.argv[1], sys.argv[2], config=config, device="cpu")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write_film(path: Path, n_frames: int) -> str:
    """The clip, over and over, until there are enough frames; returns its size as text."""
    written = 0
    with open_video(CLIP) as video:
        with open_writer(
            path,
            width=video.width,
            height=video.height,
            frame_rate=video.frame_rate,
            time_base=1 / video.frame_rate,
            color=video.color,
        ) as writer:
            while written < n_frames:
                for frame in video:
                    writer.write(frame.rgb, written)
                    written += 1
                    if written == n_frames:
                        break
        return f"{video.width}x{video.height}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    rows: list[tuple[object, ...]] = []
    for n_frames in FILM_LENGTHS:
        with tempfile.TemporaryDirectory() as folder:
            film, coded = Path(folder) / "film.mp4", Path(folder) / "film.stgv"
            size = write_film(film, n_frames)
            command = [sys.executable, "-c", _ENCODE, str(film), str(coded), str(GOP)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        peak_mib = int(done.stdout.split()[-1]) / 1024
        rows.append((n_frames, size, GOP, f"{peak_mib:.0f}", device_name(torch.device("cpu")), commit()))
    print_rows(rows, COLUMNS)
    if options.csv:
        write_csv(options.csv, rows, COLUMNS)


if __name__ == "__main__":
    main()
