"""Plans and reports of `encode`: plain data that carries its units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stgvcodec.tracks import TrackInfo


@dataclass(frozen=True)
class EncodePlan:
    """What an encode is about to do; at most one of the targets is given.

    Attributes:
        bpp_target: Bits per pixel and frame of the pictures, all headers included.
        size_target: Bytes of the whole file.
        psnr_target: Mean PSNR, dB.
        n_frames: Frames of the video, counted where there is a target, else as the source says; None if it does not.
        gop_lengths: Frames of each GoP; empty without a target, where they end as the frames are read.
        longest_gop: Most frames of a GoP.
        n_gaussians: Gaussians of a GoP of average length.
        n_field_parameters: Parameters of such a GoP's deformation field.
        expected_bytes: Expected size of the pictures, all headers included; None where it is not planned.
        expected_bpp: Expected bits per pixel and frame; None where they are not planned.
        carried_bytes: Bytes of the file that sound, subtitles and metadata take; None where they are not planned.
        expected_seconds: Time that the fits take on the device, by a few steps on the first frames; None while the
            number of frames is unknown.
        draft_seconds: The same with preset "draft"; None with this preset, and with one of another kind.
        compile_seconds: Time that was waited for kernels to be compiled, once on a machine.
        lost: What of the source will not be in the file, each with the reason.
        devices: Devices that fit GoPs.
        division: How GoPs are divided among them, in words; empty for one device.
        gops_at_once: GoPs that are fitted at the same time, on all devices together.
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
    carried_bytes: int | None = None
    expected_seconds: float | None = None
    draft_seconds: float | None = None
    compile_seconds: float = 0.0
    lost: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    division: str = ""
    gops_at_once: int = 1


PlanCallback = Callable[[EncodePlan], None]


@dataclass(frozen=True)
class GopReport:
    """Figures of one GoP in the file.

    Attributes:
        first_frame: Index of its first frame.
        n_frames: Frames in the GoP.
        n_gaussians: Canonical Gaussians transmitted.
        n_bytes: Size of its chunk in the file.
        psnr_db: Mean over its frames of the PSNR of 8-bit RGB, as a decoder renders them; identical frames are left
            out, and it is inf if all are identical.
        quantizer_cost_db: Stream -> PSNR lost when its quantiser was switched on, before fine-tuning.
        seconds: Wall-clock time of its fit; GoPs that are fitted at the same time share the device.
        n_rollbacks: Number of times that its fit diverged and went on from an earlier state at a lower rate.
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
        path: The file written; an address as text.
        file_bytes: Size of the file.
        bpp: Bits per pixel and frame: 8 * (file_bytes - carried_bytes) / (width * height * n_frames).
        bpp_target: Bits per pixel and frame that were asked for; None without such a target.
        psnr_db: Mean over the frames of the PSNR of 8-bit RGB, as a decoder renders them from the written bytes;
            identical frames are left out, and it is inf if all are identical.
        width: Picture width, pixels.
        height: Picture height, pixels.
        n_frames: Frames written.
        carried_bytes: Bytes of the file that sound, subtitles and metadata take, framing and index included.
        tracks: Tracks of sound and subtitles that were carried along.
        left_out: Streams beside the pictures that were wanted but could not be carried, each with the reason.
        gops: A report for each GoP.
        seconds: Wall-clock time of the encode without `compile_seconds`; of one that was continued, that until its last
            finished GoP included.
        device: Device that the fits ran on, e.g. "cpu"; of several all, with commas between.
        backend: Back end of the operators, e.g. "numba".
        size_target: Bytes that were asked for; None without such a target.
        psnr_target: PSNR that was asked for, dB; None without such a target.
        plan: Plan that was made before the first GoP.
        shortfall: Reason why a target was not reached; None if it was, or there was none.
        source_bits: Bits of a sample of the source; more than the 8 that are coded were dithered.
        n_gops_from_before: GoPs that were taken from the part file of an interrupted encode.
        compile_seconds: Time that the encode waited for kernels to be compiled, once on a machine.
    """

    path: Path | str
    file_bytes: int
    bpp: float
    bpp_target: float | None
    psnr_db: float
    width: int
    height: int
    n_frames: int
    carried_bytes: int
    tracks: tuple[TrackInfo, ...]
    left_out: tuple[str, ...]
    gops: tuple[GopReport, ...]
    seconds: float
    device: str
    backend: str
    size_target: int | None = None
    psnr_target: float | None = None
    plan: EncodePlan | None = None
    shortfall: str | None = None
    source_bits: int = 8
    n_gops_from_before: int = 0
    compile_seconds: float = 0.0
