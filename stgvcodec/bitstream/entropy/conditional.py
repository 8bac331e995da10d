"""Conditional streams: each attribute of a set of items has a model for every class of items.

The class of an item follows from those of its symbols that are decoded before. bitstream_spec.md section 5.6 is the
definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.entropy.frequency_tables import all_families
from stgvcodec.bitstream.entropy.models import MODE_BITS, RAW, UNCODED, Model, SymbolArray, Symbols, coded_model
from stgvcodec.bitstream.entropy.streams import first_state, read_model, take_words, write_words, wrong_state
from stgvcodec.bitstream.syntax.limits import LIMITS
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.ops.ans import AttributeSlot, AttributeSlots, CodedArray, StridedSlot, ans_decode, decode_conditional_to

_MAX_CLASSES = LIMITS["attribute_classes"]
_TOP_VARIABLE = LIMITS["alphabet"] - 1
_RAW_BYTE = UNCODED | RAW << MODE_BITS
_ALL_SYMBOLS: Symbols = np.arange(LIMITS["alphabet"], dtype=np.uint8)
# The encoder's estimate of what a class costs besides its entropy: the bits of its model, and bits for each symbol that
# occurs in it. They were measured on sets of 2 000 to 90 000 items.
_MODEL_BITS = 16.0
_SYMBOL_BITS = 7.0


@dataclass(frozen=True)
class Attribute:
    """One attribute of a conditional stream.

    Attributes:
        name: Name of the attribute, for error messages.
        alphabet: Number of different symbols, which are 0 to alphabet - 1; at most 256. An attribute with an alphabet
            of 1 takes no bytes at all.
        column: Strided slots of the attribute's symbols in a block of bytes.
        context_of: Columns, at most two, that are decoded before and make the context: min(255, sum of their symbols).
    """

    name: str
    alphabet: int
    column: StridedSlot
    context_of: tuple[StridedSlot, ...] = ()


@dataclass(frozen=True)
class AttributeSet:
    """The attributes of a conditional stream.

    Attributes:
        n_items: Number of items, which is the number of symbols of each attribute; at least 1.
        attributes: The attributes in decoding order.
    """

    n_items: int
    attributes: tuple[Attribute, ...]

    @cached_property
    def slots(self) -> AttributeSlots:
        """The attributes in the form that the kernel takes."""
        return AttributeSlots([AttributeSlot(a.alphabet, a.column, a.context_of) for a in self.attributes])

    def column(self, block: Symbols, column: StridedSlot) -> Symbols:
        """The symbols of a column, a view of the block."""
        return block[column.first :: column.step][: self.n_items]

    def context(self, block: Symbols, attribute: Attribute) -> Symbols:
        """The context of each item, which decides the item's class. [n_items] uint8."""
        total = np.zeros(self.n_items, np.uint16)
        for slot in attribute.context_of:
            total += self.column(block, slot)
        return np.minimum(total, _TOP_VARIABLE).astype(np.uint8)


def encode_conditional(block: Symbols, attributes: AttributeSet) -> bytes:
    """Code the attributes of the items in a block, each with the classes that cost least.

    Args:
        block: Symbols of the attributes, and their context symbols. [n] uint8.
        attributes: The attributes, with their columns in the block.

    Returns:
        The thresholds and models of each attribute, then the coder's words.
    """
    descriptors = b""
    arrays: list[tuple[Model, Symbols]] = []
    for attribute in attributes.attributes:
        if attribute.alphabet == 1:
            continue
        symbols = attributes.column(block, attribute.column)
        context = attributes.context(block, attribute)
        thresholds: list[int] = []
        if attribute.context_of:
            thresholds = _best_thresholds(_joint_counts(context, symbols))
            descriptors += bytes([len(thresholds), *thresholds])
        classes = np.searchsorted(np.array(thresholds, np.uint8), context, side="right")
        order = np.argsort(classes, kind="stable")
        starts = np.searchsorted(classes[order], np.arange(1, len(thresholds) + 1))
        for part in np.split(symbols[order], starts):
            model = coded_model(np.bincount(part, minlength=attribute.alphabet).astype(np.int64))
            descriptors += model.descriptor
            arrays.append((model, part))
    return descriptors + write_words(arrays)


def _joint_counts(context: Symbols, symbols: Symbols) -> npt.NDArray[np.int64]:
    """Count the pairs of a context and a symbol. [256 contexts, 256 symbols] int64."""
    pairs = context.astype(np.intp) << 8 | symbols
    return np.bincount(pairs, minlength=1 << 16).reshape(1 << 8, 1 << 8)


def _best_thresholds(counts: npt.NDArray[np.int64]) -> list[int]:
    """The thresholds of the classes that cost least, of those that are tried.

    The first partition has classes of equal size. Then the two neighbours whose union adds the fewest bits are joined,
    one pair after the other, and the cheapest partition on the way wins.
    """
    below = np.concatenate([[0], np.cumsum(counts.sum(axis=1))])  # items below each context
    n_items = int(below[-1])
    lowest = int(np.searchsorted(below, 0, side="right")) - 1
    shares = n_items * np.arange(1, _MAX_CLASSES) // _MAX_CLASSES
    quantiles = np.searchsorted(below, shares, side="right") - 1
    thresholds: list[int] = sorted({int(q) for q in quantiles} - {lowest})
    rows = np.add.reduceat(counts, [0, *thresholds], axis=0)
    best, best_bits = thresholds, float(_class_bits(rows).sum())
    while thresholds:
        costs = _class_bits(rows)
        changes = _class_bits(rows[:-1] + rows[1:]) - costs[:-1] - costs[1:]
        joined = int(changes.argmin())
        rows[joined] += rows[joined + 1]
        rows = np.delete(rows, joined + 1, axis=0)
        thresholds = thresholds[:joined] + thresholds[joined + 1 :]
        bits = float(_class_bits(rows).sum()) - (0 if thresholds else _MODEL_BITS / 2)
        if bits <= best_bits:
            best, best_bits = thresholds, bits
    return best


