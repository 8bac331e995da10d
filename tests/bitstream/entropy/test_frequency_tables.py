from __future__ import annotations

import independent_decoder
import numpy as np
import pytest
from spec_tables import cells_after

from stgvcodec.bitstream.entropy.frequency_tables import (
    TOTAL,
    family_frequencies,
    family_weights,
    pack_table,
    read_table,
)
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.errors import BitstreamError

MODES = {"geometric": 2, "normal": 3, "narrow": 4}


def read(data, log2_total, alphabet):
    reader = ByteReader(data, "test")
    symbols, frequencies = read_table(reader, log2_total, alphabet)
    dense = np.zeros(alphabet, np.int64)
    dense[symbols] = frequencies
    return dense, reader


@pytest.mark.parametrize("row", cells_after("Family test values:"), ids=lambda row: " ".join(row[:4]))
def test_families_of_the_spec(row):
    family, width, centre, alphabet = row[0], int(row[1]), int(row[2]), int(row[3])
    expected = [int(f) for f in row[4].split()]
    assert family_frequencies(family, width, centre, alphabet).tolist() == expected
    assert independent_decoder.family(MODES[family], width, centre, alphabet) == expected


@pytest.mark.parametrize("family", MODES)
@pytest.mark.parametrize(("centre", "alphabet"), [(0, 2), (128, 256), (255, 256), (3, 7), (0, 255)])
def test_families_sum_and_reach_every_symbol(family, centre, alphabet):
    frequencies = family_frequencies(family, slice(None), centre, alphabet)
    assert frequencies.shape == (64, alphabet)
    assert (frequencies.sum(axis=1) == TOTAL).all()
    assert frequencies.min() >= 1
    assert (frequencies.argmax(axis=1) == centre).all()
    for width in (0, 31, 63):
        assert frequencies[width].tolist() == independent_decoder.family(MODES[family], width, centre, alphabet)


@pytest.mark.parametrize("family", MODES)
def test_family_products_fit_64_bits(family):
    weights = family_weights(family)
    assert weights.min() >= 0
    assert int(weights.max()) * TOTAL < 2**63
    growth = np.diff(weights, axis=0)
    assert (
        growth <= 0 if family == "narrow" else growth >= 0
    ).all()  # in the family "narrow", a larger width is narrower


@pytest.mark.parametrize("row", cells_after("Table test values (frequencies before scaling):"), ids=lambda row: row[2])
def test_tables_of_the_spec(row):
    log2_total, alphabet, data = int(row[0]), int(row[1]), bytes.fromhex(row[2])
    expected = [int(f) for f in row[3].split()]
    assert pack_table(np.array(expected)) == data
    dense, reader = read(data, log2_total, alphabet)
    reader.expect_end()
    assert (dense >> (24 - log2_total)).tolist() == expected
    stream = independent_decoder.Bytes(data)
    got = independent_decoder.table(stream, log2_total, alphabet)
    assert got + [0] * (alphabet - len(got)) == dense.tolist()
    assert not stream.left()


@pytest.mark.parametrize(
    ("data", "log2_total", "alphabet", "message"),
    [
        ("", 6, 4, "cut short or holds no valid code"),
        ("00000000", 6, 4, "cut short or holds no valid code"),
        ("58", 2, 2, "does not sum to 4 over 2 symbols: 2 missing"),
        ("4b215faa", 5, 6, "sums to more than 32"),
        ("59", 1, 2, "padded with bits other than 0"),
        ("40", 0, 2, "has one symbol"),
        ("4b21", 6, 6, "cut short or holds no valid code"),
        ("b0", 4, 2, "does not sum to 16"),
    ],
)
def test_malformed_tables_are_refused(data, log2_total, alphabet, message):
    with pytest.raises(BitstreamError, match=message):
        read(bytes.fromhex(data), log2_total, alphabet)
