"""The contexts that the payload is coded by are those of the specification."""

from __future__ import annotations

import pytest
from gops import gop_header, modes
from spec_tables import cells_below

from stgvcodec.bitstream.payload.contexts import color_symbols, shape_symbols
from stgvcodec.bitstream.payload.memory_layout import memory_layout

ROWS = cells_below("| stream | mode | attribute | A | context symbols |")
SHAPE_NAMES = (("l1", "l2", "l3"), ("a", "b", "s"))
COLOR_NAMES = ("Y", "Co", "Cg")


def rows_of_the_spec(header):
    """(stream, attribute, A, context symbols) of a GoP, in decoding order, from the rows for its modes."""
    alphabets = {
        "256": 256,
        "2^cholesky_bits": 2**header.cholesky_bits,
        "K": header.color_codebook_size,
    }
    for stream, mode, attribute, alphabet, context in ROWS:
        if mode not in (f"shape_mode {header.shape_mode}", f"color_mode {header.color_mode}"):
            continue
        if " or " in context:  # by shape_mode
            context = context.split(", or ")[header.shape_mode]
        if attribute == "stage m, for m = 1, ..., M - 1":
            assert context == "stage m - 1"
            for m in range(1, header.color_stages):
                yield stream, f"stage {m}", alphabets[alphabet], f"stage {m - 1}"
        else:
            yield stream, attribute, alphabets[alphabet], context


def name_of(ref, header):
    if ref.stream == "shapes":
        return SHAPE_NAMES[header.shape_mode][ref.component]
    return COLOR_NAMES[ref.component] if header.color_mode else f"stage {ref.component}"


@pytest.mark.parametrize("shape_mode", [0, 1])
@pytest.mark.parametrize("color_mode", [0, 1])
def test_contexts_are_those_of_the_spec(shape_mode, color_mode):
    bits = 8 if shape_mode else 5
    header = gop_header(**modes(0, shape_mode, color_mode), cholesky_bits=bits, color_stages=4)
    layout = memory_layout(header)
    symbols = {
        "shapes": shape_symbols(header.shape_mode),
        "colors": color_symbols(header.shape_mode, header.color_mode, header.n_color_symbols),
    }
    declared = [
        (
            stream,
            name_of(coded.symbol, header),
            attribute.alphabet,
            " and ".join(name_of(ref, header) for ref in coded.context_of) or "none",
        )
        for stream in symbols
        for coded, attribute in zip(symbols[stream], layout.attributes[stream].attributes, strict=True)
    ]
    assert declared == list(rows_of_the_spec(header))


def test_every_row_of_the_spec_is_for_one_of_the_modes():
    assert {row[1] for row in ROWS} == {"shape_mode 0", "shape_mode 1", "color_mode 0", "color_mode 1"}
