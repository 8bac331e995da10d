"""Limits of a frame's changes of shape, which are part of the format (bitstream_spec.md section 7.4)."""

from __future__ import annotations

from stgvcodec.ops.log_shear.limits import MIN_DIAGONAL_PX

__all__ = ["MAX_SHAPE_CHANGE", "MIN_DIAGONAL_PX"]

MAX_SHAPE_CHANGE = 1.0
"""Largest magnitude of a change of log l1, of the shear l2 / l3 and of log l3; a larger one counts as this."""
