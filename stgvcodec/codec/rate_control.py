"""From a bit rate to the dimensions of each GoP's model, corrected by what earlier GoPs really cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stgvcodec.codec.dimensions import field_spec
from stgvcodec.codec.presets import FIELD_SIZES, FieldSize
from stgvcodec.errors import ConfigError

# What things cost at profile `paper`, measured on Bunny and DAVIS GoPs (benchmarks/data/bpp_target.csv). Only a
# starting point: each GoP's size is corrected before fine-tuning, and what is left over goes to the next GoP.
_BITS_PER_GAUSSIAN = 48.0  # Means and Cholesky factors.
_BITS_PER_COLOR_BIT = 0.93
_BITS_PER_FIELD_PARAMETER = 7.4
_BYTES_PER_CODEWORD = 6
_GOP_OVERHEAD_BYTES = 160
_CHUNK_OVERHEAD_BYTES = 40
_FILE_OVERHEAD_BYTES = 110

# Most of a GoP's bits that the field may take.
_FIELD_SHARE = 0.38
# A longer GoP shares one set of Gaussians among more frames. Below this density a longer one pays: at 0.1 bpp on Bunny
# (320x180), GoPs of 10, 20 and 40 frames gave 26.6, 28.2 and 29.7 dB; at 0.25 bpp 20 and 40 gave 31.6 and 32.0.
_PIXELS_PER_GAUSSIAN = 15.0
# Once the field is the largest there is, a longer GoP asks it to explain more motion with no more parameters, so that
# it pays only for a sparser set: Bunny at 720p and 0.2 bpp had 35.0 dB with GoPs of 19 frames, 34.4 with 33 (draft).
_PIXELS_PER_GAUSSIAN_AT_LARGEST_FIELD = 22.0
# Fits start with more Gaussians than the budget pays for: dropping the least of them costs less than splitting some.
_SURPLUS = 1.06
_MAX_RATE_GOP = 60
# Frames of the GoPs that are in memory at a time: up to four under way and the one being read.
_MAX_GOP_BYTES = 2 << 30
_MIN_GAUSSIANS = 16
# How far a GoP's budget may leave its even share to make up for the others.
_CARRY_LIMIT = 0.35


@dataclass(frozen=True)
class GopPlan:
    """Dimensions chosen for a GoP.

    Attributes:
        n_gaussians: To start the fit with.
        field: Size of the field.
        target_bytes: Size of the payload to reach.
    """

    n_gaussians: int
    field: FieldSize
    target_bytes: int


class RateControl:
    """Plans GoPs so that a file of any length lands on its bits per pixel.

    Attributes:
        gop_length: Most frames of a GoP.
    """

    def __init__(
        self,
        bpp_target: float,
        *,
        width: int,
        height: int,
        n_frames: int | None,
        gop: int,
        fixed_gop: bool,
        color_stages: int,
        color_codebook_size: int,
    ) -> None:
        """Choose a GoP length for a target.

        Args:
            bpp_target: Bits per pixel and frame of the whole file.
            width: Pixels.
            height: Pixels.
            n_frames: Frames of the video; None if unknown.
            gop: The preset's or the user's GoP length, frames.
            fixed_gop: Whether that is the user's and must stay.
            color_stages: Stages of the colours' vector quantiser.
            color_codebook_size: Codewords of each stage.

        Raises:
            ConfigError: the target is below what the smallest model of the longest GoP costs.
        """
        self._bpp = bpp_target
        self._n_pixels = width * height
        self._n_frames = n_frames
        color_bits = color_stages * math.log2(color_codebook_size)
        self._bits_per_gaussian = _BITS_PER_GAUSSIAN + _BITS_PER_COLOR_BIT * color_bits
        self._gop_overhead_bytes = _GOP_OVERHEAD_BYTES + _BYTES_PER_CODEWORD * color_stages * color_codebook_size
        self._spent_bytes = _FILE_OVERHEAD_BYTES
        self._n_frames_done = 0
        self.gop_length = self._choose_gop_length(gop, fixed_gop)

    def plan(self, n_frames: int) -> GopPlan:
        """Dimensions for the next GoP.

        Args:
            n_frames: Frames in it.
        """
        share = self._frame_bytes * n_frames
        owed = self._frame_bytes * (self._n_frames_done + n_frames) - self._spent_bytes
        target = min(max(owed, share * (1.0 - _CARRY_LIMIT)), share * (1.0 + _CARRY_LIMIT)) - _CHUNK_OVERHEAD_BYTES
        field, n_gaussians = self._divide(target, n_frames)
        return GopPlan(max(round(_SURPLUS * n_gaussians), 1), field, max(round(target), 1))

    def spent(self, n_frames: int, n_bytes: int) -> None:
        """Take note of a finished GoP: its frames, and its bytes in the file with all framing."""
        self._n_frames_done += n_frames
        self._spent_bytes += n_bytes

    @property
    def _frame_bytes(self) -> float:
        return self._bpp * self._n_pixels / 8.0

    def _choose_gop_length(self, gop: int, fixed: bool) -> int:
        length = self._at_most_all(gop)
        longest = length if fixed else self._at_most_all(max(gop, min(_MAX_RATE_GOP, self._frames_in_memory)))
        while length < longest and self._is_sparse(length):
            length = min(2 * length, longest)
        if self._n_frames is not None and not fixed:
            # Even GoPs: a short last one would have to pay for a set of Gaussians of its own.
            length = math.ceil(self._n_frames / math.ceil(self._n_frames / length))
        if self._estimate(length)[1] < _MIN_GAUSSIANS:
            raise ConfigError(
                f"a bpp target of {self._bpp:g} is below the smallest possible file for this video; the minimum is "
                f"{self._minimum_bpp(length):.4f} bpp with GoPs of {length} frames"
            )
        return length

    def _at_most_all(self, length: int) -> int:
        return length if self._n_frames is None else max(1, min(length, self._n_frames))

    @property
    def _frames_in_memory(self) -> int:
        return max(1, _MAX_GOP_BYTES // (self._n_pixels * 3 * 5))

    def _estimate(self, length: int) -> tuple[FieldSize, int]:
        """Field and Gaussians that a GoP of this length would get."""
        budget = self._frame_bytes * length - _CHUNK_OVERHEAD_BYTES - self._file_share_bytes(length)
        return self._divide(budget, length)

    def _is_sparse(self, length: int) -> bool:
        field, n_gaussians = self._estimate(length)
        is_largest = field is FIELD_SIZES[0]
        density = _PIXELS_PER_GAUSSIAN_AT_LARGEST_FIELD if is_largest else _PIXELS_PER_GAUSSIAN
        return n_gaussians * density < self._n_pixels

    def _file_share_bytes(self, length: int) -> float:
        """A GoP's share of what the file costs around its GoPs."""
        return _FILE_OVERHEAD_BYTES * (1.0 if self._n_frames is None else min(1.0, length / self._n_frames))

    def _divide(self, budget_bytes: float, n_frames: int) -> tuple[FieldSize, int]:
        """The largest field that leaves the Gaussians their share, and how many Gaussians the rest pays for."""
        available = 8.0 * (budget_bytes - self._gop_overhead_bytes)
        for size in FIELD_SIZES:
            field_bits = _field_bits(size, n_frames)
            if field_bits <= _FIELD_SHARE * available or size is FIELD_SIZES[-1]:
                break
        return size, math.floor((available - field_bits) / self._bits_per_gaussian)

    def _minimum_bpp(self, length: int) -> float:
        bits = _field_bits(FIELD_SIZES[-1], length) + (_MIN_GAUSSIANS + 1) * self._bits_per_gaussian
        n_bytes = bits / 8.0 + self._gop_overhead_bytes + _CHUNK_OVERHEAD_BYTES + self._file_share_bytes(length)
        return 8.0 * n_bytes / (self._n_pixels * length)


def _field_bits(size: FieldSize, n_frames: int) -> float:
    return _BITS_PER_FIELD_PARAMETER * field_spec(size, n_frames).n_parameters
