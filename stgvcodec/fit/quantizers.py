"""All quantisers of one GoP, side by side with the parameters they quantise."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stgvcodec.bitstream.payload.contexts import color_symbols, shape_symbols
from stgvcodec.errors import ConfigError
from stgvcodec.fit.phases import QUANTIZED_STREAMS
from stgvcodec.fit.rate_model import (
    Attribute,
    RateModel,
    Segmented,
    attributes_of,
    point_set_bits,
)
from stgvcodec.model.deformation import Encoding, FieldSpec
from stgvcodec.model.gaussians import bounded_cholesky
from stgvcodec.model.gop_model import FieldParameters, GopParameters, GopSpec
from stgvcodec.ops.code_length import CodeLengths
from stgvcodec.ops.dequantize import COLORS_YCOCG, SHAPES_AFFINE, SHAPES_LOG
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.quant import (
    AffineQuantizer,
    GridQuantizer,
    HalfFloatQuantizer,
    LogShearQuantizer,
    ResidualVectorQuantizer,
    SymmetricQuantizer,
    YcocgQuantizer,
)

COMMITMENT_WEIGHT = 0.1
"""Weight of the colours' commitment loss, Eq. (13)."""
# A payload's header, and each of its scales, take about this many bytes.
_HEADER_BYTES = 100.0
_SCALE_BYTES = 2.5


@dataclass(frozen=True)
class QuantizerConfig:
    """Kinds and sizes of the quantisers. The defaults are those of profile `paper`.

    Attributes:
        points: Kind of the means: "half" floats, or a "grid".
        shapes: Kind of the covariances: "cholesky" factors in pixels, or "log-shear" (log scales and shear).
        colors: Kind of the colours: residual vector quantisation ("rvq"), or scalar steps ("ycocg").
        cholesky_bits: Bits of a Cholesky symbol.
        color_stages: Stages of the colours' residual vector quantiser.
        color_codebook_size: Codewords of each stage.
        weight_bits: Bits of a symbol of hash tables and MLP.
        initial_weight_bits: Bits for which the first scales of hash tables and MLP are chosen.
        grid_cell: Width of a grid cell, in median standard deviations of the Gaussians.
        shape_step: First steps of log-shear symbols.
        color_step: First step of luma for "ycocg", in units of [0, 1] colour.
        relative_lmbda: Weight of the rate in the loss, as a ratio of relative changes: one per cent of the bits is held
            to be worth this many per cent of the squared error. 0 leaves the rate out of the loss.
        seed: Seed of the k-means.
    """

    points: Literal["half", "grid"] = "half"
    shapes: Literal["cholesky", "log-shear"] = "cholesky"
    colors: Literal["rvq", "ycocg"] = "rvq"
    cholesky_bits: int = 8
    color_stages: int = 2
    color_codebook_size: int = 8
    weight_bits: int = 8
    initial_weight_bits: int = 8
    grid_cell: float = 0.07
    shape_step: float = 0.045
    color_step: float = 0.0075
    relative_lmbda: float = 0.0
    seed: int = 0


class EstimatedBits(NamedTuple):
    """Bits that the rate model expects of a payload.

    Attributes:
        total: All bits. Scalar float32, on the device.
        points: Those of the Gaussians' places. Scalar float32, on the device.
        attributes: Those of the Gaussians' shapes and colours, without the models of these. Scalar float32, on the
            device.
    """

    total: Tensor
    points: Tensor
    attributes: Tensor


class TensorSymbols(NamedTuple):
    """Symbols and scales that are transmitted for one tensor of the field.

    Attributes:
        symbols: Symbols of the tensor's elements, in its shape. int8.
        scales: Step of each group; every level of a table is a group, and every tensor of the MLP. [G] float32.
    """

    symbols: NDArray[np.int8]
    scales: NDArray[np.float32]


def check_transmittable(encoding: Encoding) -> None:
    """Refuse fields that the bitstream has no place for.

    Raises:
        ConfigError: the encoding is not "spatio-temporal".
    """
    if encoding != "spatio-temporal":
        raise ConfigError(
            f"a field of encoding '{encoding}' cannot be quantised or packed: the bitstream has 'spatio-temporal' "
            "only; fit it in float, with make_trainer and phases without quantisers"
        )


