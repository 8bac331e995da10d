"""All quantisers of one GoP, side by side with the values they quantise."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stgvcodec.model.deformation import FieldSpec
from stgvcodec.model.gop_model import FieldValues, GopSpec, GopValues
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.quant import AffineQuantizer, HalfFloatQuantizer, ResidualVectorQuantizer, SymmetricQuantizer


@dataclass(frozen=True)
class QuantizerConfig:
    """Sizes of the quantisers of profile `paper`.

    Attributes:
        cholesky_bits: Bits of a code.
        color_stages: Stages of the colours' residual vector quantiser.
        color_codebook_size: Codewords of each stage.
        weight_bits: Bits of a code of hash tables and MLP.
        seed: Of the k-means.
    """

    cholesky_bits: int
    color_stages: int
    color_codebook_size: int
    weight_bits: int
    seed: int


class TensorSymbols(NamedTuple):
    """What is transmitted of one tensor of the field.

    Attributes:
        codes: Shape of the tensor, int8.
        scales: Step of each of its groups: the levels of a table, or all of an MLP tensor. [G] float32.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]


class FieldQuantizer(nn.Module):
    """One symmetric quantiser for a field's tables, level by level, and the tensors of its MLP, all as one flat vector.

    Attributes:
        flat: The quantiser. Tensors whose size has the larger power of two in it come first, so that each still starts
            where its own size lets vectors be loaded.
    """

    def __init__(self, spec: FieldSpec, *, bits: int, backend: str = "auto") -> None:
        """Make the quantiser for fields of these dimensions."""
        super().__init__()
        grids = (spec.static_grid, spec.dynamic_grid)
        self._shapes: list[tuple[int, ...]] = [
            *((grid.n_entries, grid.n_features_per_level) for grid in grids),
            *spec.weight_shapes,
        ]
        groups = [
            *(tuple(entries * grid.n_features_per_level for entries in grid.level_entries) for grid in grids),
            *((math.prod(shape),) for shape in spec.weight_shapes),
        ]
        sizes = [math.prod(shape) for shape in self._shapes]
        self._order = sorted(range(len(sizes)), key=lambda i: -(sizes[i] & -sizes[i]))
        self._sizes = [sizes[i] for i in self._order]
        self._n_groups = [len(groups[i]) for i in self._order]
        self.flat = SymmetricQuantizer([size for i in self._order for size in groups[i]], bits=bits, backend=backend)

    def initialize(self, values: FieldValues) -> None:
        """Fit the scales to the present values."""
        self.flat.initialize(self._flattened(values).detach())

    def forward(self, values: FieldValues) -> FieldValues:
        """The field that a decoder will have; its tensors are views of one."""
        static_table, dynamic_table, *weights = self._tensors(self.flat(self._flattened(values)).split(self._sizes))
        return FieldValues(static_table, dynamic_table, FieldWeights(*weights))

    def symbols(self, values: FieldValues) -> list[TensorSymbols]:
        """What is transmitted of the static table, the dynamic table and the MLP's tensors, in this order."""
        codes = np.split(self.flat.symbols(self._flattened(values)), np.cumsum(self._sizes)[:-1])
        scales = np.split(self.flat.side()["scales"], np.cumsum(self._n_groups)[:-1])
        at = {i: position for position, i in enumerate(self._order)}
        return [TensorSymbols(codes[at[i]].reshape(shape), scales[at[i]]) for i, shape in enumerate(self._shapes)]

    def _flattened(self, values: FieldValues) -> Tensor:
        tensors = (values.static_table, values.dynamic_table, *values.weights)
        return torch.cat([tensors[i].reshape(-1) for i in self._order])

    def _tensors(self, parts: Collection[Tensor]) -> list[Tensor]:
        ordered = sorted(zip(self._order, parts, strict=True), key=lambda item: item[0])
        return [part.view(shape) for (_, part), shape in zip(ordered, self._shapes, strict=True)]


class GopQuantizers(nn.Module):
    """The quantisers of profile `paper`.

    Attributes:
        means, cholesky, colors, field: One quantiser each.
    """

    def __init__(
        self, spec: GopSpec, config: QuantizerConfig, *, device: torch.device | str = "cpu", backend: str = "auto"
    ) -> None:
        """Make quantisers for GoPs of these dimensions; `initialize` fits each to its data.

        Args:
            spec: Dimensions; the number of Gaussians may change later.
            config: Sizes.
            device: Where the values live.
            backend: Of the operators.
        """
        super().__init__()
        self._seed = config.seed
        self.means = HalfFloatQuantizer(backend=backend)
        self.cholesky = AffineQuantizer(bits=config.cholesky_bits, backend=backend)
        self.colors = ResidualVectorQuantizer(
            n_stages=config.color_stages, codebook_size=config.color_codebook_size, backend=backend
        )
        self.field = FieldQuantizer(spec.field, bits=config.weight_bits, backend=backend)
        self.to(device)

    def initialize(self, stream: str, values: GopValues) -> None:
        """Fit one stream's quantiser (out of `QUANTIZED_STREAMS`) to the present values; it may wait for the device."""
        if stream == "cholesky":
            self.cholesky.initialize(values.cholesky.detach())
        elif stream == "colors":
            self.colors.initialize(values.colors.detach(), seed=self._seed)
        elif stream == "field":
            self.field.initialize(values.field)

    def all_steps(self) -> list[Tensor]:
        """Trainable scales and offsets of all streams. Those of a stream that is not quantised get no gradient."""
        return list(self.parameters())

    def quantize(self, values: GopValues, enabled: Collection[str]) -> tuple[GopValues, Tensor | None]:
        """Replace the enabled streams by what the decoder will have, without waiting for the device.

        Returns:
            The values, and the commitment loss of the colours (None while they are not quantised).
        """
        commitment = None
        means, cholesky, colors, field = values
        if "means" in enabled:
            means = self.means(means)
        if "cholesky" in enabled:
            cholesky = self.cholesky(cholesky)
        if "colors" in enabled:
            colors, commitment = self.colors(colors)
        if "field" in enabled:
            field = self.field(field)
        return GopValues(means, cholesky, colors, field), commitment

    def update(self, values: GopValues, enabled: Collection[str]) -> None:
        """Move what moves by averages (the colour codebooks), after each optimiser step; it waits for nothing."""
        if "colors" in enabled:
            self.colors.update(values.colors.detach())

    def restart_unused(self, values: GopValues) -> int:
        """Give colour codewords that are hardly ever chosen something to do; it waits for the device.

        Returns:
            How many codewords moved.
        """
        return self.colors.restart_unused(values.colors.detach())
