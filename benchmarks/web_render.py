"""How fast the compute shaders of web/render/ draw a GoP, without a browser: by wgpu-native, which Firefox is built on.

    node benchmarks/web_render_pack.mjs out.stgv packed
    pip install wgpu
    python benchmarks/web_render.py packed --csv benchmarks/data/web_render.csv

The GoP and the shaders are those of the folder that web_render_pack.mjs wrote, so that the machine that measures needs
neither Node nor this package. Before anything is timed, the first and the last frame must be within the tolerance of
bitstream_spec.md of those that the CPU drew. A frame is the field, the places of the Gaussians and the pixels, as in a
player that plays; showing the pixels is not in it.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import wgpu

COLUMNS = ("op", "shape", "unit", "p20", "p50", "p80", "device", "commit")


class Gop:
    """A GoP on a GPU, with all that draws it."""

    def __init__(self, device: wgpu.GPUDevice, folder: Path):
        self.device = device
        self.plan = json.loads((folder / "plan.json").read_text())
        self.width, self.height, self.count = (self.plan[key] for key in ("width", "height", "count"))
        self.n_frames = len(self.plan["settings"])
        data, levels = (self._upload((folder / name).read_bytes()) for name in ("data.f32", "levels.u32"))
        view = self._upload(base64.b64decode(self.plan["view"]), wgpu.BufferUsage.UNIFORM)
        frame, splats, boxes = (self._buffer(size * self.count) for size in (32, 32, 16))
        self.pixels = self._buffer(4 * self.width * self.height)
        self.field, self.place, self.raster = (self._pipeline(self.plan[name]) for name in ("field", "place", "raster"))
        settings = [self._upload(base64.b64decode(text), wgpu.BufferUsage.UNIFORM) for text in self.plan["settings"]]
        self.field_groups = [self._bind(self.field, [data, levels, buffer, frame]) for buffer in settings]
        self.place_group = self._bind(self.place, [view, frame, frame, data, splats, boxes])
        self.raster_group = self._bind(self.raster, [view, splats, boxes, self.pixels])

    def _buffer(self, size: int) -> wgpu.GPUBuffer:
        return self.device.create_buffer(size=size, usage=wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC)

    def _upload(self, data: bytes, usage: int = wgpu.BufferUsage.STORAGE) -> wgpu.GPUBuffer:
        return self.device.create_buffer_with_data(data=data, usage=usage)

    def _pipeline(self, code: str) -> wgpu.GPUComputePipeline:
        module = self.device.create_shader_module(code=code)
        return self.device.create_compute_pipeline(layout="auto", compute={"module": module, "entry_point": "main"})

    def _bind(self, pipeline: wgpu.GPUComputePipeline, buffers: Sequence[wgpu.GPUBuffer]) -> wgpu.GPUBindGroup:
        entries = [{"binding": i, "resource": {"buffer": buffer}} for i, buffer in enumerate(buffers)]
        return self.device.create_bind_group(layout=pipeline.get_bind_group_layout(0), entries=entries)

    def draw(self, frame: int, *, field: bool = True, raster: bool = True) -> None:
        """Submits a frame, or one of its two halves."""
        encoder = self.device.create_command_encoder()
        compute = encoder.begin_compute_pass()
        if field:
            compute.set_pipeline(self.field)
            compute.set_bind_group(0, self.field_groups[frame % self.n_frames])
            compute.dispatch_workgroups(*groups_for(-(-self.count // self.plan["tile"])))
        if raster:
            compute.set_pipeline(self.place)
            compute.set_bind_group(0, self.place_group)
            compute.dispatch_workgroups(*groups_for(-(-self.count // 64)))
            compute.set_pipeline(self.raster)
            compute.set_bind_group(0, self.raster_group)
            compute.dispatch_workgroups(-(-self.width // 16), -(-self.height // 16))
        compute.end()
        self.device.queue.submit([encoder.finish()])

    def finish(self) -> None:
        """Waits until all that was submitted is done."""
        self.device.queue.read_buffer(self.pixels, size=4)

    def read(self) -> np.ndarray:
        """The picture. [height, width, 4] uint8."""
        data = self.device.queue.read_buffer(self.pixels)
        return np.frombuffer(data, np.uint8).reshape(self.height, self.width, 4)


def groups_for(n: int) -> tuple[int, int]:
    """At least n workgroups along two axes, as web/render/webgpu.js has it."""
    rows = -(-n // 65535)
    return -(-n // rows), rows


def check(gop: Gop, folder: Path) -> None:
    """Refuses shaders whose frames are not within the tolerance of section 7.7."""
    shape = (2, gop.height, gop.width, 4)
    expected = np.frombuffer((folder / "expected.rgba").read_bytes(), np.uint8).reshape(shape).astype(int)
    for frame, picture in zip((0, gop.n_frames - 1), expected, strict=True):
        gop.draw(frame)
        difference = np.abs(gop.read() - picture)
        above = (difference > 1).mean()
        if difference.max() > 2 or above > 1e-4:
            raise SystemExit(
                f"frame {frame}: {above:.3%} of its samples are wrong by more than 1, by {difference.max()}"
            )


def frames_per_second(draw: Callable[[int], None], gop: Gop, n: int, repeats: int) -> tuple[float, float, float]:
    """20th, 50th and 80th percentile over repeats of n frames, after one that does not count."""
    rates = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        for frame in range(n):
            draw(frame)
        gop.finish()
        rates.append(n / (time.perf_counter() - begin))
    p20, p50, p80 = np.percentile(rates[1:], (20, 50, 80))
    return float(p20), float(p50), float(p80)


def commit() -> str:
    """The commit measured; from STGV_COMMIT where there is no git, as on a lent machine."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    if "STGV_COMMIT" in os.environ:
        return os.environ["STGV_COMMIT"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what web_render_pack.mjs wrote")
    parser.add_argument("--frames", type=int, default=200, help="frames between two waits (default: 200)")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    gop = Gop(adapter.request_device_sync(), options.folder)
    check(gop, options.folder)
    name = f"{adapter.info['device']} ({adapter.info['backend_type']})"
    shape = f"{gop.height}x{gop.width}, {gop.count} Gaussians"
    halves = {"frame": {}, "field": {"raster": False}, "place and raster": {"field": False}}
    rows = []
    for op, half in halves.items():
        rates = frames_per_second(partial(gop.draw, **half), gop, options.frames, options.repeats)
        rows.append([op, shape, "frames/s", *(f"{rate:.4g}" for rate in rates), name, commit()])
    for row in [COLUMNS, *rows]:
        print("  ".join(row))
    if options.csv:
        with options.csv.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
