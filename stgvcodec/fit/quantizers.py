"""All quantisers of one GoP, side by side with the values they quantise."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor, nn

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


class GopQuantizers(nn.Module):
    """The quantisers of profile `paper`.

    Attributes:
        means, cholesky, colors, static_table, dynamic_table: One quantiser each.
    """

    def __init__(self, values: GopValues, spec: GopSpec, config: QuantizerConfig) -> None:
        """Make quantisers for values of these dimensions; `initialize` fits each to its data."""
        super().__init__()
        self._seed = config.seed
        self.means = HalfFloatQuantizer()
        self.cholesky = AffineQuantizer(bits=config.cholesky_bits)
        self.colors = ResidualVectorQuantizer(n_stages=config.color_stages, codebook_size=config.color_codebook_size)
        field, bits = spec.field, config.weight_bits
        self.static_table = SymmetricQuantizer(field.static_grid.level_entries, bits=bits)
        self.dynamic_table = SymmetricQuantizer(field.dynamic_grid.level_entries, bits=bits)
        self.mlp = nn.ModuleList(SymmetricQuantizer(bits=bits) for _ in field.weight_shapes)
        self.to(values.means.device)

    @property
    def weights(self) -> list[SymmetricQuantizer]:
        """One quantiser for each of the MLP's tensors."""
        return [quantizer for quantizer in self.mlp if isinstance(quantizer, SymmetricQuantizer)]

    def initialize(self, stream: str, values: GopValues) -> None:
        """Fit one stream's quantiser (out of `QUANTIZED_STREAMS`) to the present values."""
        if stream == "cholesky":
            self.cholesky.initialize(values.cholesky.detach())
        elif stream == "colors":
            self.colors.initialize(values.colors.detach(), seed=self._seed)
        elif stream == "field":
            self.static_table.initialize(values.field.static_table.detach())
            self.dynamic_table.initialize(values.field.dynamic_table.detach())
            for quantizer, tensor in zip(self.weights, values.field.weights, strict=True):
                quantizer.initialize(tensor.detach())

    def learned_steps(self, enabled: Collection[str]) -> list[Tensor]:
        """Trainable scales and offsets of the enabled streams, in the order in which they were enabled."""
        field = [self.static_table, self.dynamic_table, self.mlp]
        modules: dict[str, list[nn.Module]] = {"cholesky": [self.cholesky], "field": field}
        return [p for stream in enabled for module in modules.get(stream, []) for p in module.parameters()]

    def quantize(self, values: GopValues, enabled: Collection[str]) -> tuple[GopValues, Tensor | None]:
        """Replace the enabled streams by what the decoder will have.

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
            weights = (quantizer(tensor) for quantizer, tensor in zip(self.weights, field.weights, strict=True))
            field = FieldValues(
                self.static_table(field.static_table), self.dynamic_table(field.dynamic_table), FieldWeights(*weights)
            )
        return GopValues(means, cholesky, colors, field), commitment

    def update(self, values: GopValues, enabled: Collection[str]) -> None:
        """Move what moves by averages (the colour codebooks); called after each optimiser step."""
        if "colors" in enabled:
            self.colors.update(values.colors.detach())
