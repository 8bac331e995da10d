"""How fast a GoP decodes: 640x1280, 20 000 Gaussians, 10 frames, the paper's field.

    python benchmarks/decode.py --csv benchmarks/data/decode_cpu.csv
    python benchmarks/decode.py --device cuda --csv benchmarks/data/decode_cuda.csv
    python benchmarks/decode.py --device cuda --profile

The GoP is a real one: Big Buck Bunny's first ten frames, fitted for a few steps, written to a file and read back, so
that sizes, overlaps and weights are what a decoder meets. Rows: entropy decoding alone, payload to model, model to
8-bit frames on the device, and file to frames. On a GPU the file is that GoP 64 times, and 1080p and 2160p follow:
the same Gaussians shrunk and laid side by side, with the same field. `--profile` prints where the GPU's time goes.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from gop_fit import CLIP, N_FRAMES, N_GAUSSIANS
from harness import commit, device_name, percentiles_ms, print_rows, write_csv

import stgvcodec
from stgvcodec.bitstream import StgvReader, StgvWriter, StreamHeader
from stgvcodec.bitstream.payload.pack import pack_gop, unpack_gop
from stgvcodec.bitstream.payload.symbols import GopSymbols
from stgvcodec.decoder.gop_renderer import GopRenderer
from stgvcodec.encoder.encode import encode
from stgvcodec.encoder.presets import PRESETS
from stgvcodec.ops.threads import n_threads, run_chunks

SELECTION = stgvcodec.Selection.parse(frames=f"0:{N_FRAMES}", crop="1280x640")
# Many GoPs between two synchronisations, as when a video is decoded; enough that the first and the last hardly count.
N_GOPS = 64
TILE_PX = (640, 720)
LARGE = {"1080p": (1920, 1080, 90_000), "2160p": (3840, 2160, 360_000)}
# Of a frame of 640x1280 with 20 000 Gaussians, by arithmetic (the operators' READMEs), microseconds.
FLOORS_US = {"rasterize": 10.0, "bins": 5.0, "field": 3.0, "copy": 0.04}
KERNELS = {
    "rasterize": ("_splat_forward_kernel",),
    "bins": ("_count_kernel", "_starts_kernel", "_scatter_kernel", "_order_kernel", "fill", "Memset"),
    "field": ("prepare", "forward"),
    "copy": ("Memcpy",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="draft", help="effort of the fit (default: draft)")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    parser.add_argument("--profile", action="store_true", help="print the GPU's time by kernel instead")
    options = parser.parse_args()
    if options.profile and options.device != "cuda":
        parser.error("--profile reads a GPU's clock: add --device cuda")
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gop.stgv"
        config = stgvcodec.EncodeConfig(preset=options.preset, n_gaussians=N_GAUSSIANS, scene_cut=False)
        report = encode(CLIP, path, config=config, selection=SELECTION, device=options.device)
        if options.profile:
            print_profile(path, device, report.backend)
            return
        rows = measure(path, device, report.backend, options.repeats)
    print_rows(rows)
    if options.csv:
        write_csv(options.csv, rows)


def measure(path: Path, device: torch.device, backend: str, repeats: int) -> list[tuple[object, ...]]:
    with StgvReader(path) as reader:
        header, payload = reader.header, reader.read_gop(0)
    width, height = header.width, header.height
    rows: list[tuple[object, ...]] = []

    def add(op: str, shape: str, unit: str, values: tuple[float, ...]) -> None:
        rows.append((op, shape, unit, *(f"{value:.4g}" for value in values), device_name(device), commit()))

    def renderer() -> GopRenderer:
        return open_gop(header, payload, device, backend)

    shape = f"{width}x{height} N={N_GAUSSIANS} T={N_FRAMES} {backend}"
    ready = renderer()
    cpu = torch.device("cpu")
    entropy_ms = percentiles_ms(lambda: unpack_gop(payload), cpu, repeats)
    threaded_ms = percentiles_ms(lambda: unpack_gop(payload, run=run_chunks), cpu, repeats)
    add("entropy decoding of a GoP", shape, "ms", entropy_ms)
    add(f"entropy decoding of a GoP, {n_threads()} threads", shape, "ms", threaded_ms)
    add("payload to model", shape, "ms", percentiles_ms(renderer, device, repeats))
    if device.type == "cpu":
        render_ms = percentiles_ms(lambda: list(ready.frames(range(N_FRAMES))), device, repeats)
        file_ms = percentiles_ms(file_to_frames(path, device, backend), device, repeats)
        add("model to 8-bit frames", shape, "ms/frame", tuple(value / N_FRAMES for value in render_ms))
        add("model to 8-bit frames", shape, "frames/s", tuple(1e3 * N_FRAMES / value for value in reversed(render_ms)))
        add("file to 8-bit frames", shape, "frames/s", tuple(1e3 * N_FRAMES / value for value in reversed(file_ms)))
        return rows

    for name, (gop_header, gop) in {"": (header, payload), **large_gops(header, payload)}.items():
        size = (gop_header.width, gop_header.height)
        n_gops = N_GOPS if not name else 4
        model = open_gop(gop_header, gop, device, backend)
        made_by = f", {name}: the GoP's Gaussians tiled" if name else ""
        text = f"{size[0]}x{size[1]} N={model.spec.n_gaussians} T={N_FRAMES} {backend}{made_by}"
        file = repeated(path.with_name(f"gops{name}.stgv"), gop_header, gop, n_gops)
        few = repeats if not name else max(3, repeats // 3)
        model_ms = percentiles_ms(lambda model=model, n=n_gops: many_gops(model, n), device, few)
        alone_ms = percentiles_ms(lambda model=model: many_gops(model, 1), device, few)
        file_ms = percentiles_ms(file_to_frames(file, device, backend), device, few)
        n_frames = n_gops * N_FRAMES
        add("model to 8-bit frames", text, "ms/frame", tuple(value / n_frames for value in model_ms))
        add("model to 8-bit frames", text, "frames/s", tuple(1e3 * n_frames / value for value in reversed(model_ms)))
        add("model to 8-bit frames, one GoP alone", text, "ms", alone_ms)
        add(
            "file to 8-bit frames",
            f"{text}, the GoP {n_gops} times",
            "frames/s",
            tuple(1e3 * n_frames / value for value in reversed(file_ms)),
        )
    return rows


def open_gop(header: StreamHeader, payload: bytes, device: torch.device, backend: str) -> GopRenderer:
    size = {"width": header.width, "height": header.height}
    return GopRenderer(payload, **size, device=device, backend=backend)


def many_gops(model: GopRenderer, n_gops: int) -> None:
    for _ in range(n_gops):
        model.frames_tensor(range(N_FRAMES))


def file_to_frames(path: Path, device: torch.device, backend: str) -> Callable[[], None]:
    def decode() -> None:
        with stgvcodec.VideoDecoder(path, device=device.type, backend=backend) as decoder:
            for _ in decoder.iter_frames():
                pass

    return decode


def repeated(path: Path, header: StreamHeader, payload: bytes, n_gops: int) -> Path:
    """A file of one GoP several times."""
    with path.open("wb") as file:
        writer = StgvWriter(file, header)
        for gop in range(n_gops):
            writer.add_gop(payload, range(gop * N_FRAMES, (gop + 1) * N_FRAMES))
        writer.finish()
    return path


def large_gops(header: StreamHeader, payload: bytes) -> dict[str, tuple[StreamHeader, bytes]]:
    """GoPs of more Gaussians on larger pictures, by name."""
    symbols = unpack_gop(payload)
    return {
        name: (
            dataclasses.replace(header, width=width, height=height),
            pack_gop(tiled(symbols, header, width, height, n_gaussians)),
        )
        for name, (width, height, n_gaussians) in LARGE.items()
    }


def tiled(symbols: GopSymbols, header: StreamHeader, width: int, height: int, n_gaussians: int) -> GopSymbols:
    """The Gaussians of profile compact shrunk to tiles that cover a picture, the topmost `n_gaussians` of them."""
    tile, old, new = (np.array(size, np.float64) for size in (TILE_PX, (header.width, header.height), (width, height)))
    cell_px = symbols.point_scale * (tile / 2.0)  # Of a grid that shrinks with its tile.
    points = symbols.points.astype(np.int64)
    corners = [(x, y) for y in range(0, height, TILE_PX[1]) for x in range(0, width, TILE_PX[0])]
    placed = np.concatenate([points + np.round(corner / cell_px).astype(np.int64) for corner in corners])
    kept = np.argsort(placed[:, 1], kind="stable")[:n_gaussians]
    if len(kept) < n_gaussians:
        raise ValueError(f"{len(corners)} tiles hold {len(placed)} Gaussians, expected {n_gaussians} at least")
    source = kept % len(points)
    # The diagonal's symbols are logarithms.
    shift = np.round(np.log(tile / old) / np.log1p(symbols.shape_scale[:2])).astype(np.int64)
    shapes = symbols.shapes[source].astype(np.int64)
    shapes[:, :2] = np.clip(shapes[:, :2] + shift, 0, 255)
    origin_px = (symbols.point_offset + 1.0) * (tile / 2.0)
    return dataclasses.replace(
        symbols,
        header=dataclasses.replace(symbols.header, n_gaussians=n_gaussians),
        points=placed[kept].astype(np.uint16),
        point_scale=(cell_px * 2.0 / new).astype(np.float32),
        point_offset=(origin_px * 2.0 / new - 1.0).astype(np.float32),
        shapes=shapes.astype(np.uint8),
        colors=symbols.colors[source],
    )


def print_profile(path: Path, device: torch.device, backend: str) -> None:
    """The GPU's time by kernel from payload to frames, of a GoP's first rendering to the next, and its floor."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with StgvReader(path) as reader:
        header, payload = reader.header, reader.read_gop(0)

    def decode() -> None:
        model = open_gop(header, payload, device, backend)
        model.frames_tensor(range(N_FRAMES))

    for _ in range(3):
        decode()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as trace:
        for _ in range(N_GOPS):
            decode()
        torch.cuda.synchronize()
    n_frames = N_GOPS * N_FRAMES
    kernels = [event for event in trace.key_averages() if event.device_type == DeviceType.CUDA]
    rows = []
    totals = dict.fromkeys((*KERNELS, "other"), 0.0)
    for event in sorted(kernels, key=lambda event: -event.self_device_time_total):
        part = next((part for part, names in KERNELS.items() if any(name in event.key for name in names)), "other")
        us = event.self_device_time_total / n_frames
        totals[part] += us
        rows.append((event.key[:60], part, f"{event.count / N_GOPS:g}", f"{us:.2f}"))
    print_rows(rows, ("kernel", "part", "launches/GoP", "us/frame"))
    print_rows(
        [(part, f"{us:.2f}", FLOORS_US.get(part, "")) for part, us in totals.items()]
        + [("all", f"{sum(totals.values()):.2f}", f"{sum(FLOORS_US.values()):.2f}")],
        ("part", "us/frame", "floor us/frame"),
    )


if __name__ == "__main__":
    main()
