"""Size control makes a payload meet its bytes: by the number of Gaussians, by lmbda, and by packing fewer of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from stgvcodec.encoder.gop_symbols import PackedGop
from stgvcodec.fit.resize import by_importance
from stgvcodec.fit.trainer import GopTrainer
from stgvcodec.metrics import mean_psnr_db

logger = logging.getLogger(__name__)

# A payload may be this much larger than asked for, relatively, before Gaussians are dropped.
_EXCESS = 0.004
# Fine-tuning aims at this share of the target, so that few Gaussians are left to drop.
_AIM = 0.99
# A payload that exceeds its target by more than this share, or falls short by more than that, gets Gaussians dropped or
# added after fine-tuning, and a touch-up. In 6 fits that fell short by 3 to 5% it was worth 0.01 dB.
_MOST_EXCESS, _MOST_SHORT = 0.03, 0.05
# A payload that falls short by more than this share gets finer quantiser steps in the end: down to 2 to this power
# times as large, found in this many tries, each of which aims at this share of what is missing.
_SHORTFALL = 0.01
_FINEST_STEPS, _STEP_TRIES, _STEP_AIM = -0.5, 2, 0.95
# Halving the steps of a Gaussian's six scalar symbols adds about a bit to each of them.
_BYTES_PER_OCTAVE = 6.0 / 8.0
# Least and largest share of the bits of shapes and colours that the rate in the loss is to leave by its lmbda, and the
# share of the field's that it leaves. Gaussians are added or dropped for what lies beyond.
_LEAST_LEFT, _MOST_LEFT = 0.85, 0.95
_FIELD_LEFT = 0.9


@dataclass(frozen=True)
class FinishedGop:
    """A payload that may be written, and its figures.

    Attributes:
        payload: The payload.
        n_gaussians: Gaussians in it.
        psnr_db: PSNR of each frame that a decoder renders from it; inf where it is identical to its source.
    """

    payload: bytes
    n_gaussians: int
    psnr_db: tuple[float, ...]

    @property
    def quality(self) -> tuple[int, float]:
        """Order of payloads by their quality: the number of frames without any error, then the others' mean PSNR."""
        mean = mean_psnr_db(self.psnr_db)
        return sum(np.isinf(self.psnr_db)), 0.0 if mean is None else mean


def finish(
    trainer: GopTrainer,
    target_bytes: int | None,
    *,
    measure: Callable[[bytes], tuple[float, ...]],
    touch_up: Callable[[], None],
    fills: bool,
) -> FinishedGop:
    """Return the best payload that stays within a size, out of all that the last corrections of the size lead to.

    Fine-tuning ends near the size, not at it. Whatever is changed after that is measured, and is kept only where the
    decoded frames are better for it: Gaussians that are split where much is missing, with the touch-up after that,
    and finer quantiser steps where little is missing.

    Args:
        trainer: Trainer at the end of its phases.
        target_bytes: Size to stay within; None packs the model as it is.
        measure: Returns the PSNR of each frame that a decoder renders from a payload, dB.
        touch_up: Trains a little more, after Gaussians have been added or dropped.
        fills: Whether a payload that falls a little short gets finer quantiser steps; for fits with rate in the loss.
    """

    def measured(packed: PackedGop) -> FinishedGop:
        kept = packed if target_bytes is None else _within(packed, trainer, target_bytes)
        return FinishedGop(kept.payload, kept.symbols.header.n_gaussians, measure(kept.payload))

    packed = PackedGop.of(trainer)
    best = measured(packed)
    if target_bytes is None:
        return best
    if not (1.0 - _MOST_SHORT) * target_bytes <= packed.n_bytes <= (1.0 + _MOST_EXCESS) * target_bytes:
        if trainer.target_bits is not None:
            # The estimate knows neither headers nor how well the coder's models do; both change little from here on.
            estimate = float(trainer.estimated_bits().total)
            trainer.target_bits = max(_AIM * estimate * target_bytes / packed.n_bytes, 1.0)
        if _resize(trainer, _wanted(packed, target_bytes)):
            touch_up()
            packed = PackedGop.of(trainer)
            best = _better(best, measured(packed), "a touch-up")
    if fills and packed.n_bytes < (1.0 - _SHORTFALL) * target_bytes:
        for finer in _with_finer_steps(trainer, packed, target_bytes):
            best = _better(best, measured(finer), "finer steps")
    return best


