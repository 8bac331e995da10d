"""Two rate controls over GoPs: `SizeControl` makes a file meet its bytes, `QualityControl` its mean PSNR."""

from __future__ import annotations

import copy
import logging
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import accumulate, pairwise

from stgvcodec.encoder.presets import FieldSize
from stgvcodec.encoder.rate_control.cost_model import MIN_GAUSSIANS, MOST_PER_PIXEL, SURPLUS, GopCosts
from stgvcodec.encoder.rate_control.gop_table import GopTable
from stgvcodec.encoder.rate_control.quality_model import QualityFit
from stgvcodec.metrics import mean_psnr_db

logger = logging.getLogger(__name__)

# The first GoP is fitted again while it is further than this from its target, as a guess before any fit may be, and the
# last one if the mean is off by more than this, or the second time if the target would be missed. Others are while they
# are further off than _REFIT_FAR_DB, as those of another scene may be. Each has at most so many fits.
_REFIT_FAR_DB = 3.0
_REFIT_FIRST_DB = 1.0
_REFIT_LAST_DB = 0.2
_MOST_FITS = 3
# Refits to expect of a GoP that is first and last, and of the first of several; the last of n GoPs has one in n cases
# (docs/decisions/0008-rate-control.md).
_EXPECTED_REFITS_ALONE, _EXPECTED_REFITS_FIRST = 1.0, 0.8
# The first GoP gets the bytes of at least this many of the smallest models: with fewer, quality collapses and says
# nothing about what more bytes give. The bytes of a retry differ from those before by at most this factor.
_FIRST_HEADROOM = 3.0
_LARGEST_STEP = 8.0
# One GoP may be asked for a quality this far from the target, to make up for others.
_CORRECTION_DB = 2.0
# A quality that takes more Gaussians for each pixel than this cannot be had.
_MOST_PER_PIXEL_FOR_QUALITY = 1.0
# Bytes of a pixel of a raw frame.
_RAW_BYTES = 3
# A target counts as missed where the file is further from it than this.
_SIZE_TOLERANCE_PERCENT = 2.0
_QUALITY_TOLERANCE_DB = 0.3
# A retry whose size differs by a smaller share than this would give the same.
_LEAST_CHANGE = 0.02
_NO_BETTER = ": what was tried with the rest made the frames no better"


@dataclass(frozen=True)
class GopPlan:
    """Dimensions chosen for a GoP.

    Attributes:
        index: Index of the GoP.
        n_frames: Frames in the GoP.
        n_gaussians: Gaussians that the fit starts with.
        field: Size of the deformation field.
        target_bytes: Size that the payload is to reach.
    """

    index: int
    n_frames: int
    n_gaussians: int
    field: FieldSize
    target_bytes: int


@dataclass(frozen=True)
class GopResult:
    """Size and quality of a fitted GoP.

    Attributes:
        payload_bytes: Size of the payload.
        n_gaussians: Gaussians in the payload.
        psnr_db: PSNR of each frame; inf where it is identical to its source.
    """

    payload_bytes: int
    n_gaussians: int
    psnr_db: tuple[float, ...]

    @property
    def mean_psnr_db(self) -> float | None:
        """Mean over the frames that are not identical to their source; None if all are."""
        return mean_psnr_db(self.psnr_db)


