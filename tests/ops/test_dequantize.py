"""Parameters of a GoP: both back ends against arithmetic in Python's floats, to the last bit."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest

from stgvcodec.errors import BackendUnavailableError
from stgvcodec.ops.dequantize import (
    ALIGNMENT_BYTES,
    MAX_LOG_SIZE_PX,
    Modes,
    ParameterLayout,
    SymbolArrays,
    dequantize,
    log_sizes,
    parameter_layout,
)

MODES = list(product((0, 1), repeat=3))
BACKENDS = ("reference", "numba")
UNTOUCHED = np.float32(-7.25)
FINITE_ORDERED = (0x0400, 0xFBFF)


@dataclass(frozen=True, eq=False, kw_only=True)
class Gop(SymbolArrays):
    """Symbols with the modes that they were made for."""

    modes: Modes


def gop_of(modes=(1, 1, 1), *, n: int = 63, static=(5, 1, 8), dynamic=(3, 16), width: int = 3, shapes=3, seed: int = 0):
    """Symbols take every value, and scales the format's whole range; sizes are odd."""
    rng = np.random.default_rng(seed)
    point_mode, shape_mode, color_mode = modes

    def scales(*size: int, power: float = 20.0) -> np.ndarray:
        return np.exp2(rng.uniform(-power, power, size)).astype(np.float32)

    def weights(*size: int) -> np.ndarray:
        return rng.integers(-128, 128, size).astype(np.int8)

    heads = [shape for n_outputs in (2, 3, shapes) for shape in ((n_outputs, width), (n_outputs,))]
    mlp_shapes = ((width, 7), (width,), (width, width), (width,), *heads)
    codebooks = rng.normal(0, 1, (3, 5, 3)).astype(np.float16)
    codebooks[:, 0] = -0.0
    low, high = FINITE_ORDERED
    gop = Gop(
        modes=Modes(*modes),
        points=rng.integers(0, 65536, (n, 2)).astype(np.uint16).clip(*(0, 65535) if point_mode else (low, high)),
        point_scale=scales(2 * point_mode),
        point_offset=-scales(2 * point_mode),
        shapes=rng.integers(0, 256, (n, 3)).astype(np.uint8),
        shape_scale=rng.uniform(2**-10, 0.5, 3).astype(np.float32) if shape_mode else scales(3),
        shape_offset=-scales(3 - 3 * shape_mode),
        colors=rng.integers(0, 256 if color_mode else 5, (n, 3)).astype(np.uint8),
        color_scale=scales(3 * color_mode),
        codebooks=np.zeros((0, 0, 3), np.uint16) if color_mode else codebooks.view(np.uint16),
        static_table=weights(sum(static), 3),
        static_scales=scales(len(static), power=90),
        dynamic_table=weights(sum(dynamic), 2),
        dynamic_scales=scales(len(dynamic), power=90),
        mlp=tuple(weights(*shape) for shape in mlp_shapes),
        mlp_scales=scales(10 if shapes else 8, power=90),
    )
    return gop, parameter_layout(n, static, 3, dynamic, 2, mlp_shapes)


def parameters_of(gop: Gop, layout: ParameterLayout, backend: str) -> dict[str, np.ndarray]:
    block = np.full(layout.n_floats + 3, UNTOUCHED)
    dequantize(gop, gop.modes, layout, block, backend=backend)
    used = np.zeros(len(block), bool)
    for name, first in layout.firsts.items():
        used[first : first + int(np.prod(layout.shapes[name]))] = True
    assert (block[~used] == UNTOUCHED).all()
    return layout.arrays(block)


def assert_same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(actual.view(np.uint32), expected.reshape(actual.shape).view(np.uint32))


def f32(x: float) -> float:
    """Python's own conversion to binary32, by which a sum or product of two binary32 numbers is rounded but once."""
    return struct.unpack("<f", struct.pack("<f", x))[0]


def half(pattern: int) -> float:
    return struct.unpack("<e", struct.pack("<H", pattern))[0]


def product_of_sizes(scale: float) -> list[float]:
    sizes, p = [], 0.5
    for _ in range(256):
        sizes.append(f32(p - 0.5))
        p = min(p * (1.0 + scale), 2.0**20)
    return sizes