class FieldQuantizer(nn.Module):
    """One symmetric quantiser for a field's tables, level by level, and the tensors of its MLP, all as one flat vector.

    Attributes:
        flat: Quantiser of the flat vector. Tensors whose size has the larger power of two as a factor come first, so
            that each starts at a multiple of its own power of two, from where vectors can be loaded.
    """

    def __init__(self, spec: FieldSpec, *, bits: int, initial_bits: int, backend: str = "auto") -> None:
        """Make the quantiser for fields of these dimensions; see `SymmetricQuantizer` for the bits."""
        super().__init__()
        grids = (spec.static_grid, spec.dynamic_grid)
        self._shapes: list[tuple[int, ...]] = [
            *((grid.n_entries, grid.n_features_per_level) for grid in grids),
            *spec.weight_shapes,
        ]
        groups = [
            *(tuple(entries * grid.n_features_per_level for entries in grid.level_entries) for grid in grids),
            # A tensor of a head that is not there has no group.
            *((math.prod(shape),) if math.prod(shape) else () for shape in spec.weight_shapes),
        ]
        sizes = [math.prod(shape) for shape in self._shapes]
        self._order = sorted(range(len(sizes)), key=lambda i: -(sizes[i] & -sizes[i]))
        self._sizes = [sizes[i] for i in self._order]
        self._n_groups = [len(groups[i]) for i in self._order]
        self.flat = SymmetricQuantizer(
            [size for i in self._order for size in groups[i]], bits=bits, initial_bits=initial_bits, backend=backend
        )

    def initialize(self, parameters: FieldParameters) -> None:
        """Fit the scales to the present parameters."""
        self.flat.initialize(self._flattened(parameters).detach())

    def forward(self, parameters: FieldParameters) -> FieldParameters:
        """Return the field that a decoder will have; its tensors are views of one vector."""
        return self._field(self.flat(self._flattened(parameters)))

    def rated(self, parameters: FieldParameters, tables: Tensor) -> tuple[FieldParameters, Tensor]:
        """Return the decoder's field, and partial sums of its bits under a table for each group.

        `SymmetricQuantizer.rated` describes the tables and the bits.
        """
        flat, bits = self.flat.rated(self._flattened(parameters), tables)
        return self._field(flat), bits

    @property
    def n_groups(self) -> int:
        """Number of groups: the levels of both tables and the tensors of the MLP."""
        return self.flat.gain.numel()

    def segmented(self, parameters: FieldParameters) -> Segmented:
        """Return the symbols as they are now; each level and each tensor of the MLP has a model of its own."""
        symbols = self.flat.symbol_tensor(self._flattened(parameters)).long() + (self.flat.max_symbol + 1)
        return Segmented(symbols, self.flat.group_of, self.n_groups)

    def symbols(self, parameters: FieldParameters) -> list[TensorSymbols]:
        """Return what is transmitted for the static table, the dynamic table and the MLP's tensors, in this order."""
        symbols = np.split(self.flat.symbols(self._flattened(parameters)), np.cumsum(self._sizes)[:-1])
        scales = np.split(self.flat.side()["scales"], np.cumsum(self._n_groups)[:-1])
        at = {i: position for position, i in enumerate(self._order)}
        return [TensorSymbols(symbols[at[i]].reshape(shape), scales[at[i]]) for i, shape in enumerate(self._shapes)]

    def _flattened(self, parameters: FieldParameters) -> Tensor:
        tensors = (parameters.static_table, parameters.dynamic_table, *parameters.weights)
        return torch.cat([tensors[i].reshape(-1) for i in self._order])

    def _field(self, flat: Tensor) -> FieldParameters:
        ordered = sorted(zip(self._order, torch.split(flat, self._sizes), strict=True), key=lambda item: item[0])
        tensors = [part.view(shape) for (_, part), shape in zip(ordered, self._shapes, strict=True)]
        static_table, dynamic_table, *weights = tensors
        return FieldParameters(static_table, dynamic_table, FieldWeights(*weights))


