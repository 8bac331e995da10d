"""Fits the constants of encoder/rate_control/cost_model.py to coded GoPs, and prints them.

    python benchmarks/cost_model.py costs GOPS.csv --data FOLDER
    python benchmarks/cost_model.py lengths FILES.csv --data FOLDER

`costs` reads a row for each coded GoP, as `benchmarks/bpp_target.py --gops-csv` writes them: clip, profile, width,
height, gop (its frames), n_gaussians, field_parameters, psnr_db, and bytes by stream in columns that end in `_bytes`.
`lengths` reads a row for each coded file: clip, width, height, gop, bpp, psnr_db; several lengths of one clip, size
and rate are held against each other (rates within 5% count as the same). Clips are looked for below the folder by their
name, with or without a suffix; what their frames hold is measured as the encoder does it.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

from stgvcodec import Selection
from stgvcodec.encoder.lookahead.content import Content, measure_content
from stgvcodec.encoder.rate_control.cost_model import COST_MODELS, GopLengthModel
from stgvcodec.media import open_video

KIND_OF_STREAM = {"field_bytes": "field", "side_info_bytes": "other"}
# Frames of a clip that are measured: those that were coded.
N_MEASURED = 48
Row = Mapping[str, str]


@cache
def content_of(data: Path, clip: str, width: int, height: int) -> Content:
    """What a clip's frames hold at a size."""
    name = Path(clip).stem
    found = sorted(path for path in data.rglob("*") if path.stem == name and (path.is_dir() or path.suffix != ".stgv"))
    if not found:
        raise SystemExit(f"{data}: has no clip named {clip}")
    with open_video(found[0], selection=Selection(resize=(width, height))) as video:
        return measure_content(frame for frame, _ in zip(video, range(N_MEASURED), strict=False))


def mean_change(content: Content) -> float:
    changes = content.change[1:]
    return math.fsum(changes) / max(len(changes), 1)


def fit_costs(rows: Sequence[Row], data: Path) -> None:
    """Print what a profile's Gaussians, field parameters and GoPs cost, and the PSNR they give."""
    by_profile: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_profile[row["profile"]].append(row)
    for profile, own in by_profile.items():
        sums = {"gaussians": 0.0, "field": 0.0, "other": 0.0}
        for row in own:
            for name in row:
                if name.endswith("_bytes") and row[name]:
                    sums[KIND_OF_STREAM.get(name, "gaussians")] += float(row[name])
        n_gaussians = sum(float(row["n_gaussians"]) for row in own)
        n_parameters = sum(float(row["field_parameters"]) for row in own)
        print(f"profile {profile}, {len(own)} GoPs:")
        print(f"    bits of a Gaussian, colour included  {8 * sums['gaussians'] / n_gaussians:.2f}")
        print(f"    bits_per_field_parameter={8 * sums['field'] / max(n_parameters, 1.0):.2f}")
        print(f"    bytes of a GoP beside them, codebooks included  {sums['other'] / len(own):.0f}")
        print(f"    quality={fitted_quality(own, data)}")


def fitted_quality(rows: Sequence[Row], data: Path) -> str:
    """Least squares of PSNR on the logarithms of bits, change and texture, and what is left."""
    factors, psnrs = [], []
    for row in rows:
        width, height, gop = int(row["width"]), int(row["height"]), int(row["gop"])
        content = content_of(data, row["clip"], width, height)
        n_bytes = sum(float(value) for name, value in row.items() if name.endswith("_bytes") and value)
        texture = math.fsum(content.texture) / content.n_frames
        factors.append(
            (
                1.0,
                math.log2(8.0 * n_bytes / (width * height)),
                -math.log2(1.0 + mean_change(content) * (gop - 1)),
                -math.log2((texture + 1.0) / 7.5),
            )
        )
        psnrs.append(float(row["psnr_db"]))
    matrix, values = np.array(factors), np.array(psnrs)
    # Weakly towards the present table: a few clips cannot tell change from texture.
    prior, weight = np.array([33.4, 2.2, 2.0, 4.0]), np.sqrt([0.01, 0.1, 0.1, 0.5])
    left = np.vstack((matrix, np.diag(weight)))
    solution = np.linalg.lstsq(left, np.concatenate((values, weight * prior)), rcond=None)[0]
    rest = float(np.sqrt(np.mean(np.square(matrix @ solution - values))))
    base, slope, change, texture = (float(value) for value in solution)
    return (
        f"QualityModel(base={base:.2f}, slope={slope:.2f}, change={change:.2f}, texture={texture:.2f})"
        f"  # {rest:.2f} dB are left"
    )


