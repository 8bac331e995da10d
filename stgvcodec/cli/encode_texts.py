"""What `stgvcodec encode` says: the plan before, the figures after."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from stgvcodec.cli import output

if TYPE_CHECKING:
    from stgvcodec.encoder.reports import EncodePlan, EncodeReport

# Less compiling than this is not worth a word; nor are tenths of a second in what is only expected.
_LEAST_COMPILING = 4.0
_WHOLE_SECONDS = 60.0


def print_plan(plan: EncodePlan) -> None:
    """Print a plan on stderr, where the progress follows it."""
    click.echo(plan_text(plan), err=True)


def plan_text(plan: EncodePlan) -> str:
    """Return what is about to be done, in a few lines."""
    if plan.gop_lengths:
        frames = output.counted(sum(plan.gop_lengths), "frame")
        shortest = min(plan.gop_lengths)
        each = f"{plan.longest_gop}" if shortest == plan.longest_gop else f"{shortest} to {plan.longest_gop}"
        extent = f"{frames} in {output.counted(len(plan.gop_lengths), 'GoP')} of {each}"
    else:
        frames = "frames" if plan.n_frames is None else output.counted(plan.n_frames, "frame")
        extent = f"{frames} in GoPs of at most {plan.longest_gop}"
    about = "about " if plan.gop_lengths else ""
    model = (
        f"{about}{output.number(plan.n_gaussians)} Gaussians and a field of "
        f"{output.number(plan.n_field_parameters)} parameters a GoP"
    )
    lines = [f"plan: {extent}", f"      {model}"]
    if plan.expected_bytes is not None:
        n_bytes = output.number(plan.expected_bytes + (plan.carried_bytes or 0))
        carried = f", {output.number(plan.carried_bytes)} of them beside the pictures" if plan.carried_bytes else ""
        size = f"{n_bytes} bytes{carried}, {plan.expected_bpp:.4f} bits a pixel"
        guess = " at a guess, which the first GoP corrects" if plan.psnr_target is not None else " expected"
        lines.append(f"      target {_target(plan)}; {size}{guess}")
    if plan.division:
        lines.append(f"      {output.counted(plan.gops_at_once, 'GoP')} at a time, {plan.division}")
    if plan.compile_seconds >= _LEAST_COMPILING:
        lines.append(f"      kernels were compiled in {output.duration(plan.compile_seconds)}, once on this machine")
    if plan.expected_seconds is not None:
        draft = "" if plan.draft_seconds is None else f"; --preset draft would take about {_about(plan.draft_seconds)}"
        lines.append(f"      about {_about(plan.expected_seconds)} here{draft}")
    lines += [f"      lost: {what}" for what in plan.lost]
    return "\n".join(lines)


def _about(seconds: float) -> str:
    return output.duration(seconds) if seconds >= _WHOLE_SECONDS else f"{max(1, round(seconds))} s"


def _target(targets: EncodePlan | EncodeReport) -> str:
    """Return the target that was given, in its unit; empty without one."""
    if targets.bpp_target is not None:
        return f"{targets.bpp_target:g} bits a pixel"
    if targets.size_target is not None:
        return f"{output.number(targets.size_target)} bytes"
    return "" if targets.psnr_target is None else f"{targets.psnr_target:g} dB"


def _off_target(report: EncodeReport) -> str:
    """Return how far a file is from its target, with a sign."""
    if report.psnr_target is not None:
        off = report.psnr_db - report.psnr_target
        return f"{off:+.2f} dB" if math.isfinite(off) else "identical"
    wanted = report.size_target
    off = report.bpp / (report.bpp_target or 1.0) if wanted is None else report.file_bytes / wanted
    return f"{100 * (off - 1):+.1f} %"


def summary(report: EncodeReport) -> str:
    """Return what was written, in a few lines."""
    extent = f"{output.counted(report.n_frames, 'frame')} in {output.counted(len(report.gops), 'GoP')}"
    n_gaussians = sum(gop.n_gaussians for gop in report.gops)
    pairs = [
        ("size", f"{output.number(report.file_bytes)} bytes"),
        ("rate", f"{report.bpp:.4f} bits a pixel"),
        ("quality", f"{output.decibel(report.psnr_db)} (PSNR of RGB, as decoded)"),
        ("video", f"{report.width}x{report.height}, {extent}"),
        ("Gaussians", output.number(n_gaussians)),
        ("time", f"{output.duration(report.seconds)} on {report.device}, {report.backend}"),
    ]
    if report.compile_seconds >= _LEAST_COMPILING:
        pairs.append(("compiling", f"{output.duration(report.compile_seconds)} before that, once on this machine"))
    if target := _target(report):
        missed = "" if report.shortfall is None else f"; {report.shortfall}"
        pairs.insert(0, ("target", f"{target}, reached {_off_target(report)}{missed}"))
    if report.n_gops_from_before:
        pairs.append(("continued", f"{output.counted(report.n_gops_from_before, 'GoP')} finished before"))
    n_rollbacks = sum(gop.n_rollbacks for gop in report.gops)
    if n_rollbacks:
        pairs.append(("diverged", f"{output.counted(n_rollbacks, 'time')}, each taken back and continued more slowly"))
    if report.source_bits > 8:
        pairs.append(("source", f"{report.source_bits} bits a sample, dithered to 8"))
    pairs += [output.track(track) for track in report.tracks]
    if report.carried_bytes:
        what = "sound, subtitles and metadata" if report.tracks else "metadata"
        pairs.append(("carried", f"{output.number(report.carried_bytes)} bytes of the size are {what}"))
    if report.left_out:
        pairs.append(("left out", "; ".join(report.left_out)))
    return f"{output.name(report.path)}\n{output.facts(pairs)}"


def gop_table(report: EncodeReport, *, with_costs: bool = False) -> str:
    """Return a table with a line for each GoP.

    Args:
        report: Report of the encode.
        with_costs: Whether to add the time taken, and what each quantiser cost when it was switched on.
    """
    header = ["GoP", "first", "frames", "Gaussians", "bytes", "bpp", "PSNR"]
    streams = list(dict.fromkeys(stream for gop in report.gops for stream in gop.quantizer_cost_db))
    if with_costs:
        header += ["seconds", *(f"cost: {stream}" for stream in streams)]
    rows = []
    for i, gop in enumerate(report.gops):
        bpp = 8 * gop.n_bytes / (report.width * report.height * gop.n_frames)
        counts = [str(n) for n in (i, gop.first_frame, gop.n_frames, gop.n_gaussians, gop.n_bytes)]
        row = [*counts, f"{bpp:.4f}", output.decibel(gop.psnr_db)]
        if with_costs:
            # Adding 0.0 turns a cost of -0.00 into 0.00.
            costs = [f"{round(gop.quantizer_cost_db.get(s, 0.0), 2) + 0.0:.2f} dB" for s in streams]
            row += [f"{gop.seconds:.1f}", *costs]
        rows.append(row)
    return output.table(header, rows)


def line(report: EncodeReport) -> str:
    """Return what was written, in one line."""
    parts = [
        f"{output.number(report.file_bytes)} bytes",
        f"{report.bpp:.4f} bits a pixel",
        output.decibel(report.psnr_db),
        output.counted(report.n_frames, "frame"),
        output.duration(report.seconds),
    ]
    if report.shortfall is not None:
        parts.append(report.shortfall)
    return f"{output.name(report.path)}: {', '.join(parts)}"
