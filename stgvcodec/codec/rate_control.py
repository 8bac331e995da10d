"""From a bit rate to the dimensions of each GoP's model, corrected by what earlier GoPs really cost."""

from __future__ import annotations

from dataclasses import dataclass

from stgvcodec.codec.dimensions import field_spec
from stgvcodec.codec.presets import FIELD_SIZES, FieldSize
from stgvcodec.errors import ConfigError

# What things cost at profile `paper`, measured on Bunny and DAVIS GoPs (benchmarks/data/rate_model.csv). Only a
# starting point: each GoP's size is corrected before fine-tuning, and what is left over goes to the next GoP.
_BITS_PER_GAUSSIAN = 45.0
_BITS_PER_COLOR_BIT = 0.95
_BITS_PER_FIELD_PARAMETER = 5.5
_GOP_OVERHEAD_BYTES = 450
_FILE_OVERHEAD_BYTES = 150
_CHUNK_OVERHEAD_BYTES = 60

# Most of a GoP's bits that the field may take.
_FIELD_SHARE = 0.35
# A longer GoP shares one set of Gaussians among more frames; below this density a GoP is made longer instead.
_MAX_PIXELS_PER_GAUSSIAN = 250
_MAX_RATE_GOP = 60
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
    """Plans GoPs so that a file of any length lands on its bits per pixel."""

    def __init__(self, bpp_target: float, *, width: int, height: int, gop: int, fixed_gop: bool, color_bits: float):
        """Choose a GoP length for a target.

        Args:
            bpp_target: Bits per pixel and frame of the whole file.
            width: Pixels.
            height: Pixels.
            gop: The preset's or the user's GoP length, frames.
            fixed_gop: Whether that is the user's and must stay.
            color_bits: Bits of a colour's indices, before entropy coding.

        Raises:
            ConfigError: the target is below what the smallest model of the longest GoP costs.
        """
        self._bpp = bpp_target
        self._n_pixels = width * height
        self._bits_per_gaussian = _BITS_PER_GAUSSIAN + _BITS_PER_COLOR_BIT * color_bits
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
        return GopPlan(max(n_gaussians, _MIN_GAUSSIANS), field, max(round(target), 1))

    def spent(self, n_frames: int, n_bytes: int) -> None:
        """Take note of a finished GoP: its frames, and its bytes in the file with all framing."""
        self._n_frames_done += n_frames
        self._spent_bytes += n_bytes

    @property
    def _frame_bytes(self) -> float:
        return self._bpp * self._n_pixels / 8.0

    def _choose_gop_length(self, gop: int, fixed: bool) -> int:
        length = gop
        while True:
            budget = self._frame_bytes * length - _CHUNK_OVERHEAD_BYTES
            _, n_gaussians = self._divide(budget, length)
            if n_gaussians * _MAX_PIXELS_PER_GAUSSIAN >= self._n_pixels or fixed:
                break
            if length >= _MAX_RATE_GOP:
                break
            length = min(2 * length, _MAX_RATE_GOP)
        if n_gaussians < _MIN_GAUSSIANS:
            raise ConfigError(
                f"a bpp target of {self._bpp:g} is below the smallest possible file for this size; "
                f"the minimum is {self._minimum_bpp(length):.4f} bpp with GoPs of {length} frames"
            )
        return length

    def _divide(self, budget_bytes: float, n_frames: int) -> tuple[FieldSize, int]:
        """The largest field that leaves the Gaussians their share, and how many Gaussians the rest pays for."""
        available = 8.0 * (budget_bytes - _GOP_OVERHEAD_BYTES)
        for size in FIELD_SIZES:
            field_bits = _field_bits(size, n_frames)
            if field_bits <= _FIELD_SHARE * available or size is FIELD_SIZES[-1]:
                break
        return size, int((available - field_bits) / self._bits_per_gaussian)

    def _minimum_bpp(self, length: int) -> float:
        bits = _field_bits(FIELD_SIZES[-1], length) + _MIN_GAUSSIANS * self._bits_per_gaussian
        n_bytes = bits / 8.0 + _GOP_OVERHEAD_BYTES + _CHUNK_OVERHEAD_BYTES
        return 8.0 * n_bytes / (self._n_pixels * length)


def _field_bits(size: FieldSize, n_frames: int) -> float:
    return _BITS_PER_FIELD_PARAMETER * field_spec(size, n_frames).n_parameters
