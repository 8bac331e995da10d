"""How fast a `.stgv` file decodes, and H.264 of equal PSNR beside it on the same host.

    python benchmarks/decode_beside_h264.py FILE.stgv --source VIDEO --crop 1280x640 --device cuda --csv FILE.csv
    python benchmarks/decode_beside_h264.py FILE.stgv --h264 rd.json.d/x264-...-crf30.h264 --device cuda

With `--source`, the video that the file was encoded from, x264 encodes it at the constant quality whose PSNR is
nearest, and rows have the PSNR of both; with `--h264` too, that stream is taken and only measured. Rows of the `.stgv`
file: from the file to 8-bit RGB frames on the device, GoP by GoP, and on a GPU also with each frame copied to the
host. Rows of H.264: FFmpeg's decoder through PyAV with a thread for every core, to 4:2:0 pictures as a player takes
them, and to arrays of RGB as a program does (the conversion runs in one thread). All are warm.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import numpy as np
import torch
from harness import commit, device_name, percentiles_ms, print_rows, write_csv

import stgvcodec
from stgvcodec.evaluation.measuring import Clip
from stgvcodec.media.anchors import ANCHORS, Yuv420Clip, decode_anchor, encode_anchor
from stgvcodec.metrics import mean_psnr_db, psnr_db

H264_ANCHORS = [name for name, anchor in ANCHORS.items() if anchor.container == "h264"]
N_CORES = len(os.sched_getaffinity(0))


class EqualStream:
    """H.264 of a clip at the constant quality whose PSNR is nearest to a target."""

    def __init__(self, clip: Clip, name: str, folder: Path) -> None:
        self.anchor, self.clip, self.folder = ANCHORS[name], clip, folder
        size = (clip.width, clip.height)
        self.yuv = Yuv420Clip.write(clip.frames(), folder / "source.yuv", size=size, frame_rate=clip.frame_rate)
        self.qualities: dict[int, float] = {}

    def path(self, step: int) -> Path:
        return self.folder / f"{step}{self.anchor.suffix}"

    def quality(self, step: int) -> float:
        """PSNR at the best CRF plus so many steps of the grid."""
        if step not in self.qualities:
            path = self.path(step)
            encode_anchor(self.anchor, self.yuv, self.anchor.crf_range[0] + step * self.anchor.crf_step, path)
            self.qualities[step] = mean_psnr(self.clip, decode_anchor(self.anchor, self.yuv, path))
        return self.qualities[step]

    def nearest(self, target_db: float) -> Path:
        best, worst = self.anchor.crf_range
        fine, coarse = 0, round((worst - best) / self.anchor.crf_step)
        while coarse - fine > 1:
            middle = (fine + coarse) // 2
            fine, coarse = (middle, coarse) if self.quality(middle) >= target_db else (fine, middle)
        return self.path(min((fine, coarse), key=lambda step: abs(self.quality(step) - target_db)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stgv", type=Path, metavar="FILE.stgv")
    parser.add_argument("--h264", type=Path, help="raw H.264 of equal PSNR, such as rd keeps; made if not given")
    parser.add_argument("--source", type=Path, help="what the file was encoded from: a video or a folder of images")
    for option in ("--frames", "--crop", "--resize"):
        parser.add_argument(option, help="as the file was encoded")
    parser.add_argument("--anchor", choices=H264_ANCHORS, default="x264-psnr", help="who encodes (default: x264-psnr)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if options.source is None and options.h264 is None:
        parser.error("give --source, --h264 or both: without the source no H.264 can be made")
    torch.set_num_threads(N_CORES)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options, Path(folder))
    print_rows(rows)
    if options.csv:
        write_csv(options.csv, rows)


def measure(options: argparse.Namespace, folder: Path) -> list[tuple[object, ...]]:
    device, cpu = torch.device(options.device), torch.device("cpu")
    with stgvcodec.VideoDecoder(options.stgv, device=options.device) as decoder:
        width, height, n_frames = decoder.header.width, decoder.header.height, len(decoder)
        backend = decoder.backend
    h264, qualities = options.h264, ("", "")
    if options.source is not None:
        selection = stgvcodec.Selection.parse(frames=options.frames, crop=options.crop, resize=options.resize)
        h264, qualities = equal_stream(options, Clip.read(options.source, selection, None), folder)
    rows: list[tuple[object, ...]] = []

    def add(op: str, path: Path, quality: str, details: str, where: torch.device, decode: Callable[[], int]) -> None:
        if (n_decoded := decode()) != n_frames:
            raise SystemExit(f"{path}: has {n_decoded} frames, expected the {n_frames} of {options.stgv}")
        rate = f"{8 * path.stat().st_size / (width * height * n_frames):.4f} bpp"
        shape = f"{width}x{height} T={n_frames} {rate}{quality} {details}"
        times_ms = percentiles_ms(decode, where, options.repeats)
        speeds = (f"{1e3 * n_frames / value:.4g}" for value in reversed(times_ms))
        rows.append((op, shape, "frames/s", *speeds, device_name(where), commit()))

    own, other = qualities
    add("stgv, file to RGB frames", options.stgv, own, backend, device, lambda: decode_stgv(options, to_host=False))
    if device.type != "cpu":
        op = "stgv, file to RGB frames on the host"
        add(op, options.stgv, own, backend, device, lambda: decode_stgv(options, to_host=True))
    for op, rgb in (("H.264, file to 4:2:0 pictures", False), ("H.264, file to RGB frames", True)):
        add(op, h264, other, f"libavcodec, {N_CORES} threads", cpu, lambda rgb=rgb: decode_h264(h264, rgb=rgb))
    return rows


def equal_stream(options: argparse.Namespace, clip: Clip, folder: Path) -> tuple[Path, tuple[str, str]]:
    """The stream to decode, and the PSNR of the `.stgv` file and of the stream as text."""
    with stgvcodec.VideoDecoder(options.stgv, device=options.device) as decoder:
        own_db = mean_psnr(clip, (frame.cpu().numpy() for frame in decoder.iter_frames()))
    path, anchor = options.h264, ANCHORS[options.anchor]
    if path is None:
        path = EqualStream(clip, options.anchor, folder).nearest(own_db)
    # Of the clip in 4:2:0 decoding needs no more than the size.
    size_only = Yuv420Clip(folder / "none", clip.width, clip.height, clip.frame_rate)
    h264_db = mean_psnr(clip, decode_anchor(anchor, size_only, path))
    return path, (f" {own_db:.2f} dB", f" {h264_db:.2f} dB")


def mean_psnr(clip: Clip, decoded: Iterable[np.ndarray]) -> float:
    mean = mean_psnr_db(psnr_db(*pair) for pair in zip(clip.frames(), decoded, strict=True))
    if mean is None:
        raise SystemExit(f"{clip.path}: every decoded frame is identical to it, and there is no PSNR to be equal to")
    return mean


def decode_stgv(options: argparse.Namespace, *, to_host: bool) -> int:
    n_frames = 0
    with stgvcodec.VideoDecoder(options.stgv, device=options.device) as decoder:
        for frame in decoder.iter_frames():
            if to_host:
                frame.cpu()
            n_frames += 1
    return n_frames


def decode_h264(path: Path, *, rgb: bool) -> int:
    n_frames = 0
    with av.open(f"file:{path}", format="h264") as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        # FFmpeg takes 16 threads at most if it is left to count the cores.
        stream.codec_context.thread_count = N_CORES
        for picture in container.decode(stream):
            if rgb:
                picture.to_ndarray(format="rgb24")
            n_frames += 1
    return n_frames


if __name__ == "__main__":
    main()