class GopQuantizers(nn.Module):
    """The quantisers of a GoP, and the rate model of their symbols.

    Attributes:
        config: Kinds and sizes of the quantisers.
        means, cholesky, colors, field: Quantiser of each stream.
        rate: Rate model of the symbols.
        lmbda: Weight of a bit of the GoP in the loss, as squared error. Scalar float32.
    """

    lmbda: Tensor

    def __init__(
        self, spec: GopSpec, config: QuantizerConfig, *, device: torch.device | str = "cpu", backend: str = "auto"
    ) -> None:
        """Make quantisers for GoPs of these dimensions; `initialize` fits each to its data.

        Args:
            spec: Dimensions of the GoPs; the number of Gaussians may change later.
            config: Kinds and sizes of the quantisers.
            device: Device of the parameters.
            backend: Back end of the operators.
        """
        super().__init__()
        self.config = config
        self.field = FieldQuantizer(
            spec.field, bits=config.weight_bits, initial_bits=config.initial_weight_bits, backend=backend
        )
        self.rate = RateModel(backend=backend)
        self.register_buffer("lmbda", torch.zeros(()))
        self._point_bits: Tensor
        self.register_buffer("_point_bits", torch.zeros(()))
        self._size = (spec.width, spec.height)
        self._encoding = spec.field.encoding
        self.means: HalfFloatQuantizer | GridQuantizer
        self.cholesky: AffineQuantizer | LogShearQuantizer
        self.colors: ResidualVectorQuantizer | YcocgQuantizer
        self.means = HalfFloatQuantizer(backend=backend) if config.points == "half" else GridQuantizer(backend=backend)
        self.cholesky = (
            AffineQuantizer(bits=config.cholesky_bits, backend=backend)
            if config.shapes == "cholesky"
            else LogShearQuantizer(initial_step=config.shape_step, backend=backend)
        )
        self.colors = (
            ResidualVectorQuantizer(
                n_stages=config.color_stages, codebook_size=config.color_codebook_size, backend=backend
            )
            if config.colors == "rvq"
            else YcocgQuantizer(initial_step=config.color_step, backend=backend)
        )
        self.to(device)

    def initialize(self, stream: str, parameters: GopParameters) -> None:
        """Fit the quantiser of one stream, out of `QUANTIZED_STREAMS`, to the present parameters.

        The call may wait for the device.

        Raises:
            ConfigError: the stream is "field", and the field's encoding is not one that the bitstream has.
        """
        if stream == "means" and isinstance(self.means, GridQuantizer):
            diagonal = bounded_cholesky(parameters.cholesky.detach())[:, ::2]
            sigma_px = torch.exp(0.5 * torch.log(diagonal).sum(dim=1)).median()
            size = torch.tensor(self._size, dtype=torch.float32, device=sigma_px.device)
            self.means.initialize(parameters.means.detach(), 2.0 * self.config.grid_cell * sigma_px / size)
        elif stream == "cholesky":
            self.cholesky.initialize(parameters.cholesky.detach())
        elif stream == "colors" and isinstance(self.colors, ResidualVectorQuantizer):
            self.colors.initialize(parameters.colors.detach(), seed=self.config.seed)
        elif stream == "colors":
            self.colors.initialize(parameters.colors.detach())
        elif stream == "field":
            check_transmittable(self._encoding)
            self.field.initialize(parameters.field)

    def quantize(self, parameters: GopParameters, enabled: Collection[str]) -> tuple[GopParameters, Tensor | None]:
        """Replace the enabled streams by what the decoder will have, without waiting for the device.

        Returns:
            The parameters, and what is added to the error in the loss: the commitment loss of the colours, and the
            weighted bits if `rates` says so. None if there is neither.
        """
        rates = self.rates(enabled)
        penalty: Tensor | None = None
        means, cholesky, colors, field = parameters
        bits: list[Tensor] = []
        if "means" in enabled:
            means = self.means(means)
        if "cholesky" in enabled:
            if rates and isinstance(self.cholesky, LogShearQuantizer):
                cholesky, part = self.cholesky.rated(cholesky, self._shape_lengths())
                bits.append(part)
            else:
                cholesky = self.cholesky(cholesky)
        if "colors" in enabled:
            if isinstance(self.colors, ResidualVectorQuantizer):
                colors, commitment = self.colors(colors)
                penalty = COMMITMENT_WEIGHT * commitment
            elif rates:
                colors, part = self.colors.rated(colors, self._color_lengths())
                bits.append(part)
            else:
                colors = self.colors(colors)
        if "field" in enabled:
            if rates:
                field, part = self.field_bits(field)
                bits.append(part)
            else:
                field = self.field(field)
        if rates:
            rate = self.lmbda * self.rate.bits(bits)
            penalty = rate if penalty is None else penalty + rate
        return GopParameters(means, cholesky, colors, field), penalty

    @torch.no_grad()
    def refresh_rate(self, parameters: GopParameters) -> None:
        """Count the symbols anew, between steps and in place; all quantisers must be initialised."""
        attributes: list[Attribute] = []
        fixed = self.lmbda.new_full((), 8.0 * self._fixed_bytes())
        if isinstance(self.means, GridQuantizer):
            self._point_bits.copy_(point_set_bits(self.means.cells(parameters.means)))
            fixed = fixed + self._point_bits
        if isinstance(self.cholesky, LogShearQuantizer):
            shape_mode, symbols = SHAPES_LOG, {"shapes": self.cholesky.symbol_tensor(parameters.cholesky)}
            attributes += attributes_of(shape_symbols(shape_mode), symbols)
        else:
            factors = torch.from_numpy(self.cholesky.symbols(parameters.cholesky)).to(parameters.cholesky.device).long()
            shape_mode, symbols = SHAPES_AFFINE, {"shapes": factors}
        if isinstance(self.colors, YcocgQuantizer):
            symbols["colors"] = self.colors.symbol_tensor(parameters.colors)
            attributes += attributes_of(color_symbols(shape_mode, COLORS_YCOCG, 3), symbols)
        self.rate.refresh(attributes, self.field.segmented(parameters.field), fixed)

    @torch.no_grad()
    def estimated_bits(self, parameters: GopParameters) -> EstimatedBits:
        """Bits of all that `refresh_rate` counted, under its tables."""
        of_field = self.field_bits(parameters.field)[1]
        of_gaussians: list[Tensor] = []
        if isinstance(self.cholesky, LogShearQuantizer):
            of_gaussians.append(self.cholesky.rated(parameters.cholesky, self._shape_lengths())[1])
        if isinstance(self.colors, YcocgQuantizer):
            of_gaussians.append(self.colors.rated(parameters.colors, self._color_lengths())[1])
        attributes = torch.stack([self.lmbda.new_zeros(()), *(part.sum() for part in of_gaussians)]).sum()
        return EstimatedBits(self.rate.bits([of_field, *of_gaussians]), self._point_bits, attributes)

    def update(self, colors: Tensor, enabled: Collection[str]) -> None:
        """Move the colour codebooks, which are moving averages; called after each step, it waits for nothing."""
        if "colors" in enabled and isinstance(self.colors, ResidualVectorQuantizer):
            self.colors.update(colors.detach())

    def restart_unused(self, parameters: GopParameters, enabled: Collection[str]) -> None:
        """Move colour codewords that are hardly ever chosen to where colours need them; it waits for the device."""
        if "colors" in enabled and isinstance(self.colors, ResidualVectorQuantizer):
            self.colors.restart_unused(parameters.colors.detach())

    def step_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Return the learned steps, by the names of the groups in `schedule.STEP_GROUPS`."""
        return {
            "cholesky_steps": list(self.cholesky.parameters()),
            "color_steps": list(self.colors.parameters()),
            "field_steps": list(self.field.parameters()),
        }

    @contextmanager
    def finer_steps(self, factor: float, parameters: GopParameters) -> Iterator[None]:
        """Multiply the steps of the Gaussians' scalar quantisers for a while, within their limits.

        No step becomes so fine that parameters which it could reach lie beyond the last symbol. The field's steps, the
        grid of the points and the quantisers of profile `paper` do not change.

        Args:
            factor: Factor of the steps, at most 1.
            parameters: The parameters that are to stay in reach.
        """
        scalar: list[tuple[LogShearQuantizer | YcocgQuantizer, Tensor]] = []
        if isinstance(self.cholesky, LogShearQuantizer):
            scalar.append((self.cholesky, parameters.cholesky))
        if isinstance(self.colors, YcocgQuantizer):
            scalar.append((self.colors, parameters.colors))
        before = [quantizer.unit.clone() for quantizer, _ in scalar]
        try:
            for quantizer, values in scalar:
                quantizer.refine(factor, values.detach())
            yield
        finally:
            for (quantizer, _), unit in zip(scalar, before, strict=True):
                quantizer.unit.copy_(unit)

    def rates(self, enabled: Collection[str]) -> bool:
        """Tell whether bits are part of the loss: all streams are quantised, and their symbols have been counted."""
        return self.rate.is_ready and len(enabled) == len(QUANTIZED_STREAMS)

    def field_bits(self, parameters: FieldParameters) -> tuple[FieldParameters, Tensor]:
        """Return the field that a decoder will have, and partial sums of its bits under the rate model."""
        return self.field.rated(parameters, self.rate.of_groups(self.field.n_groups))

    def _fixed_bytes(self) -> float:
        """Approximate size of headers and side information, bytes."""
        return _HEADER_BYTES + _SCALE_BYTES * sum(step.numel() for step in self.parameters())

    def _shape_lengths(self) -> CodeLengths:
        return self.rate.of_attributes(0, 3)

    def _color_lengths(self) -> CodeLengths:
        return self.rate.of_attributes(3 if isinstance(self.cholesky, LogShearQuantizer) else 0, 3)
