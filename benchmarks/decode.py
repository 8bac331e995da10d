"""How fast a GoP decodes: 640x1280, 20 000 Gaussians, 10 frames, the paper's field.

    python benchmarks/decode.py --csv benchmarks/data/decode_cpu.csv
    python benchmarks/decode.py --device cuda --csv benchmarks/data/decode_cuda.csv

The GoP is a real one: Big Buck Bunny's first ten frames, fitted for a few steps, written to a file and read back, so
that sizes, overlaps and weights are what a decoder meets. Rows: entropy decoding alone, payload to model, model to
8-bit frames on the device, and file to frames.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from gop_fit import CLIP, N_FRAMES, N_GAUSSIANS
from harness import commit, device_name, percentiles_ms, print_rows, write_csv

import stgvcodec
from stgvcodec.bitstream import StgvReader, unpack_gop
from stgvcodec.codec.encoder import encode
from stgvcodec.codec.gop_renderer import GopRenderer
from stgvcodec.codec.presets import PRESETS

SELECTION = stgvcodec.Selection.parse(frames=f"0:{N_FRAMES}", crop="1280x640")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="draft", help="effort of the fit (default: draft)")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gop.stgv"
        config = stgvcodec.EncodeConfig(preset=options.preset, n_gaussians=N_GAUSSIANS, scene_cut=False)
        report = encode(CLIP, path, config=config, selection=SELECTION, device=options.device)
        rows = measure(path, device, report.backend, options.repeats)
    print_rows(rows)
    if options.csv:
        write_csv(options.csv, rows)


def measure(path: Path, device: torch.device, backend: str, repeats: int) -> list[tuple[object, ...]]:
    with StgvReader(path) as reader:
        width, height = reader.header.width, reader.header.height
        payload = reader.read_gop(0)
    shape = f"{width}x{height} N={N_GAUSSIANS} T={N_FRAMES} {backend}"
    rows: list[tuple[object, ...]] = []

    def add(op: str, unit: str, values: tuple[float, ...]) -> None:
        rows.append((op, shape, unit, *(f"{value:.4g}" for value in values), device_name(device), commit()))

    def renderer() -> GopRenderer:
        return GopRenderer(payload, width=width, height=height, device=device, backend=backend)

    def file_to_frames() -> None:
        with stgvcodec.VideoDecoder(path, device=device.type, backend=backend) as decoder:
            for _ in decoder.iter_frames():
                pass

    ready = renderer()
    entropy_ms = percentiles_ms(lambda: unpack_gop(payload), torch.device("cpu"), repeats)
    model_ms = percentiles_ms(renderer, device, repeats)
    render_ms = percentiles_ms(lambda: list(ready.frames(range(N_FRAMES))), device, repeats)
    file_ms = percentiles_ms(file_to_frames, device, repeats)
    add("entropy decoding of a GoP", "ms", entropy_ms)
    add("payload to model", "ms", model_ms)
    add("model to 8-bit frames", "ms/frame", tuple(value / N_FRAMES for value in render_ms))
    add("model to 8-bit frames", "frames/s", tuple(1e3 * N_FRAMES / value for value in reversed(render_ms)))
    add("file to 8-bit frames", "frames/s", tuple(1e3 * N_FRAMES / value for value in reversed(file_ms)))
    return rows


if __name__ == "__main__":
    main()
