"""Set payloads for the tests of this folder: every size small and odd, every value from a seed."""

from __future__ import annotations

import dataclasses

import numpy as np
from gops import HEADER, gop_header, halves

from stgvcodec.bitstream import GopHeader, GopSymbols

COMPACT = {"point_mode": 1, "shape_mode": 1, "color_mode": 1}
PAPER = {"point_mode": 0, "shape_mode": 0, "color_mode": 0}
SET_HEADER = dataclasses.replace(HEADER, profile="compact", format_version=(1, 1))


def set_header(**changes):
    sizes = {**dataclasses.asdict(gop_header()), **COMPACT, **changes}
    if sizes["color_mode"]:
        sizes.update(color_stages=1, color_codebook_size=1)
    return GopHeader(**sizes)


def random_set(seed=0, spread=3.0, **changes):
    """A GoP whose attributes depend on one another; `changes` are fields of its header."""
    rng = np.random.default_rng(seed)
    header = set_header(**changes)
    n, m, k = header.n_gaussians, header.color_stages, header.color_codebook_size
    half = 1 << (header.weight_bits - 1)

    def weights(shape):
        return np.clip(np.rint(rng.laplace(0, spread, shape)), -half, half - 1).astype(np.int8)

    def scales(count, present=1):
        """Of 8 significant bits, as the encoder's are."""
        values = rng.uniform(0.01, 0.4, count * present).astype(np.float32)
        return (values.view(np.uint32) & 0xFFFF0000).view(np.float32)

    size = rng.gamma(3, 3, n)
    shapes = np.stack([size + rng.normal(0, 2, n), size + rng.normal(0, 2, n), 128 + rng.normal(0, 1 + size, n)], 1)
    if header.point_mode:
        points = np.rint(rng.uniform(0, 120, (n, 2))).astype(np.uint16)
    else:
        patterns = halves(rng.uniform(-1.1, 1.1, (n, 2))).astype(np.int32)
        points = np.where(patterns >= 0x8000, 0xFFFF - patterns, patterns + 0x8000).astype(np.uint16)
    if header.color_mode:
        luma = rng.normal(0, 1 + 20 / (1 + size))
        orange = rng.normal(0, 3, n)
        green = rng.normal(0, 1, n) - 0.6 * orange
        colors = np.clip(np.rint(128 + np.stack([luma, orange, green], 1)), 0, 255)
    else:
        colors = rng.integers(0, k, (n, m))
        colors[:, 1:] = (colors[:, :-1] + rng.integers(0, min(k, 3), (n, m - 1))) % k
    return GopSymbols(
        header=header,
        points=points,
        shapes=np.clip(np.rint(shapes), 0, (1 << header.cholesky_bits) - 1).astype(np.uint8),
        colors=colors.astype(np.uint8),
        codebooks=halves(rng.normal(0, 0.4, header.codebooks_shape)),
        static_table=weights((sum(header.static_entries), header.static_features)),
        dynamic_table=weights((sum(header.dynamic_entries), header.dynamic_features)),
        mlp=tuple(weights(shape) for shape in header.mlp_shapes),
        point_scale=scales(2, header.point_mode),
        point_offset=-scales(2, header.point_mode),
        shape_scale=scales(3),
        shape_offset=scales(3, 1 - header.shape_mode),
        color_scale=scales(3, header.color_mode),
        static_scales=scales(len(header.static_resolutions)),
        dynamic_scales=scales(len(header.dynamic_resolutions)),
        mlp_scales=scales(8),
    )


def arrays_of(symbols):
    """Name and array of everything besides the header, the tensors of the MLP by their places."""
    for field in dataclasses.fields(symbols):
        value = getattr(symbols, field.name)
        if field.name == "mlp":
            yield from ((f"mlp {i}", tensor) for i, tensor in enumerate(value))
        elif field.name != "header":
            yield field.name, value


def same_set(actual, expected):
    """Whether two sets are equal, bit for bit and in the same order."""
    return actual.header == expected.header and all(
        got.dtype == want.dtype and got.shape == want.shape and got.tobytes() == want.tobytes()
        for (_, got), (_, want) in zip(arrays_of(actual), arrays_of(expected), strict=True)
    )


def in_order(symbols, order):
    """The same set with its Gaussians in another order."""
    moved = {name: getattr(symbols, name)[order] for name in ("points", "shapes", "colors")}
    return dataclasses.replace(symbols, **moved)


def plain_morton_order(points):
    """By Morton code, computed bit by bit."""
    codes = [sum((x >> i & 1) << (2 * i) | (y >> i & 1) << (2 * i + 1) for i in range(16)) for x, y in points.tolist()]
    return sorted(range(len(codes)), key=codes.__getitem__)
