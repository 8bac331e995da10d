"""The time that an encode says before it begins, and the time left that it shows, against what it then takes.

    STGV_THREADS=1 python benchmarks/time_left.py --csv benchmarks/data/time_left_cpu.csv
    python benchmarks/time_left.py --device cuda --csv benchmarks/data/time_left_cuda.csv

Encodes frames of Big Buck Bunny. For each share of the work, a row has the time left that was shown over the one that
was true. Times start with the fits, after compiling and what the plan needs. On a CPU they are CPU times, so that it
does not matter what else the machine does; one thread makes them those of an idle machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import types
from pathlib import Path

import torch
from gop_fit import CLIP
from harness import commit, device_name, print_rows, write_csv

from stgvcodec import EncodeConfig, Selection, encode
from stgvcodec.cli.progress import TimeLeft
from stgvcodec.encoder import calibration
from stgvcodec.encoder.reports import EncodePlan
from stgvcodec.progress import Progress

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
COLUMNS = (
    *("frames", "size", "preset", "target", "gops", "expected_s", "took_s"),
    *(f"at_{share}" for share in SHARES),
    *("device", "commit"),
)
# Frames, size, preset and target of each encode.
ENCODES = {
    "cpu": [
        ("0:30", "192x96", "draft", {}),
        ("0:30", "192x96", "fast", {"bpp_target": 0.2}),
        ("0:24", "320x160", "draft", {"bpp_target": 0.1}),
        ("60:108", "320x160", "draft", {"bpp_target": 0.1}),
        ("0:24", "320x160", "draft", {"psnr_target": 30.0}),
        ("0:24", "320x160", "draft", {"psnr_target": 26.0}),
    ],
    "cuda": [
        ("0:48", None, "medium", {"bpp_target": 0.1}),
        ("0:132", None, "fast", {"bpp_target": 0.1}),
        ("0:132", None, "slow", {"bpp_target": 0.2}),
        ("0:48", None, "medium", {"psnr_target": 34.0}),
    ],
}


def row(frames: str, size: str | None, preset: str, target: dict[str, float], device: str) -> tuple[object, ...]:
    """Encode, and return a row without device and commit."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    left = TimeLeft()
    shown: list[tuple[float, float, float | None]] = []
    planned: list[tuple[float, EncodePlan]] = []

    def on_progress(progress: Progress) -> None:
        if progress.fraction:
            now = clock()
            shown.append((now, progress.fraction, left.after(progress.fraction, now, progress.expected_seconds)))

    with tempfile.TemporaryDirectory() as folder:
        report = encode(
            CLIP,
            Path(folder) / "a.stgv",
            config=EncodeConfig(preset=preset, **target),
            selection=Selection.parse(frames=frames, resize=size),
            device=device,
            progress=on_progress,
            plan=lambda plan: planned.append((clock(), plan)),
        )
    end = clock()
    began, plan = planned[0]
    ratios = []
    for share in SHARES:
        # The share may fall where a GoP is fitted again: the last time at which it was below counts.
        late = [now for now, fraction, _ in shown if fraction < share]
        after = [(now, said) for now, _, said in shown if said is not None and now > (late[-1] if late else began)]
        ratios.append(f"{after[0][1] / (end - after[0][0]):.2f}" if after and after[0][0] < end else "")
    text = " ".join(f"{name} {value:g}" for name, value in target.items()) or "none"
    pictures = f"{report.width}x{report.height}"
    expected = f"{plan.expected_seconds:.1f}" if plan.expected_seconds is not None else ""
    return report.n_frames, pictures, preset, text, len(report.gops), expected, f"{end - began:.1f}", *ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device to encode on")
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if options.device == "cpu":
        # The steps that tell the plan its time are timed by the same clock.
        calibration.time = types.SimpleNamespace(perf_counter=time.process_time)
    where = device_name(torch.device(options.device)), commit()
    # The first encode of a process loads kernels, which is in no time of an encode.
    row("0:2", "64x32", "draft", {}, options.device)
    rows = [(*row(*each, options.device), *where) for each in ENCODES[options.device]]
    print_rows(rows, COLUMNS)
    if options.csv:
        write_csv(options.csv, rows, COLUMNS)


if __name__ == "__main__":
    main()
