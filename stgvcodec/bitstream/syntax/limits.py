"""All limits of the format. They are checked before anything is allocated, and `stgvcodec info` prints them."""

from __future__ import annotations

from types import MappingProxyType

LIMITS = MappingProxyType(
    {
        "width": 16384,
        "height": 16384,
        "frame_pixels": 2**27,
        "n_frames": 2**40,
        "gop_frames": 1024,
        "n_gaussians": 2**22,
        "low_pass": 65536,
        "cholesky_bits": 8,
        "color_stages": 8,
        "color_codebook_size": 256,
        "grid_levels": 16,
        "grid_resolution": 65535,
        "grid_features": 8,
        "grid_log2_size": 19,
        "grid_parameters": 2**24,
        "mlp_width": 512,
        "n_frequencies": 16,
        "weight_bits": 8,
        "alphabet": 256,
        "table_log2_total": 14,
        "attribute_classes": 16,
        "chunk_payload_bytes": 2**28,
        "n_chunks": 2**24,
        "pts": 2**62,
        "pts_step": 2**40,
        "tool_bytes": 64,
        "text_bytes": 65536,
        "n_entries": 1024,
        "n_tracks": 128,
        "track_setup_bytes": 2**20,
    }
)
"""Largest allowed value by name; the smallest is in the syntax tables of `tables.py`. The limits are inclusive."""

SCALE_MIN = 2.0**-96
SCALE_MAX = 2.0**96
"""Bounds of every scale, far from float32's subnormals and from overflow, so that no product is flushed or infinite."""