class RateControl(ABC):
    """Plans GoPs one by one; each plan may depend on the results taken into account before it.

    Args:
        gops: GoPs of the video.
        most_per_pixel: Most Gaussians for each pixel.
    """

    def __init__(self, gops: GopTable, most_per_pixel: float) -> None:
        self.gops = gops
        # Nobody wants more bytes than the frames themselves have.
        most = [
            min(gops.costs.bytes_at_density(most_per_pixel, length), _RAW_BYTES * gops.n_pixels * length)
            for length in gops.lengths
        ]
        self._maximum_bytes = [max(pair) for pair in zip(most, gops.minimum_bytes, strict=True)]
        self._n_largest = self._n_smallest = 0

    def plan(self, index: int) -> GopPlan:
        """Return the plan of a GoP. It is called once for each GoP, in order."""
        return self._plan_for(index, self._payload_bytes(index))

    def update(self, plan: GopPlan, result: GopResult) -> None:
        """Take the result of a GoP into account in the plans to come. It is called once for each GoP, in order."""
        self._n_largest += plan.target_bytes >= self._maximum_bytes[plan.index]
        self._n_smallest += plan.target_bytes <= self.gops.minimum_bytes[plan.index]
        self.gops.costs.update(result.payload_bytes, plan.field, result.n_gaussians, plan.n_frames)

    def needs_all_before(self, index: int) -> bool:
        """Whether a GoP is to be planned only when all GoPs before it have been taken into account."""
        return False

    def retry_plan(self, plan: GopPlan, result: GopResult) -> GopPlan | None:
        """Return another plan for a GoP that was just fitted by `plan`; None where its best result is to be kept."""
        return None

    def is_better(self, index: int, first: GopResult, second: GopResult) -> bool:
        """Whether the second of two results of a GoP is the one to keep."""
        return False

    def expected_refits(self, index: int) -> float:
        """Return how many fits more than one a GoP is expected to need, before the first of them."""
        return 0.0

    @abstractmethod
    def _payload_bytes(self, index: int) -> float:
        """Return the bytes that a GoP's payload is to have."""

    @abstractmethod
    def expected_bytes(self) -> int:
        """Return the size of the pictures that is expected before the first GoP is fitted, headers included."""

    @abstractmethod
    def shortfall(self, video_bytes: int, psnr_db: float) -> str | None:
        """Say why pictures of this size, headers included, and mean PSNR miss the target; None if they do not."""

    def _plan_for(self, index: int, payload_bytes: float, costs: GopCosts | None = None) -> GopPlan:
        n_frames = self.gops.lengths[index]
        field, n_gaussians = (costs or self.gops.costs).dimensions(payload_bytes, n_frames)
        n_gaussians = max(round(SURPLUS * n_gaussians), MIN_GAUSSIANS)
        return GopPlan(index, n_frames, n_gaussians, field, math.floor(payload_bytes))

    def _within_limits(self, index: int, payload_bytes: float) -> float:
        return min(max(payload_bytes, float(self.gops.minimum_bytes[index])), float(self._maximum_bytes[index]))

    def _limit_reached(self, *, is_below: bool) -> str:
        """Name the limit in the way of a target that is missed from one side, to end a message with; "" without one."""
        n, size = (self._n_largest, "large") if is_below else (self._n_smallest, "small")
        return f": {n} of {len(self.gops)} GoPs are as {size} as they can be" if n else ""


class SizeControl(RateControl):
    """Makes a file meet a number of bytes: what a GoP leaves or overspends is shared by the GoPs planned after it.

    GoPs get bytes by their frames, not by their difficulty: as PSNR grows by about the same for each doubling of the
    bytes, this makes its mean largest. Flat GoPs get the bytes of the smallest model.

    Args:
        gops: GoPs of the video.
        target_bytes: Size that the file is to reach, without what it carries beside its pictures.
        carried_bytes: Size of what it carries beside its pictures, if that counts for the user's target.
    """

    def __init__(self, gops: GopTable, target_bytes: int, carried_bytes: int = 0) -> None:
        super().__init__(gops, MOST_PER_PIXEL)
        self.target_bytes = target_bytes
        self._carried_bytes = carried_bytes
        self._weights = [0.0 if flat else float(n) for flat, n in zip(gops.is_flat, gops.lengths, strict=True)]
        if not any(self._weights):
            self._weights = [float(n) for n in gops.lengths]
        self._minimum_left = sum(gops.minimum_bytes)
        # Each entry sums the weights from its GoP to the last, one by one from the end.
        self._weights_left = [*accumulate(reversed(self._weights))][::-1]
        # The framing of GoPs that are not fitted yet is estimated for payloads of an equal share.
        share = target_bytes / len(gops)
        most = gops.costs.most_gaussians
        self._framing = [gops.framing_bytes(i, math.ceil(share), most) for i in range(len(gops))]
        self._left = float(target_bytes - gops.file_bytes - sum(self._framing))

    def expected_bytes(self) -> int:
        """Return the target, or what the largest models cost where that is less."""
        return min(self.target_bytes, self.gops.framed_bytes(self._maximum_bytes))

    def shortfall(self, video_bytes: int, psnr_db: float) -> str | None:
        """Say why a file is further than 2% from its target size; None if it is not."""
        file_bytes, target_bytes = video_bytes + self._carried_bytes, self.target_bytes + self._carried_bytes
        off = 100.0 * (file_bytes / target_bytes - 1.0)
        if abs(off) <= _SIZE_TOLERANCE_PERCENT:
            return None
        limit = self._limit_reached(is_below=off < 0.0) or (_NO_BETTER if off < 0.0 else "")
        side = "below" if off < 0.0 else "above"
        return f"{file_bytes} bytes are {abs(off):.1f} % {side} the target of {target_bytes}{limit}"

    def _payload_bytes(self, index: int) -> float:
        minimum = self.gops.minimum_bytes[index]
        weight, weight_left = self._weights[index], self._weights_left[index]
        spare = self._left - self._minimum_left
        wanted = minimum + spare * (weight / weight_left if weight_left > 0.0 else 0.0)
        self._minimum_left -= minimum
        is_last = index == len(self.gops) - 1
        payload_bytes = self._within_limits(index, self._left if is_last else wanted)
        self._left -= math.floor(payload_bytes)
        return payload_bytes

    def update(self, plan: GopPlan, result: GopResult) -> None:
        """Take a result into account; the GoPs that are planned from now on share the bytes that it left."""
        super().update(plan, result)
        framing = self.gops.framing_bytes(plan.index, result.payload_bytes, result.n_gaussians)
        self._left += plan.target_bytes - result.payload_bytes + self._framing[plan.index] - framing


