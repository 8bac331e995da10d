"""The symbols of a GoP, in the shapes that its header implies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.payload.checks import (
    check_array,
    check_decoded_floats,
    check_field,
    check_range,
    halves_are_finite,
)
from stgvcodec.bitstream.payload.head import GopHeader
from stgvcodec.bitstream.syntax.elements import write_elements
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.bitstream.syntax.tables import SIDE_INFO
from stgvcodec.ops.dequantize import SymbolArrays

ORDERED_HALF_MIN = 0x0400
ORDERED_HALF_MAX = 0xFBFF
"""Ordered integers of the smallest and the largest finite binary16 number, -65504 and 65504."""

LOG_SCALE_MIN = 2.0**-10
LOG_SCALE_MAX = 0.5
"""Bounds of shape_scale of the two log scales in shape_mode 1."""


@dataclass(frozen=True, eq=False, kw_only=True)
class GopSymbols(SymbolArrays):
    """The symbols and scales of a GoP: all that a decoder needs, exactly as transmitted.

    The arrays are those of `SymbolArrays`, in the shapes that the header implies. An array for which a mode has no use
    is empty: [0], or [0, 0, 3] for codebooks.

    Attributes:
        header: Sizes and modes of the GoP.
    """

    header: GopHeader

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
        if not halves_are_finite(self.codebooks):
            raise ValueError("codebooks holds NaN or Inf, expected finite halves: clamp to +-65504 before rounding")
        for name, shape in header.side_info_shapes.items():
            check_array(name, getattr(self, name), np.float32, shape)
        self.side_info_bytes()
        if fault := log_scale_fault(header, self.shape_scale):
            raise ValueError(fault)

    def side_info_bytes(self) -> bytes:
        """Write the scales and offsets as the table SIDE_INFO.

        Raises:
            ValueError: a value is not finite or outside its limits.
        """
        header = self.header
        values = {name: getattr(self, name).tolist() for name in header.side_info_shapes}
        return write_elements({**values, **header.side_info_counts}, SIDE_INFO)


def log_scale_fault(header: GopHeader, shape_scale: npt.NDArray[np.float32]) -> str | None:
    """Say what is wrong with the log scales of shape_mode 1; None if nothing is.

    They have bounds because sizes in pixels follow from powers of 1 + scale, which must stay within reach.
    """
    for name, scale in zip("ab", shape_scale.tolist(), strict=False):
        if header.shape_mode and not LOG_SCALE_MIN <= scale <= LOG_SCALE_MAX:
            return (
                f"shape_scale of {name} is {scale!r}, expected {LOG_SCALE_MIN:g} to {LOG_SCALE_MAX:g} in shape_mode 1"
            )
    return None


def check_decoded_side_info(header: GopHeader, floats: npt.NDArray[np.float32]) -> None:
    """Hold decoded scales and offsets to their limits, those of log scales included.

    Args:
        header: Header of the GoP.
        floats: All scales and offsets, in the order of the table SIDE_INFO. [n] float32.

    Raises:
        BitstreamError: a value is not finite or outside its limits.
    """
    check_decoded_floats(floats, SIDE_INFO, header.side_info_counts)
    shapes = header.side_info_shapes
    if fault := log_scale_fault(header, split_side_info(floats, shapes)["shape_scale"]):
        names = list(shapes)
        n_before = sum(shapes[name][0] for name in names[: names.index("shape_scale")])
        raise ByteReader(floats.astype("<f4").tobytes(), "GoP side_info, decoded").error(fault, at=4 * n_before)


def split_side_info(
    floats: npt.NDArray[np.float32], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, npt.NDArray[np.float32]]:
    """Split floats that lie one behind the other into views, by name; all shapes have one dimension."""
    ends = accumulate(shape[0] for shape in shapes.values())
    return {name: floats[end - shape[0] : end] for (name, shape), end in zip(shapes.items(), ends, strict=True)}
