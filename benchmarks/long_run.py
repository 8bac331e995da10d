"""Memory and time of a long encode and its decode, and of opening and seeking, as the video gets longer.

    python benchmarks/long_run.py --csv results/long_run.csv --figure results/long_run.png

A synthetic clip of 20 000 small frames, shapes that move between scene cuts, goes through `stgvcodec encode` and
`stgvcodec decode`, each in a process of its own. Rows for each thousand frames: the median of the resident set and the
largest one until then, and the wall-clock and CPU time of a frame, medians over stretches of 100 frames; each also over
that of the first thousand. Then the `.stgv` file and shorter ones of its first GoPs are opened, described and sought
in, in turn, by CPU time: what else the machine does makes wall-clock times of milliseconds useless. With `--bpp-target`
another, shorter clip is encoded to a rate, for which its frames are read twice.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from harness import commit, device_name, print_rows, write_csv

from stgvcodec import VideoDecoder, read_info
from stgvcodec.bitstream.container.chunks import MAGIC, ChunkType
from stgvcodec.bitstream.container.reader import StgvReader
from stgvcodec.bitstream.container.source import ByteSource
from stgvcodec.bitstream.container.writer import StgvWriter
from stgvcodec.encoder.part_file import part_path
from stgvcodec.media import ColorTags, open_writer
from stgvcodec.report.rd_plot import FONT

COLUMNS = ("run", "frames", "measure", "value", "over_first", "device", "commit")
WIDTH, HEIGHT, FRAME_RATE = 64, 48, Fraction(25)
GOP = 50
ENCODER = ("--preset", "draft", "--gop", str(GOP), "--device", "cpu", "--json")
FREE = ("--gaussians", "60")
THOUSAND, STRETCH = 1000, 100
SAMPLE_SECONDS = 0.25
ACCESS_LENGTHS = (200, 2000, 20_000)
N_OPENINGS, N_SEEKS = 20, 100
ACCESS_LABELS = {"CPU ms to open": "open", "CPU ms to describe": "info", "CPU ms to seek": "seek"}
ACCESS_COLORS = ("#00306e", "#6e6e6e", "#8c2d04")

Rgb = npt.NDArray[np.uint8]
Row = tuple[str, int, str, str, str]


class Sample(NamedTuple):
    """What a process has done and taken at a moment."""

    frames: int
    seconds: float
    cpu_seconds: float
    resident_mib: float
    peak_mib: float


@dataclass
class Run:
    """One process, and what was seen of it."""

    name: str
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.perf_counter)
    samples: list[Sample] = field(default_factory=list)

    def sample(self, frames: int) -> None:
        """Take note of time and memory; nothing where the process has ended."""
        folder = Path("/proc") / str(self.process.pid)
        try:
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
            times = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            resident, peak = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
        except (OSError, KeyError):
            return
        cpu_seconds = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
        self.samples.append(Sample(frames, time.perf_counter() - self.started, cpu_seconds, resident, peak))

    def finish(self) -> None:
        if self.process.wait():
            raise SystemExit(f"{self.name}: the command failed with exit code {self.process.returncode}")


def frames_of_clip(n_frames: int, seed: int) -> Iterator[Rgb]:
    """Yield frames of scenes of one to three GoPs: discs that move evenly over a smooth background. [H, W, 3] uint8.

    A frame of a short GoP takes longer to fit, so that cuts within GoPs would hide how the time goes.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    n_made = 0
    while n_made < n_frames:
        n_scene = GOP * int(rng.integers(1, 4))
        slopes, base = rng.uniform(-1, 1, (2, 3)), rng.uniform(60, 190, 3)
        background = base + x[..., None] * slopes[0] + y[..., None] * slopes[1]  # [H, W, 3]
        centres = rng.uniform(0, (WIDTH, HEIGHT), (4, 2))
        speeds, radii = rng.uniform(-0.4, 0.4, (4, 2)), rng.uniform(4, 12, 4)
        colors = rng.uniform(0, 255, (4, 3))
        for k in range(min(n_scene, n_frames - n_made)):
            frame = background.copy()
            for (cx, cy), radius, color in zip(centres + k * speeds, radii, colors, strict=True):
                cover = np.clip(radius + 0.5 - np.hypot(x - cx, y - cy), 0, 1)[..., None]  # [H, W, 1]
                frame += cover * (color - frame)
            yield np.clip(np.rint(frame), 0, 255).astype(np.uint8)
        n_made += n_scene


def write_clip(path: Path, n_frames: int, seed: int = 0) -> None:
    with open_writer(
        path, width=WIDTH, height=HEIGHT, frame_rate=FRAME_RATE, time_base=1 / FRAME_RATE, color=ColorTags()
    ) as writer:
        for i, frame in enumerate(frames_of_clip(n_frames, seed)):
            writer.write(frame, i)


