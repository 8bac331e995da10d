"""What a GoP is to the entropy coder: a header of sizes, and arrays of integers in the shapes that it implies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.payload.checks import check_array, check_field, check_halves, check_range
from stgvcodec.bitstream.payload.field import FieldSizes
from stgvcodec.bitstream.syntax.tables import GOP_HEADER, MLP_TENSORS, SIDE_INFO, Table, write_fields


@dataclass(frozen=True)
class _GaussianSizes:
    n_frames: int
    n_gaussians: int
    low_pass: float
    cholesky_bits: int
    color_stages: int
    color_codebook_size: int


@dataclass(frozen=True)
class GopHeader(FieldSizes, _GaussianSizes):
    """Sizes of a GoP's model; the field table GOP_HEADER of bitstream_spec.md without its counts of levels.

    Attributes:
        n_frames: T, frames.
        n_gaussians: N.
        low_pass: s, square pixels; a float32 value.
        cholesky_bits: Bits of a Cholesky symbol.
        color_stages: M.
        color_codebook_size: K.

    The sizes of its field are those of `FieldSizes`.
    """

    TABLE: ClassVar[Table] = GOP_HEADER


@dataclass(frozen=True, eq=False)
class GopSymbols:
    """A GoP as integers: all that a decoder needs, exactly as transmitted.

    Attributes:
        header: The sizes.
        means: IEEE binary16 bit patterns of the means, in [-1, 1]^2 or outside; finite. [N, 2] uint16.
        cholesky: Symbols of (l1, l2, l3). [N, 3] uint8.
        cholesky_scale: value = float32(q) * scale + offset, two roundings. [3] float32.
        cholesky_offset: See above. [3] float32.
        color_indices: Codeword of each stage. [N, M] uint8.
        codebooks: IEEE binary16 bit patterns; finite. [M, K, 3] uint16.
        static_table: Symbols of the 2D tables, level after level. [sum(static_entries), F] int8.
        static_scales: value = float32(q) * scale of its level. [L] float32.
        dynamic_table: Symbols of the 3D tables. [sum(dynamic_entries), F] int8.
        dynamic_scales: See above. [L] float32.
        mlp: Symbols of the MLP's tensors in the order of `MLP_TENSORS`, shapes `header.mlp_shapes`. int8.
        mlp_scales: value = float32(q) * scale of its tensor. [8] float32.
    """

    header: GopHeader
    means: npt.NDArray[np.uint16]
    cholesky: npt.NDArray[np.uint8]
    cholesky_scale: npt.NDArray[np.float32]
    cholesky_offset: npt.NDArray[np.float32]
    color_indices: npt.NDArray[np.uint8]
    codebooks: npt.NDArray[np.uint16]
    static_table: npt.NDArray[np.int8]
    static_scales: npt.NDArray[np.float32]
    dynamic_table: npt.NDArray[np.int8]
    dynamic_scales: npt.NDArray[np.float32]
    mlp: tuple[npt.NDArray[np.int8], ...]
    mlp_scales: npt.NDArray[np.float32]

    def validate(self) -> None:
        """Check everything that the format asks for.

        Raises:
            ValueError: a shape, a dtype or a value differs from the class's description.
        """
        header = self.header
        header.to_bytes()
        n, m, k = header.n_gaussians, header.color_stages, header.color_codebook_size
        check_array("means", self.means, np.uint16, (n, 2))
        check_array("cholesky", self.cholesky, np.uint8, (n, 3))
        check_array("color_indices", self.color_indices, np.uint8, (n, m))
        check_array("codebooks", self.codebooks, np.uint16, (m, k, 3))
        check_range("cholesky", self.cholesky, 0, (1 << header.cholesky_bits) - 1)
        check_range("color_indices", self.color_indices, 0, k - 1)
        check_field(header, self.static_table, self.dynamic_table, self.mlp)
        check_halves({"means": self.means, "codebooks": self.codebooks})
        for name, dtype_shape in self._side_shapes().items():
            check_array(name, getattr(self, name), np.float32, dtype_shape)
        self.side_info_bytes()

    def side_info_bytes(self) -> bytes:
        """The scales and offsets as the field table SIDE_INFO.

        Raises:
            ValueError: a value is not finite or outside its limits.
        """
        values: dict[str, Any] = {name: getattr(self, name).tolist() for name in self._side_shapes()}
        return write_fields({**values, **self.header.level_counts}, SIDE_INFO)

    def _side_shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            "cholesky_scale": (3,),
            "cholesky_offset": (3,),
            "static_scales": (len(self.header.static_resolutions),),
            "dynamic_scales": (len(self.header.dynamic_resolutions),),
            "mlp_scales": (len(MLP_TENSORS),),
        }
