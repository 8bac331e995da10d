"""The header of a set payload: its sizes, and by which rules its symbols become numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stgvcodec.bitstream.payload.field import FieldSizes
from stgvcodec.bitstream.syntax.tables import GOP_SET_HEADER, Table

SHAPE_BITS = 8
"""What `cholesky_bits` is in shape_mode 1."""
N_COLOR_COMPONENTS = 3


@dataclass(frozen=True)
class _SetSizes:
    n_frames: int
    n_gaussians: int
    low_pass: float
    point_mode: int
    shape_mode: int
    color_mode: int
    cholesky_bits: int
    color_stages: int
    color_codebook_size: int


@dataclass(frozen=True)
class GopSetHeader(FieldSizes, _SetSizes):
    """Sizes and modes of a GoP; the field table GOP_SET_HEADER of bitstream_spec.md without its counts of levels.

    Any combination of modes is valid.

    Attributes:
        n_frames: T, frames.
        n_gaussians: N.
        low_pass: s, square pixels; a float32 value.
        point_mode: 0 = binary16 means, 1 = grid.
        shape_mode: 0 = affine Cholesky, 1 = log scales and shear.
        color_mode: 0 = residual vector quantisation, 1 = Y, Co, Cg.
        cholesky_bits: Bits of a shape symbol; 8 in shape_mode 1.
        color_stages: M; 1 in color_mode 1, which has no stages.
        color_codebook_size: K; 1 in color_mode 1.

    The sizes of its field are those of `FieldSizes`.
    """

    TABLE: ClassVar[Table] = GOP_SET_HEADER

    @property
    def n_color_symbols(self) -> int:
        """C, symbols of a Gaussian's colour."""
        return N_COLOR_COMPONENTS if self.color_mode else self.color_stages

    @property
    def color_alphabet(self) -> int:
        """Colour symbols are 0 to this, exclusive."""
        return 256 if self.color_mode else self.color_codebook_size

    @property
    def codebooks_shape(self) -> tuple[int, int, int]:
        """Stages, codewords, channels; without stages or codewords in color_mode 1."""
        return (0, 0, 3) if self.color_mode else (self.color_stages, self.color_codebook_size, 3)

    @property
    def float_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the float32 arrays of `GopSetSymbols` by name, in the order of the table SET_FLOATS."""
        return {
            "point_scale": (2 * self.point_mode,),
            "point_offset": (2 * self.point_mode,),
            "shape_scale": (3,),
            "shape_offset": (3 - 3 * self.shape_mode,),
            "color_scale": (3 * self.color_mode,),
            **self.scale_shapes,
        }

    @property
    def float_counts(self) -> dict[str, int]:
        """What the shapes of the table SET_FLOATS refer to."""
        modes = {"point_mode": self.point_mode, "shape_mode": self.shape_mode, "color_mode": self.color_mode}
        return {**modes, **self.level_counts}

    def _fault(self) -> str | None:
        if self.shape_mode and self.cholesky_bits != SHAPE_BITS:
            return f"cholesky_bits is {self.cholesky_bits}, expected {SHAPE_BITS} in shape_mode 1"
        if self.color_mode and (self.color_stages, self.color_codebook_size) != (1, 1):
            sizes = f"{self.color_stages} and {self.color_codebook_size}"
            return f"color_stages and color_codebook_size are {sizes}, expected 1 and 1 in color_mode 1"
        return super()._fault()
