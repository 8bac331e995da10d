"""What a decoder makes of one quantiser's symbols and side information, by the reference of the decoder's operator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stgvcodec import quant
from stgvcodec.ops.dequantize import reference
from stgvcodec.quant.half_float import ordered_patterns


def dequantized(quantizer: torch.nn.Module, x: Tensor) -> Tensor:
    """The decoder's values for `x`, on the CPU. Shape of `x`, float32."""
    symbols, side = quantizer.symbols(x), quantizer.side()
    match quantizer:
        case quant.HalfFloatQuantizer():
            values = reference.half_floats(ordered_patterns(symbols))
        case quant.AffineQuantizer() | quant.GridQuantizer():
            values = reference.affine(symbols, **side)
        case quant.LogShearQuantizer():
            values = reference.log_shear(symbols, **side)
        case quant.YcocgQuantizer():
            values = reference.ycocg(symbols, **side)
        case quant.ResidualVectorQuantizer():
            values = reference.residual_vq(symbols, **side)
        case quant.SymmetricQuantizer():
            ends = np.cumsum(quantizer.group_sizes or (symbols.size,))
            values = reference.symmetric(symbols, **side, ends=ends)
    return torch.from_numpy(values)
