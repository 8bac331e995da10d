"""What each initialisation of the canonical Gaussians gives at equal steps, on Big Buck Bunny's first frame.

    python benchmarks/initialization.py --csv benchmarks/data/initialization.csv

One frame, 640x1280, 20 000 Gaussians, the same rates for both; PSNR of the float picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from gop_fit import make_trainer, read_frames
from harness import commit, device_name, print_rows, write_csv

from stgvcodec.encoder.model_size import STILL_FIELD
from stgvcodec.fit.phases import INITIALIZATIONS, Phase
from stgvcodec.ops.backends import resolve_backend
from stgvcodec.ops.threads import one_torch_thread

COLUMNS = ("initialization", "steps", "psnr_db", "device", "commit")
STRETCHES = (0, 25, 75, 200, 300)  # Steps between two readings: 0, 25, 100, 300, 600 in all.


def measure(device: torch.device, seed: int) -> list[tuple[object, ...]]:
    frame = read_frames(1, device)
    backend = resolve_backend("auto", device)
    rows: list[tuple[object, ...]] = []
    for method in INITIALIZATIONS:
        trainer = make_trainer(frame, STILL_FIELD, initialization=method, backend=backend, seed=seed)
        steps = 0
        for n_steps in STRETCHES:
            trainer.run(Phase("key-frame", frames="key", n_steps=n_steps, final_rate=1.0))
            steps += n_steps
            rows.append((method, steps, f"{trainer.psnr_db():.2f}", device_name(device), commit()))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    with one_torch_thread():
        rows = measure(torch.device(options.device), options.seed)
    print_rows(rows, COLUMNS)
    if options.csv:
        write_csv(options.csv, rows, COLUMNS)


if __name__ == "__main__":
    main()
