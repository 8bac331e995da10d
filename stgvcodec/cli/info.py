"""The command `stgvcodec info`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stgvcodec.cli import options, output, paths
from stgvcodec.cli.hints import check_address
from stgvcodec.cli.pipes import spooled
from stgvcodec.cli.sections import SectionedCommand
from stgvcodec.cli.verbosity import Verbosity, verbosity_options
from stgvcodec.decoder.decode_budget import DEFAULT_MAX_MEMORY, DEFAULT_MAX_WORK

if TYPE_CHECKING:
    from stgvcodec.decoder.stream_info import GopInfo, StreamInfo


@click.command("info", cls=SectionedCommand, short_help="Say what a .stgv file holds.")
@click.argument("file", metavar="FILE", type=paths.ENCODED_PATH)
@options.json_flag
@verbosity_options
def info_command(verbosity: Verbosity, file: Path, *, as_json: bool) -> None:
    """Say what the .stgv file FILE holds, where its bytes go and what decoding needs.

    FILE may be - or a named pipe. -v adds the header of each GoP and the limits of the format.
    """
    check_address(file, "stgvcodec info -")
    from stgvcodec.decoder.stream_info import read_info

    with spooled(file) as readable:
        info = read_info(readable)
    if as_json:
        output.print_result(output.json_text(as_dict(info)))
        return
    sections = [general(info), *carried(info), rate_table(info), gop_table(info), needs(info)]
    if verbosity.level > 0:
        sections += [gop_headers(info), limits(info)]
    output.print_result("\n\n".join(sections))


def as_dict(info: StreamInfo) -> dict[str, object]:
    """Return what `info --json` prints; counts and sizes are integers, `fps` a number beside the exact `frame_rate`."""
    largest = _largest(info)
    return {
        "path": info.path,
        "file_bytes": info.file_bytes,
        "width": info.width,
        "height": info.height,
        "n_frames": info.n_frames,
        "fps": float(info.frame_rate),
        "frame_rate": info.frame_rate,
        "time_base": info.time_base,
        "sample_aspect_ratio": info.sample_aspect_ratio,
        "variable_frame_rate": info.variable_frame_rate,
        "duration_seconds": info.duration_seconds,
        "bpp": info.bpp,
        "profile": info.profile,
        "format_version": info.format_version,
        "tool": info.tool,
        "color": info.color,
        "streams": info.streams,
        "bits_per_gaussian": info.bits_per_gaussian,
        "gops": info.gops,
        "decode_memory_bytes": info.decode_memory_bytes,
        "largest_gop": largest,
        "limits": info.limits,
        "carried_bytes": info.carried_bytes,
        "tracks": info.tracks,
        "tags": info.tags,
    }


def general(info: StreamInfo) -> str:
    """Return the facts of the file as a whole."""
    source = [
        f"{field.name.replace('_', ' ')} {_shown(getattr(info.color, field.name))}" for field in fields(info.color)
    ]
    extent = f"{output.counted(info.n_frames, 'frame')} in {output.duration(info.duration_seconds)}"
    ratio = info.sample_aspect_ratio
    pixels = "" if ratio == 1 else f", pixels {ratio.numerator}:{ratio.denominator}"
    beside = f", {output.number(info.carried_bytes)} of them beside the pictures" if info.carried_bytes else ""
    uneven = " in name, with uneven timestamps" if info.variable_frame_rate else ""
    pairs = [
        ("format", f"version {info.format_version}, profile {info.profile}, written by {info.tool}"),
        ("size", f"{output.number(info.file_bytes)} bytes{beside}; {info.bpp:.4f} bits a pixel of the pictures"),
        ("video", f"{info.width}x{info.height}{pixels}, {extent}"),
        ("rate", f"{_ratio(info.frame_rate)} frames a second{uneven}, time base {_ratio(info.time_base)} s"),
        ("source", ", ".join(source)),
    ]
    return f"{output.name(info.path)}\n{output.facts(pairs)}"


def carried(info: StreamInfo) -> list[str]:
    """Return the tracks and the metadata, a section each; none where the file has none."""
    sections = []
    if info.tracks:
        rows = [
            [
                ": ".join(output.track(track)),
                output.number(track.n_packets),
                output.number(track.n_bytes),
                f"{track.begin_seconds:.3f}",
                f"{track.end_seconds:.3f}",
            ]
            for track in info.tracks
        ]
        sections.append(output.table(["track", "packets", "bytes", "from, s", "to, s"], rows))
    if info.tags:
        sections.append(output.facts([(key, value.replace("\n", " / ")) for key, value in info.tags.items()]))
    return sections


def rate_table(info: StreamInfo) -> str:
    """Return a table of the bytes, share and bits per Gaussian of each stream."""
    rows = [
        [
            stream,
            output.number(n_bytes),
            f"{100 * n_bytes / info.file_bytes:.1f} %",
            f"{info.bits_per_gaussian[stream]:.2f}" if stream in info.bits_per_gaussian else "",
        ]
        for stream, n_bytes in info.streams.items()
    ]
    own_bytes = sum(info.streams[stream] for stream in info.bits_per_gaussian)
    n_gaussians = sum(gop.n_gaussians for gop in info.gops)
    per_gaussian = f"{8.0 * own_bytes / n_gaussians:.2f}" if n_gaussians else ""
    rows.append(["total", output.number(sum(info.streams.values())), "100.0 %", per_gaussian])
    return output.table(["stream", "bytes", "share", "bits a Gaussian"], rows)


def gop_table(info: StreamInfo) -> str:
    """Return a table with a line for each GoP."""
    rows = []
    for i, gop in enumerate(info.gops):
        bpp = 8 * gop.bytes / (info.width * info.height * gop.n_frames)
        counts = (gop.first_frame, gop.n_frames, gop.n_gaussians, gop.bytes)
        rows.append([str(i), *(output.number(n) for n in counts), f"{bpp:.4f}"])
    return output.table(["GoP", "first", "frames", "Gaussians", "bytes", "bpp"], rows)


def needs(info: StreamInfo) -> str:
    """Return what decoding needs."""
    allowed = f"{DEFAULT_MAX_MEMORY / 1e9:g} GB, and {output.number(DEFAULT_MAX_WORK)} Gaussians a pixel in the mean"
    pairs = [
        ("memory", f"at most {output.size(info.decode_memory_bytes)} to decode"),
        ("allowed", f"{allowed}, without --max-memory and --max-work"),
    ]
    largest = _largest(info)
    if largest is not None:
        gop = info.gops[largest]
        extent = f"{output.counted(gop.n_gaussians, 'Gaussian')}, {output.counted(gop.n_frames, 'frame')}"
        pairs.append(("largest", f"GoP {largest}: {extent}, {output.counted(gop.bytes, 'byte')}"))
    return output.facts(pairs)


def gop_headers(info: StreamInfo) -> str:
    """Return every syntax element of every GoP's header."""
    return "\n".join(
        f"GoP {i}\n" + output.facts([(name, _shown(value)) for name, value in gop.header.items()])
        for i, gop in enumerate(info.gops)
    )


def limits(info: StreamInfo) -> str:
    """Return the limits that a reader of the format checks."""
    return "limits of the format\n" + output.facts([(name, output.number(n)) for name, n in info.limits.items()])


def _largest(info: StreamInfo) -> int | None:
    """Return the index of the GoP with the most Gaussians; None in a file without any."""

    def gaussians(i: int) -> tuple[int, int]:
        gop: GopInfo = info.gops[i]
        return gop.n_gaussians, gop.bytes

    return max(range(len(info.gops)), key=gaussians, default=None)


def _ratio(value: object) -> str:
    return str(output.plain(value))


def _shown(value: object) -> str:
    shown = output.plain(value)
    if isinstance(shown, bool):
        return "yes" if shown else "no"
    return str(shown)
