"""Quantisers: parameters to integer symbols, and the values a decoder makes of them, one quantiser a file.

Profile `paper` has the quantisers of Lin et al. 2026 (arXiv 2604.10910), appendix A-C:

| stream | quantiser | symbols | side information |
|---|---|---|---|
| means | `half_float.HalfFloatQuantizer` | uint16 half bit patterns | none |
| Cholesky factors | `affine.AffineQuantizer`, Eq. (10) | uint8 | float32 scale and offset per component |
| colours | `residual_vq.ResidualVectorQuantizer`, Eqs. (11)-(12) | uint8 indices | codebooks as half bit patterns |
| hash tables, MLP | `symmetric.SymmetricQuantizer` | int8 | one float32 scale per group |

Profile `compact` replaces the quantisers of the Gaussians, and chooses coarser scales for the field:

| stream | quantiser | symbols | side information |
|---|---|---|---|
| means | `grid.GridQuantizer` | uint16 cells | float32 scale and offset per axis |
| covariances | `log_shear.LogShearQuantizer` | uint8 | float32 step per component |
| colours | `ycocg.YcocgQuantizer` | uint8 | float32 step per component |

The log-shear, the YCoCg and the symmetric quantiser have a second call, `rated`, which takes tables of code lengths and
returns the bits of the symbols beside the same values.

Each class is a `torch.nn.Module` that follows `Quantizer`, on top of `ops.half_round`, `ops.lsq`, `ops.residual_vq`,
`ops.log_shear` and `ops.ycocg`; the residual vector quantiser's forward also returns the commitment loss, its `update`
moves the codebooks and its `restart_unused` moves those codewords that nothing chooses. What a decoder makes of the
symbols and the side information is `ops.dequantize`.

Four rules hold for all quantisers:

- **One value.** `q(x)` is what `ops.dequantize` makes of `q.symbols(x)` and `q.side()`, bit for bit, on every device;
  a gradient never changes a value (no `x + (v - x).detach()`). A product and the sum after it are two float32
  roundings: a port that contracts them into a fused multiply-add decodes something else.
- **Always finite.** NaN counts as zero and infinities saturate, so that every input has symbols. Empty, constant and
  single-row inputs work.
- **Learned steps are relative.** `gain` (scale = unit * exp(gain)) and `shift` (offset = anchor + unit * shift) start
  at zero; `initialize` finds `unit` and `anchor` in the data. One learning rate thus means the same for every stream:
  1e-3 under Adam moves a scale by 0.1 % and an offset by a thousandth of a step per update.
- **Nothing waits in a training step.** Calling a quantiser, its backward pass and `update` leave everything on the
  device, so that a step can be one CUDA graph; buffers and parameters keep their addresses. `initialize`,
  `restart_unused`, `symbols` and `side` may wait.

The trainer decides which quantisers are on: it initialises and switches on the quantiser of one stream after another,
passes the other streams through unchanged, and logs what each switch costs in dB.
"""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from stgvcodec.quant import affine, grid, half_float, log_shear, residual_vq, symmetric, ycocg
from stgvcodec.quant.affine import AffineQuantizer
from stgvcodec.quant.grid import GridQuantizer
from stgvcodec.quant.half_float import HalfFloatQuantizer
from stgvcodec.quant.log_shear import LogShearQuantizer
from stgvcodec.quant.residual_vq import ResidualVectorQuantizer
from stgvcodec.quant.symmetric import SymmetricQuantizer
from stgvcodec.quant.ycocg import YcocgQuantizer

__all__ = [
    "AffineQuantizer",
    "GridQuantizer",
    "HalfFloatQuantizer",
    "LogShearQuantizer",
    "Quantizer",
    "ResidualVectorQuantizer",
    "SymmetricQuantizer",
    "YcocgQuantizer",
    "affine",
    "grid",
    "half_float",
    "log_shear",
    "residual_vq",
    "symmetric",
    "ycocg",
]


class Quantizer(Protocol):
    """The methods that every quantiser has beside its forward call."""

    def initialize(self, x: Tensor) -> None:
        """Choose scales, offsets or codebooks from the data, once, before the first forward."""
        ...

    def symbols(self, x: Tensor) -> NDArray[Any]:
        """Return the symbols to transmit for `x`, integers."""
        ...

    def side(self) -> dict[str, NDArray[Any]]:
        """Return the side information as transmitted, by name: scales and offsets, or codebooks."""
        ...
