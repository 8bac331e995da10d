"""The quantisers of a predicted GoP: its Gaussians as what they add to those of the frame before, its field as ever."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from stgvcodec.fit.quantizers import QuantizerConfig, RatedQuantizers
from stgvcodec.fit.rate_model import Attribute
from stgvcodec.model.gop_model import GopSpec, GopValues
from stgvcodec.quant import Gaussians, ResidualQuantizer
from stgvcodec.quant.residual import MIN_RESIDUAL, N_RESIDUALS

# The residuals whose magnitudes, added up, decide the class of each. bitstream_spec.md section 17.
_SOURCES: tuple[tuple[int, ...], ...] = ((), (0,), (0, 1), (2,), (2, 3), (0, 1), (5,), (6,))


class PredictedQuantizers(RatedQuantizers):
    """One quantiser for the Gaussians, whose streams are switched on together, and one for the field.

    Attributes:
        residuals: That of the Gaussians.
    """

    def __init__(
        self, spec: GopSpec, config: QuantizerConfig, residuals: ResidualQuantizer, *, backend: str = "auto"
    ) -> None:
        """Take the quantiser of the residuals, which knows what the Gaussians are predicted from.

        Args:
            spec: Dimensions.
            config: Whose sizes of the field's quantiser and elasticity count.
            residuals: On the device where the values live.
            backend: Of the operators.
        """
        super().__init__(spec, config, backend=backend)
        self.residuals = residuals
        self.to(residuals.point_scale.device)

    def initialize(self, stream: str, values: GopValues) -> None:
        """See `RatedQuantizers`; the steps of residuals are what they are from the beginning."""
        if stream == "field":
            self.field.initialize(values.field)

    def quantize(self, values: GopValues, enabled: Collection[str]) -> tuple[GopValues, Tensor | None]:
        """See `RatedQuantizers`; the Gaussians are quantised with the first of their streams."""
        gaussians, field = Gaussians(*values[:3]), values.field
        if self.rates(enabled):
            gaussians, residual_bits = self.residuals.rated(gaussians, self.rate.of_attributes(0, N_RESIDUALS))
            field, field_bits = self.field_bits(field)
            return GopValues(*gaussians, field), self.rate_weight * self.rate.bits([residual_bits, field_bits])
        if any(stream != "field" for stream in enabled):
            gaussians = self.residuals(gaussians)
        if "field" in enabled:
            field = self.field(field)
        return GopValues(*gaussians, field), None

    @torch.no_grad()
    def refresh_rate(self, values: GopValues) -> None:
        """See `RatedQuantizers`."""
        codes = self.residuals.codes(Gaussians(*values[:3])).t()
        # As they are transmitted: small where the residual is near 0.
        magnitudes = torch.where(codes < 0, -2 * codes - 1, 2 * codes)
        attributes = [
            Attribute(own - MIN_RESIDUAL, magnitudes[list(sources)].sum(dim=0) if sources else None)
            for own, sources in zip(codes, _SOURCES, strict=True)
        ]
        fixed = self.rate_weight.new_full((), 8.0 * self._fixed_bytes())
        self.rate.refresh(attributes, self.field.segmented(values.field), fixed)

    @torch.no_grad()
    def estimated_bits(self, values: GopValues) -> Tensor:
        """See `RatedQuantizers`."""
        _, bits = self.residuals.rated(Gaussians(*values[:3]), self.rate.of_attributes(0, N_RESIDUALS))
        return self.rate.bits([bits, self.field_bits(values.field)[1]])

    def step_parameters(self) -> dict[str, list[nn.Parameter]]:
        """See `RatedQuantizers`."""
        return {
            "cholesky_steps": [self.residuals.shape_gain],
            "color_steps": [self.residuals.color_gain],
            "field_steps": list(self.field.parameters()),
        }

    def scale_steps(self, factor: float) -> None:
        """See `RatedQuantizers`."""
        self.residuals.scale_steps(factor)
