"""What a GoP is to the entropy coder: a header of sizes, and arrays of integers in the shapes that it implies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.layout import GOP_HEADER, MLP_TENSORS, SIDE_INFO, read_fields, write_fields
from stgvcodec.bitstream.limits import LIMITS
from stgvcodec.bitstream.primitives import ByteReader

_HALF_EXPONENT = 0x7C00
N_MEAN_OUTPUTS = 2
N_COLOR_OUTPUTS = 3


def level_entries(resolutions: Sequence[Sequence[int]], log2_size: int) -> tuple[int, ...]:
    """Entries of each level's table: prod(N_i + 1) where that fits 2^log2_size (dense), else 2^log2_size (hashed).

    Args:
        resolutions: Cells along each axis, per level. [n_levels][n_dims].
        log2_size: log2 of the largest table.
    """
    return tuple(min(math.prod(n + 1 for n in level), 1 << log2_size) for level in resolutions)


@dataclass(frozen=True)
class GopHeader:
    """Sizes of a GoP's model; the field table GOP_HEADER of bitstream_spec.md without its counts of levels.

    Attributes:
        n_frames: T, frames.
        n_gaussians: N.
        low_pass: s, square pixels; a float32 value.
        cholesky_bits: Bits of a Cholesky symbol.
        color_stages: M.
        color_codebook_size: K.
        static_resolutions: Cells along (x, y) of each level of the 2D encoding. [L][2].
        static_features: Features of an entry.
        static_log2_size: log2 of the largest table.
        dynamic_resolutions: Cells along (x, y, t) of each level of the 3D encoding. [L][3].
        dynamic_features: Features of an entry.
        dynamic_log2_size: log2 of the largest table.
        mlp_width: Neurons of each hidden layer.
        n_frequencies: Frequencies of the time encoding.
        weight_bits: Bits of a symbol of the hash tables and of the MLP.
    """

    n_frames: int
    n_gaussians: int
    low_pass: float
    cholesky_bits: int
    color_stages: int
    color_codebook_size: int
    static_resolutions: tuple[tuple[int, int], ...]
    static_features: int
    static_log2_size: int
    dynamic_resolutions: tuple[tuple[int, int, int], ...]
    dynamic_features: int
    dynamic_log2_size: int
    mlp_width: int
    n_frequencies: int
    weight_bits: int

    @property
    def static_entries(self) -> tuple[int, ...]:
        """Entries of each 2D level."""
        return level_entries(self.static_resolutions, self.static_log2_size)

    @property
    def dynamic_entries(self) -> tuple[int, ...]:
        """Entries of each 3D level."""
        return level_entries(self.dynamic_resolutions, self.dynamic_log2_size)

    @property
    def n_field_inputs(self) -> int:
        """Inputs of the MLP: static features, dynamic features, sines and cosines of time."""
        static = len(self.static_resolutions) * self.static_features
        dynamic = len(self.dynamic_resolutions) * self.dynamic_features
        return static + dynamic + 2 * self.n_frequencies

    @property
    def mlp_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the MLP's tensors in the order of `MLP_TENSORS`."""
        width = self.mlp_width
        return (
            (width, self.n_field_inputs),
            (width,),
            (width, width),
            (width,),
            (N_MEAN_OUTPUTS, width),
            (N_MEAN_OUTPUTS,),
            (N_COLOR_OUTPUTS, width),
            (N_COLOR_OUTPUTS,),
        )

    def to_bytes(self) -> bytes:
        """The header as the field table GOP_HEADER.

        Raises:
            ValueError: a value is outside its limits.
        """
        if float(np.float32(self.low_pass)) != self.low_pass:
            raise ValueError(f"low_pass is {self.low_pass!r}, expected a float32 value: round it before")
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        values["n_static_levels"] = len(self.static_resolutions)
        values["n_dynamic_levels"] = len(self.dynamic_resolutions)
        payload = write_fields(values, GOP_HEADER)
        if fault := self._size_fault():
            raise ValueError(fault)
        return payload

    @classmethod
    def read(cls, reader: ByteReader) -> GopHeader:
        """Read the field table GOP_HEADER.

        Raises:
            BitstreamError: it is cut short or a value is outside its limits.
        """
        start = reader.position
        values = read_fields(reader, GOP_HEADER)
        header = cls(**{field.name: values[field.name] for field in fields(cls)})
        if fault := header._size_fault():
            raise reader.error(fault, at=start)
        return header

    def _size_fault(self) -> str | None:
        limit = LIMITS["grid_parameters"]
        for name, entries, n_features in (
            ("2D", self.static_entries, self.static_features),
            ("3D", self.dynamic_entries, self.dynamic_features),
        ):
            if sum(entries) * n_features > limit:
                return f"the {name} hash tables have {sum(entries) * n_features} parameters, expected {limit} at most"
        return None


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
        _check_array("means", self.means, np.uint16, (n, 2))
        _check_array("cholesky", self.cholesky, np.uint8, (n, 3))
        _check_array("color_indices", self.color_indices, np.uint8, (n, m))
        _check_array("codebooks", self.codebooks, np.uint16, (m, k, 3))
        _check_array("static_table", self.static_table, np.int8, (sum(header.static_entries), header.static_features))
        _check_array(
            "dynamic_table", self.dynamic_table, np.int8, (sum(header.dynamic_entries), header.dynamic_features)
        )
        if len(self.mlp) != len(MLP_TENSORS):
            raise ValueError(f"mlp has {len(self.mlp)} tensors, expected the {len(MLP_TENSORS)} of {MLP_TENSORS}")
        for name, tensor, shape in zip(MLP_TENSORS, self.mlp, header.mlp_shapes, strict=True):
            _check_array(name, tensor, np.int8, shape)
        _check_range("cholesky", self.cholesky, 0, (1 << header.cholesky_bits) - 1)
        _check_range("color_indices", self.color_indices, 0, k - 1)
        half = 1 << (header.weight_bits - 1)
        for name, table in (("static_table", self.static_table), ("dynamic_table", self.dynamic_table)):
            _check_range(name, table, -half, half - 1)
        for name, tensor in zip(MLP_TENSORS, self.mlp, strict=True):
            _check_range(name, tensor, -half, half - 1)
        for name, halves in (("means", self.means), ("codebooks", self.codebooks)):
            if not halves_are_finite(halves):
                raise ValueError(f"{name} holds NaN or Inf, expected finite halves: clamp to +-65504 before rounding")
        for name, dtype_shape in self._side_shapes().items():
            _check_array(name, getattr(self, name), np.float32, dtype_shape)
        self.side_info_bytes()

    def side_info_bytes(self) -> bytes:
        """The scales and offsets as the field table SIDE_INFO.

        Raises:
            ValueError: a value is not finite or outside its limits.
        """
        values: dict[str, Any] = {name: getattr(self, name).tolist() for name in self._side_shapes()}
        values["n_static_levels"] = len(self.header.static_resolutions)
        values["n_dynamic_levels"] = len(self.header.dynamic_resolutions)
        return write_fields(values, SIDE_INFO)

    def _side_shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            "cholesky_scale": (3,),
            "cholesky_offset": (3,),
            "static_scales": (len(self.header.static_resolutions),),
            "dynamic_scales": (len(self.header.dynamic_resolutions),),
            "mlp_scales": (len(MLP_TENSORS),),
        }


def halves_are_finite(patterns: npt.NDArray[np.uint16]) -> bool:
    """Whether no binary16 bit pattern is an infinity or NaN."""
    return not bool(((patterns & _HALF_EXPONENT) == _HALF_EXPONENT).any())


def _check_array(name: str, array: npt.NDArray[Any], dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        got = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{name} is {got}, expected {np.dtype(dtype)} {list(shape)} by the header")


def _check_range(name: str, array: npt.NDArray[Any], low: int, high: int) -> None:
    if array.size and (int(array.min()) < low or int(array.max()) > high):
        raise ValueError(
            f"{name} has symbols from {int(array.min())} to {int(array.max())}, expected {low} to {high} by the header"
        )
