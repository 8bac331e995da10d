"""What the public functions return and report: plain data that carries its units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from stgvcodec.bitstream.container.file_header import ColorDescription


@dataclass(frozen=True)
class Progress:
    """One step of progress of an encode or a decode.

    Attributes:
        phase: What is being done, e.g. "gop 2: finetune-colors" or "rendering".
        frames_done: Frames whose work is complete.
        n_frames: Frames in all; None while a stream's length is unknown.
        step: Optimiser steps done in this phase.
        n_steps: Optimiser steps of this phase; 0 where there are none.
        psnr_db: Latest PSNR known, of the training loss; None before there is one.
        fraction: Share of the whole work that is done, in [0, 1]; None while unknown.
    """

    phase: str
    frames_done: int
    n_frames: int | None
    step: int = 0
    n_steps: int = 0
    psnr_db: float | None = None
    fraction: float | None = None


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True)
class EncodePlan:
    """What an encode is about to do. Of the targets at most one is given.

    Attributes:
        bpp_target: Bits per pixel and frame of the whole file.
        size_target: Bytes of the whole file.
        psnr_target: Mean PSNR, dB.
        n_frames: Frames of the video: counted where there is a target, else as the source says, None if it does not.
        gop_lengths: Frames of each GoP; empty without a target, where they end as the frames are read.
        longest_gop: Frames of a GoP at most.
        n_gaussians: Of a GoP of average length.
        n_field_parameters: Of such a GoP's deformation field.
        expected_bytes: Size of the file; None where that is not planned.
        expected_bpp: The same in bits per pixel and frame.
        key_interval: Most frames from one key GoP to the next; 1: no GoP is predicted.
    """

    bpp_target: float | None
    size_target: int | None
    psnr_target: float | None
    n_frames: int | None
    gop_lengths: tuple[int, ...]
    longest_gop: int
    n_gaussians: int
    n_field_parameters: int
    expected_bytes: int | None
    expected_bpp: float | None
    key_interval: int = 1


PlanCallback = Callable[[EncodePlan], None]


@dataclass(frozen=True)
class GopReport:
    """What became of one GoP.

    Attributes:
        first_frame: Index of its first frame.
        n_frames: Frames in it.
        n_gaussians: Canonical Gaussians transmitted.
        n_bytes: Size of its chunk in the file.
        psnr_db: Mean over its frames of RGB PSNR, 8-bit, of the decoder's frames; identical ones are left out, and it
            is inf if all are identical.
        quantizer_cost_db: Stream -> PSNR lost when its quantiser was switched on, before fine-tuning.
        seconds: Time spent on it; GoPs that are fitted at the same time share the device.
        n_rollbacks: How often its fit diverged and went on from an earlier state at a lower rate.
        is_key: Whether it stands alone; else it is predicted from the one before.
    """

    first_frame: int
    n_frames: int
    n_gaussians: int
    n_bytes: int
    psnr_db: float
    quantizer_cost_db: dict[str, float]
    seconds: float
    n_rollbacks: int = 0
    is_key: bool = True


@dataclass(frozen=True)
class EncodeReport:
    """Result of `encode`.

    Attributes:
        path: The file written.
        file_bytes: Its size.
        bpp: 8 * file_bytes / (width * height * n_frames).
        bpp_target: As asked; None without a target.
        psnr_db: Mean over frames of RGB PSNR on 8-bit frames, of what a decoder renders from the written bytes;
            identical ones are left out, and it is inf if all are identical.
        width: Pixels.
        height: Pixels.
        n_frames: Frames written.
        audio_dropped: Whether the source has sound; this release keeps only the pictures.
        gops: A report for each GoP.
        seconds: Wall-clock time.
        device: Where it ran, e.g. "cpu".
        backend: Operators used, e.g. "numba".
        size_target: As asked, bytes; None without a target.
        psnr_target: As asked, dB; None without a target.
        plan: What was planned before the first GoP.
        shortfall: Why a target was not reached; None if it was, or there was none.
    """

    path: Path
    file_bytes: int
    bpp: float
    bpp_target: float | None
    psnr_db: float
    width: int
    height: int
    n_frames: int
    audio_dropped: bool
    gops: tuple[GopReport, ...]
    seconds: float
    device: str
    backend: str
    size_target: int | None = None
    psnr_target: float | None = None
    plan: EncodePlan | None = None
    shortfall: str | None = None


@dataclass(frozen=True)
class DecodeReport:
    """Result of `decode`.

    Attributes:
        path: The video file or folder written.
        width: Pixels.
        height: Pixels.
        n_frames: Frames written.
        seconds: Wall-clock time, reading, rendering and writing.
        render_seconds: The part spent from bytes to 8-bit RGB frames.
        damage: With keep_going, what was skipped and why.
        device: Where it ran.
        backend: Operators used.
    """

    path: Path
    width: int
    height: int
    n_frames: int
    seconds: float
    render_seconds: float
    damage: tuple[str, ...]
    device: str
    backend: str


@dataclass(frozen=True)
class GopInfo:
    """One GoP of a file.

    Attributes:
        first_frame: Index of its first frame.
        n_frames: Frames in it.
        n_gaussians: Canonical Gaussians.
        bytes: Size of its chunk.
        streams: Stream -> bytes.
        header: Every field of its header by name.
        is_key: Whether it can be decoded alone; else it adds to the GoP before.
    """

    first_frame: int
    n_frames: int
    n_gaussians: int
    bytes: int
    streams: dict[str, int]
    header: dict[str, object]
    is_key: bool


@dataclass(frozen=True)
class StreamInfo:
    """Result of `read_info`; also `VideoDecoder.metadata`.

    Attributes:
        path: The file.
        file_bytes: Its size.
        width: Pixels.
        height: Pixels.
        n_frames: Frames.
        frame_rate: Nominal, exact.
        time_base: Unit of the timestamps, seconds, exact.
        variable_frame_rate: Whether the timestamps are uneven; the frame rate is then only a name.
        duration_seconds: From the first frame's start to the last one's end.
        bpp: 8 * file_bytes / (width * height * n_frames).
        profile: e.g. "paper".
        format_version: e.g. "1.0".
        tool: Version string of the encoder.
        color: H.273 code points of the source, and its range.
        streams: Stream -> bytes over the whole file; together exactly file_bytes ("container" is the framing).
        bits_per_gaussian: Stream -> 8 * bytes / Gaussians of the GoPs that have it, for the Gaussians' own streams.
        gops: One entry a GoP.
        n_key_gops: Those of them that can be decoded alone.
        longest_chain: GoPs that must be read for one frame, at most; 1 where all are key GoPs.
        decode_memory_bytes: Estimate of what decoding the largest GoP needs, frames included.
        limits: The format's limits, by name.
    """

    path: Path
    file_bytes: int
    width: int
    height: int
    n_frames: int
    frame_rate: Fraction
    time_base: Fraction
    variable_frame_rate: bool
    duration_seconds: float
    bpp: float
    profile: str
    format_version: str
    tool: str
    color: ColorDescription
    streams: dict[str, int]
    bits_per_gaussian: dict[str, float]
    gops: tuple[GopInfo, ...]
    n_key_gops: int
    longest_chain: int
    decode_memory_bytes: int
    limits: dict[str, int] = field(repr=False)


@dataclass(frozen=True)
class FrameComparison:
    """One frame's quality: psnr_db is None where the frames are identical, ms_ssim where they are too small for it."""

    index: int
    psnr_db: float | None
    ms_ssim: float | None


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`.

    Attributes:
        psnr_db: Mean of the per-frame RGB PSNR over the frames that differ; None if all are identical.
        ms_ssim: Mean of the per-frame MS-SSIM; None when the short side is 160 pixels or less.
        n_frames: Frames compared.
        n_identical_frames: Of them, identical ones.
        per_frame: Each frame's figures.
    """

    psnr_db: float | None
    ms_ssim: float | None
    n_frames: int
    n_identical_frames: int
    per_frame: tuple[FrameComparison, ...]