def set_target_bits(trainer: GopTrainer, target_bytes: int) -> None:
    """Make fine-tuning with the rate in its loss reach a payload's size.

    The trainer adapts lmbda for it. Gaussians are added or dropped for what lies beyond a moderate lmbda: few Gaussians
    with fine steps are better than many with coarse ones.

    Args:
        trainer: Trainer, before its quantisers are in use.
        target_bytes: Size that the payload is to reach.
    """
    trainer.fit_quantizers()
    total, points, attributes = (float(part) for part in trainer.estimated_bits())
    trainer.target_bits = max(_AIM * 8.0 * target_bytes, 1.0)
    n = trainer.spec.n_gaussians
    # The places cost what they cost, and the field nearly so; the rest is in the hands of lmbda.
    for_gaussians = trainer.target_bits - _FIELD_LEFT * (total - points - attributes)
    fewest, most = (for_gaussians * n / max(points + left * attributes, 1.0) for left in (_MOST_LEFT, _LEAST_LEFT))
    _resize(trainer, round(min(max(n, fewest), most)))


def resize_to(trainer: GopTrainer, target_bytes: int) -> None:
    """Drop or split Gaussians so that the payload, as quantised now, meets its size.

    Args:
        trainer: Trainer, with or without quantisers in use.
        target_bytes: Size that the payload is to reach.
    """
    _resize(trainer, _wanted(PackedGop.of(trainer), target_bytes))


def _wanted(packed: PackedGop, target_bytes: int) -> int:
    """Return the number of Gaussians with which a payload would have a size, if each costs what it costs now."""
    return packed.symbols.header.n_gaussians + round((target_bytes - packed.n_bytes) / packed.bytes_per_gaussian())


def _resize(trainer: GopTrainer, wanted: int) -> bool:
    """Drop or split Gaussians, down to one and up to twice as many; say if their number changed."""
    n = trainer.spec.n_gaussians
    wanted = min(max(wanted, 1), 2 * n)
    logger.info("%d Gaussians become %d", n, wanted)
    trainer.resize(wanted)
    return wanted != n


def _with_finer_steps(trainer: GopTrainer, packed: PackedGop, target_bytes: int) -> Iterator[PackedGop]:
    """Make the Gaussians' quantiser steps finer; yield each try that stays within the target.

    Args:
        trainer: Trainer, whose steps are as before in the end.
        packed: The model with the steps as they are.
        target_bytes: Size that is not to be exceeded.
    """
    parameters = trainer.model.gop_parameters()
    first_bytes = n_bytes = packed.n_bytes
    slope, exponent = _BYTES_PER_OCTAVE * trainer.spec.n_gaussians, 0.0
    for _ in range(_STEP_TRIES):
        missing = target_bytes - n_bytes
        exponent -= (_STEP_AIM if missing > 0 else 1.0 / _STEP_AIM) * missing / slope
        exponent = min(max(exponent, _FINEST_STEPS), 0.0)
        with trainer.quantizers.finer_steps(2.0**exponent, parameters):
            packed = PackedGop.of(trainer)
        n_bytes = packed.n_bytes
        if n_bytes <= target_bytes:
            yield packed
            if n_bytes >= (1.0 - _SHORTFALL) * target_bytes:
                return
        if exponent == 0.0 or n_bytes <= first_bytes:
            return
        slope = (n_bytes - first_bytes) / -exponent


def _within(packed: PackedGop, trainer: GopTrainer, target_bytes: int) -> PackedGop:
    """Return a payload without its least important Gaussians where it would be too large."""
    n = trainer.spec.n_gaussians
    if packed.n_bytes <= (1.0 + _EXCESS) * target_bytes:
        return packed
    order = by_importance(trainer.model.gaussians, trainer.spec.low_pass).cpu().numpy()
    each, kept = packed.bytes_per_gaussian(), packed
    while n > 1 and kept.n_bytes > (1.0 + _EXCESS) * target_bytes:
        n -= min(max(int(np.ceil((kept.n_bytes - target_bytes) / each)), 1), n - 1)
        kept = packed.with_gaussians(np.sort(order[:n]))
    logger.info("%d Gaussians of %d are left out to stay within %d bytes", len(order) - n, len(order), target_bytes)
    return kept


def _better(before: FinishedGop, after: FinishedGop, change: str) -> FinishedGop:
    is_better = after.quality > before.quality
    logger.info(
        "%s: %d to %d bytes, %.2f to %.2f dB, %s",
        change,
        len(before.payload),
        len(after.payload),
        before.quality[1],
        after.quality[1],
        "kept" if is_better else "taken back",
    )
    return after if is_better else before
