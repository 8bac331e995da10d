"""A predicted GoP as integers, in the shapes that its header implies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.payload.checks import check_array, check_field
from stgvcodec.bitstream.payload.header import GopSetHeader
from stgvcodec.bitstream.payload.symbols import log_scale_fault
from stgvcodec.bitstream.syntax.tables import PREDICTED_FLOATS, write_fields

RESIDUALS = ("x", "y", "log scale of l1", "log scale of l3", "shear", "Y", "Co", "Cg")
"""What the residuals of a Gaussian are of, in order."""

_MODES = ("point_mode", "shape_mode", "color_mode")


@dataclass(frozen=True, eq=False)
class PredictedGopSymbols:
    """A GoP as differences from the last frame of the one before. bitstream_spec.md section 17.

    Attributes:
        header: Sizes; all three modes are 1. n_gaussians is that of the GoP before.
        residuals: Of `RESIDUALS`, in steps; the Gaussians in the order of the GoP before. [N, 8] int8.
        static_table: Symbols of the 2D tables, level after level. [sum(static_entries), F] int8.
        dynamic_table: Symbols of the 3D tables. [sum(dynamic_entries), F] int8.
        mlp: Symbols of the MLP's tensors in the order of `MLP_TENSORS`, shapes `header.mlp_shapes`. int8.
        point_scale: Step of x and y, in units of the means. [2] float32.
        shape_scale: Relative steps of l1 and l3, both in [2^-10, 0.5]; step of the shear. [3] float32.
        color_scale: Step of Y, Co, Cg. [3] float32.
        static_scales: Of each 2D level. [L] float32.
        dynamic_scales: Of each 3D level. [L] float32.
        mlp_scales: Of each tensor of the MLP. [8] float32.
    """

    header: GopSetHeader
    residuals: npt.NDArray[np.int8]
    static_table: npt.NDArray[np.int8]
    dynamic_table: npt.NDArray[np.int8]
    mlp: tuple[npt.NDArray[np.int8], ...]
    point_scale: npt.NDArray[np.float32]
    shape_scale: npt.NDArray[np.float32]
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
        if fault := mode_fault(header):
            raise ValueError(fault)
        check_array("residuals", self.residuals, np.int8, (header.n_gaussians, len(RESIDUALS)))
        check_field(header, self.static_table, self.dynamic_table, self.mlp)
        for name, shape in predicted_float_shapes(header).items():
            check_array(name, getattr(self, name), np.float32, shape)
        self.float_bytes()
        if fault := log_scale_fault(header, self.shape_scale):
            raise ValueError(fault)

    def float_bytes(self) -> bytes:
        """The scales as the field table PREDICTED_FLOATS.

        Raises:
            ValueError: a value is not finite or outside its limits.
        """
        values = {name: getattr(self, name).tolist() for name in predicted_float_shapes(self.header)}
        return write_fields({**values, **self.header.level_counts}, PREDICTED_FLOATS)


def predicted_float_shapes(header: GopSetHeader) -> dict[str, tuple[int, ...]]:
    """Shapes of the float32 arrays of `PredictedGopSymbols` by name, in the order of the table PREDICTED_FLOATS."""
    return {"point_scale": (2,), "shape_scale": (3,), "color_scale": (3,), **header.scale_shapes}


def mode_fault(header: GopSetHeader) -> str | None:
    """What is wrong with the modes of a predicted GoP's header; None if nothing is."""
    modes = [getattr(header, name) for name in _MODES]
    if modes == [1, 1, 1]:
        return None
    return f"{', '.join(_MODES)} are {', '.join(str(mode) for mode in modes)}, expected 1, 1, 1 in a predicted GoP"


def to_zigzag(residuals: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """0, -1, 1, -2, ... to 0, 1, 2, 3, ..."""
    return ((residuals << 1) ^ (residuals >> 7)).view(np.uint8)


def from_zigzag(symbols: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    """0, 1, 2, 3, ... to 0, -1, 1, -2, ..."""
    halves, odd = (symbols >> 1).view(np.int8), (symbols & 1).view(np.int8)
    return halves ^ -odd
