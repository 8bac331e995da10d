"""Rate-distortion curves of the rows of rate_ablation.py beside classical codecs, on the same frames.

    python benchmarks/rate_curves.py results/rate_ablation.csv --davis DAVIS --out results

Two JSON files of `stgvcodec rd`'s schema for each clip, which `stgvcodec rd --plot-only` draws and tabulates:
`first20_<clip>.json` with the profiles at GoPs of 10 frames, `first40_<clip>.json` with profile compact at three
lengths of GoPs. Bytes of this codec are those of the payloads and of the file that would hold them; the anchors code
the same frames at matching rates, and below. Frames and rates are few: it stands in for full clips where no GPU is.
"""

from __future__ import annotations

import argparse
import csv
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import NamedTuple

from gop_fit import CLIP
from rate_ablation import BASELINE, LENGTHS, SEQUENCES

from stgvcodec import Selection
from stgvcodec.bitstream.header import ColorDescription, StreamHeader
from stgvcodec.codec.rate.framing import file_framing_bytes, gop_framing_bytes
from stgvcodec.codec.rd import CODEC, RdPlan, rate_distortion
from stgvcodec.codec.rd_results import write_results
from stgvcodec.report.rd_points import RdPoint, RdSeries

# Of the field's sizes, rate control takes the next smaller one at these numbers of Gaussians.
COMPACT = "compact, field one size smaller"


class Figure(NamedTuple):
    """Curves of the first frames of each clip: variant, label, and the column that its bytes are in."""

    n_frames: int
    rates: tuple[float, ...]
    curves: tuple[tuple[str, str, str], ...]


FIGURES = (
    Figure(
        20,
        (0.05, 0.1, 0.2),
        (
            (BASELINE, "paper (flat bits)", "flat_bytes"),
            (BASELINE, "paper", "bytes"),
            (COMPACT, "compact", "bytes"),
        ),
    ),
    Figure(
        40,
        (0.0125, 0.025, 0.05, 0.1),
        (
            (LENGTHS, "compact, GoPs of 10", "bytes"),
            ("compact, GoPs of 20", "compact, GoPs of 20", "bytes"),
            ("compact, GoPs of 40", "compact, GoPs of 40", "bytes"),
        ),
    ),
)
BUNNY_NOTE = "Bunny is itself a decoded 0.052 bpp H.264 stream, which favours classical codecs on it."
Row = dict[str, str]


def series(rows: list[Row], variant: str, label: str, column: str, size: tuple[int, int]) -> RdSeries:
    """The points of one variant on one clip."""
    own = [row for row in rows if row["variant"] == variant]
    settings = {
        "variant": label,
        "preset": own[0]["preset"],
        "gop": int(own[0]["n_frames"]),
        "commit": own[0]["commit"],
    }
    found = RdSeries(CODEC, f"{CODEC} {label}", settings, derived=column == "flat_bytes")
    for density in sorted({int(row["pixels_per_gaussian"]) for row in own}):
        gops = [row for row in own if int(row["pixels_per_gaussian"]) == density]
        n_frames = sum(int(gop["n_frames"]) for gop in gops)
        n_bytes = sum(int(gop[column]) for gop in gops)
        if column == "bytes":
            n_bytes += framing_bytes(gops, size)
        found = found.with_point(
            RdPoint(
                requested_bpp=None,
                bytes=n_bytes,
                bpp=8.0 * n_bytes / (size[0] * size[1] * n_frames),
                psnr_db=sum(float(gop["psnr_db"]) * int(gop["n_frames"]) for gop in gops) / n_frames,
                ms_ssim=None,
                vmaf=None,
                encode_seconds=sum(float(gop["seconds"]) for gop in gops),
                decode_seconds=None,
                device=gops[0]["device"],
                file=None,
                parameters={"pixels_per_gaussian": density},
            )
        )
    return found


def framing_bytes(gops: list[Row], size: tuple[int, int]) -> int:
    color = ColorDescription(1, 13, 1, full_range=False)
    header = StreamHeader(*size, Fraction(24), Fraction(1, 24), color, "compact", "stgvcodec")
    n_frames = sum(int(gop["n_frames"]) for gop in gops)
    each = (
        gop_framing_bytes(
            range(int(gop["first_frame"]), int(gop["first_frame"]) + int(gop["n_frames"])),
            first_frame=int(gop["first_frame"]),
            payload_bytes=int(gop["bytes"]),
            n_gaussians=int(gop["n_gaussians"]),
        )
        for gop in gops
    )
    return file_framing_bytes(header, n_frames=n_frames, n_gops=len(gops)) + sum(each)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--davis", type=Path, required=True, help="folder with blackswan, cows and bmx-trees")
    parser.add_argument("--out", type=Path, required=True, help="folder for the JSON files")
    options = parser.parse_args()
    with options.csv.open() as file:
        rows = list(csv.DictReader(file))
    for figure, clip in product(FIGURES, ("bunny", *SEQUENCES)):
        own = [row for row in rows if row["clip"] == clip]
        selection = Selection.parse(frames=f"0:{figure.n_frames}", crop="1280x640" if clip == "bunny" else None)
        source = CLIP if clip == "bunny" else options.davis / clip
        path = options.out / f"first{figure.n_frames}_{clip}.json"
        note = BUNNY_NOTE if clip == "bunny" else None
        plan = RdPlan(figure.rates, configs=(), anchors=())
        result = rate_distortion(source, path, plan=plan, selection=selection, note=note)
        assert result is not None
        size = (result.source.width, result.source.height)
        for variant, label, column in figure.curves:
            result = result.with_series(series(own, variant, label, column, size))
        write_results(path, result)
        rate_distortion(source, path, plan=RdPlan(figure.rates, configs=()), selection=selection)
        print(path)


if __name__ == "__main__":
    main()
