"""What each part of profile compact is worth: one change at a time, from profile paper, in real bytes.

    python benchmarks/rate_ablation.py fit --device cuda --davis DAVIS --csv results/rate_ablation.csv
    python benchmarks/rate_ablation.py table results/rate_ablation.csv results/rate_ablation.md

`fit` codes the first GoPs of Bunny at 640x1280 and, from the folder DAVIS, of three sequences at 854x480, each at three
rates: a Gaussian for every 40, 80 and 160 pixels, with the three largest fields. Quantisers are held against each other
on two GoPs of 10 frames, lengths of GoPs on 40 frames. Every payload
is written, read and rendered by the decoder's path. Rows that are there are not run again; several GoPs are fitted at
once. `table` prints BD-rates. With `--shrink 2` clips are half as wide and high, for a CPU, and fields are smaller.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from gop_fit import CLIP
from harness import commit, device_name

from stgvcodec.bitstream.payload.head import read_header
from stgvcodec.encoder.encode_gop import GopConfig, GopPayload, encode_gop
from stgvcodec.encoder.presets import FIELD_SIZES, PRESETS
from stgvcodec.encoder.profiles import PROFILES, Profile
from stgvcodec.evaluation.flat_bits import flat_bits
from stgvcodec.media import Selection, open_video
from stgvcodec.ops.backends import resolve_backend
from stgvcodec.ops.threads import one_torch_thread

SEQUENCES = ("blackswan", "cows", "bmx-trees")
PIXELS_PER_GAUSSIAN = (40, 80, 160)
BASELINE, FLAT, LENGTHS = "paper", "paper, flat bits", "compact, GoPs of 10, on 40 frames"
COLUMNS = (
    *("variant", "clip", "pixels_per_gaussian", "first_frame", "n_frames", "n_pixels", "n_gaussians"),
    *("bytes", "flat_bytes", "psnr_db", "seconds", "preset", "device", "commit"),
)


class Variant(NamedTuple):
    name: str
    profile: Profile
    gop: int = 10
    n_frames: int = 20
    smaller_field: int = 0


def _variants() -> list[Variant]:
    paper, compact = PROFILES["paper"], PROFILES["compact"]

    def changed(profile: Profile, at_once: bool, **changes: object) -> Profile:
        return dataclasses.replace(
            profile, at_once=at_once, quantizers=dataclasses.replace(profile.quantizers, **changes)
        )

    step = changed(paper, False, points="grid")
    variants = [Variant(BASELINE, paper), Variant("+ means on a grid", step)]
    step = changed(step, False, shapes="log-shear")
    variants.append(Variant("+ log scales and shear", step))
    step = changed(step, False, colors="ycocg")
    variants.append(Variant("+ scalar colours", step))
    step = changed(step, True, initial_weight_bits=6)
    variants.append(Variant("+ all quantisers at once, field from 6 bits", step))
    variants.append(Variant("+ rate in the loss = compact", compact))
    variants += [
        Variant("compact, rate at half its weight", changed(compact, True, relative_lmbda=0.5)),
        Variant("compact, rate at twice its weight", changed(compact, True, relative_lmbda=2.0)),
        Variant("compact with residual VQ", changed(compact, True, colors="rvq")),
        Variant("compact, grid half as fine", changed(compact, True, grid_cell=0.14)),
        Variant("compact, field one size smaller", compact, smaller_field=1),
        Variant(LENGTHS, compact, n_frames=40),
        Variant("compact, GoPs of 20", compact, gop=20, n_frames=40),
        Variant("compact, GoPs of 40", compact, gop=40, n_frames=40),
    ]
    return variants


class Job(NamedTuple):
    variant: Variant
    clip: str
    pixels_per_gaussian: int
    first_frame: int

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(map(str, (self.variant.name, self.clip, self.pixels_per_gaussian, self.first_frame)))


def read_clips(davis: Path, n_frames: int, shrink: int = 1) -> dict[str, np.ndarray]:
    sources = {
        "bunny": (CLIP, "1280x640", (1280, 640)),
        **{name: (davis / name, None, (854, 480)) for name in SEQUENCES},
    }
    clips = {}
    for name, (source, crop, (width, height)) in sources.items():
        resize = f"{width // shrink}x{height // shrink}" if shrink > 1 else None
        with open_video(source, selection=Selection.parse(frames=f"0:{n_frames}", crop=crop, resize=resize)) as video:
            clips[name] = np.stack([frame.rgb for frame in video])
    return clips


def smaller_fields(shrink: int) -> int:
    """By how many sizes fields are smaller for clips of that much less width and height."""
    return 2 * (shrink.bit_length() - 1)


def fit(options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    backend = resolve_backend("auto", device)
    variants = [v for v in _variants() if not options.variants or any(part in v.name for part in options.variants)]
    clips = read_clips(options.davis, max(variant.n_frames for variant in variants), options.shrink)
    done: set[tuple[str, ...]] = set()
    if options.csv.exists():
        with options.csv.open() as file:
            done = {tuple(row[name] for name in COLUMNS[:4]) for row in csv.DictReader(file)}
    else:
        options.csv.write_text(",".join(COLUMNS) + "\n")
    jobs = [
        Job(variant, clip, sparse, first)
        for variant in variants
        for clip in clips
        for sparse in PIXELS_PER_GAUSSIAN
        for first in range(0, variant.n_frames, variant.gop)
    ]
    lock = Lock()

    def work(job: Job) -> None:
        row = measure(job, clips[job.clip], options.preset, device, backend, smaller_fields(options.shrink))
        with lock, options.csv.open("a", newline="") as file:
            csv.writer(file).writerow(row)

    with one_torch_thread(), ThreadPoolExecutor(options.at_once) as pool:
        for future in [pool.submit(work, job) for job in jobs if job.key not in done]:
            future.result()


Row = tuple[object, ...]


def measure(job: Job, clip: np.ndarray, preset: str, device: torch.device, backend: str, smaller: int) -> Row:
    """Code one GoP."""
    variant = job.variant
    n_pixels = clip.shape[1] * clip.shape[2]
    rank = PIXELS_PER_GAUSSIAN.index(job.pixels_per_gaussian)
    config = GopConfig(
        preset=PRESETS[preset],
        n_gaussians=n_pixels // job.pixels_per_gaussian,
        field=FIELD_SIZES[rank + variant.smaller_field + smaller],
        key_frame="middle",
        initialization="content",
        profile=variant.profile.with_codebooks(PRESETS[preset].color_stages, PRESETS[preset].color_codebook_size),
        target_bytes=None,
        device=device,
        backend=backend,
    )
    started = time.perf_counter()
    frames = clip[job.first_frame : job.first_frame + variant.gop]
    coded = encode_gop(frames, config, seed=0)
    return (
        *job.key,
        len(frames),
        n_pixels,
        coded.stats.n_gaussians,
        len(coded.bytes),
        _flat_bytes(coded),
        f"{np.mean(coded.stats.psnr_db):.3f}",
        f"{time.perf_counter() - started:.2f}",
        preset,
        device_name(device),
        commit(),
    )


def _flat_bytes(coded: GopPayload) -> int | str:
    """As papers count them; empty where not all quantisers are the paper's."""
    header = read_header(coded.bytes)
    is_paper = not (header.point_mode or header.shape_mode or header.color_mode)
    return -(-flat_bits(header) // 8) if is_paper else ""


Curve = list[tuple[float, float]]


def curves(rows: list[dict[str, str]], size: Callable[[dict[str, str]], str]) -> dict[tuple[str, str], Curve]:
    """(bpp, dB) at each rate, by variant and clip; PSNR is the mean over frames."""
    groups: dict[tuple[str, str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        if size(row):
            groups[row["variant"], row["clip"], row["pixels_per_gaussian"]].append(row)
    found: dict[tuple[str, str], Curve] = defaultdict(list)
    for (variant, clip, _), gops in groups.items():
        n_frames = sum(int(gop["n_frames"]) for gop in gops)
        bpp = 8 * sum(int(size(gop)) for gop in gops) / (int(gops[0]["n_pixels"]) * n_frames)
        psnr = sum(float(gop["psnr_db"]) * int(gop["n_frames"]) for gop in gops) / n_frames
        found[variant, clip].append((bpp, psnr))
    return found


def table(options: argparse.Namespace) -> None:
    from stgvcodec.metrics.bd_rate import bd_rate

    with options.csv.open() as file:
        rows = list(csv.DictReader(file))
    coded = curves(rows, lambda row: row["bytes"])
    flat = {(FLAT, clip): curve for (_, clip), curve in curves(rows, lambda row: row["flat_bytes"]).items()}
    clips = ("bunny", *SEQUENCES)
    lines = [
        f"# What each part of profile compact is worth (`benchmarks/rate_ablation.py`, preset {rows[0]['preset']})",
        "",
        "BD-rate by PSNR; below 0 fewer bits at equal quality.",
        f"{rows[0]['device']}, commit {rows[0]['commit']}; points and their bytes in `{options.csv.name}`.",
        "Bunny is itself a decoded 0.052 bpp H.264 stream.",
    ]

    def line(name: str, found: dict[tuple[str, str], Curve], anchor: str) -> str:
        cells, values = [], []
        for clip in clips:
            result = bd_rate(coded[anchor, clip], found[name, clip])
            cells.append("no overlap" if result.percent is None else f"{result.percent:+.1f}%")
            values.append(result.percent)
        mean = "" if None in values else f"{np.mean([value for value in values if value is not None]):+.1f}%"
        return f"| {name} | {' | '.join(cells)} | {mean} | {bits(name, found)} |"

    def bits(name: str, found: dict[tuple[str, str], Curve]) -> str:
        dense = [r for r in rows if r["clip"] == "bunny" and r["pixels_per_gaussian"] == str(PIXELS_PER_GAUSSIAN[0])]
        own = [r for r in dense if r["variant"] == (BASELINE if name == FLAT else name)]
        size = "flat_bytes" if name == FLAT else "bytes"
        return f"{8 * sum(int(r[size]) for r in own) / sum(int(r['n_gaussians']) for r in own):.1f}" if own else ""

    def table_of(title: str, names: list[str], anchor: str) -> list[str]:
        shown = [name for name in names if (name, clips[0]) in coded]
        head = f"| | {' | '.join(clips)} | mean | bits a Gaussian, all in (Bunny, most Gaussians) |"
        rule = "|---|" + "---|" * (len(clips) + 2)
        return ["", title, "", head, rule, *(line(name, coded, anchor) for name in shown)] if shown else []

    names = [variant.name for variant in _variants()]
    parts = table_of(
        f"Against `{BASELINE}`, entropy-coded:", [name for name in names if not _is_length(name)], BASELINE
    )
    if flat:
        parts.insert(5, line(FLAT, flat, BASELINE))
    title = f"Against {LENGTHS}:"
    lines += [*parts, *table_of(title, [name for name in names if _is_length(name)], LENGTHS)]
    options.markdown.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def _is_length(name: str) -> bool:
    return "GoPs of" in name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    fitting = commands.add_parser("fit", help="code what the file lacks")
    fitting.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    fitting.add_argument("--davis", type=Path, required=True, help="folder with blackswan, cows and bmx-trees")
    fitting.add_argument("--csv", type=Path, required=True, help="rows, appended to")
    fitting.add_argument("--preset", default="fast", choices=tuple(PRESETS))
    fitting.add_argument("--at-once", type=int, default=4, help="GoPs fitted at the same time (default: 4)")
    fitting.add_argument("--shrink", type=int, default=1, help="divide width and height by this (default: 1)")
    fitting.add_argument("--variants", nargs="*", help="only those whose names contain one of these")
    fitting.set_defaults(run=fit)
    printing = commands.add_parser("table", help="BD-rates from the rows")
    printing.add_argument("csv", type=Path)
    printing.add_argument("markdown", type=Path)
    printing.set_defaults(run=table)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
