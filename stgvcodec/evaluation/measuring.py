"""Measurement of rate-distortion points, the same for this codec's files and for those of every anchor."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

from stgvcodec.errors import StgvError
from stgvcodec.media.colour import ColorTags, RgbImage
from stgvcodec.media.reader import open_video
from stgvcodec.media.selection import Selection
from stgvcodec.media.writer import open_writer
from stgvcodec.metrics import SequenceMetrics
from stgvcodec.metrics.vmaf import VmafProgram

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Quality:
    """Quality of decoded frames; the fields are those of `stgvcodec.report.rd_points.RdPoint`."""

    psnr_db: float | None
    ms_ssim: float | None
    vmaf: float | None


@dataclass(frozen=True)
class Clip:
    """The frames that every codec gets.

    Attributes:
        path: Video file or folder.
        selection: Frames, crop and resize that it is read with.
        matrix: Colour matrix that it is read with, as in `encode`; None for the one that it is tagged with.
        width: Picture width, pixels.
        height: Picture height, pixels.
        n_frames: Number of frames.
        frame_rate: Nominal frames a second.
        sha256: SHA-256 of the size and of the RGB samples of all frames, hexadecimal.
    """

    path: Path
    selection: Selection
    matrix: str | None
    width: int
    height: int
    n_frames: int
    frame_rate: Fraction
    sha256: str

    @classmethod
    def read(cls, path: Path, selection: Selection, matrix: str | None) -> Clip:
        """Decode a source once, for its size, length and digest.

        Raises:
            ConfigError: a selection that cannot be met.
            InputVideoError: a source that cannot be read.
        """
        with open_video(path, selection=selection, matrix=matrix) as video:
            digest = hashlib.sha256(f"{video.width}x{video.height}".encode())
            n_frames = 0
            for frame in video:
                digest.update(frame.rgb.data)
                n_frames += 1
            size = (video.width, video.height)
            return cls(path, selection, matrix, *size, n_frames, video.frame_rate, digest.hexdigest())

    def bpp(self, n_bytes: int) -> float:
        """Return the bits per pixel and frame of a file of `n_bytes`."""
        return 8 * n_bytes / (self.width * self.height * self.n_frames)

    def frames(self) -> Iterator[RgbImage]:
        """Yield the frames. [H, W, 3] uint8."""
        with open_video(self.path, selection=self.selection, matrix=self.matrix) as video:
            for frame in video:
                yield frame.rgb


class Meter:
    """Measures decoded frames against a clip.

    Attributes:
        methods: Description of how each figure is taken, by its name.
    """

    def __init__(self, clip: Clip, scratch: Path) -> None:
        """Look for a program that measures VMAF.

        Args:
            clip: The clip, which is the reference.
            scratch: Folder for what VMAF reads and writes.
        """
        self._clip = clip
        self._scratch = scratch
        self._vmaf = VmafProgram.find()
        self.methods = {
            "bpp": "8 x bytes on disk / (width x height x frames), everything in the file counted",
            "psnr_db": "mean over frames of PSNR of 8-bit RGB, all channels together; identical frames left out",
            "ms_ssim": "mean over frames of MS-SSIM of 8-bit RGB by pytorch_msssim, five scales",
            "ms_ssim_db": "-10 log10(1 - MS-SSIM)",
            "vmaf": f"mean over frames, libvmaf's default model, luma by BT.601, by {self._vmaf.version}"
            if self._vmaf
            else "not measured: no ffmpeg with libvmaf, which pip install 'stgvcodec[vmaf]' brings",
            "encode_seconds": "wall-clock time, reading the source included for stgv, excluded for anchors",
            "decode_seconds": "from the file's bytes to 8-bit RGB frames; stgv in a new process, first use of its "
            "kernels included",
        }

    def measure(self, distorted: Iterable[RgbImage]) -> Quality:
        """Compare decoded frames with those of the clip.

        Args:
            distorted: Decoded frames, of the clip's size and number. [H, W, 3] uint8.

        Returns:
            Means over the frames.

        Raises:
            StgvError: there are more or fewer frames than the clip has.
        """
        metrics = SequenceMetrics()
        reference_y4m, distorted_y4m = (self._scratch / f"{name}.y4m" for name in ("reference", "distorted"))
        with ExitStack() as stack:
            rate = self._clip.frame_rate
            writers = [
                stack.enter_context(
                    open_writer(
                        path,
                        width=self._clip.width,
                        height=self._clip.height,
                        frame_rate=rate,
                        time_base=1 / rate,
                        color=ColorTags(),
                    )
                )
                for path in (reference_y4m, distorted_y4m)
                if self._vmaf is not None
            ]
            for index, (source, decoded) in enumerate(zip_longest(self._clip.frames(), distorted)):
                if source is None or decoded is None:
                    more = "decoded" if source is None else "source"
                    raise StgvError(
                        f"only the {more} frames go on after {index}, expected as many decoded as source ones"
                    )
                metrics.add(source, decoded)
                for writer, rgb in zip(writers, (source, decoded), strict=False):
                    writer.write(rgb, index)
        result = metrics.result()
        return Quality(result.psnr_db, result.ms_ssim, self._vmaf_score(reference_y4m, distorted_y4m))

    def _vmaf_score(self, reference: Path, distorted: Path) -> float | None:
        if self._vmaf is None:
            return None
        try:
            return self._vmaf.score(reference, distorted, self._scratch)
        except StgvError as error:
            logger.warning("VMAF is left out: %s", error)
            self._vmaf = None
            self.methods["vmaf"] = f"not measured: {error}"
            return None
        finally:
            reference.unlink()
            distorted.unlink()


class TimedFrames:
    """Hands frames on and adds up the seconds that making them took.

    Attributes:
        seconds: Seconds that the frames so far took.
    """

    def __init__(self, frames: Iterable[RgbImage]) -> None:
        self._frames = iter(frames)
        self.seconds = 0.0

    def __iter__(self) -> Iterator[RgbImage]:
        return self

    def __next__(self) -> RgbImage:
        started = time.perf_counter()
        try:
            return next(self._frames)
        finally:
            self.seconds += time.perf_counter() - started
