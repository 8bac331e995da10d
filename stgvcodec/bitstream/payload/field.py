"""The part of a GoP's header that has the sizes of the deformation field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.bitstream.syntax.tables import MLP_TENSORS

N_MEAN_OUTPUTS = 2
N_COLOR_OUTPUTS = 3
N_SHAPE_OUTPUTS = 3


def level_entries(resolutions: Sequence[Sequence[int]], log2_size: int) -> tuple[int, ...]:
    """Entries of each level's table: prod(N_i + 1) where that fits 2^log2_size (dense), else 2^log2_size (hashed).

    Args:
        resolutions: Cells along each axis, per level. [n_levels][n_dims].
        log2_size: log2 of the largest table.
    """
    return tuple(min(math.prod(n + 1 for n in level), 1 << log2_size) for level in resolutions)


@dataclass(frozen=True)
class FieldHeader:
    """The part of a GoP's header that describes its deformation field.

    Attributes:
        static_resolutions: Cells along (x, y) of each level of the 2D encoding. [L][2].
        static_features: Features of an entry of the 2D tables.
        static_log2_size: log2 of the largest 2D table.
        dynamic_resolutions: Cells along (x, y, t) of each level of the 3D encoding. [L][3].
        dynamic_features: Features of an entry of the 3D tables.
        dynamic_log2_size: log2 of the largest 3D table.
        mlp_width: Neurons of each hidden layer.
        n_frequencies: Frequencies of the time encoding.
        shape_head: 1 if the MLP has a head for changes of shape, else 0.
        weight_bits: Bits of a symbol of the hash tables and of the MLP.
    """

    static_resolutions: tuple[tuple[int, int], ...]
    static_features: int
    static_log2_size: int
    dynamic_resolutions: tuple[tuple[int, int, int], ...]
    dynamic_features: int
    dynamic_log2_size: int
    mlp_width: int
    n_frequencies: int
    shape_head: int
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
        """Number of inputs of the MLP: static features, dynamic features, time encoding."""
        static = len(self.static_resolutions) * self.static_features
        dynamic = len(self.dynamic_resolutions) * self.dynamic_features
        return static + dynamic + 2 * self.n_frequencies

    @property
    def mlp_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the MLP's tensors in the order of `MLP_TENSORS`; those of a head that is not there are empty."""
        width, n_shapes = self.mlp_width, N_SHAPE_OUTPUTS * self.shape_head
        return (
            (width, self.n_field_inputs),
            (width,),
            (width, width),
            (width,),
            (N_MEAN_OUTPUTS, width),
            (N_MEAN_OUTPUTS,),
            (N_COLOR_OUTPUTS, width),
            (N_COLOR_OUTPUTS,),
            (n_shapes, width),
            (n_shapes,),
        )

    @property
    def mlp_tensors(self) -> tuple[str, ...]:
        """Names of the MLP's tensors that are transmitted: those that are not empty."""
        return tuple(name for name, shape in zip(MLP_TENSORS, self.mlp_shapes, strict=True) if math.prod(shape))

    @property
    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the field's arrays by name, in the order of the file: the two hash tables, the MLP's tensors."""
        return {
            "static_table": (sum(self.static_entries), self.static_features),
            "dynamic_table": (sum(self.dynamic_entries), self.dynamic_features),
            **dict(zip(MLP_TENSORS, self.mlp_shapes, strict=True)),
        }

    @property
    def level_counts(self) -> dict[str, int]:
        """Number of levels of each encoding, by the number's name in the syntax tables."""
        return {
            "n_static_levels": len(self.static_resolutions),
            "n_dynamic_levels": len(self.dynamic_resolutions),
        }

    @property
    def scale_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the field's scales, which are the last elements of the table SIDE_INFO, by name."""
        return {
            "static_scales": (len(self.static_resolutions),),
            "dynamic_scales": (len(self.dynamic_resolutions),),
            "mlp_scales": (len(self.mlp_tensors),),
        }

    def grid_fault(self) -> str | None:
        """Say what is wrong with hash tables of which each size is within its limits; None if nothing is."""
        limit = LIMITS["grid_parameters"]
        for name, entries, n_features in (
            ("2D", self.static_entries, self.static_features),
            ("3D", self.dynamic_entries, self.dynamic_features),
        ):
            if sum(entries) * n_features > limit:
                return f"the {name} hash tables have {sum(entries) * n_features} parameters, expected {limit} at most"
        return None
