"""`compare`: PSNR and MS-SSIM between two videos, folders or `.stgv` files, frame by frame."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.errors import ConfigError, naming_memory
from stgvcodec.evaluation.side import Side
from stgvcodec.media.selection import Selection
from stgvcodec.metrics import SequenceMetrics
from stgvcodec.progress import Progress, ProgressCallback


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
        n_identical_frames: Compared frames that are identical.
        per_frame: Figures of each frame.
    """

    psnr_db: float | None
    ms_ssim: float | None
    n_frames: int
    n_identical_frames: int
    per_frame: tuple[FrameComparison, ...]


@naming_memory("videos are compared", "compare smaller pictures (--crop, --resize)")
def compare(
    reference: str | Path,
    distorted: str | Path,
    *,
    selection: Selection | None = None,
    matrix: str | None = None,
    max_memory: int | None = None,
    max_work: float | None = None,
    device: str = "auto",
    backend: str = "auto",
    progress: ProgressCallback | None = None,
) -> Comparison:
    """Measure one video against another.

    A `.stgv` file is measured on its own RGB frames, not on a video made of them. The selection says which frames and
    which part of the pictures are compared. A side that already has the size that crop and resize lead to, or as many
    frames as are selected, is taken as it is: a file that was encoded with the same selection has them.

    Args:
        reference: The video to measure against: a video file, a folder of images, or a `.stgv` file.
        distorted: The video to measure, in any of the same forms.
        selection: Frames, crop and resize to compare.
        matrix: Colour matrix in place of the one that a video is tagged with: "bt601", "bt709" or "bt2020".
        max_memory: Most memory that decoding a `.stgv` file may need, bytes, and
        max_work: most Gaussians that may cover a pixel of it; see `VideoDecoder`.
        device: Device for `.stgv` files: "auto", "cpu" or "cuda".
        backend: Implementation of the operators for `.stgv` files: "auto", "reference", "numba" or "triton".
        progress: Called after each frame.

    Returns:
        Means over the frames, and the figures of each frame.

    Raises:
        ConfigError: the two differ in size or in number of frames.
        InputVideoError, BitstreamError: a side cannot be read.
        BudgetError: a `.stgv` file needs more memory or work than is allowed.
        BackendUnavailableError: device or back end is not to be had here.

    Examples:
        >>> from stgvcodec import compare
        >>> report = compare("clip.stgv", "clip.stgv")
        >>> report.psnr_db, report.n_frames
        (None, 5)
    """
    selection = selection or Selection()
    selection.refuse_time("compare")
    with ExitStack() as stack:

        def opened(path: str | Path) -> VideoDecoder:
            decoder = VideoDecoder(path, device=device, backend=backend, max_memory=max_memory, max_work=max_work)
            return stack.enter_context(decoder)

        sides = [Side(path, selection, matrix, opened, stack) for path in (reference, distorted)]
        # Either side may be the one that was encoded with this selection; the other one is longer.
        counts = [selection.count(side.n_frames) for side in sides if side.n_frames is not None]
        n_selected = max(counts, default=None)
        (size, frames), (other_size, other_frames) = (side.frames(selection, n_selected) for side in sides)
        if size != other_size:
            raise ConfigError(
                f"{reference} is {size[0]}x{size[1]} and {distorted} is {other_size[0]}x{other_size[1]}, expected the "
                "same size; crop or resize one of them (--crop, --resize, --square)"
            )
        metrics = SequenceMetrics()
        for index in count():
            pair = next(frames, None), next(other_frames, None)
            if pair[0] is None or pair[1] is None:
                break
            metrics.add(pair[0], pair[1])
            if progress is not None:
                fraction = min(1.0, (index + 1) / n_selected) if n_selected else None
                progress(Progress("comparing", index + 1, n_selected, fraction=fraction))
        if (pair[0] is None) != (pair[1] is None):
            shorter, longer = (reference, distorted) if pair[0] is None else (distorted, reference)
            raise ConfigError(f"{shorter} ends after {index} frames but {longer} goes on; compare a part with --frames")
        result = metrics.result()
    return Comparison(
        psnr_db=result.psnr_db,
        ms_ssim=result.ms_ssim,
        n_frames=result.n_frames,
        n_identical_frames=result.n_identical_frames,
        per_frame=tuple(FrameComparison(i, frame.psnr_db, frame.ms_ssim) for i, frame in enumerate(result.per_frame)),
    )
