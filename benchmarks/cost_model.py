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
from stgvcodec.encoder.rate_control.cost_model import GopLengthModel
from stgvcodec.media import open_video

KIND_OF_STREAM = {"field_bytes": "field", "side_info_bytes": "other"}
# Frames of a clip that are measured.
N_MEASURED = 132
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
    """Least squares of PSNR on the logarithms of bits, change and detail, and what is left."""
    factors, psnrs = [], []
    for row in rows:
        width, height, gop = int(row["width"]), int(row["height"]), int(row["gop"])
        content = content_of(data, row["clip"], width, height)
        n_bytes = sum(float(value) for name, value in row.items() if name.endswith("_bytes") and value)
        detail = math.fsum(content.detail) / content.n_frames
        factors.append(
            (
                1.0,
                math.log2(8.0 * n_bytes / (width * height)),
                -math.log2(1.0 + mean_change(content) * (gop - 1)),
                -math.log2((detail + 1.0) / 13.0),
            )
        )
        psnrs.append(float(row["psnr_db"]))
    matrix, values = np.array(factors), np.array(psnrs)
    # Weakly towards the present table: a few clips cannot tell change from detail.
    prior, weight = np.array([29.5, 1.9, 2.5, 3.0]), np.sqrt([0.01, 0.1, 0.1, 0.5])
    left = np.vstack((matrix, np.diag(weight)))
    solution = np.linalg.lstsq(left, np.concatenate((values, weight * prior)), rcond=None)[0]
    rest = float(np.sqrt(np.mean(np.square(matrix @ solution - values))))
    base, slope, change, detail = (float(value) for value in solution)
    return (
        f"QualityModel(base={base:.2f}, slope={slope:.2f}, change={change:.2f}, detail={detail:.2f})"
        f"  # {rest:.2f} dB are left"
    )


@dataclass(frozen=True)
class Sweep:
    """One clip at one size and rate, coded with several GoP lengths.

    Attributes:
        clip: Its name.
        n_pixels: Of a frame.
        bpp: Bits a pixel and frame.
        changes: Of each frame but the first.
        lengths: Frames of a GoP, rising.
        psnr_db: For each of them.
    """

    clip: str
    n_pixels: int
    bpp: float
    changes: tuple[float, ...]
    lengths: tuple[int, ...]
    psnr_db: tuple[float, ...]

    def length_by(self, model: GopLengthModel) -> float:
        """The length that a model chooses, within those that were tried."""
        spent = float(np.mean(np.power(self.changes, model.power)))
        length = model.budget(self.bpp, self.n_pixels) / max(spent, 1e-6)
        return min(max(length, float(self.lengths[0])), float(self.lengths[-1]), float(model.longest))

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
        changes = content_of(data, clip, width, height).change[1:]
        sweeps.append(Sweep(clip, width * height, bpp, changes, lengths, tuple(best[length] for length in lengths)))
    return sweeps


def fit_lengths(rows: Sequence[Row], data: Path) -> None:
    """Print the constants with the least mean loss, of equals the plainest, and each sweep's loss."""
    sweeps = sweeps_of(rows, data)
    if not sweeps:
        raise SystemExit("no clip was coded with two lengths at the same size and rate")

    def cost(model: GopLengthModel) -> float:
        mean = math.fsum(sweep.loss_db(model) for sweep in sweeps) / len(sweeps)
        # Many models are as good on a few sweeps: of those the plainest.
        away = abs(model.power - 1.0) + abs(model.bpp_exponent - 0.35) + abs(model.pixel_exponent - 0.25)
        return mean + 0.02 * away

    changes = [0.1 * 1.25**k for k in range(24)]
    exponents = [0.1 * k for k in range(-2, 11)]
    # Bounded: clips at one or two sizes would pass any difference between them off as one of size.
    pixel_exponents = [0.1 * k for k in range(5)]
    grid = product(changes, (1.0, 1.5, 2.0, 2.5, 3.0), exponents, pixel_exponents)
    model = min((GopLengthModel(*constants) for constants in grid), key=cost)
    print(
        f"GopLengthModel(change={model.change:.2f}, power={model.power:.1f}, bpp_exponent={model.bpp_exponent:.2f}, "
        f"pixel_exponent={model.pixel_exponent:.2f})"
    )
    for sweep in sweeps:
        tried = ", ".join(
            f"{length}: {psnr_db:.2f}" for length, psnr_db in zip(sweep.lengths, sweep.psnr_db, strict=True)
        )
        print(
            f"    {sweep.clip}, {sweep.n_pixels} pixels, {sweep.bpp:.3f} bpp, change {np.mean(sweep.changes):.3f}: "
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
