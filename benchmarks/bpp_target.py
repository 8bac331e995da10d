"""How close files land to their --bpp-target, over rates, presets and clips, and what each part of a file costs.

    python benchmarks/bpp_target.py INPUT [INPUT ...] --csv benchmarks/data/bpp_target.csv

The costs per Gaussian and per field parameter are what codec/rate_control.py starts from.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import product
from pathlib import Path

import torch
from harness import commit, device_name, print_rows, write_csv

from stgvcodec import EncodeConfig, Selection, encode, read_info
from stgvcodec.bitstream import GopHeader
from stgvcodec.codec.gop_header import spec_of
from stgvcodec.codec.presets import PRESETS
from stgvcodec.codec.reports import StreamInfo

COLUMNS = (
    "clip",
    "size",
    "frames",
    "preset",
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


def field_parameters(info: StreamInfo) -> int:
    headers = (GopHeader(**gop.header) for gop in info.gops)
    return sum(spec_of(header, info.width, info.height).field.n_parameters for header in headers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("--rates", default="0.05,0.1,0.2,0.5,1.0")
    parser.add_argument("--presets", default="draft", help=f"out of {', '.join(PRESETS)} (default: draft)")
    parser.add_argument("--frames", default="0:40")
    parser.add_argument("--resize", default="320x180")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    selection = Selection.parse(frames=options.frames, resize=options.resize)
    device = torch.device(options.device)
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coded.stgv"
        for source in options.inputs:
            for preset, rate in product(options.presets.split(","), map(float, options.rates.split(","))):
                config = EncodeConfig(preset=preset, bpp_target=rate)
                report = encode(source, path, config=config, selection=selection, device=options.device)
                info = read_info(path)
                field_bytes = sum(info.streams[name] for name in ("hash_static", "hash_dynamic", "mlp"))
                rows.append(
                    (
                        source.name,
                        f"{report.width}x{report.height}",
                        report.n_frames,
                        preset,
                        rate,
                        f"{report.bpp:.4f}",
                        f"{100 * (report.bpp / rate - 1):+.1f}",
                        f"{report.psnr_db:.2f}",
                        len(info.gops),
                        sum(gop.n_gaussians for gop in info.gops),
                        f"{sum(info.bits_per_gaussian.values()):.1f}",
                        f"{8 * field_bytes / field_parameters(info):.2f}",
                        f"{report.seconds:.1f}",
                        device_name(device),
                        commit(),
                    )
                )
                print_rows(rows[-1:], COLUMNS)
                if options.csv:
                    write_csv(options.csv, rows, COLUMNS)


if __name__ == "__main__":
    main()
