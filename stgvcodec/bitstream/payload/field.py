"""Sizes of a GoP's field, which the headers of all payloads share, and how such headers are written and read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np

from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.bitstream.syntax.tables import MLP_TENSORS, Table, read_fields, write_fields

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
class FieldSizes:
    """Sizes of a field: the base of a GoP's header.

    A dataclass takes its bases' fields from the last base to the first, so a header that lists this one first has its
    fields last, as the file does. One of its other fields is `low_pass`.

    Attributes:
        TABLE: The field table of the header, with counts of levels besides its fields.
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

    TABLE: ClassVar[Table]

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
        """Numbers that enter the MLP: static features, dynamic features, time encoding."""
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
        """The header as its field table.

        Raises:
            ValueError: a value is outside its limits.
        """
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        if float(np.float32(values["low_pass"])) != values["low_pass"]:
            raise ValueError(f"low_pass is {values['low_pass']!r}, expected a float32 value: round it before")
        payload = write_fields({**values, **self.level_counts}, self.TABLE)
        if fault := self._fault():
            raise ValueError(fault)
        return payload

    @classmethod
    def read(cls, reader: ByteReader) -> Self:
        """Read the header's field table.

        Raises:
            BitstreamError: it is cut short or a value is outside its limits.
        """
        start = reader.position
        values = read_fields(reader, cls.TABLE)
        header = cls(**{field.name: values[field.name] for field in fields(cls)})
        if fault := header._fault():
            raise reader.error(fault, at=start)
        return header

    @property
    def level_counts(self) -> dict[str, int]:
        """The counts of levels by their names in the field tables."""
        return {
            "n_static_levels": len(self.static_resolutions),
            "n_dynamic_levels": len(self.dynamic_resolutions),
        }

    @property
    def scale_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the field's scales by name: the end of every table of floats."""
        return {
            "static_scales": (len(self.static_resolutions),),
            "dynamic_scales": (len(self.dynamic_resolutions),),
            "mlp_scales": (len(MLP_TENSORS),),
        }

    def _fault(self) -> str | None:
        """What is wrong with values that are within their limits one by one."""
        limit = LIMITS["grid_parameters"]
        for name, entries, n_features in (
            ("2D", self.static_entries, self.static_features),
            ("3D", self.dynamic_entries, self.dynamic_features),
        ):
            if sum(entries) * n_features > limit:
                return f"the {name} hash tables have {sum(entries) * n_features} parameters, expected {limit} at most"
        return None