class PartWatch:
    """Counts the GoPs in the part file of an encode while it grows."""

    def __init__(self, destination: Path) -> None:
        self._path, self._offset, self.n_gops = part_path(destination), len(MAGIC), 0
        self._source: ByteSource | None = None

    def look(self) -> None:
        if self._source is None:
            if not self._path.exists():
                return
            self._source = ByteSource(self._path)
        while (chunk := self._source.chunk_at(self._offset)) is not None:
            self.n_gops += chunk.type == ChunkType.GOP
            self._offset = chunk.end


def encode(clip: Path, coded: Path, name: str, options: Sequence[str] = FREE) -> Run:
    """Encode in a process of its own, and sample it until it ends."""
    report = coded.with_suffix(".json")
    command = ["nice", "-n", "5", sys.executable, "-m", "stgvcodec", "encode", str(clip), str(coded)]
    run = Run(name, subprocess.Popen([*command, *ENCODER, str(report), *options], stdout=subprocess.DEVNULL))
    watch = PartWatch(coded)
    while run.process.poll() is None:
        watch.look()
        run.sample(watch.n_gops)
        time.sleep(SAMPLE_SECONDS)
    run.finish()
    # The last GoP may have been finished between the last two looks.
    watch.look()
    run.samples.append(run.samples[-1]._replace(frames=watch.n_gops, seconds=time.perf_counter() - run.started))
    ends = [0, *(gop["first_frame"] + gop["n_frames"] for gop in json.loads(report.read_text())["gops"])]
    run.samples = [sample._replace(frames=ends[sample.frames]) for sample in run.samples]
    return run


