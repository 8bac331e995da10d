"""Log-scale and shear symbols to raw Cholesky factors, as every decoder computes them."""

from __future__ import annotations

import torch
from torch import Tensor

from stgvcodec.ops.log_shear.limits import MAX_DIAGONAL_PX, MIN_DIAGONAL_PX, N_SYMBOLS, SHEAR_ZERO


def diagonal_tables(scale: Tensor) -> Tensor:
    """Make the tables of diagonal entries before the lower bound: symbol k has p_k - 0.5.

    Here p_0 = 0.5 and p_(k+1) = min(p_k (1 + scale), 2^20).

    Args:
        scale: Relative steps. [n] float32.

    Returns:
        Tables, rounded once from binary64; the products are taken one after the other on every device. [n, 256]
        float32.
    """
    ratios = 1.0 + scale.double()
    # Setting one element to a constant would copy it from the host in a captured step.
    start = torch.full_like(ratios, MIN_DIAGONAL_PX)
    if scale.device.type == "cpu":
        powers = torch.cat((start[:, None], ratios[:, None].expand(-1, N_SYMBOLS - 1)), dim=1).cumprod(dim=1)
    else:
        # A GPU's cumulative product multiplies in another order, which can change a last bit.
        columns = [start]
        for _ in range(N_SYMBOLS - 1):
            columns.append(columns[-1] * ratios)
        powers = torch.stack(columns, dim=1)
    return (powers.clamp_max(MAX_DIAGONAL_PX) - MIN_DIAGONAL_PX).float()


def decoded(symbols: Tensor, scale: Tensor) -> Tensor:
    """Dequantise symbols (a, b, s) to raw factors, as every decoder does. [N, 3] integers to [N, 3] float32."""
    tables = diagonal_tables(scale[:2])
    a, b, s = symbols.long().unbind(1)
    first, third = tables[0][a], tables[1][b]
    # Each product is rounded on its own.
    shear = ((s - SHEAR_ZERO).float() * scale[2]) * (third + MIN_DIAGONAL_PX)
    return torch.stack((first, shear, third), dim=1)
