"""How close files land to their --bpp-target, over rates, presets, GoP lengths and clips, and what each part costs.

    python benchmarks/bpp_target.py INPUT [INPUT ...] --csv benchmarks/data/bpp_target.csv [--gops-csv GOPS.csv]

Its --gops-csv has a row for each GoP, to which `benchmarks/cost_model.py costs` fits the constants of
encoder/rate_control/cost_model.py.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import torch
from harness import commit, device_name, print_rows, write_csv

from stgvcodec import EncodeConfig, Selection, encode, read_info
from stgvcodec.bitstream import GopHeader
from stgvcodec.decoder.staging import spec_of
from stgvcodec.decoder.stream_info import GopInfo, StreamInfo
from stgvcodec.encoder.config import PROFILES
from stgvcodec.encoder.presets import PRESETS
from stgvcodec.encoder.reports import EncodeReport

COLUMNS = (
    "clip",
    "size",
    "frames",
    "preset",
    "profile",
    "gop",
    "target_bpp",
    "bpp",
    "error_percent",
    "psnr_db",
    "gops",
    "gaussians",
    "bits_per_gaussian",
    "bits_per_field_parameter",
    "seconds",
    "device",
    "commit",
)
GOP_COLUMNS = ("clip", "profile", "width", "height", "gop", "n_gaussians", "field_parameters", "psnr_db")


def field_parameters(info: StreamInfo, gop: GopInfo) -> int:
    return spec_of(GopHeader(**gop.header), info.width, info.height).field.n_parameters


def gop_rows(clip: str, info: StreamInfo, report: EncodeReport) -> list[dict[str, object]]:
    """A row for each GoP, with the bytes of each of its streams."""
    return [
        {
            "clip": clip,
            "profile": info.profile,
            "width": info.width,
            "height": info.height,
            "gop": gop.n_frames,
            "n_gaussians": gop.n_gaussians,
            "field_parameters": field_parameters(info, gop),
            "psnr_db": f"{own.psnr_db:.3f}",
            **{f"{name}_bytes": n_bytes for name, n_bytes in gop.streams.items()},
        }
        for gop, own in zip(info.gops, report.gops, strict=True)
    ]


def write_gop_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    streams = dict.fromkeys(name for row in rows for name in row if name not in GOP_COLUMNS)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*GOP_COLUMNS, *streams])
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("--rates", default="0.05,0.1,0.2,0.5,1.0")
    parser.add_argument("--presets", default="draft", help=f"out of {', '.join(PRESETS)} (default: draft)")
    parser.add_argument("--profiles", default=EncodeConfig().profile, help=f"out of {', '.join(PROFILES)}")
    parser.add_argument("--gops", default="0", help="GoP lengths, 0 where the encoder chooses (default: 0)")
    parser.add_argument("--frames", default="0:40")
    parser.add_argument("--resize", default="320x180")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    parser.add_argument("--gops-csv", type=Path, help="write a row for each GoP to this file")
    options = parser.parse_args()
    selection = Selection.parse(frames=options.frames, resize=options.resize)
    device = torch.device(options.device)
    rows: list[tuple[object, ...]] = []
    of_gops: list[dict[str, object]] = []
    rates = [float(rate) for rate in options.rates.split(",")]
    lengths = [int(length) or None for length in options.gops.split(",")]
    variants = list(product(options.presets.split(","), options.profiles.split(","), lengths, rates))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coded.stgv"
        for source in options.inputs:
            for preset, profile, gop, rate in variants:
                config = EncodeConfig(preset=preset, profile=profile, gop=gop, bpp_target=rate)
                report = encode(source, path, config=config, selection=selection, device=options.device)
                info = read_info(path)
                of_gops += gop_rows(source.name, info, report)
                field_bytes = info.streams["field"]
                n_parameters = sum(field_parameters(info, gop) for gop in info.gops)
                rows.append(
                    (
                        source.name,
                        f"{report.width}x{report.height}",
                        report.n_frames,
                        preset,
                        profile,
                        max(own.n_frames for own in info.gops),
                        rate,
                        f"{report.bpp:.4f}",
                        f"{100 * (report.bpp / rate - 1):+.1f}",
                        f"{report.psnr_db:.2f}",
                        len(info.gops),
                        sum(gop.n_gaussians for gop in info.gops),
                        f"{sum(info.bits_per_gaussian.values()):.1f}",
                        f"{8 * field_bytes / n_parameters:.2f}",
                        f"{report.seconds:.1f}",
                        device_name(device),
                        commit(),
                    )
                )
                print_rows(rows[-1:], COLUMNS)
                if options.csv:
                    write_csv(options.csv, rows, COLUMNS)
                if options.gops_csv:
                    write_gop_rows(options.gops_csv, of_gops)


if __name__ == "__main__":
    main()
