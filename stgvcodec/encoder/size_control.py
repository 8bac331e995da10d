"""Size control makes a payload meet its bytes: by the number of Gaussians, by lmbda, and by packing fewer of them."""

from __future__ import annotations

import logging

import numpy as np

from stgvcodec.encoder.gop_symbols import PackedGop
from stgvcodec.fit.resize import by_importance
from stgvcodec.fit.trainer import GopTrainer

logger = logging.getLogger(__name__)

# A payload may be this much larger than asked for, relatively, before Gaussians are dropped.
_EXCESS = 0.004
# Fine-tuning aims at this share of the target, so that few Gaussians are left to drop.
_AIM = 0.99
# A payload that falls short by more than this share gets finer quantiser steps in the end: down to 2 to this power
# times as large, found in this many tries. They suffice, since Gaussians that were trained for a size are near it.
_SHORTFALL = 0.01
_FINEST_STEPS, _STEP_TRIES = -0.5, 4
# Least and largest share of a payload's bytes that the rate in the loss can leave by its lmbda alone. Gaussians are
# added or dropped only for what lies beyond, since a model that loses many just before its fine-tuning loses more than
# they were worth.
_LEAST_LEFT, _MOST_LEFT = 0.62, 0.92


def resize_to(trainer: GopTrainer, target_bytes: int, tolerance: float = 0.0) -> bool:
    """Drop or split Gaussians so that the payload, as quantised now, meets its size.

    Args:
        trainer: Trainer, with or without quantisers in use.
        target_bytes: Size that the payload is to reach.
        tolerance: Relative distance from the target up to which nothing changes.

    Returns:
        Whether the number of Gaussians changed.
    """
    packed = PackedGop.of(trainer)
    if abs(packed.n_bytes - target_bytes) <= tolerance * target_bytes:
        return False
    if trainer.target_bits is not None:
        _steer(trainer, target_bytes, packed.n_bytes)
    return _resize(trainer, packed, target_bytes)


def set_target_bits(trainer: GopTrainer, target_bytes: int) -> None:
    """Make fine-tuning with the rate in its loss reach a payload's size.

    The trainer adapts lmbda for it. Gaussians are added or dropped only for what lmbda cannot do.

    Args:
        trainer: Trainer, before its quantisers are in use.
        target_bytes: Size that the payload is to reach.
    """
    packed = PackedGop.of(trainer)
    _steer(trainer, target_bytes, packed.n_bytes)
    left = min(max(target_bytes / packed.n_bytes, _LEAST_LEFT), _MOST_LEFT)
    _resize(trainer, packed, target_bytes, left)


def _resize(trainer: GopTrainer, packed: PackedGop, target_bytes: int, left: float = 1.0) -> bool:
    """Resize to the Gaussians that meet a size when each costs `left` times what it does now; say if any changed."""
    n = trainer.spec.n_gaussians
    each = left * packed.bytes_per_gaussian()
    wanted = min(max(n + round((target_bytes - left * packed.n_bytes) / each), 1), 2 * n)
    logger.info("payload %d bytes, target %d: %d Gaussians become %d", packed.n_bytes, target_bytes, n, wanted)
    trainer.resize(wanted)
    return bool(wanted != n)


def _refine_steps(trainer: GopTrainer, target_bytes: int) -> None:
    """Make the Gaussians' quantiser steps finer, so that the payload has the target size or a little less."""
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
    """Set the bits that the rate model is to estimate in the end, from the payload's size now, `n_bytes`."""
    values = trainer.model.gop_parameters()
    trainer.quantizers.refresh_rate(values)
    # The estimate knows neither headers nor how well the coder's models do; both change little from here on.
    trainer.target_bits = max(_AIM * float(trainer.quantizers.estimated_bits(values)) * target_bytes / n_bytes, 1.0)


def pack_within(trainer: GopTrainer, target_bytes: int | None, *, fills: bool = False) -> tuple[bytes, int]:
    """Return the payload, without the least important Gaussians where it would be too large.

    Args:
        trainer: Trainer at the end of its phases.
        target_bytes: Size to stay within; None keeps everything.
        fills: Whether a payload that would be too small gets finer quantiser steps; for fits with rate in the loss.

    Returns:
        The payload, and the number of Gaussians in it.
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
