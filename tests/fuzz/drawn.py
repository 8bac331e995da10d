"""Valid `.stgv` files whose numbers, sizes and models are drawn at random: what no encoder would write.

Every number may be at its limit, which only the dequantiser and the renderer see. Every array of symbols may have any
model that can hold it, of which an encoder takes the cheapest: to draw one is quicker than to look for that.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.random import Generator

from stgvcodec.bitstream import ColorDescription, GopHeader, GopSymbols, StgvWriter, StreamHeader
from stgvcodec.bitstream.entropy.conditional import AttributeSet
from stgvcodec.bitstream.entropy.frequency_tables import (
    N_NARROW_WIDTHS,
    N_WIDTHS,
    PRECISION,
    family_frequencies,
    pack_table,
)
from stgvcodec.bitstream.entropy.models import (
    CONSTANT,
    FAMILIES,
    FIRST_NARROW,
    MODE_BITS,
    TABLE,
    UNCODED,
    Model,
    SymbolArray,
    raw_model,
)
from stgvcodec.bitstream.entropy.streams import write_words
from stgvcodec.bitstream.payload.head import join_head
from stgvcodec.bitstream.payload.pack import arranged
from stgvcodec.bitstream.payload.symbols import LOG_SCALE_MAX, LOG_SCALE_MIN, ORDERED_HALF_MAX, ORDERED_HALF_MIN
from stgvcodec.bitstream.syntax.limits import LIMITS, SCALE_MAX, SCALE_MIN


def _one(rng: Generator, *values: Any) -> Any:
    return values[rng.integers(len(values))]


def drawn_file(rng: Generator) -> bytes:
    """A file in order in which every number may be at its limit."""
    # The last one needs more memory than decoders allow.
    sizes = ((1, 1), (16, 9), (63, 33), (1, 257), (LIMITS["width"], 1), (33, 64), (LIMITS["width"], 8192))
    width, height = _one(rng, *sizes)
    header = StreamHeader(
        width=width,
        height=height,
        frame_rate=Fraction(int(_one(rng, 1, 24, 2**32 - 1)), int(_one(rng, 1, 1001, 2**32 - 1))),
        time_base=Fraction(1, int(_one(rng, 1, 90000, 2**32 - 1))),
        color=ColorDescription(*(int(value) for value in rng.integers(0, 256, 3)), full_range=bool(rng.integers(2))),
        profile=_one(rng, "paper", "compact"),
        tool="fuzz",
        last_frame_duration=int(_one(rng, 0, 1, LIMITS["pts_step"])),
    )
    file = io.BytesIO()
    writer = StgvWriter(file, header)
    start = int(_one(rng, 0, -LIMITS["pts"], 5))
    for _ in range(rng.integers(1, 3)):
        symbols = drawn_gop(rng)
        step = int(_one(rng, 1, 3003, LIMITS["pts_step"]))
        stamps = [start + k * step for k in range(symbols.header.n_frames)]
        writer.add_gop(drawn_payload(symbols, rng), stamps)
        start = stamps[-1] + step
    writer.finish()
    return file.getvalue()


def drawn_payload(symbols: GopSymbols, rng: Generator) -> bytes:
    """The payload of a GoP, each array of which has any model that can hold it."""
    layout, block, arrays, low_bits = arranged(symbols)
    coded = {name: drawn_stream(layout.arrays[name], of_stream, rng) for name, of_stream in arrays.items()}
    coded["point_bits"] = low_bits
    coded.update({name: drawn_conditional(block, found, rng) for name, found in layout.attributes.items()})
    return join_head(symbols.header, coded)


def drawn_stream(arrays: Sequence[SymbolArray], symbols: Sequence[np.ndarray], rng: Generator) -> bytes:
    """A plain stream, each array of which has any model that can hold it."""
    models = [
        raw_model(array, of_array) if array.alphabet > 1 and rng.random() < 0.3 else drawn_model(array, of_array, rng)
        for array, of_array in zip(arrays, symbols, strict=True)
    ]
    return b"".join(model.descriptor for model in models) + write_words(list(zip(models, symbols, strict=True)))


def drawn_conditional(block: np.ndarray, attributes: AttributeSet, rng: Generator) -> bytes:
    """A conditional stream with any classes, of which some are empty, and any models."""
    descriptors, arrays = b"", []
    for attribute in attributes.attributes:
        if attribute.alphabet == 1:
            continue
        thresholds = np.zeros(0, np.int64)
        if attribute.context_of:
            n_classes = _one(rng, 1, 2, 3, LIMITS["attribute_classes"])
            thresholds = np.sort(rng.choice(np.arange(1, LIMITS["alphabet"]), n_classes - 1, replace=False))
            descriptors += bytes([len(thresholds), *thresholds])
        classes = np.searchsorted(thresholds, attributes.context(block, attribute), side="right")
        symbols = attributes.column(block, attribute.column)
        for index in range(len(thresholds) + 1):
            members = symbols[classes == index]
            model = drawn_model(SymbolArray(attribute.name, len(members), attribute.alphabet), members, rng)
            descriptors += model.descriptor
            arrays.append((model, members))
    return descriptors + write_words(arrays)


def drawn_model(array: SymbolArray, symbols: np.ndarray, rng: Generator) -> Model:
    """Any model that can hold the symbols, of which there may be none; raw ones left out."""
    if array.alphabet == 1:
        return Model(b"", 0.0)
    present = np.flatnonzero(np.bincount(symbols, minlength=1))
    some = int(_one(rng, *present)) if len(present) else int(rng.integers(array.alphabet))
    kind = rng.integers(6)
    if len(present) <= 1 and kind == 0:
        return Model(bytes([UNCODED | CONSTANT << MODE_BITS, some]), 0.0)
    if kind <= 1:  # One symbol alone has no table, so another one is put into it.
        return _drawn_table(array.alphabet, present, rng)
    # The centre is a symbol that occurs, as a rule: far from it, each symbol takes three bytes.
    centre = some if rng.random() < 0.8 else int(rng.integers(array.alphabet))
    if kind == 5:
        width = int(rng.integers(N_NARROW_WIDTHS))
        descriptor = bytes([TABLE | (FIRST_NARROW + width) << MODE_BITS, centre])
        return Model(descriptor, 0.0, family_frequencies("narrow", width, centre, array.alphabet))
    mode, width = int(_one(rng, *FAMILIES)), int(rng.integers(N_WIDTHS))
    frequencies = family_frequencies(FAMILIES[mode], width, centre, array.alphabet)
    return Model(bytes([mode | width << MODE_BITS, centre]), 0.0, frequencies)


def _drawn_table(alphabet: int, present: np.ndarray, rng: Generator) -> Model:
    """A table of any frequencies, in which a symbol or two may be present that do not occur."""
    symbols = np.union1d(present, rng.choice(alphabet, _one(rng, 0, 2) if len(present) > 1 else 2, replace=False))
    log2_total = int(rng.integers((len(symbols) - 1).bit_length(), LIMITS["table_log2_total"] + 1))
    cuts = np.sort(rng.integers(0, (1 << log2_total) - len(symbols) + 1, len(symbols) - 1))
    frequencies = np.zeros(alphabet, np.int64)
    frequencies[symbols] = np.diff(cuts, prepend=0, append=(1 << log2_total) - len(symbols)) + 1
    descriptor = bytes([TABLE | log2_total << MODE_BITS]) + pack_table(frequencies)
    return Model(descriptor, 0.0, frequencies[symbols] << (PRECISION - log2_total), symbols.astype(np.uint8))


def drawn_gop(rng: Generator) -> GopSymbols:
    """A GoP that is valid, with sizes and symbols at their limits and between them."""
    header = _drawn_header(rng)
    half, n, k = 1 << (header.weight_bits - 1), header.n_gaussians, header.color_alphabet

    def symbols(shape: tuple[int, ...], low: int, high: int, dtype: type[np.generic]) -> np.ndarray:
        kind = rng.integers(5)
        if kind == 0:
            return np.full(shape, _one(rng, low, high, (low + high + 1) // 2), dtype)
        if kind == 1:
            return rng.choice([low, high], shape).astype(dtype)
        if kind == 2:
            return np.clip(np.rint(rng.laplace((low + high) / 2, 1 + rng.random() * 4, shape)), low, high).astype(dtype)
        return rng.integers(low, high + 1, shape).astype(dtype)

    def floats(count: int, low: float, high: float) -> np.ndarray:
        kind = rng.integers(4)
        if kind == 0:
            return rng.choice([low, high], count).astype(np.float32)
        if kind == 1 and low > 0:
            return np.float32(np.exp(rng.uniform(math.log(low), math.log(high), count))).clip(low, high)
        return np.clip(rng.uniform(-2, 2, count) if low < 0 else rng.uniform(1e-3, 0.1, count), low, high).astype("<f4")

    low, high = (0, 2**16 - 1) if header.point_mode else (ORDERED_HALF_MIN, ORDERED_HALF_MAX)
    scales = {
        name: floats(shape[0], *((-SCALE_MAX, SCALE_MAX) if name.endswith("offset") else (SCALE_MIN, SCALE_MAX)))
        for name, shape in header.side_info_shapes.items()
    }
    if header.shape_mode:
        scales["shape_scale"][:2] = floats(2, LOG_SCALE_MIN, LOG_SCALE_MAX)
    shapes = header.mlp_shapes
    halves = symbols(header.codebooks_shape, 0, 2**16 - 1, np.uint16)
    return GopSymbols(
        header=header,
        points=symbols((n, 2), low, high, np.uint16),
        shapes=symbols((n, 3), 0, (1 << header.cholesky_bits) - 1, np.uint8),
        colors=symbols((n, header.n_color_symbols), 0, k - 1, np.uint8),
        codebooks=np.where(halves & 0x7C00 == 0x7C00, halves ^ 0x0400, halves).astype(np.uint16),
        static_table=symbols((sum(header.static_entries), header.static_features), -half, half - 1, np.int8),
        dynamic_table=symbols((sum(header.dynamic_entries), header.dynamic_features), -half, half - 1, np.int8),
        mlp=tuple(symbols(shape, -half, half - 1, np.int8) for shape in shapes),
        **scales,
    )


def _drawn_header(rng: Generator) -> GopHeader:
    def resolutions(n_axes: int) -> tuple[tuple[int, ...], ...]:
        return tuple(
            tuple(int(_one(rng, 1, 2, 7, LIMITS["grid_resolution"])) for _ in range(n_axes))
            for _ in range(_one(rng, 1, 1, 2, 2, 3, 16))
        )

    point_mode, shape_mode, color_mode, shape_head = (int(value) for value in rng.integers(0, 2, 4))
    return GopHeader(
        n_frames=int(_one(rng, 1, 2, 3, 9)),
        n_gaussians=int(_one(rng, 1, 2, 5, 64, 300)),
        low_pass=float(np.float32(_one(rng, 0.0, 1e-30, 0.25, LIMITS["low_pass"]))),
        point_mode=point_mode,
        shape_mode=shape_mode,
        color_mode=color_mode,
        cholesky_bits=8 if shape_mode else int(rng.integers(1, 9)),
        color_stages=1 if color_mode else int(_one(rng, 1, 2, 8)),
        color_codebook_size=1 if color_mode else int(_one(rng, 1, 2, 7, 256)),
        static_resolutions=resolutions(2),
        static_features=int(_one(rng, 1, 2, 8)),
        static_log2_size=int(_one(rng, 1, 3, 8)),
        dynamic_resolutions=resolutions(3),
        dynamic_features=int(_one(rng, 1, 2, 8)),
        dynamic_log2_size=int(_one(rng, 1, 3, 8)),
        mlp_width=int(_one(rng, 1, 4, 9, 64)),
        n_frequencies=int(_one(rng, 1, 3, 16)),
        shape_head=shape_head,
        weight_bits=int(rng.integers(1, 9)),
    )