@dataclass(frozen=True)
class Sweep:
    """One clip at one size and rate, coded with several GoP lengths.

    Attributes:
        clip: Its name.
        n_pixels: Of a frame.
        bpp: Bits a pixel and frame.
        change: Mean of the frames.
        texture: Mean of the frames.
        lengths: Frames of a GoP, rising.
        psnr_db: For each of them.
    """

    clip: str
    n_pixels: int
    bpp: float
    change: float
    texture: float
    lengths: tuple[int, ...]
    psnr_db: tuple[float, ...]

    def length_by(self, model: GopLengthModel) -> float:
        """The length that a model chooses, within those that were tried."""
        wanted = model.wanted(self.bpp, self.change, self.texture)
        return min(max(wanted, float(self.lengths[0])), float(self.lengths[-1]))

    def loss_db(self, model: GopLengthModel) -> float:
        """PSNR that its length gives away against the best one tried."""
        logs = np.log2(self.lengths)
        return max(self.psnr_db) - float(np.interp(math.log2(self.length_by(model)), logs, self.psnr_db))


def sweeps_of(rows: Sequence[Row], data: Path) -> list[Sweep]:
    groups: dict[tuple[str, int, int, int], list[Row]] = defaultdict(list)
    for row in rows:
        rate = round(math.log(float(row["bpp"])) / math.log(1.05))
        keys = [(row["clip"], int(row["width"]), int(row["height"]), rate + shift) for shift in (0, -1, 1)]
        groups[next((key for key in keys if key in groups), keys[0])].append(row)
    sweeps = []
    for (clip, width, height, _), own in groups.items():
        best: dict[int, float] = {}
        for row in own:
            best[int(row["gop"])] = max(float(row["psnr_db"]), best.get(int(row["gop"]), -math.inf))
        if len(best) < 2:
            continue
        lengths = tuple(sorted(best))
        bpp = math.fsum(float(row["bpp"]) for row in own) / len(own)
        content = content_of(data, clip, width, height)
        psnr_db = tuple(best[length] for length in lengths)
        texture = math.fsum(content.texture) / content.n_frames
        sweeps.append(Sweep(clip, width * height, bpp, mean_change(content), texture, lengths, psnr_db))
    return sweeps


def fit_lengths(rows: Sequence[Row], data: Path) -> None:
    """Print the constants with the least mean loss, of equals the plainest, and each sweep's loss."""
    sweeps = sweeps_of(rows, data)
    if not sweeps:
        raise SystemExit("no clip was coded with two lengths at the same size and rate")

    def cost(model: GopLengthModel) -> float:
        mean = math.fsum(sweep.loss_db(model) for sweep in sweeps) / len(sweeps)
        # Many models are as good on a few sweeps: of those the plainest.
        away = abs(model.bpp - 0.5) + abs(model.change - 0.5) + abs(model.texture - 1.0)
        return mean + 0.02 * away

    frames = [14.0, 16.0, 18.0, 20.0, 22.0, 25.0, 28.0, 32.0]
    exponents = [0.1 * k for k in range(2, 11)]
    grid = product(frames, exponents, exponents, [0.2 * k for k in range(8)])
    model = min((GopLengthModel(*constants) for constants in grid), key=cost)
    print(
        f"GopLengthModel(frames={model.frames:.1f}, bpp={model.bpp:.1f}, change={model.change:.1f}, "
        f"texture={model.texture:.1f}), in use: {COST_MODELS['compact'].gop_length}"
    )
    for name, each in (("found", model), ("in use", COST_MODELS["compact"].gop_length)):
        losses = [sweep.loss_db(each) for sweep in sweeps]
        print(f"{name}: loses {np.mean(losses):.3f} dB in the mean, {max(losses):.2f} at most")
    for sweep in sweeps:
        tried = ", ".join(
            f"{length}: {psnr_db:.2f}" for length, psnr_db in zip(sweep.lengths, sweep.psnr_db, strict=True)
        )
        print(
            f"    {sweep.clip}, {sweep.n_pixels} pixels, {sweep.bpp:.3f} bpp, change {sweep.change:.3f}, "
            f"texture {sweep.texture:.1f}: "
            f"takes {sweep.length_by(model):.0f}, loses {sweep.loss_db(model):.2f} dB  ({tried})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("costs", "lengths"))
    parser.add_argument("rows", nargs="+", type=Path, help="CSV files, one or several")
    parser.add_argument("--data", type=Path, required=True, help="folder below which the clips lie")
    options = parser.parse_args()
    rows: list[Row] = []
    for path in options.rows:
        with path.open(newline="") as file:
            rows += csv.DictReader(file)
    {"costs": fit_costs, "lengths": fit_lengths}[options.what](rows, options.data)


if __name__ == "__main__":
    main()
