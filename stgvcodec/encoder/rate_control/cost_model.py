"""Tables, one for each profile, of what models cost and reach, and the dimensions that a number of bytes pays for.

The constants are starting points, fitted by `benchmarks/cost_model.py`: the number of Gaussians is corrected within
each fit, and the bytes that a GoP left and the quality that it reached go into the plans of the GoPs after it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.encoder.model_size import field_spec
from stgvcodec.encoder.presets import FIELD_SIZES, FieldSize
from stgvcodec.encoder.rate_control.quality_model import QualityModel

# Fits start with this many times the Gaussians that the budget pays for: dropping the least important ones costs less
# than splitting some.
SURPLUS = 1.06
# Fewest Gaussians that a GoP is planned with.
MIN_GAUSSIANS = 16
# No GoP is planned with more Gaussians for each pixel than this, whatever is asked for.
MOST_PER_PIXEL = 3
# Most bits that a parameter of the field can take, and the factor by which Gaussians may cost more than the table says.
_WORST_BITS_PER_FIELD_PARAMETER = 8.2
_WORST_GAUSSIAN_RATIO = 1.25
# Measures of content below this count as this.
_LEAST_MEASURE = 1e-3


@dataclass(frozen=True)
class GopLengthModel:
    """Model of the best length of a GoP, fitted to finished fits.

    It is `frames * (0.1 / bpp)^bpp * (0.3 / change)^change * (texture / 6.5)^texture`: more bits, more change and less
    texture, which leaves the error of motion alone to be seen, ask for shorter GoPs.

    Attributes:
        frames: Frames of a GoP at 0.1 bits a pixel, a change of 0.3 and a texture of 6.5 levels.
        bpp: Exponent of the rate.
        change: Exponent of `Content.change`.
        texture: Exponent of `Content.texture`.
        shortest: Fewest frames that content leads to: with fewer, Gaussians and a field are paid for too often.
        longest: Most frames of a GoP.
    """

    frames: float
    bpp: float
    change: float
    texture: float
    shortest: int = 8
    longest: int = 64

    def wanted(self, bpp: float, change: float, texture: float) -> float:
        """Return the best length, frames, at `bpp` bits a pixel and frame, within the limits."""
        logarithm = (
            self.bpp * math.log(0.1 / bpp)
            + self.change * math.log(0.3 / max(change, _LEAST_MEASURE))
            + self.texture * math.log(max(texture, _LEAST_MEASURE) / 6.5)
        )
        return min(max(self.frames * math.exp(logarithm), float(self.shortest)), float(self.longest))


@dataclass(frozen=True)
class CostModel:
    """Costs of a profile's models.

    Attributes:
        bits_per_gaussian: Bits of a Gaussian, but for those that `bits_per_color_bit` counts.
        bits_per_color_bit: Bits that each bit of a Gaussian's colour indices costs.
        bits_per_field_parameter: Bits of each parameter of the deformation field.
        bytes_per_codeword: Bytes of each codeword of the colours' codebooks.
        gop_overhead_bytes: Header, lengths, scales and tables of a payload.
        field_share: Largest share of a GoP's bits that the field may take.
        gop_length: Model of the best length of a GoP.
        quality: Model of the PSNR to expect with preset "medium".
    """

    bits_per_gaussian: float
    bits_per_color_bit: float
    bits_per_field_parameter: float
    bytes_per_codeword: float
    gop_overhead_bytes: float
    field_share: float
    gop_length: GopLengthModel
    quality: QualityModel


_GOP_LENGTH = GopLengthModel(frames=20.0, bpp=0.5, change=0.6, texture=1.2)
# It was fitted to 300 GoPs of profile compact, presets medium and slow, at two sizes; it is 1.2 dB off (rms).
_QUALITY = QualityModel(base=33.4, slope=2.2, change=2.0, texture=4.0)
# Profile paper needs about twice the bits and a half for the same quality.
_QUALITY_OF_PAPER = replace(_QUALITY, base=_QUALITY.base - 2.9)

COST_MODELS: Mapping[str, CostModel] = MappingProxyType(
    {
        "paper": CostModel(
            bits_per_gaussian=31.0,
            bits_per_color_bit=0.93,
            bits_per_field_parameter=7.2,
            bytes_per_codeword=6,
            gop_overhead_bytes=160,
            field_share=0.38,
            gop_length=_GOP_LENGTH,
            quality=_QUALITY_OF_PAPER,
        ),
        "compact": CostModel(
            bits_per_gaussian=34.0,
            bits_per_color_bit=0.0,
            bits_per_field_parameter=4.0,
            bytes_per_codeword=0,
            gop_overhead_bytes=90,
            field_share=0.3,
            gop_length=_GOP_LENGTH,
            quality=_QUALITY,
        ),
    }
)
"""Cost model of each profile, by its name."""


class GopCosts:
    """A profile's costs for one video and one choice of colour codebooks, corrected by what GoPs really cost.

    Args:
        model: Cost model of the profile.
        n_pixels: Pixels of a frame.
        color_stages: Stages of the colours' vector quantiser.
        color_codebook_size: Codewords of each stage.
        has_shape_head: Whether the profile's fields change shapes.
    """

    def __init__(
        self,
        model: CostModel,
        *,
        n_pixels: int,
        color_stages: int,
        color_codebook_size: int,
        has_shape_head: bool,
    ) -> None:
        self.model = model
        self._has_shape_head = has_shape_head
        self.n_pixels = n_pixels
        self.bits_per_gaussian = model.bits_per_gaussian + model.bits_per_color_bit * color_stages * math.log2(
            color_codebook_size
        )
        self.overhead_bytes = model.gop_overhead_bytes + model.bytes_per_codeword * color_stages * color_codebook_size
        self._ratio = 1.0

    def dimensions(self, payload_bytes: float, n_frames: int) -> tuple[FieldSize, int]:
        """Return the largest field that leaves the Gaussians their share, and how many Gaussians the rest pays for."""
        available = 8.0 * (payload_bytes - self.overhead_bytes)
        for size in FIELD_SIZES:
            field_bits = self._field_bits(size, n_frames)
            if field_bits <= self.model.field_share * available:
                break
        n_gaussians = (available - field_bits) / (self.bits_per_gaussian * self._ratio)
        return size, min(max(math.floor(n_gaussians), 1), self.most_gaussians)

    def update(self, payload_bytes: int, field: FieldSize, n_gaussians: int, n_frames: int) -> None:
        """Learn from a payload what Gaussians cost in this video."""
        bits = 8.0 * (payload_bytes - self.overhead_bytes) - self._field_bits(field, n_frames)
        if n_gaussians >= MIN_GAUSSIANS and bits > 0.0:
            ratio = bits / (n_gaussians * self.bits_per_gaussian)
            self._ratio = 0.5 * (self._ratio + min(max(ratio, 0.4), 2.5))

    def minimum_bytes(self, n_frames: int) -> int:
        """Return the bytes that the smallest model of a GoP does not exceed, at the worst that its symbols can cost."""
        field_bits = _WORST_BITS_PER_FIELD_PARAMETER * self.n_field_parameters(FIELD_SIZES[-1], n_frames)
        gaussian_bits = _WORST_GAUSSIAN_RATIO * MIN_GAUSSIANS * self.bits_per_gaussian
        return math.ceil((field_bits + gaussian_bits) / 8.0 + self.overhead_bytes)

    def bytes_at_density(self, gaussians_per_pixel: float, n_frames: int) -> int:
        """Return the payload's bytes with so many Gaussians, or as many as the format allows, and the largest field."""
        n_gaussians = min(max(gaussians_per_pixel * self.n_pixels, MIN_GAUSSIANS), self.most_gaussians)
        bits = n_gaussians * self.bits_per_gaussian + self._field_bits(FIELD_SIZES[0], n_frames)
        return min(math.ceil(bits / 8.0 + self.overhead_bytes), LIMITS["chunk_payload_bytes"] // 2)

    def n_field_parameters(self, size: FieldSize, n_frames: int) -> int:
        """Return the parameters of a field of this size."""
        return field_spec(size, n_frames, has_shape_head=self._has_shape_head).n_parameters

    @property
    def most_gaussians(self) -> int:
        """Most Gaussians of a GoP."""
        return max(MIN_GAUSSIANS, min(MOST_PER_PIXEL * self.n_pixels, int(LIMITS["n_gaussians"] / SURPLUS)))

    def _field_bits(self, size: FieldSize, n_frames: int) -> float:
        return self.model.bits_per_field_parameter * self.n_field_parameters(size, n_frames)
