"""Integer frequency tables: families of a width and a centre, and transmitted tables. No float decides a symbol.

bitstream_spec.md sections 5.3 and 5.4 are the definition; the comments here say only why.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.bitstream.syntax.primitives import ByteReader

PRECISION = 24
TOTAL = 1 << PRECISION
N_WIDTHS = 64
N_NARROW_WIDTHS = 16
_WEIGHT_BITS = 30
_NARROW_SHIFT = 7
_MAX_PREFIX = 16
_MAX_ITEM_BITS = 2 * _MAX_PREFIX + 1

Frequencies = npt.NDArray[np.int64]


@cache
def family_weights(shape: str) -> npt.NDArray[np.int64]:
    """Weights of the distances 0..255 from the centre, for the 64 widths of a family.

    Args:
        shape: "geometric", "normal" or "narrow", which has 16 widths only.

    Returns:
        weights: [64, 256] int64, 2^30 at distance 0.
    """
    one = 1 << _WEIGHT_BITS
    weights = np.zeros((N_WIDTHS, LIMITS["alphabet"]), np.int64)
    complement = 63 << (_WEIGHT_BITS - 6)
    for width in range(N_WIDTHS):
        ratio = one >> (_NARROW_SHIFT + width) if shape == "narrow" else one - complement
        change = ratio * ratio >> _WEIGHT_BITS if shape == "normal" else one
        weight = one
        for distance in range(LIMITS["alphabet"]):
            weights[width, distance] = weight
            weight = weight * ratio >> _WEIGHT_BITS
            ratio = ratio * change >> _WEIGHT_BITS
        complement = complement * 55 >> 6 if shape == "normal" else complement * 29 >> 5
    weights.flags.writeable = False
    return weights


@cache
def all_families() -> npt.NDArray[np.int64]:
    """Weights of the geometric, the normal and the narrow family, for a kernel. [3, 64, 256] int64."""
    weights = np.stack([family_weights(shape) for shape in ("geometric", "normal", "narrow")])
    weights.flags.writeable = False
    return weights


def family_frequencies(
    shape: str, widths: int | slice | npt.NDArray[np.int64], centre: int, alphabet: int
) -> Frequencies:
    """Frequencies of a family; every symbol of the alphabet has at least 1.

    Args:
        shape: "geometric", "normal" or "narrow".
        widths: One width, an index below 64, or several.
        centre: The most frequent symbol.
        alphabet: Number of symbols, at least 2.

    Returns:
        frequencies: [alphabet], or [n_widths, alphabet] for several widths. int64, each row sums to 2^24.
    """
    distance = np.abs(np.arange(alphabet) - centre)
    weights = family_weights(shape)[widths][..., distance]
    # 2^30 * 2^24 fits int64 with room
    frequencies = 1 + weights * (TOTAL - alphabet) // weights.sum(axis=-1, keepdims=True)
    frequencies[..., centre] += TOTAL - frequencies.sum(axis=-1)
    result: Frequencies = frequencies
    return result


def normalise(counts: npt.NDArray[np.int64], log2_total: int) -> Frequencies:
    """Scale counts to sum to 2^log2_total with at least 1 for every symbol that occurs.

    Args:
        counts: [alphabet] int64; at most 2^log2_total symbols occur.
        log2_total: log2 of the sum.

    Returns:
        frequencies: [alphabet] int64; 0 where the count is 0.
    """
    total = 1 << log2_total
    frequencies = np.where(counts > 0, np.maximum(1, (2 * counts * total + counts.sum()) // (2 * counts.sum())), 0)
    excess = int(frequencies.sum()) - total
    while excess:
        largest = int(frequencies.argmax())
        change = min(excess, int(frequencies[largest]) // 4 or 1)
        frequencies[largest] -= change
        excess -= change
    return frequencies


def pack_table(frequencies: Frequencies) -> bytes:
    """Write a transmitted table: Exp-Golomb codes whose order follows the frequency before, with zeros in runs.

    Args:
        frequencies: [alphabet] int64, at least two above 0; the sum is a power of two.
    """
    items = frequencies.tolist()
    remaining = sum(items)
    bits: list[str] = []
    order = 0
    symbol = 0
    while remaining:
        frequency = items[symbol]
        bits.append(_exp_golomb(frequency, order))
        remaining -= frequency
        order = frequency.bit_length()
        symbol += 1
        if not frequency:
            run = 0
            while not items[symbol + run]:
                run += 1
            bits.append(_exp_golomb(run, 0))
            symbol += run
    joined = "".join(bits)
    n_bytes = (len(joined) + 7) // 8
    return int(joined.ljust(8 * n_bytes, "0"), 2).to_bytes(n_bytes, "big")


def _exp_golomb(value: int, order: int) -> str:
    shifted = value + (1 << order)
    return "0" * (shifted.bit_length() - 1 - order) + f"{shifted:b}"


def read_table(reader: ByteReader, log2_total: int, alphabet: int) -> tuple[npt.NDArray[np.uint8], Frequencies]:
    """Read a transmitted table.

    Args:
        reader: A reader at the table's first byte; it is left behind the last one.
        log2_total: log2 of the sum of the frequencies.
        alphabet: Number of symbols.

    Returns:
        symbols: Symbols with a frequency above 0, ascending. [n] uint8, n >= 2.
        frequencies: Frequencies of these symbols, scaled to sum to 2^24. [n] int64.

    Raises:
        BitstreamError: the table is cut short, does not sum to 2^log2_total, or has fewer than two symbols.
    """
    start = reader.position
    # a table is never longer than this, so that damage cannot make the slice large
    window = reader.data[start : min(reader.end, start + alphabet * _MAX_ITEM_BITS // 8 + 1)]
    bits = f"{int.from_bytes(window, 'big'):b}".zfill(8 * len(window)) if window else ""
    position = order = symbol = 0
    remaining = 1 << log2_total
    symbols: list[int] = []
    frequencies: list[int] = []

    def item(order: int) -> int:
        nonlocal position
        one = bits.find("1", position, position + _MAX_PREFIX + 1)
        stop = 2 * one - position + order + 1
        if one < 0 or stop > len(bits):
            raise reader.error("frequency table is cut short or holds no valid code", at=start)
        value = int(bits[one:stop], 2) - (1 << order)
        position = stop
        return value

    while remaining:
        if symbol >= alphabet:
            raise reader.error(
                f"frequency table does not sum to {1 << log2_total} over {alphabet} symbols: {remaining} missing",
                at=start,
            )
        frequency = item(order)
        order = frequency.bit_length()
        if frequency > remaining:
            raise reader.error(f"frequency table sums to more than {1 << log2_total}", at=start)
        if frequency:
            symbols.append(symbol)
            frequencies.append(frequency)
            remaining -= frequency
            symbol += 1
        else:
            symbol += 1 + item(0)
    if len(symbols) < 2:
        raise reader.error("frequency table has one symbol; a constant is not coded that way", at=start)
    if "1" in bits[position : (position + 7) // 8 * 8]:
        raise reader.error("frequency table is padded with bits other than 0", at=start)
    reader.skip((position + 7) // 8)
    return np.array(symbols, np.uint8), np.array(frequencies, np.int64) << (PRECISION - log2_total)
