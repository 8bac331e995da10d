"""What an encode costs by frames and pixels, and how much faster it is on several devices.

    python benchmarks/encode_cost.py cost --csv benchmarks/data/encode_cost_cpu.csv
    python benchmarks/encode_cost.py cost --device cuda --csv benchmarks/data/encode_cost_cuda.csv
    python benchmarks/encode_cost.py devices --device cuda:0,1,2,3 --csv benchmarks/data/encode_devices.csv
    python benchmarks/encode_cost.py figure CSV [CSV ...] --figure results/encode_cost.png

`cost` encodes parts of Big Buck Bunny with preset `fast` and GoPs of 10, each in a process of its own: on a CPU the
cost is the CPU time of the whole command, on a GPU the time of the fits. `devices` encodes a film, the clip over and
over, with the first one, two, four and so on of the devices, and sets the time of each against that of one. `figure`
draws the rows of both, fits cost = start + frames x (a frame's + a pixel's x pixels), and says what a thousand hours of
1080p take by that.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from gop_fit import CLIP
from harness import commit, device_name, print_rows, write_csv
from memory import write_film

from stgvcodec.report.rd_plot import FONT

COLUMNS = ("run", "frames", "width", "height", "devices", "gops", "seconds", "cpu_seconds", "device", "commit")
FRAMES = (10, 20, 40)
SIZES = {"cpu": ((160, 90), (320, 180), (640, 360)), "cuda": ((640, 360), (1280, 720), (1920, 1080))}
ENCODER = ("--preset", "fast", "--gop", "10", "--no-scene-cut", "--no-audio", "-q", "-y")
COLORS = ("#00306e", "#8c2d04", "#6e6e6e")
# Frames of a thousand hours, at 24 a second, and pixels of 1080p.
FAR_FRAMES, FAR_PIXELS = 1000 * 3600 * 24, 1920 * 1080


class Point(NamedTuple):
    """What an encode of so many frames of so many pixels took, s."""

    frames: int
    pixels: int
    taken: float


class Cost(NamedTuple):
    """What one encode took: its fits in seconds, and the CPU time of the whole command."""

    gops: int
    seconds: float
    cpu_seconds: float


def cost_of(video: Path, n_frames: int, width: int, height: int, device: str) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "stgvcodec", "encode", str(video), str(Path(folder) / "a.stgv"), *ENCODER]
        command += ["--frames", f"0:{n_frames}", "--resize", f"{width}x{height}", "--device", device]
        process = subprocess.Popen([*command, "--json", str(report)])
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"the encode failed with exit code {os.waitstatus_to_exitcode(status)}")
        result = json.loads(report.read_text())
    return Cost(len(result["gops"]), result["seconds"], usage.ru_utime + usage.ru_stime)


def cost_rows(device: str) -> list[tuple[object, ...]]:
    rows = []
    # What the first encode compiles and loads is in no row.
    cost_of(CLIP, 10, 160, 90, device)
    for n_frames, (width, height) in product(FRAMES, SIZES[device]):
        cost = cost_of(CLIP, n_frames, width, height, device)
        rows.append(("cost", n_frames, width, height, device, *_written(cost)))
    return rows


def device_rows(devices: str, minutes: float, size: tuple[int, int]) -> list[tuple[object, ...]]:
    kind, _, numbers = devices.partition(":")
    each = [f"{kind}:{number}" for number in numbers.split(",")] if numbers else devices.split(",")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        film, n_frames = Path(folder) / "film.mp4", round(minutes * 60 * 24)
        write_film(film, n_frames)
        cost_of(film, 10, *size, each[0])
        n = 1
        while n <= len(each):
            chosen = ",".join([each[0], *(name.partition(":")[2] or name for name in each[1:n])])
            rows.append(("devices", n_frames, *size, chosen, *_written(cost_of(film, n_frames, *size, chosen))))
            n *= 2
    return rows


def _written(cost: Cost) -> tuple[str, str, str]:
    return str(cost.gops), f"{cost.seconds:.2f}", f"{cost.cpu_seconds:.2f}"


def draw(paths: Sequence[Path], figure_path: Path | None) -> None:
    """Fit and print the cost by device, and draw it beside the speed on several devices."""
    rows = [row for path in paths for row in csv.DictReader(path.open())]
    costs: dict[str, list[Point]] = {}
    films: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row["run"] == "cost":
            taken = float(row["cpu_seconds" if row["devices"] == "cpu" else "seconds"])
            point = Point(int(row["frames"]), int(row["width"]) * int(row["height"]), taken)
            costs.setdefault(row["device"], []).append(point)
        else:
            films.setdefault(row["device"], []).append((row["devices"].count(",") + 1, float(row["seconds"])))
    fits = {device: _fit(points) for device, points in costs.items()}
    for device, fit in fits.items():
        off = max(abs(_expected(fit, n, pixels) / taken - 1) for n, pixels, taken in costs[device])
        start, of_frame, of_pixel = fit
        print(
            f"{device}: {start:.2f} s + frames x ({1e3 * of_frame:.1f} ms + {1e6 * of_pixel:.3f} us x pixels), ", end=""
        )
        hours = FAR_FRAMES * (of_frame + of_pixel * FAR_PIXELS) / 3600
        print(f"within {100 * off:.0f} %; a thousand hours of 1080p take {hours:,.0f} hours of it")
    speeds = {device: [(n, times[0][1] / taken) for n, taken in times] for device, times in films.items()}
    for device, points in speeds.items():
        for n, speed in points[1:]:
            print(f"{device}: {n} of it are {speed:.2f} times as fast as one, {100 * speed / n:.0f} % efficient")
    if figure_path is not None:
        _draw(costs, fits, speeds, figure_path)


def _fit(points: Sequence[Point]) -> tuple[float, float, float]:
    """Fit start, a frame's cost and a pixel's by least squares of relative errors."""
    frames, pixels, taken = np.array(points, float).T
    terms = np.stack([np.ones_like(taken), frames, frames * pixels], 1) / taken[:, None]
    start, of_frame, of_pixel = np.linalg.lstsq(terms, np.ones_like(taken), rcond=None)[0]
    return float(start), float(of_frame), float(of_pixel)


def _expected(fit: tuple[float, float, float], frames: int, pixels: int) -> float:
    start, of_frame, of_pixel = fit
    return start + frames * (of_frame + of_pixel * pixels)


def _draw(
    costs: dict[str, list[Point]],
    fits: dict[str, tuple[float, float, float]],
    speeds: dict[str, list[tuple[int, float]]],
    path: Path,
) -> None:
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    panels = [*costs, *(["speed"] if speeds else [])]
    with matplotlib.rc_context(FONT):
        figure = Figure(figsize=(3.58 * len(panels), 2.6), layout="constrained")
        all_axes = np.atleast_1d(figure.subplots(1, len(panels)))
        for axes, (device, points) in zip(all_axes, costs.items(), strict=False):
            for pixels, color, marker in zip(sorted({p.pixels for p in points}), COLORS, "oDs", strict=False):
                own = [point for point in points if point.pixels == pixels]
                label = f"{pixels / 1e6:.2g} megapixels"
                axes.loglog([p.frames for p in own], [p.taken for p in own], marker, color=color, label=label)
                frames = [p.frames for p in own]
                axes.loglog(frames, [_expected(fits[device], n, pixels) for n in frames], color=color, lw=1)
            axes.set_xticks(FRAMES, [str(n) for n in FRAMES])
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
            axes.set_xlabel("frames")
            axes.set_title(f"Cost of an encode, s ({device})")
            axes.legend()
        for (device, points), color in zip(speeds.items(), COLORS, strict=False):
            all_axes[-1].plot(*zip(*points, strict=True), "o-", color=color, label=device)
        if speeds:
            most = max(n for points in speeds.values() for n, _ in points)
            all_axes[-1].plot([1, most], [1, most], color="#6e6e6e", lw=1, ls="--", label="as many times")
            all_axes[-1].set_xlabel("devices")
            all_axes[-1].set_title("Speed, of one device")
            all_axes[-1].legend()
        figure.savefig(path, dpi=200, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    cost = kinds.add_parser("cost", help="encode by frames and pixels")
    cost.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device to encode on (default: cpu)")
    devices = kinds.add_parser("devices", help="encode a film on more and more devices")
    devices.add_argument("--device", required=True, help="devices to take one, two, four of, such as cuda:0,1,2,3")
    devices.add_argument("--minutes", type=float, default=10.0, help="length of the film (default: 10)")
    devices.add_argument("--size", default="320x180", help="size at which it is encoded (default: 320x180)")
    for each in (cost, devices):
        each.add_argument("--csv", type=Path, help="write the rows to this file")
    figure = kinds.add_parser("figure", help="fit and draw rows of the others")
    figure.add_argument("csv", type=Path, nargs="+", help="files of rows")
    figure.add_argument("--figure", type=Path, help="draw to this file")
    options = parser.parse_args()
    if options.kind == "figure":
        draw(options.csv, options.figure)
        return
    if options.kind == "cost":
        rows = cost_rows(options.device)
    else:
        width, height = (int(side) for side in options.size.split("x"))
        rows = device_rows(options.device, options.minutes, (width, height))
    kind = options.device.partition(":")[0].partition(",")[0]
    written = [(*row, device_name(torch.device(kind)), commit()) for row in rows]
    print_rows(written, COLUMNS)
    if options.csv:
        write_csv(options.csv, written, COLUMNS)


if __name__ == "__main__":
    main()
