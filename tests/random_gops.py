"""GoPs of any modes for tests of the decoder: small, and not alike."""

from __future__ import annotations

import numpy as np

from stgvcodec.bitstream import GopHeader, GopSymbols

NOTHING = np.zeros(0, np.float32)


def random_gop(
    modes: tuple[int, int, int],
    *,
    n_gaussians: int = 61,
    n_frames: int = 3,
    low_pass: float = 0.0,
    seed: int = 0,
    moves: bool = True,
) -> GopSymbols:
    """Gaussians all over a small picture, some beyond its edges, and a small field, which moves them if asked."""
    rng = np.random.default_rng(seed)
    point_mode, shape_mode, color_mode = modes
    n = n_gaussians
    header = GopHeader(
        n_frames=n_frames,
        n_gaussians=n,
        low_pass=low_pass,
        point_mode=point_mode,
        shape_mode=shape_mode,
        color_mode=color_mode,
        cholesky_bits=8 if shape_mode else 6,
        color_stages=1 if color_mode else 2,
        color_codebook_size=1 if color_mode else 5,
        static_resolutions=((3, 2), (9, 7)),
        static_features=2,
        static_log2_size=6,
        dynamic_resolutions=((2, 3, 2),),
        dynamic_features=3,
        dynamic_log2_size=5,
        mlp_width=7,
        n_frequencies=2,
        weight_bits=8,
    )

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-20, 21, shape).astype(np.int8)

    def floats(*values: float) -> np.ndarray:
        return np.array(values, np.float32)

    means = rng.uniform(-1.1, 1.1, (n, 2))
    halves = means.astype(np.float16).view(np.uint16).astype(np.int32)
    ordered = np.where(halves >= 0x8000, 0xFFFF - halves, halves + 0x8000)
    log_shapes = np.stack([rng.integers(4, 18, n), rng.integers(4, 18, n), rng.integers(116, 141, n)], axis=1)
    ycocg = np.stack([rng.integers(128, 140, n), rng.integers(125, 132, n), rng.integers(125, 132, n)], axis=1)
    mlp = [weights(*shape) for shape in header.mlp_shapes]
    if not moves:
        mlp[4:] = [np.zeros_like(tensor) for tensor in mlp[4:]]
    return GopSymbols(
        header=header,
        points=(np.rint((means + 1.1) * 300) if point_mode else ordered).astype(np.uint16),
        shapes=(log_shapes if shape_mode else rng.integers(0, 64, (n, 3))).astype(np.uint8),
        colors=(ycocg if color_mode else rng.integers(0, 5, (n, 2))).astype(np.uint8),
        codebooks=(rng.normal(0.2, 0.3, header.codebooks_shape)).astype(np.float16).view(np.uint16),
        static_table=weights(sum(header.static_entries), 2),
        dynamic_table=weights(sum(header.dynamic_entries), 3),
        mlp=tuple(mlp),
        point_scale=floats(1 / 300, 1 / 300)[: 2 * point_mode],
        point_offset=floats(-1.1, -1.1)[: 2 * point_mode],
        shape_scale=floats(0.19, 0.21, 0.07) if shape_mode else floats(0.11, 0.05, 0.13),
        shape_offset=NOTHING if shape_mode else floats(-0.3, -1.6, 0.2),
        color_scale=floats(0.04, 0.05, 0.03)[: 3 * color_mode],
        static_scales=floats(0.01, 0.02),
        dynamic_scales=floats(0.015),
        mlp_scales=np.full(8, 0.01, np.float32),
    )
