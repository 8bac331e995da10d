"""GoPs of any modes: every size small and odd, every value from a seed, and a picture that has something to see."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np

from stgvcodec.bitstream import ColorDescription, GopHeader, GopSymbols, StgvReader, StgvWriter, StreamHeader
from stgvcodec.bitstream.payload.head import read_header

HEADER = StreamHeader(
    width=63,
    height=100,
    frame_rate=Fraction(30000, 1001),
    time_base=Fraction(1, 90000),
    color=ColorDescription(primaries=1, transfer=1, matrix=6, full_range=False),
    profile="compact",
    tool="stgvcodec test",
    sample_aspect_ratio=Fraction(16, 15),
    last_frame_duration=3003,
)


def modes(point, shape, color):
    """The modes of a header by name."""
    return {"point_mode": point, "shape_mode": shape, "color_mode": color}


COMPACT = {**modes(1, 1, 1), "shape_head": 1}
PAPER = {**modes(0, 0, 0), "shape_head": 0}
PROFILE_MODES = {"paper": PAPER, "compact": COMPACT}
MIXED = {f"modes {p} {s} {c}": modes(p, s, c) for p, s, c in ((0, 1, 0), (1, 0, 1), (0, 0, 1), (1, 1, 0))}

SMALLEST_FIELD = {
    "static_resolutions": ((1, 1),),
    "static_features": 1,
    "static_log2_size": 1,
    "dynamic_resolutions": ((1, 1, 1),),
    "dynamic_features": 1,
    "dynamic_log2_size": 1,
    "mlp_width": 1,
    "n_frequencies": 1,
}


def halves(values):
    """Patterns of binary16. uint16, of the shape of `values`."""
    return np.asarray(values, np.float16).view(np.uint16)


def ordered_halves(values):
    """Patterns of binary16 as integers in the order of their values. uint16, of the shape of `values`."""
    patterns = halves(values).astype(np.int32)
    return np.where(patterns >= 0x8000, 0xFFFF - patterns, patterns + 0x8000).astype(np.uint16)


def gop_header(**changes):
    """A header of the modes of compact; `changes` are its attributes."""
    sizes = {
        "n_frames": 5,
        "n_gaussians": 63,
        "low_pass": 0.25,
        **COMPACT,
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
        **changes,
    }
    if sizes["color_mode"]:
        sizes.update(color_stages=1, color_codebook_size=1)
    return GopHeader(**sizes)


def random_gop(seed=0, spread=3.0, *, moves=True, **changes):
    """A GoP whose Gaussians have symbols that depend on one another, and are spread over a picture and a little beyond.

    Weights have a Laplace distribution of scale `spread`; without `moves`, the field moves nothing. `changes` are
    attributes of the header, modes included.
    """
    rng, shapes_rng = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    header = gop_header(**changes)
    n, m, k = header.n_gaussians, header.color_stages, header.color_codebook_size
    half_weight, half_shape = 1 << (header.weight_bits - 1), 1 << (header.cholesky_bits - 1)

    def weights(shape, rng=rng):
        return np.clip(np.rint(rng.laplace(0, spread, shape)), -half_weight, half_weight - 1).astype(np.int8)

    def floats(*values):
        """Of 8 significant bits, as the encoder's are."""
        return (np.array(values, np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)

    size = rng.gamma(3, 3, n)
    shears = half_shape + rng.normal(0, 1 + size, n)
    shapes = np.stack([size + rng.normal(0, 2, n), size + rng.normal(0, 2, n), shears], axis=1)
    shapes = np.clip(np.rint(shapes), 0, 2 * half_shape - 1)
    if header.point_mode:
        points = np.rint(rng.uniform(0, 120, (n, 2))).astype(np.uint16)
    else:
        points = ordered_halves(rng.uniform(-1.1, 1.1, (n, 2)))
    if header.color_mode:
        luma = 6 + rng.normal(0, 1 + 20 / (1 + size))
        orange = rng.normal(0, 3, n)
        green = rng.normal(0, 1, n) - 0.6 * orange
        colors = np.clip(np.rint(128 + np.stack([luma, orange, green], 1)), 0, 255)
    else:
        colors = rng.integers(0, k, (n, m))
        colors[:, 1:] = (colors[:, :-1] + rng.integers(0, min(k, 3), (n, m - 1))) % k
    mlp = [
        *(weights(shape) for shape in header.mlp_shapes[:8]),
        *(weights(shape, shapes_rng) for shape in header.mlp_shapes[8:]),
    ]
    if not moves:
        mlp[4:] = [np.zeros_like(tensor) for tensor in mlp[4:]]
    counts = {**header.side_info_shapes, "mlp_scales": 8}
    scales = {name: rng.uniform(0.01, 0.04, count) for name, count in counts.items()}
    if header.shape_head:
        # Most changes of shape are a tenth or two, and none are clamped.
        scales["mlp_scales"] = [*scales["mlp_scales"], 0.1, 0.05]
    if header.point_mode:
        scales.update(point_scale=[0.0185, 0.0185], point_offset=[-1.1, -1.1])
    if header.shape_mode:
        scales["shape_scale"] = [0.13, 0.15, 0.07]
    else:
        scales.update(shape_scale=[0.11, 0.05, 0.13], shape_offset=[-0.3, -0.05 * half_shape, 0.2])
    return GopSymbols(
        header=header,
        points=points,
        shapes=shapes.astype(np.uint8),
        colors=colors.astype(np.uint8),
        codebooks=halves(rng.normal(0.15, 0.3, header.codebooks_shape)),
        static_table=weights((sum(header.static_entries), header.static_features)),
        dynamic_table=weights((sum(header.dynamic_entries), header.dynamic_features)),
        mlp=tuple(mlp),
        **{name: floats(*values) for name, values in scales.items()},
    )


def arrays_of(symbols):
    """Name and array of everything besides the header; the tensors of the MLP are counted."""
    for field in dataclasses.fields(symbols):
        value = getattr(symbols, field.name)
        if field.name == "mlp":
            yield from ((f"mlp {i}", tensor) for i, tensor in enumerate(value))
        elif field.name != "header":
            yield field.name, value


def same_gop(actual, expected):
    """Whether two GoPs are equal, bit for bit and in the same order."""
    return actual.header == expected.header and all(
        got.dtype == want.dtype and got.shape == want.shape and got.tobytes() == want.tobytes()
        for (_, got), (_, want) in zip(arrays_of(actual), arrays_of(expected), strict=True)
    )


def integers_of(symbols):
    """Every array as `independent_decoder.parse_gop` gives it: a flat list of integers; floats as their patterns."""
    integers = {"mlp": []}
    for name, array in arrays_of(symbols):
        flat = (array.view(np.uint32) if array.dtype == np.float32 else array).reshape(-1).tolist()
        if name.startswith("mlp "):
            integers["mlp"] += flat
        else:
            integers[name] = flat
    return integers


def in_order(symbols, order):
    """The same GoP with its Gaussians in another order."""
    moved = {name: getattr(symbols, name)[order] for name in ("points", "shapes", "colors")}
    return dataclasses.replace(symbols, **moved)


def stored(symbols):
    """The same GoP with its Gaussians as a payload has them: by Morton code, computed bit by bit."""
    points = symbols.points.tolist()
    codes = [sum((x >> i & 1) << (2 * i) | (y >> i & 1) << (2 * i + 1) for i in range(16)) for x, y in points]
    return in_order(symbols, sorted(range(len(codes)), key=codes.__getitem__))


def write_gops(path, payloads, ticks=40, header=HEADER, **changes):
    """A file of the payloads, one behind the other at a constant rate; `changes` are attributes of the file header."""
    with path.open("wb") as file:
        writer = StgvWriter(file, dataclasses.replace(header, **changes))
        start = 0
        for payload in payloads:
            stop = start + ticks * read_header(payload).n_frames
            writer.add_gop(payload, range(start, stop, ticks))
            start = stop
        writer.finish()
    return path


def with_damaged_gop(path, index):
    """The bytes of a file with one bit changed in the middle of a GoP's payload."""
    with StgvReader(path) as reader:
        entry = reader.gops[index]
    data = bytearray(path.read_bytes())
    data[entry.offset + entry.n_bytes // 2] ^= 0x10
    return bytes(data)
