"""Sizes of deformation fields: the paper's, and a small one whose tensors' sizes are multiples of 1, 2, 4 and 8.

The small one has a head for shapes.
"""

from __future__ import annotations

from stgvcodec.model.deformation import FieldSpec
from stgvcodec.ops.hash_encode import HashGridSpec

_PAPER_SIDES = (16, 24, 36, 54, 81, 121, 182, 273)
PAPER_2D = HashGridSpec(2, 10, tuple((n, n) for n in _PAPER_SIDES))
PAPER_3D = HashGridSpec(4, 10, tuple((n, n, n) for n in _PAPER_SIDES))
PAPER_FIELD = FieldSpec(static_grid=PAPER_2D, dynamic_grid=PAPER_3D, mlp_width=128, n_frequencies=6)
SMALL_FIELD = FieldSpec(
    static_grid=HashGridSpec(1, 5, ((2, 2), (6, 6))),
    dynamic_grid=HashGridSpec(2, 5, ((2, 2, 1), (4, 4, 3))),
    mlp_width=8,
    n_frequencies=2,
    has_shape_head=True,
)
