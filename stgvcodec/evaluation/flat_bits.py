"""Bits of a profile `paper` file as papers count them: fixed-length symbols, no entropy coding, no container."""

from __future__ import annotations

import math
from pathlib import Path

from stgvcodec.bitstream.container.reader import StgvReader
from stgvcodec.bitstream.payload.head import GopHeader, read_header

PROFILE = "paper"
"""The profile whose symbols have a fixed length, so that flat bits can be counted."""

COUNTING = (
    "each GoP: N (2 x 16 + 3 x Cholesky bits + M ceil(log2 K)) + 16 x 3 M K + weight bits x field parameters "
    "+ 32 for each scale and offset; no entropy coding, no headers, no container"
)
"""Rule by which `flat_bits` counts, as it is written beside its figures."""


def file_flat_bits(path: Path) -> int | None:
    """Return the flat bits of all GoPs of a file.

    Args:
        path: A `.stgv` file.

    Returns:
        The count; None for a file of another profile, whose symbols have no fixed length.

    Raises:
        BitstreamError: the file is not a `.stgv` file, or is damaged.
    """
    with StgvReader(path) as reader:
        if reader.header.profile != PROFILE:
            return None
        return sum(flat_bits(read_header(reader.read_gop(i))) for i in range(len(reader.gops)))


def flat_bits(header: GopHeader) -> int:
    """Return the flat bits of one GoP, counted by the rule `COUNTING`."""
    stages, codewords = header.color_stages, header.color_codebook_size
    color_bits = stages * (codewords - 1).bit_length()
    gaussians = header.n_gaussians * (2 * 16 + 3 * header.cholesky_bits + color_bits)
    codebooks = 16 * 3 * stages * codewords
    tables = sum(header.static_entries) * header.static_features + sum(header.dynamic_entries) * header.dynamic_features
    weights = header.weight_bits * (tables + sum(math.prod(shape) for shape in header.mlp_shapes))
    # There are a scale and an offset for each of three Cholesky components, and a scale for each level and each tensor.
    n_floats = 6 + len(header.static_resolutions) + len(header.dynamic_resolutions) + len(header.mlp_tensors)
    return gaussians + codebooks + weights + 32 * n_floats