def _class_bits(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Estimate the bits of classes with these counts; only the encoder decides by them. [n] float64."""
    totals = rows.sum(axis=1)
    logarithms = np.log2(np.maximum(rows, 1))
    entropy = totals * np.log2(np.maximum(totals, 1)) - (rows * logarithms).sum(axis=1)
    bits: npt.NDArray[np.float64] = entropy + _MODEL_BITS + _SYMBOL_BITS * (rows > 0).sum(axis=1)
    return bits


def decode_conditional(reader: ByteReader, attributes: AttributeSet, block: Symbols) -> None:
    """Decode a conditional stream to its last byte, into the columns of its attributes.

    Args:
        reader: A reader of exactly the stream's bytes.
        attributes: The attributes, with their columns in the block.
        block: Block to fill. It holds the context symbols of other streams already. [n] uint8.

    Raises:
        BitstreamError: a threshold or a model is not valid, or the coder does not end where the encoder began.
    """
    data = np.frombuffer(reader.data, np.uint8)
    slots, families = attributes.slots, all_families()
    if not decode_conditional_to(block, data, reader.position, reader.end, attributes.n_items, slots, families):
        decode_conditional_slowly(reader, attributes, block)
        raise AssertionError("the reference takes a stream that the kernel refuses")


class ConditionalDecoder:
    """A `Decoder` of conditional streams, of which a later one may have context symbols in an earlier one.

    Attributes:
        n_symbols: Number of symbols that `run` decodes, at most: a measure of what it costs.
    """

    def __init__(self, streams: Sequence[tuple[ByteReader, AttributeSet]], block: Symbols) -> None:
        """Take the streams, and the block for their symbols.

        Args:
            streams: A reader of exactly the bytes of each stream, and the stream's attributes.
            block: Block that `run` fills. [n] uint8.
        """
        self._streams, self._block = streams, block
        self.n_symbols = sum(attributes.n_items * len(attributes.attributes) for _, attributes in streams)

    def run(self) -> None:
        """Decode the streams.

        Raises:
            BitstreamError: a stream is damaged.
        """
        for reader, attributes in self._streams:
            decode_conditional(reader, attributes, self._block)


def decode_conditional_slowly(
    reader: ByteReader, attributes: AttributeSet, block: Symbols, *, backend: str = "auto"
) -> None:
    """The reference of `decode_conditional`, which knows what is wrong with a stream, and where.

    `backend` is that of `stgvcodec.ops.ans.ans_decode`.
    """
    thresholds: list[list[int]] = []
    models: list[list[Model | int]] = []
    for attribute in attributes.attributes:
        is_coded = attribute.alphabet > 1
        thresholds.append(read_thresholds(reader, attribute) if is_coded and attribute.context_of else [])
        models.append([read_class(reader, attribute) for _ in range(len(thresholds[-1]) + 1)] if is_coded else [0])
    has_coder = any(isinstance(model, Model) for of_attribute in models for model in of_attribute)
    words_start = reader.position
    words = take_words(reader, has_coder)
    coded: list[Symbols] = []
    for attribute, bounds, of_attribute in zip(attributes.attributes, thresholds, models, strict=True):
        classes = np.searchsorted(np.array(bounds, np.uint8), attributes.context(block, attribute), side="right")
        column = attributes.column(block, attribute.column)
        for index, model in enumerate(of_attribute):
            members = classes == index
            if isinstance(model, int):
                column[members] = model
                continue
            assert model.frequencies is not None
            names = _ALL_SYMBOLS[: attribute.alphabet] if model.symbols is None else model.symbols
            array = CodedArray(int(members.sum()), model.frequencies.astype(np.uint32), names)
            # The words that are left after one array are those with which the next one begins.
            symbols, words = ans_decode(words, [array], backend=backend)
            column[members] = symbols
            coded.append(symbols)
    if has_coder and words.tolist() != [first_state(coded)]:
        raise wrong_state(reader, words_start)


def read_thresholds(reader: ByteReader, attribute: Attribute) -> list[int]:
    """Read the thresholds between the classes of an attribute that has context symbols.

    Raises:
        BitstreamError: there are too many, or they do not rise.
    """
    start = reader.position
    n = reader.u8()
    if n >= _MAX_CLASSES:
        raise reader.error(f"{attribute.name}: {n} thresholds, expected {_MAX_CLASSES - 1} at most", at=start)
    thresholds = list(reader.take(n))
    if any(after <= before for before, after in zip([0, *thresholds], thresholds, strict=False)):
        raise reader.error(f"{attribute.name}: thresholds are {thresholds}, expected them above 0 and rising", at=start)
    return thresholds


def read_class(reader: ByteReader, attribute: Attribute) -> Model | int:
    """Read the model of a class, or the symbol of all its items where it is constant.

    Raises:
        BitstreamError: the model is not valid here.
    """
    if reader.remaining and reader.data[reader.position] == _RAW_BYTE:
        raise reader.error(f"{attribute.name}: model byte {_RAW_BYTE} is not defined in a conditional stream")
    decoded = read_model(reader, SymbolArray(attribute.name, 1, attribute.alphabet))
    return decoded if isinstance(decoded, Model) else int(decoded[0])
