"""Landing a GoP on its bytes: by how many Gaussians it has, by what their bits weigh in the loss, and by trimming."""

from __future__ import annotations

import logging

import numpy as np

from stgvcodec.encoder.gop_symbols import PackedGop
from stgvcodec.fit.resize import by_importance
from stgvcodec.fit.trainer import GopTrainer

logger = logging.getLogger(__name__)

# A payload may be this much larger than asked for, relatively, before Gaussians are dropped.
_EXCESS = 0.004
# What the weight of the rate aims at, so that little is left to drop.
_AIM = 0.99
# A GoP that falls short by more than this share has finer steps in the end, down to this power of two, found in so many
# tries: a set that trained is near its size.
_SHORTFALL = 0.01
_FINEST_STEPS, _STEP_TRIES = -0.5, 4
# What the rate in the loss can leave of a payload's bytes, by its weight alone. Gaussians come and go only for what
# lies beyond, since a set that loses many just before its fine-tuning loses more than their worth.
_LEAST_LEFT, _MOST_LEFT = 0.62, 0.92


def resize_to(trainer: GopTrainer, target_bytes: int, tolerance: float = 0.0) -> bool:
    """Drop or split Gaussians so that the payload, as quantised now, meets its size.

    Args:
        trainer: With or without quantisers in use.
        target_bytes: Size of the payload.
        tolerance: Relative distance from it that is left alone.

    Returns:
        Whether the set changed.
    """
    packed = PackedGop.of(trainer)
    if abs(packed.n_bytes - target_bytes) <= tolerance * target_bytes:
        return False
    if trainer.target_bits is not None:
        _steer(trainer, target_bytes, packed.n_bytes)
    return _resize(trainer, packed, target_bytes)


def set_target_bits(trainer: GopTrainer, target_bytes: int) -> None:
    """Make fine-tuning with the rate in its loss land on a payload's size.

    The weight of the rate does it. The set is resized only as far as that cannot.

    Args:
        trainer: Before its quantisers are in use.
        target_bytes: Size of the payload.
    """
    packed = PackedGop.of(trainer)
    _steer(trainer, target_bytes, packed.n_bytes)
    left = min(max(target_bytes / packed.n_bytes, _LEAST_LEFT), _MOST_LEFT)
    _resize(trainer, packed, target_bytes, left)


def _resize(trainer: GopTrainer, packed: PackedGop, target_bytes: int, left: float = 1.0) -> bool:
    """As many Gaussians as meet a size when `left` is left of what each costs now; whether the set changed."""
    n = trainer.spec.n_gaussians
    each = left * packed.bytes_per_gaussian()
    wanted = min(max(n + round((target_bytes - left * packed.n_bytes) / each), 1), 2 * n)
    logger.info("payload %d bytes, target %d: %d Gaussians become %d", packed.n_bytes, target_bytes, n, wanted)
    trainer.resize(wanted)
    return bool(wanted != n)


def _refine_steps(trainer: GopTrainer, target_bytes: int) -> None:
    """Make the Gaussians' steps finer, so that the payload has a size or a little less."""
    lower, upper = _FINEST_STEPS, 0.0
    scaled = 0.0
    for _ in range(_STEP_TRIES):
        middle = 0.5 * (lower + upper)
        trainer.quantizers.scale_steps(2.0 ** (middle - scaled))
        scaled = middle
        if PackedGop.of(trainer).n_bytes > target_bytes:
            lower = middle
        else:
            upper = middle
    trainer.quantizers.scale_steps(2.0 ** (upper - scaled))
    logger.info("steps are scaled by %.3f to meet %d bytes", 2.0**upper, target_bytes)


def _steer(trainer: GopTrainer, target_bytes: int, n_bytes: int) -> None:
    """Have the estimate aim at a size, given that of the payload now."""
    values = trainer.model.gop_parameters()
    trainer.quantizers.refresh_rate(values)
    # It knows neither headers nor how well the coder's models do; both change little from here on.
    trainer.target_bits = max(_AIM * float(trainer.quantizers.estimated_bits(values)) * target_bytes / n_bytes, 1.0)


def pack_within(trainer: GopTrainer, target_bytes: int | None, *, fills: bool = False) -> tuple[bytes, int]:
    """The payload, without the least important Gaussians where it would be too large.

    Args:
        trainer: At the end of its training.
        target_bytes: Size to stay within; None keeps everything.
        fills: Whether a GoP with the rate in its loss that would be too small gets finer steps.

    Returns:
        The payload, and the Gaussians in it.
    """
    packed = PackedGop.of(trainer)
    n = trainer.spec.n_gaussians
    if target_bytes is not None and fills and packed.n_bytes < (1.0 - _SHORTFALL) * target_bytes:
        _refine_steps(trainer, target_bytes)
        packed = PackedGop.of(trainer)
    if target_bytes is None or packed.n_bytes <= (1.0 + _EXCESS) * target_bytes:
        return packed.payload, n
    order = by_importance(trainer.model.gaussians, trainer.spec.low_pass).cpu().numpy()
    each, kept = packed.bytes_per_gaussian(), packed
    while n > 1 and kept.n_bytes > (1.0 + _EXCESS) * target_bytes:
        n -= min(max(int(np.ceil((kept.n_bytes - target_bytes) / each)), 1), n - 1)
        kept = packed.with_gaussians(np.sort(order[:n]))
    logger.info("%d Gaussians of %d are left out to stay within %d bytes", len(order) - n, len(order), target_bytes)
    return kept.payload, n
