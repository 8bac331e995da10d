"""What `encode` plans and returns: plain data that carries its units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


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
    """

    first_frame: int
    n_frames: int
    n_gaussians: int
    n_bytes: int
    psnr_db: float
    quantizer_cost_db: dict[str, float]
    seconds: float
    n_rollbacks: int = 0


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
