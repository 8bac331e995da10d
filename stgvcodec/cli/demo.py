"""The command `stgvcodec demo` takes the shipped clip through the whole codec and shows figures and a picture."""

from __future__ import annotations

import importlib.resources
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stgvcodec.cli import options, output, paths
from stgvcodec.cli.compare import quality
from stgvcodec.cli.encode_texts import print_plan
from stgvcodec.cli.progress import shown_progress
from stgvcodec.cli.sections import SectionedCommand
from stgvcodec.cli.verbosity import Verbosity, verbosity_options
from stgvcodec.errors import OutputError

if TYPE_CHECKING:
    from stgvcodec.encoder.reports import EncodeReport
    from stgvcodec.evaluation.compare import Comparison
    from stgvcodec.media.selection import Selection

# What the demo encodes, and how: within 90 seconds on two slow cores, compilation of the kernels included.
CLIP = "data/bunny.mp4"
PRESET = "draft"
BPP_TARGET = 0.25
FRAMES = "66:90"
RESIZE = "320x180"
SEED = 0

# Index of the frame in the picture, among those encoded, and the factor by which its panels are enlarged.
PICTURED_FRAME = 12
MAGNIFICATION = 2


@dataclass(frozen=True)
class DemoReport:
    """Result of the demo.

    Attributes:
        stgv: The encoded file.
        video: The decoded video.
        picture: The picture with the panels.
        encode: Report of the encoder.
        bpp: Bits per pixel and frame, from the size of the file on the disk.
        psnr_db: PSNR of the file against the source; None if they are identical.
        ms_ssim: MS-SSIM of the file against the source; None where frames are too small for it.
        encode_seconds: Wall-clock time of encoding.
        compile_seconds: Time before that in which the encode waited for kernels to be compiled, once on a machine.
        decode_seconds: Wall-clock time of the decoding process, start of Python and imports included.
        render_seconds: Part of the decoding time from bytes to frames.
        seconds: Wall-clock time of the whole demo.
    """

    stgv: Path
    video: Path
    picture: Path
    encode: EncodeReport
    bpp: float
    psnr_db: float | None
    ms_ssim: float | None
    encode_seconds: float
    compile_seconds: float
    decode_seconds: float
    render_seconds: float
    seconds: float


@click.command("demo", cls=SectionedCommand, short_help="Encode, decode and measure the shipped clip.")
@click.option(
    "--output",
    "folder",
    type=paths.FOLDER_PATH,
    default=Path("stgv-demo"),
    show_default=True,
    metavar="DIR",
    help="Folder for the files written; made if it is not there.",
)
@options.device_options
@options.json_file_option
@verbosity_options
def demo_command(verbosity: Verbosity, folder: Path, *, device: str, backend: str, json_path: Path | None) -> None:
    """Encode the shipped clip, decode it in a new process, and show what came of it.

    Writes demo.stgv, demo.mp4, and demo.png with source, decoded frame, error and Gaussians.
    """
    started = time.perf_counter()
    stgv, video, picture = (folder / f"demo.{suffix}" for suffix in ("stgv", "mp4", "png"))
    _make_folder(folder)
    output.check_json_path(json_path, stgv, video, picture)
    if verbosity.level >= 0:
        click.echo(announcement(folder), err=True)
    from stgvcodec.encoder.config import EncodeConfig
    from stgvcodec.encoder.encode import encode
    from stgvcodec.evaluation.compare import compare
    from stgvcodec.evaluation.fresh_process import decode_in_new_process
    from stgvcodec.media.selection import Selection

    selection = Selection.parse(frames=FRAMES, resize=RESIZE).pictures_only
    with importlib.resources.as_file(importlib.resources.files("stgvcodec") / CLIP) as clip:
        with shown_progress("encoding", verbosity) as progress:
            encoded = encode(
                clip,
                stgv,
                config=EncodeConfig(preset=PRESET, bpp_target=BPP_TARGET, seed=SEED),
                selection=selection,
                device=device,
                backend=backend,
                progress=progress,
                plan=None if verbosity.level < 0 else print_plan,
                # Half a minute is not worth a question.
                resume=False,
            )
        decoded = decode_in_new_process(stgv, video, device=device, backend=backend)
        with shown_progress("comparing", verbosity) as progress:
            comparison: Comparison = compare(
                clip, stgv, selection=selection, device=device, backend=backend, progress=progress
            )
        _write_picture(picture, clip, selection, encoded, device, backend)
    n_bytes = stgv.stat().st_size
    report = DemoReport(
        stgv=stgv,
        video=video,
        picture=picture,
        encode=encoded,
        bpp=8 * n_bytes / (encoded.width * encoded.height * encoded.n_frames),
        psnr_db=comparison.psnr_db,
        ms_ssim=comparison.ms_ssim,
        encode_seconds=encoded.seconds,
        compile_seconds=encoded.compile_seconds,
        decode_seconds=decoded.process_seconds,
        render_seconds=decoded.render_seconds,
        seconds=time.perf_counter() - started,
    )
    output.write_json(json_path, report)
    if verbosity.level >= 0:
        output.print_result(summary(report))


