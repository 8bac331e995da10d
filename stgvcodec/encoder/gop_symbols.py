"""Turns a trained model into the symbols of its payload."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from stgvcodec.bitstream.payload.head import SHAPE_BITS, GopHeader
from stgvcodec.bitstream.payload.pack import pack_gop
from stgvcodec.bitstream.payload.symbols import GopSymbols
from stgvcodec.fit.quantizers import GopQuantizers, QuantizerConfig, check_transmittable
from stgvcodec.fit.trainer import GopTrainer
from stgvcodec.model.gop_model import GopModel, GopSpec
from stgvcodec.quant import GridQuantizer, ResidualVectorQuantizer
from stgvcodec.quant.half_float import ordered_patterns

_NONE = np.zeros(0, np.float32)


@dataclass(frozen=True, eq=False)
class PackedGop:
    """A GoP as its symbols and as the payload that they make.

    Attributes:
        symbols: The integers that are transmitted.
        payload: What `pack_gop` makes of them.
    """

    symbols: GopSymbols
    payload: bytes

    @classmethod
    def of(cls, trainer: GopTrainer) -> PackedGop:
        """Pack the model of a trainer as it is now, through quantisers as `gop_symbols` finds them."""
        symbols = gop_symbols(trainer)
        return cls(symbols, pack_gop(symbols))

    @property
    def n_bytes(self) -> int:
        """Size of the payload."""
        return len(self.payload)

    def with_gaussians(self, kept: npt.NDArray[np.int64]) -> PackedGop:
        """Pack the same GoP with some of its Gaussians only: those at the indices `kept`."""
        symbols = dataclasses.replace(
            self.symbols,
            header=dataclasses.replace(self.symbols.header, n_gaussians=len(kept)),
            points=self.symbols.points[kept],
            shapes=self.symbols.shapes[kept],
            colors=self.symbols.colors[kept],
        )
        return PackedGop(symbols, pack_gop(symbols))

    def bytes_per_gaussian(self) -> float:
        """What a Gaussian costs, from what the payload loses without every other one."""
        n = self.symbols.header.n_gaussians
        kept = np.arange(0, n, 2)
        if len(kept) == n:
            return float(self.n_bytes)
        return max((self.n_bytes - self.with_gaussians(kept).n_bytes) / (n - len(kept)), 0.5)


def gop_symbols(trainer: GopTrainer) -> GopSymbols:
    """Return the symbols to transmit. A stream whose quantiser is not yet in use gets one fitted to it now."""
    trainer.fit_quantizers()
    return symbols_of(trainer.model, trainer.spec, trainer.quantizers)


def symbols_of(model: GopModel, spec: GopSpec, quantizers: GopQuantizers) -> GopSymbols:
    """Return the symbols of a model by quantisers that are all fitted."""
    with torch.no_grad():
        parameters = model.gop_parameters()
        header = header_of(spec, quantizers.config)
        static_table, dynamic_table, *mlp = quantizers.field.symbols(parameters.field)
        field: dict[str, Any] = {
            "static_table": static_table.symbols,
            "dynamic_table": dynamic_table.symbols,
            "mlp": tuple(tensor.symbols for tensor in mlp),
            "static_scales": static_table.scales,
            "dynamic_scales": dynamic_table.scales,
            "mlp_scales": np.concatenate([tensor.scales for tensor in mlp]),
        }
        means, colors = quantizers.means, quantizers.colors
        points = means.symbols(parameters.means)
        point_side, shape_side = means.side(), quantizers.cholesky.side()
        has_codebooks = isinstance(colors, ResidualVectorQuantizer)
        color_side: dict[str, Any] = colors.side()
        return GopSymbols(
            header=header,
            points=points if isinstance(means, GridQuantizer) else ordered_patterns(points),
            shapes=quantizers.cholesky.symbols(parameters.cholesky),
            colors=colors.symbols(parameters.colors),
            codebooks=color_side["codebooks"] if has_codebooks else np.zeros((0, 0, 3), np.uint16),
            point_scale=point_side.get("scale", _NONE),
            point_offset=point_side.get("offset", _NONE),
            shape_scale=shape_side["scale"],
            shape_offset=shape_side.get("offset", _NONE),
            color_scale=color_side.get("scale", _NONE),
            **field,
        )


def header_of(spec: GopSpec, quantizers: QuantizerConfig) -> GopHeader:
    """Return the header of a GoP of these dimensions whose parameters went through these quantisers.

    Raises:
        ConfigError: the bitstream has no place for the field's encoding.
    """
    field = spec.field
    check_transmittable(field.encoding)
    static, dynamic = field.static_grid, field.dynamic_grid
    has_stages = quantizers.colors == "rvq"
    return GopHeader(
        n_frames=spec.n_frames,
        n_gaussians=spec.n_gaussians,
        low_pass=spec.low_pass,
        point_mode=int(quantizers.points == "grid"),
        shape_mode=int(quantizers.shapes == "log-shear"),
        color_mode=int(quantizers.colors == "ycocg"),
        cholesky_bits=quantizers.cholesky_bits if quantizers.shapes == "cholesky" else SHAPE_BITS,
        color_stages=quantizers.color_stages if has_stages else 1,
        color_codebook_size=quantizers.color_codebook_size if has_stages else 1,
        static_resolutions=tuple((x, y) for x, y in static.resolutions),
        static_features=static.n_features_per_level,
        static_log2_size=static.log2_hashmap_size,
        dynamic_resolutions=tuple((x, y, t) for x, y, t in dynamic.resolutions),
        dynamic_features=dynamic.n_features_per_level,
        dynamic_log2_size=dynamic.log2_hashmap_size,
        mlp_width=field.mlp_width,
        n_frequencies=field.n_frequencies,
        shape_head=int(field.has_shape_head),
        weight_bits=quantizers.weight_bits,
    )
