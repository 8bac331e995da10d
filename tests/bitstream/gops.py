"""GoPs for the tests of this folder: every size small and odd, every value from a seed."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from stgvcodec.bitstream import ColorDescription, GopHeader, GopSymbols, StreamHeader

HEADER = StreamHeader(
    width=63,
    height=100,
    frame_rate=Fraction(30000, 1001),
    time_base=Fraction(1, 90000),
    color=ColorDescription(primaries=1, transfer=1, matrix=6, full_range=False),
    profile="paper",
    format_version=(1, 0),
    tool="stgvcodec test",
)
ARRAYS = (
    "means",
    "cholesky",
    "cholesky_scale",
    "cholesky_offset",
    "color_indices",
    "codebooks",
    "static_table",
    "static_scales",
    "dynamic_table",
    "dynamic_scales",
    "mlp_scales",
)


def halves(values):
    return np.asarray(values, np.float16).view(np.uint16)


def gop_header(**changes):
    sizes = {
        "n_frames": 5,
        "n_gaussians": 63,
        "low_pass": 0.25,
        "cholesky_bits": 8,
        "color_stages": 2,
        "color_codebook_size": 7,
        "static_resolutions": ((4, 3), (17, 9)),
        "static_features": 2,
        "static_log2_size": 6,
        "dynamic_resolutions": ((3, 5, 2), (8, 9, 4), (11, 13, 5)),
        "dynamic_features": 3,
        "dynamic_log2_size": 7,
        "mlp_width": 9,
        "n_frequencies": 3,
        "weight_bits": 8,
    }
    return GopHeader(**{**sizes, **changes})


def random_gop(seed=0, spread=9.0, **changes):
    """A GoP whose weights have a Laplace distribution of scale `spread`; `changes` are fields of its header."""
    rng = np.random.default_rng(seed)
    header = gop_header(**changes)
    n, m, k = header.n_gaussians, header.color_stages, header.color_codebook_size
    half = 1 << (header.weight_bits - 1)

    def weights(shape):
        return np.clip(np.rint(rng.laplace(0, spread, shape)), -half, half - 1).astype(np.int8)

    def scales(count):
        return rng.uniform(1e-4, 1e-2, count).astype(np.float32)

    return GopSymbols(
        header=header,
        means=halves(rng.uniform(-1.1, 1.1, (n, 2))),
        cholesky=np.clip(rng.gamma(2, 20, (n, 3)), 0, (1 << header.cholesky_bits) - 1).astype(np.uint8),
        cholesky_scale=scales(3),
        cholesky_offset=np.array([0, -1.5, 0.25], np.float32),
        color_indices=rng.integers(0, k, (n, m)).astype(np.uint8),
        codebooks=halves(rng.normal(0, 0.4, (m, k, 3))),
        static_table=weights((sum(header.static_entries), header.static_features)),
        static_scales=scales(len(header.static_resolutions)),
        dynamic_table=weights((sum(header.dynamic_entries), header.dynamic_features)),
        dynamic_scales=scales(len(header.dynamic_resolutions)),
        mlp=tuple(weights(shape) for shape in header.mlp_shapes),
        mlp_scales=scales(8),
    )


def assert_same_gop(actual, expected):
    assert actual.header == expected.header
    for name in ARRAYS:
        got, want = getattr(actual, name), getattr(expected, name)
        assert got.dtype == want.dtype, name
        np.testing.assert_array_equal(got, want, err_msg=name)
    assert len(actual.mlp) == len(expected.mlp)
    for got, want in zip(actual.mlp, expected.mlp, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


def assert_same_as_independent(parsed, symbols):
    """Hold a dictionary of `independent_decoder.parse_gop` against symbols, bit for bit."""
    for name in ARRAYS:
        array = getattr(symbols, name)
        want = array.view(np.uint32) if array.dtype == np.float32 else array
        assert parsed[name] == want.reshape(-1).tolist(), name
    assert parsed["mlp"] == np.concatenate([tensor.reshape(-1) for tensor in symbols.mlp]).tolist()
