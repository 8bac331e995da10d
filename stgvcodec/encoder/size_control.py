"""Landing a GoP on its bytes: by how many Gaussians it has, by what their bits weigh in the loss, and by trimming."""

from __future__ import annotations

import logging

import numpy as np

from stgvcodec.bitstream.payload.pack import pack_gop
from stgvcodec.bitstream.payload.symbols import GopSymbols
from stgvcodec.encoder.gop_symbols import gop_symbols, some_gaussians
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
    symbols = gop_symbols(trainer)
    n_bytes = len(pack_gop(symbols))
    if abs(n_bytes - target_bytes) <= tolerance * target_bytes:
        return False
    if trainer.target_bits is not None:
        _steer(trainer, target_bytes, n_bytes)
    return _resize(trainer, symbols, n_bytes, target_bytes)


def set_target_bits(trainer: GopTrainer, target_bytes: int) -> None:
    """Make fine-tuning with the rate in its loss land on a payload's size.

    The weight of the rate does it. The set is resized only as far as that cannot.

    Args:
        trainer: Before its quantisers are in use.
        target_bytes: Size of the payload.
    """
    symbols = gop_symbols(trainer)
    n_bytes = len(pack_gop(symbols))
    _steer(trainer, target_bytes, n_bytes)
    left = min(max(target_bytes / n_bytes, _LEAST_LEFT), _MOST_LEFT)
    _resize(trainer, symbols, n_bytes, target_bytes, left)


def _resize(trainer: GopTrainer, symbols: GopSymbols, n_bytes: int, target_bytes: int, left: float = 1.0) -> bool:
    """As many Gaussians as meet a size when `left` is left of what each costs now; whether the set changed."""
    n = trainer.spec.n_gaussians
    each = left * _bytes_per_gaussian(symbols, n_bytes)
    wanted = min(max(n + round((target_bytes - left * n_bytes) / each), 1), 2 * n)
    logger.info("payload %d bytes, target %d: %d Gaussians become %d", n_bytes, target_bytes, n, wanted)
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
        if len(pack_gop(gop_symbols(trainer))) > target_bytes:
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
    symbols = gop_symbols(trainer)
    payload = pack_gop(symbols)
    n = trainer.spec.n_gaussians
    if target_bytes is not None and fills and len(payload) < (1.0 - _SHORTFALL) * target_bytes:
        _refine_steps(trainer, target_bytes)
        symbols = gop_symbols(trainer)
        payload = pack_gop(symbols)
    if target_bytes is None or len(payload) <= (1.0 + _EXCESS) * target_bytes:
        return payload, n
    order = by_importance(trainer.model.gaussians, trainer.spec.low_pass).cpu().numpy()
    each = _bytes_per_gaussian(symbols, len(payload))
    while n > 1 and len(payload) > (1.0 + _EXCESS) * target_bytes:
        n -= min(max(int(np.ceil((len(payload) - target_bytes) / each)), 1), n - 1)
        payload = pack_gop(some_gaussians(symbols, np.sort(order[:n])))
    logger.info("%d Gaussians of %d are left out to stay within %d bytes", len(order) - n, len(order), target_bytes)
    return payload, n


def _bytes_per_gaussian(symbols: GopSymbols, n_bytes: int) -> float:
    """What a Gaussian costs, from what the payload loses without every other one."""
    n = symbols.header.n_gaussians
    kept = np.arange(0, n, 2)
    if len(kept) == n:
        return float(n_bytes)
    return max((n_bytes - len(pack_gop(some_gaussians(symbols, kept)))) / (n - len(kept)), 0.5)