def announcement(folder: Path) -> str:
    """Say what the demo is about to do, where its files go, and what takes its time."""
    from stgvcodec.ops.ans import is_compiled

    first, end = (int(number) for number in FRAMES.split(":"))
    names = ", ".join(output.name(folder / f"demo.{suffix}") for suffix in ("stgv", "mp4", "png"))
    compiling = "" if is_compiled() else "kernels are compiled first and kept, on two idle cores in about a minute; "
    return (
        f"demo: encodes {Path(CLIP).name} (Big Buck Bunny), {end - first} frames of {RESIZE}, at {BPP_TARGET} bits a "
        f"pixel with preset {PRESET},\n"
        f"      decodes them in a new process, measures and draws them\n"
        f"      writes {names}\n"
        f"      {compiling}most of the {'rest' if compiling else 'time'} is encoding, which the plan tells"
    )


def summary(report: DemoReport) -> str:
    """Return the figures and the files, in a few lines."""
    encoded = report.encode
    rendering_rate = encoded.n_frames / report.render_seconds
    extent = f"{output.counted(encoded.n_frames, 'frame')} in {output.counted(len(encoded.gops), 'GoP')}"
    pairs = [
        ("video", f"{encoded.width}x{encoded.height}, {extent}"),
        ("rate", f"{report.bpp:.4f} bits a pixel, {output.number(encoded.file_bytes)} bytes"),
        ("PSNR", output.decibel(report.psnr_db)),
        ("MS-SSIM", quality(report.ms_ssim)),
        ("encoding", f"{output.duration(report.encode_seconds)} on {encoded.device}, {encoded.backend}"),
        ("compiling", f"{output.duration(report.compile_seconds)} before that, once on a machine"),
        ("decoding", f"{output.duration(report.decode_seconds)} in a new process"),
        ("rendering", f"{output.duration(report.render_seconds)} of it, {rendering_rate:.1f} frames a second"),
        ("in all", output.duration(report.seconds)),
    ]
    files = "\n".join(output.name(path) for path in (report.stgv, report.video, report.picture))
    return f"{output.facts(pairs)}\n{files}"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made as a folder: {error.strerror}; choose another --output") from error


def _write_picture(
    picture: Path, clip: Path, selection: Selection, encoded: EncodeReport, device: str, backend: str
) -> None:
    from stgvcodec.decoder.video_decoder import VideoDecoder
    from stgvcodec.media import open_video, write_png
    from stgvcodec.metrics import psnr_db
    from stgvcodec.report.explain import explain_frame

    with (
        open_video(clip, selection=selection) as frames,
        VideoDecoder(encoded.path, device=device, backend=backend) as decoder,
    ):
        index = min(PICTURED_FRAME, len(decoder) - 1)
        source = next(frame.rgb for i, frame in enumerate(frames) if i == index)
        decoded = decoder[index].permute(1, 2, 0).cpu().numpy()
        means_px, cholesky_px, _ = (tensor.detach().cpu().numpy() for tensor in decoder.gaussians_at(index))
        n_bytes = round(encoded.file_bytes / encoded.n_frames)
        caption = f"{output.decibel(psnr_db(source, decoded))}, {output.number(n_bytes)} bytes a frame"
        sheet = explain_frame(source, decoded, means_px, cholesky_px, magnification=MAGNIFICATION, caption=caption)
        write_png(picture, sheet)
