"""A GoP of the set payload as integers, in the shapes that its header implies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.gop_layout import split_floats
from stgvcodec.bitstream.payload.checks import check_array, check_decoded_floats, check_field, check_halves, check_range
from stgvcodec.bitstream.payload.header import GopSetHeader
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.bitstream.syntax.tables import SET_FLOATS, Table, write_fields

ORDERED_HALF_MIN = 0x0400
ORDERED_HALF_MAX = 0xFBFF
"""The finite binary16 numbers as ordered integers: -65504 to 65504."""

LOG_SCALE_MIN = 2.0**-10
LOG_SCALE_MAX = 0.5
"""Bounds of shape_scale of the two log scales in shape_mode 1."""


@dataclass(frozen=True, eq=False)
class GopSetSymbols:
    """A GoP as integers: all that a decoder needs, exactly as transmitted. bitstream_spec.md section 9.

    Attributes:
        header: Sizes and modes.
        points: Means (x, y). [N, 2] uint16. point_mode 0: binary16 patterns p as ordered integers, 0xFFFF - p where
            p >= 0x8000, else p + 0x8000; finite. point_mode 1: steps of the grid.
        shapes: [N, 3] uint8. shape_mode 0: Cholesky symbols of (l1, l2, l3). shape_mode 1: log scales of l1 and of l3,
            then the shear, 128 being none.
        colors: [N, C] uint8. color_mode 0: codeword of each stage. color_mode 1: Y, Co, Cg, 128 being 0.
        codebooks: IEEE binary16 bit patterns; finite. [M, K, 3] uint16; [0, 0, 3] in color_mode 1.
        static_table: Symbols of the 2D tables, level after level. [sum(static_entries), F] int8.
        dynamic_table: Symbols of the 3D tables. [sum(dynamic_entries), F] int8.
        mlp: Symbols of the MLP's tensors in the order of `MLP_TENSORS`, shapes `header.mlp_shapes`. int8.
        point_scale: Step of the grid along x and y. [2] float32; [0] in point_mode 0.
        point_offset: The grid's origin. [2] float32; [0] in point_mode 0.
        shape_scale: Of the three shape symbols; in shape_mode 1 the first two in [2^-10, 0.5]. [3] float32.
        shape_offset: [3] float32; [0] in shape_mode 1.
        color_scale: Of Y, Co, Cg. [3] float32; [0] in color_mode 0.
        static_scales: Of each 2D level. [L] float32.
        dynamic_scales: Of each 3D level. [L] float32.
        mlp_scales: Of each tensor of the MLP. [8] float32.
    """

    header: GopSetHeader
    points: npt.NDArray[np.uint16]
    shapes: npt.NDArray[np.uint8]
    colors: npt.NDArray[np.uint8]
    codebooks: npt.NDArray[np.uint16]
    static_table: npt.NDArray[np.int8]
    dynamic_table: npt.NDArray[np.int8]
    mlp: tuple[npt.NDArray[np.int8], ...]
    point_scale: npt.NDArray[np.float32]
    point_offset: npt.NDArray[np.float32]
    shape_scale: npt.NDArray[np.float32]
    shape_offset: npt.NDArray[np.float32]
    color_scale: npt.NDArray[np.float32]
    static_scales: npt.NDArray[np.float32]
    dynamic_scales: npt.NDArray[np.float32]
    mlp_scales: npt.NDArray[np.float32]

    def validate(self) -> None:
        """Check everything that the format asks for.

        Raises:
            ValueError: a shape, a dtype or a value differs from the class's description.
        """
        header = self.header
        header.to_bytes()
        n = header.n_gaussians
        check_array("points", self.points, np.uint16, (n, 2))
        check_array("shapes", self.shapes, np.uint8, (n, 3))
        check_array("colors", self.colors, np.uint8, (n, header.n_color_symbols))
        check_array("codebooks", self.codebooks, np.uint16, header.codebooks_shape)
        if not header.point_mode:
            check_range("points", self.points, ORDERED_HALF_MIN, ORDERED_HALF_MAX)
        check_range("shapes", self.shapes, 0, (1 << header.cholesky_bits) - 1)
        check_range("colors", self.colors, 0, header.color_alphabet - 1)
        check_field(header, self.static_table, self.dynamic_table, self.mlp)
        check_halves({"codebooks": self.codebooks})
        for name, shape in header.float_shapes.items():
            check_array(name, getattr(self, name), np.float32, shape)
        self.float_bytes()
        if fault := log_scale_fault(header, self.shape_scale):
            raise ValueError(fault)

    def float_bytes(self) -> bytes:
        """The scales and offsets as the field table SET_FLOATS.

        Raises:
            ValueError: a value is not finite or outside its limits.
        """
        header = self.header
        values = {name: getattr(self, name).tolist() for name in header.float_shapes}
        return write_fields({**values, **header.float_counts}, SET_FLOATS)


def log_scale_fault(header: GopSetHeader, shape_scale: npt.NDArray[np.float32]) -> str | None:
    """What is wrong with the scales of shape_mode 1, whose powers must stay within reach; None if nothing is."""
    for name, scale in zip("ab", shape_scale.tolist(), strict=False):
        if header.shape_mode and not LOG_SCALE_MIN <= scale <= LOG_SCALE_MAX:
            return (
                f"shape_scale of {name} is {scale!r}, expected {LOG_SCALE_MIN:g} to {LOG_SCALE_MAX:g} in shape_mode 1"
            )
    return None


def check_decoded_scales(
    header: GopSetHeader,
    floats: npt.NDArray[np.float32],
    table: Table,
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Hold decoded scales and offsets to their limits, those of log scales included.

    Args:
        header: The header.
        floats: All of them, in the order of the table. [n] float32.
        table: SET_FLOATS, or another with a shape_scale.
        shapes: Of the arrays that the table stands for, by name.

    Raises:
        BitstreamError: one is not finite or outside its limits.
    """
    check_decoded_floats(floats, table, header.float_counts)
    if fault := log_scale_fault(header, split_floats(floats, shapes)["shape_scale"]):
        names = list(shapes)
        n_before = sum(shapes[name][0] for name in names[: names.index("shape_scale")])
        raise ByteReader(floats.astype("<f4").tobytes(), "GoP side_info, decoded").error(fault, at=4 * n_before)