def gaussian_by_hand(gop: Gop, i: int) -> tuple[list[float], list[float], list[float]]:
    """One Gaussian by section 6 of bitstream_spec.md, in Python's floats."""
    means = []
    for axis in range(2):
        k = int(gop.points[i, axis])
        if gop.modes.points:
            means.append(f32(f32(k * float(gop.point_scale[axis])) + float(gop.point_offset[axis])))
        else:
            means.append(half(k - 0x8000 if k >= 0x8000 else 0xFFFF - k))

    shape, scale = gop.shapes[i].tolist(), gop.shape_scale.tolist()
    if gop.modes.shapes:
        a, b, s = shape
        raw_1, raw_3 = product_of_sizes(scale[0])[a], product_of_sizes(scale[1])[b]
        cholesky = [raw_1, f32(f32((s - 128) * scale[2]) * f32(0.5 + raw_3)), raw_3]
    else:
        offset = gop.shape_offset.tolist()
        cholesky = [f32(f32(shape[j] * scale[j]) + offset[j]) for j in range(3)]

    color = gop.colors[i].tolist()
    if gop.modes.colors:
        y, co, cg = (f32((q - 128) * float(step)) for q, step in zip(color, gop.color_scale, strict=True))
        t = f32(y - cg)
        rgb = [f32(t + co), f32(y + cg), f32(t - co)]
    else:
        rgb = [0.0, 0.0, 0.0]
        for stage, k in enumerate(color):
            rgb = [f32(rgb[j] + half(int(gop.codebooks[stage, k, j]))) for j in range(3)]
    return means, cholesky, rgb


def assert_gaussians_by_hand(gop: Gop, layout: ParameterLayout, backend: str) -> None:
    by_hand = [gaussian_by_hand(gop, i) for i in range(len(gop.points))]
    parameters = parameters_of(gop, layout, backend)
    for name, column in zip(("means", "cholesky", "colors"), zip(*by_hand, strict=True), strict=True):
        assert np.isfinite(parameters[name]).all()
        assert_same_bits(parameters[name], np.array(column, np.float32))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("modes", MODES, ids=str)
def test_gaussians_have_the_bits_of_the_spec(modes, backend):
    assert_gaussians_by_hand(*gop_of(modes), backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shapes", [3, 0])
def test_the_field_has_the_bits_of_the_spec(shapes, backend):
    gop, layout = gop_of(n=1, shapes=shapes)

    parameters = parameters_of(gop, layout, backend)

    for table, scales, entries in (
        ("static_table", gop.static_scales, (5, 1, 8)),
        ("dynamic_table", gop.dynamic_scales, (3, 16)),
    ):
        rows = [float(scale) for scale, n in zip(scales, entries, strict=True) for _ in range(n)]
        by_hand = [
            [f32(int(q) * step) for q in row] for row, step in zip(getattr(gop, table).tolist(), rows, strict=True)
        ]
        assert_same_bits(parameters[table], np.array(by_hand, np.float32))
    assert [parameters[name].shape for name in ("w_shapes", "b_shapes")] == [(shapes, 3), (shapes,)]
    for name, tensor, scale in zip(list(parameters)[5:], gop.mlp, gop.mlp_scales, strict=shapes > 0):
        by_hand = [f32(q * float(scale)) for q in tensor.reshape(-1).tolist()]
        assert_same_bits(parameters[name], np.array(by_hand, np.float32))


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_finite_half(backend):
    """They come in the order of their values, -65504 to 65504, and the negative zero comes before the positive one."""
    low, high = FINITE_ORDERED
    order = np.arange(low, high + 1)
    gop, layout = gop_of((0, 1, 1), n=len(order))
    gop = replace(gop, points=np.stack([order, order[::-1]], axis=1).astype(np.uint16))

    means = parameters_of(gop, layout, backend)["means"]

    patterns = np.concatenate([np.arange(0xFBFF, 0x7FFF, -1), np.arange(0x7C00)]).astype(np.uint16)
    expected = patterns.view(np.float16).astype(np.float32)
    assert (np.diff(expected) >= 0).all()
    assert_same_bits(means[:, 0].copy(), expected)
    assert_same_bits(means[:, 1].copy(), expected[::-1].copy())


@pytest.mark.parametrize("scale", [2.0**-10, 0.037, 0.2, 0.5], ids=str)
def test_log_sizes_start_at_nothing_and_end_at_the_clamp(scale):
    scale = f32(scale)
    sizes = log_sizes(scale)

    assert sizes.tolist() == product_of_sizes(scale)
    assert sizes[0] == 0
    assert (np.diff(sizes) >= 0).all()
    assert sizes[-1] == (np.float32(MAX_LOG_SIZE_PX - 0.5) if scale > 0.1 else sizes.max())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [2.0**-10, 0.037, 0.2, 0.5], ids=str)
def test_every_shape_symbol(scale, backend):
    every = np.arange(256)
    shapes = np.stack([every, every[::-1], np.roll(every, 77)], axis=1).astype(np.uint8)
    gop, layout = gop_of((1, 1, 1), n=256)
    gop = replace(gop, shapes=shapes, shape_scale=np.array([scale, 0.5 - scale / 2, 1.7], np.float32))
    assert_gaussians_by_hand(gop, layout, backend)


EXTREMES = {
    "largest scales": (2.0**96, 2.0**96),
    "smallest scales": (2.0**-96, 0.0),
    "largest against smallest": (2.0**-96, -(2.0**96)),
    "cancelling": (0.1, -12.8),
    "negative zero": (1.0, -0.0),
}