def decode(coded: Path, n_frames: int) -> Run:
    """Decode to y4m in a process of its own, and sample it every so many frames that come through the pipe."""
    command = [sys.executable, "-m", "stgvcodec", "decode", str(coded), "-", "--device", "cpu", "-q"]
    run = Run("decode", subprocess.Popen(command, stdout=subprocess.PIPE))
    assert run.process.stdout is not None
    n_read = 0
    for n_read in _frames_of_y4m(run.process.stdout):
        if n_read % (STRETCH // 4) == 0:
            run.sample(n_read)
    run.finish()
    if n_read != n_frames:
        raise SystemExit(f"decode: got {n_read} frames, expected {n_frames}")
    return run


def _frames_of_y4m(stream: IO[bytes]) -> Iterator[int]:
    """Yield the number of frames read so far, after each frame of 4:2:0 samples."""
    stream.readline()
    n_read, n_bytes = 0, WIDTH * HEIGHT * 3 // 2
    while stream.readline():
        if len(stream.read(n_bytes)) == n_bytes:
            n_read += 1
            yield n_read


def rows_of(run: Run) -> list[Row]:
    """Rows for each thousand frames that the process finished."""
    frames, seconds, cpu_seconds, residents, peaks = (np.array(column) for column in zip(*run.samples, strict=True))
    n_thousands = int(frames[-1]) // THOUSAND
    rows: list[Row] = []
    # The first sample with so many frames has the time at which they were done.
    at, first = np.unique(frames, return_index=True)
    for measure, taken in (("ms a frame", seconds), ("CPU ms a frame", cpu_seconds)):
        ends = np.interp(np.arange(0, n_thousands * THOUSAND + 1, STRETCH), at, taken[first])
        # The first stretch has the start of the process in it, which the median leaves out.
        stretches = 1e3 * np.diff(ends) / STRETCH
        medians = np.median(stretches.reshape(n_thousands, -1), axis=1)
        rows += _compared(run.name, measure, {(k + 1) * THOUSAND: value for k, value in enumerate(medians)})
    within = {(k + 1) * THOUSAND: (k * THOUSAND < frames) & (frames <= (k + 1) * THOUSAND) for k in range(n_thousands)}
    for measure, of_thousand in (("resident MiB", np.median), ("peak MiB", np.max)):
        taken = residents if measure == "resident MiB" else peaks
        rows += _compared(run.name, measure, {n: float(of_thousand(taken[mask])) for n, mask in within.items()})
    return rows


def _compared(name: str, measure: str, values: dict[int, float]) -> list[Row]:
    first = next(iter(values.values()))
    return [(name, frames, measure, f"{value:.4g}", f"{value / first:.2f}") for frames, value in values.items()]


def first_gops(coded: Path, n_frames: int, path: Path) -> int:
    """Write a file of the first GoPs that have so many frames together; returns how many frames those are."""
    with StgvReader(coded) as reader, path.open("wb") as file:
        writer = StgvWriter(file, reader.header)
        n_written = 0
        for i, gop in enumerate(reader.gops):
            if n_written >= n_frames:
                break
            writer.add_gop(reader.read_gop(i), gop.pts)
            n_written += gop.n_frames
        writer.finish()
    return n_written


def access_rows(coded: Path, n_frames: int, folder: Path) -> list[Row]:
    """Rows of opening, describing and seeking, for the file and for shorter ones of its first GoPs."""
    files: dict[int, Path] = {}
    for length in sorted({min(length, n_frames) for length in ACCESS_LENGTHS}):
        path = folder / f"first_{length}.stgv"
        files[first_gops(coded, length, path)] = path
    openings = _in_turn(files, N_OPENINGS, lambda path: VideoDecoder(path, device="cpu").close())
    describings = _in_turn(files, 3, lambda path: read_info(path))
    decoders = {n: VideoDecoder(path, device="cpu") for n, path in files.items()}
    rng = np.random.default_rng(1)
    seeks = _in_turn(decoders, N_SEEKS, lambda decoder: decoder[int(rng.integers(len(decoder)))])
    measures = {"CPU ms to open": openings, "CPU ms to describe": describings, "CPU ms to seek": seeks}
    return [row for measure, values in measures.items() for row in _compared("access", measure, values)]


def _in_turn(things: dict[int, object], repeats: int, work: Callable[..., object]) -> dict[int, float]:
    """Median CPU time of work on each thing, ms, all threads together; the first turn does not count."""
    taken: dict[int, list[float]] = {key: [] for key in things}
    for turn in range(repeats + 1):
        for key, thing in things.items():
            begin = time.process_time()
            work(thing)
            if turn:
                taken[key].append(1e3 * (time.process_time() - begin))
    return {key: float(np.median(values)) for key, values in taken.items()}


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw memory and time by the frames done, and the time of access by the length of the file."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(FONT):
        figure = Figure(figsize=(7.16, 2.3), layout="constrained")
        memory, speed, access = figure.subplots(1, 3)
        for axes, measure, column in ((memory, "resident MiB", 3), (speed, "CPU ms a frame", 4)):
            for run, color, marker in (("encode", "#00306e", "o"), ("decode", "#8c2d04", "s")):
                of_run = [row for row in rows if row[0] == run and row[2] == measure]
                if of_run:
                    values = [float(row[column]) for row in of_run]
                    axes.plot([row[1] / THOUSAND for row in of_run], values, marker, color=color, label=run, ls="-")
            axes.set_xlabel("thousand frames done")
            axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
            axes.legend()
        memory.set_title("Memory, MiB")
        speed.set_title("CPU time a frame, first 1000 = 1")
        for (measure, label), color, marker in zip(ACCESS_LABELS.items(), ACCESS_COLORS, "oDs", strict=True):
            of_measure = [row for row in rows if row[2] == measure]
            values = [float(row[3]) for row in of_measure]
            access.loglog([row[1] for row in of_measure], values, marker, color=color, label=label, ls="-")
        access.set_xlabel("frames in the file")
        access.set_title("CPU time of access, ms")
        access.legend()
        figure.savefig(path, dpi=200, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20_000, help="frames of the long clip (default: 20000)")
    parser.add_argument("--bpp-target", type=float, help="encode a second clip to this rate")
    parser.add_argument("--target-frames", type=int, default=2000, help="frames of that clip (default: 2000)")
    parser.add_argument("--keep", type=Path, help="folder for the clip and the coded file, which are removed without")
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    parser.add_argument("--figure", type=Path, help="draw the rows to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = measure(options, folder)
    if options.figure:
        draw(rows, options.figure)
    written = [(*row, device_name(torch.device("cpu")), commit()) for row in rows]
    print_rows(written, COLUMNS)
    if options.csv:
        write_csv(options.csv, written, COLUMNS)


def measure(options: argparse.Namespace, folder: Path) -> list[Row]:
    clip, coded = folder / "clip.mp4", folder / "clip.stgv"
    write_clip(clip, options.frames)
    rows = rows_of(encode(clip, coded, "encode"))
    rows += rows_of(decode(coded, options.frames))
    rows += access_rows(coded, options.frames, folder)
    if options.bpp_target is not None:
        clip = folder / "target.mp4"
        write_clip(clip, options.target_frames, seed=1)
        target = ("--bpp-target", str(options.bpp_target))
        rows += rows_of(encode(clip, folder / "target.stgv", f"encode at {options.bpp_target:g} bpp", target))
    return rows


if __name__ == "__main__":
    main()