class QualityControl(RateControl):
    """Makes the mean PSNR of a video's frames meet a target: each GoP is asked for what the mean still lacks.

    Args:
        gops: GoPs of the video.
        target_db: Mean over the frames of RGB PSNR that is to be reached.
    """

    def __init__(self, gops: GopTable, target_db: float) -> None:
        super().__init__(gops, _MOST_PER_PIXEL_FOR_QUALITY)
        self.target_db = target_db
        self._fit = QualityFit(gops.costs.model.quality)
        self._wanted: list[float] = []
        # These count the GoPs that were taken into account and their frames that differ from their source, and add up
        # the PSNR of those frames, dB.
        self._n_known = self._n_frames_known = 0
        self._sum_db = 0.0
        # GoP under way -> bytes and PSNR of each of its fits, by bytes.
        self._tries: dict[int, list[tuple[int, float]]] = {}
        # GoP under way -> costs as they were when it was planned: refits must not depend on what ends meanwhile.
        self._costs: dict[int, GopCosts] = {}

    def expected_bytes(self) -> int:
        """Return the size at which the profile's quality model, before any fit, expects the target."""
        return self.gops.framed_bytes([self._bytes_for(i, self.target_db) for i in range(len(self.gops))])

    def shortfall(self, video_bytes: int, psnr_db: float) -> str | None:
        """Say why a mean is further than 0.3 dB from its target, with the limit in its way; None if it is not."""
        off = psnr_db - self.target_db
        if abs(off) <= _QUALITY_TOLERANCE_DB or math.isinf(psnr_db):
            return None
        side = "below" if off < 0.0 else "above"
        limit = self._limit_reached(is_below=off < 0.0)
        return f"{psnr_db:.2f} dB are {abs(off):.2f} dB {side} the target of {self.target_db:g}{limit}"

    def needs_all_before(self, index: int) -> bool:
        """Whether the GoP is the second, which learns from the first, or the last, which makes up for all others."""
        return index == 1 or index == len(self.gops) - 1

    def update(self, plan: GopPlan, result: GopResult) -> None:
        """Take a result into account; the quality that it reached corrects the quality model."""
        super().update(plan, result)
        del self._costs[plan.index]
        self._tries.pop(plan.index, None)
        finite = [psnr for psnr in result.psnr_db if math.isfinite(psnr)]
        self._n_known += 1
        self._n_frames_known += len(finite)
        self._sum_db += math.fsum(finite)
        self._learn(plan, result)

    def retry_plan(self, plan: GopPlan, result: GopResult) -> GopPlan | None:
        """Return another plan where a GoP is too far off and its size can change.

        The first GoP and the last are alone under way then, and may ask the model. Others are corrected by its slope.
        """
        index, reached = plan.index, result.mean_psnr_db
        if reached is None:
            return None
        tries = self._tries.setdefault(index, [])
        tries.append((plan.target_bytes, reached))
        tries.sort()
        if len(tries) == _MOST_FITS or not self._is_to_be_refitted(index, tries):
            return None
        wanted = self._wanted[index]
        between = self._between(tries, wanted)
        if index in (0, len(self.gops) - 1):
            self._learn(plan, result)
            payload_bytes = between or self._bytes_for(index, wanted)
        else:
            slope = self.gops.costs.model.quality.slope
            payload_bytes = between or plan.target_bytes * 2.0 ** ((wanted - reached) / slope)
        least, most = plan.target_bytes / _LARGEST_STEP, plan.target_bytes * _LARGEST_STEP
        payload_bytes = self._within_limits(index, min(max(payload_bytes, least), most))
        if abs(payload_bytes / plan.target_bytes - 1.0) < _LEAST_CHANGE:
            return None
        logger.info(
            "GoP %d has %.2f dB, wanted %.2f: fitted once more with %d bytes in place of %d",
            index,
            reached,
            wanted,
            payload_bytes,
            plan.target_bytes,
        )
        return self._plan_for(index, payload_bytes, self._costs[index])

    def _is_to_be_refitted(self, index: int, tries: list[tuple[int, float]]) -> bool:
        error_db = min(abs(reached - self._wanted[index]) for _, reached in tries)
        if error_db > (_REFIT_FIRST_DB if index == 0 else _REFIT_FAR_DB):
            return True
        # A GoP's error counts in the mean by its share of the frames.
        mean_error_db = error_db * self.gops.lengths[index] / self.gops.n_frames
        most = _REFIT_LAST_DB if len(tries) == 1 else _QUALITY_TOLERANCE_DB
        return index == len(self.gops) - 1 and mean_error_db > most

    @staticmethod
    def _between(tries: list[tuple[int, float]], wanted_db: float) -> float | None:
        """Return the bytes at which a line through the fits next to a quality meets it; None if it is beyond all."""
        for (fewer, low_db), (more, high_db) in pairwise(tries):
            if low_db < wanted_db <= high_db:
                return float(fewer * (more / fewer) ** ((wanted_db - low_db) / (high_db - low_db)))
        return None

    def expected_refits(self, index: int) -> float:
        """Return how many fits more than one are expected: the model knows nothing of this video before the first."""
        n = len(self.gops)
        if n == 1:
            return _EXPECTED_REFITS_ALONE
        if index == 0:
            return _EXPECTED_REFITS_FIRST
        return 1.0 / n if index == n - 1 else 0.0

    def is_better(self, index: int, first: GopResult, second: GopResult) -> bool:
        """Whether the second result is nearer to what was wanted."""
        before, after = first.mean_psnr_db, second.mean_psnr_db
        wanted = self._wanted[index]
        return before is not None and (after is None or abs(after - wanted) < abs(before - wanted))

    def _payload_bytes(self, index: int) -> float:
        wanted = self._wanted_db(index)
        self._wanted.append(wanted)
        self._costs[index] = copy.copy(self.gops.costs)
        payload_bytes = self._bytes_for(index, wanted)
        if index > 0:
            return payload_bytes
        return self._within_limits(index, max(payload_bytes, _FIRST_HEADROOM * self.gops.minimum_bytes[index]))

    def _wanted_db(self, index: int) -> float:
        """Return the PSNR that the GoPs not yet planned need on average for the mean over all to meet the target."""
        sum_db, n_frames = self._sum_db, self._n_frames_known
        # GoPs under way are taken to reach what they were asked for.
        for i in range(self._n_known, index):
            sum_db += self.gops.lengths[i] * self._wanted[i]
            n_frames += self.gops.lengths[i]
        n_left = self.gops.n_frames - self.gops.starts[index]
        wanted = (self.target_db * (n_frames + n_left) - sum_db) / n_left
        return min(max(wanted, self.target_db - _CORRECTION_DB), self.target_db + _CORRECTION_DB)

    def _bytes_for(self, index: int, psnr_db: float) -> float:
        gops = self.gops
        bits_per_pixel = self._fit.bits_per_pixel(psnr_db, gops.change[index], gops.texture[index])
        return self._within_limits(index, bits_per_pixel * gops.n_pixels / 8.0)

    def _learn(self, plan: GopPlan, result: GopResult) -> None:
        index, reached = plan.index, result.mean_psnr_db
        if reached is not None:
            bits_per_pixel = 8.0 * result.payload_bytes / self.gops.n_pixels
            self._fit.learn(bits_per_pixel, self.gops.change[index], self.gops.texture[index], reached)
