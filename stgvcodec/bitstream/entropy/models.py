"""Models of symbol arrays: what an array is, and which model costs the encoder least.

bitstream_spec.md section 5.2 is the definition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.entropy.frequency_tables import (
    N_NARROW_WIDTHS,
    N_WIDTHS,
    PRECISION,
    Frequencies,
    family_frequencies,
    normalise,
    pack_table,
)

UNCODED, TABLE, GEOMETRIC, NORMAL = range(4)
CONSTANT, RAW = range(2)
FAMILIES = {GEOMETRIC: "geometric", NORMAL: "normal"}
MODE_BITS = 2
FIRST_NARROW = 16
"""The parameter from which on mode 1 is the narrow family; below it, mode 1 is a transmitted table."""
_TABLE_TOTALS = range(6, 14)
_COARSE_STEP = 4

Symbols = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SymbolArray:
    """What the decoder knows of an array of symbols before it reads them.

    Attributes:
        name: Name of the array, for error messages.
        n_symbols: Number of symbols, at least 1.
        alphabet: Number of different symbols, which are 0 to alphabet - 1; at most 256. An array with an alphabet of 1
            takes no bytes at all.
    """

    name: str
    n_symbols: int
    alphabet: int

    @property
    def raw_bits(self) -> int:
        """Bits of a symbol that is not coded."""
        return (self.alphabet - 1).bit_length()

    @property
    def raw_cost_bits(self) -> float:
        """Bits of the array where it is not coded, model byte included."""
        return 8.0 + self.n_symbols * self.raw_bits


@dataclass(frozen=True)
class Model:
    """An array's model: its bytes in the stream, and how the coder sees its symbols."""

    descriptor: bytes
    bits: float
    frequencies: Frequencies | None = None  # None where the symbols are not coded
    symbols: Symbols | None = None  # the symbol of each frequency where these are not 0..n - 1


def choose_model(array: SymbolArray, symbols: Symbols) -> Model:
    """The cheapest model of an array. Its cost may be estimated in floats: only the encoder decides here.

    Args:
        array: What the decoder knows of the array.
        symbols: Symbols of the array. [n_symbols] uint8.
    """
    if array.alphabet == 1:
        return Model(b"", 0.0)
    counts = np.bincount(symbols, minlength=array.alphabet).astype(np.int64)
    raw_cost = array.raw_cost_bits
    best = coded_model(counts, raw_cost)
    return best if best.bits < raw_cost or best.frequencies is None else raw_model(array, symbols)


def coded_model(counts: npt.NDArray[np.int64], to_beat: float = math.inf) -> Model:
    """The cheapest model that does not store the symbols themselves.

    Args:
        counts: Number of occurrences of each symbol of the alphabet, which has two at least. [alphabet] int64.
        to_beat: Bits above which the model need not be the cheapest.
    """
    present = np.flatnonzero(counts)
    if len(present) == 1:
        return Model(bytes([UNCODED | CONSTANT << MODE_BITS, int(present[0])]), 16.0)
    best = min((_fit_family(mode, counts, present) for mode in FAMILIES), key=lambda model: model.bits)
    # Symbols that are spread wider than that have a better model in the geometric family.
    if 16 * int(counts.max()) > 15 * int(counts.sum()):
        best = min(best, _fit_narrow(counts, present), key=lambda model: model.bits)
    return _fit_table(counts, present, min(best.bits, to_beat)) or best


def _fit_narrow(counts: npt.NDArray[np.int64], present: npt.NDArray[np.int64]) -> Model:
    centre, alphabet = int(counts.argmax()), len(counts)
    frequencies = family_frequencies("narrow", slice(N_NARROW_WIDTHS), centre, alphabet)
    costs = 16.0 + (PRECISION - np.log2(frequencies[:, present])) @ counts[present]
    width = int(costs.argmin())
    descriptor = bytes([TABLE | (FIRST_NARROW + width) << MODE_BITS, centre])
    return Model(descriptor, float(costs[width]), frequencies[width])


def _fit_family(mode: int, counts: npt.NDArray[np.int64], present: npt.NDArray[np.int64]) -> Model:
    alphabet = len(counts)
    n_symbols = int(counts.sum())
    if mode == GEOMETRIC:  # the centre is the median
        centre = int(np.searchsorted(np.cumsum(counts), (n_symbols + 1) // 2))
    else:  # the centre is the mean
        centre = (2 * int(counts @ np.arange(alphabet)) + n_symbols) // (2 * n_symbols)
    occurring = counts[present]

    def costs(widths: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        frequencies = family_frequencies(FAMILIES[mode], widths, centre, alphabet)[:, present]
        return np.asarray(16.0 + (PRECISION - np.log2(frequencies)) @ occurring, np.float64)

    coarse = np.arange(0, N_WIDTHS, _COARSE_STEP)
    around = int(coarse[costs(coarse).argmin()])
    fine = np.arange(max(0, around - _COARSE_STEP + 1), min(N_WIDTHS, around + _COARSE_STEP))
    fine_costs = costs(fine)
    width = int(fine[fine_costs.argmin()])
    return Model(
        bytes([mode | width << MODE_BITS, centre]),
        float(fine_costs.min()),
        family_frequencies(FAMILIES[mode], width, centre, alphabet),
    )


def _fit_table(counts: npt.NDArray[np.int64], present: npt.NDArray[np.int64], to_beat: float) -> Model | None:
    """The cheapest transmitted table, None if none costs less than `to_beat` bits."""
    occurring = counts[present]
    entropy = float(occurring @ (np.log2(occurring.sum()) - np.log2(occurring)))
    best: Model | None = None
    for log2_total in _TABLE_TOTALS:
        # the shortest code of an entry has one bit, the code of a typical entry three
        if 1 << log2_total < 2 * len(present) or entropy + 3.0 * len(present) >= to_beat:
            continue
        frequencies = normalise(counts, log2_total)
        used = frequencies[present]
        payload = float(occurring @ (log2_total - np.log2(used)))
        if payload + 3.0 * len(present) >= to_beat:
            continue
        descriptor = bytes([TABLE | log2_total << MODE_BITS]) + pack_table(frequencies)
        bits = payload + 8.0 * len(descriptor)
        if bits >= to_beat:
            if best:  # finer totals only make the table longer
                break
            continue
        to_beat = bits
        best = Model(descriptor, bits, used << (PRECISION - log2_total), present.astype(np.uint8))
    return best


def raw_model(array: SymbolArray, symbols: Symbols) -> Model:
    """The model of an array whose symbols are not coded."""
    rows = np.unpackbits(symbols[:, None], axis=1)[:, 8 - array.raw_bits :]
    return Model(bytes([UNCODED | RAW << MODE_BITS]) + np.packbits(rows).tobytes(), array.raw_cost_bits)