@pytest.mark.parametrize("modes", [(1, 0, 1), (1, 1, 1)], ids=str)
@pytest.mark.parametrize(("scale", "offset"), EXTREMES.values(), ids=EXTREMES)
def test_extreme_scales_are_finite_and_exact(scale, offset, modes):
    gop, layout = gop_of(modes, n=256)
    every = np.arange(256)
    gop = replace(
        gop,
        points=np.stack([every * 257, every], axis=1).astype(np.uint16),
        shapes=np.stack([every, every[::-1], every], axis=1).astype(np.uint8),
        colors=np.stack([every, every, every[::-1]], axis=1).astype(np.uint8),
        point_scale=np.full(2, scale, np.float32),
        point_offset=np.full(2, offset, np.float32),
        shape_scale=np.array([0.5, 0.5, scale] if modes[1] else [scale] * 3, np.float32),
        shape_offset=np.full(3 - 3 * modes[1], offset, np.float32),
        color_scale=np.full(3, scale, np.float32),
    )
    for backend in BACKENDS:
        assert_gaussians_by_hand(gop, layout, backend)


def test_products_and_sums_are_rounded_apart():
    """A fused multiply-add would give another mean here."""
    gop, layout = gop_of((1, 0, 1), n=1)
    scale = np.float32(1 + 2**-23)
    gop = replace(
        gop,
        points=np.full((1, 2), 4097, np.uint16),
        point_scale=np.full(2, scale),
        point_offset=np.full(2, -4097.0, np.float32),
    )
    fused = np.float32(4097 * float(scale) - 4097.0)
    for backend in BACKENDS:
        means = parameters_of(gop, layout, backend)["means"]
        assert means[0, 0] == np.float32(4097) * scale - np.float32(4097)
        assert means[0, 0] != fused


def test_no_sum_of_codewords_is_negative_zero():
    gop, layout = gop_of((0, 0, 0), n=2)
    gop = replace(gop, colors=np.zeros((2, 3), np.uint8))
    for backend in BACKENDS:
        assert_same_bits(parameters_of(gop, layout, backend)["colors"], np.zeros((2, 3), np.float32))


@pytest.mark.parametrize("n", [0, 1, 1000])
@pytest.mark.parametrize("modes", MODES, ids=str)
def test_numba_has_the_bits_of_the_reference(modes, n):
    for seed in range(3):
        gop, layout = gop_of(modes, n=n, width=17, seed=seed)
        expected = parameters_of(gop, layout, "reference")
        for name, parameters in parameters_of(gop, layout, "numba").items():
            assert_same_bits(parameters, expected[name])


def test_arrays_begin_at_cache_lines_and_do_not_overlap():
    _, layout = gop_of()
    ends = 0
    for name, first in layout.firsts.items():
        assert first * 4 % ALIGNMENT_BYTES == 0
        assert first >= ends
        ends = first + int(np.prod(layout.shapes[name]))
    assert ends <= layout.n_floats


REFUSED = {
    "mode": ({"modes": Modes(1, 2, 1)}, "the mode of shapes is 2"),
    "points": ({"points": np.zeros((63, 2), np.int32)}, "points is int32"),
    "Gaussians": ({"shapes": np.zeros((62, 3), np.uint8)}, r"shapes is uint8 \[62, 3\]"),
    "grid": ({"point_scale": np.zeros(0, np.float32)}, r"point_scale is float32 \[0\]"),
    "colours": ({"colors": np.zeros((63, 2), np.uint8)}, "colors is"),
    "codebooks": ({"modes": Modes(1, 1, 0)}, r"colors is uint8 \[63, 3\]"),
    "levels": ({"static_scales": np.zeros(2, np.float32)}, "static_scales is"),
    "table": ({"dynamic_table": np.zeros((19, 3), np.int8)}, "dynamic_table is"),
    "strides": ({"points": np.zeros((2, 63), np.uint16).T}, "points is not contiguous"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(changes, message):
    gop, layout = gop_of()
    gop = replace(gop, **changes)
    with pytest.raises(ValueError, match=message):
        dequantize(gop, gop.modes, layout, np.empty(layout.n_floats, np.float32))


@pytest.mark.parametrize("short", [1, 100], ids=str)
def test_a_block_too_small_is_refused(short):
    gop, layout = gop_of()
    with pytest.raises(ValueError, match="out is float32"):
        dequantize(gop, gop.modes, layout, np.empty(layout.n_floats - short, np.float32))


def test_there_is_no_triton():
    gop, layout = gop_of()
    with pytest.raises(BackendUnavailableError, match="does not dequantize"):
        dequantize(gop, gop.modes, layout, np.empty(layout.n_floats, np.float32), backend="triton")
