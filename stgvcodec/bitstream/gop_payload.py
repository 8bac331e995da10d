"""A GoP's symbols to the bytes of its payload and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.entropy.models import Symbols
from stgvcodec.bitstream.entropy.streams import Runner, StreamDecoder, decode_streams, encode_streams, in_order
from stgvcodec.bitstream.gop_layout import GopLayout, gop_layout
from stgvcodec.bitstream.payload.checks import check_decoded_floats, halves_are_finite
from stgvcodec.bitstream.payload.head import PayloadHead
from stgvcodec.bitstream.payload.symbol_arrays import codebook_runs, field_runs, float_runs, split_bytes
from stgvcodec.bitstream.symbols import GopHeader, GopSymbols
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.bitstream.syntax.tables import SIDE_INFO, STREAM_LENGTHS, STREAMS

_HEAD = PayloadHead(GopHeader, STREAM_LENGTHS, STREAMS)

Allocate = Callable[[GopLayout], npt.NDArray[np.uint8]]
"""Gives `layout.n_bytes` bytes or more, contiguous and aligned to 16; what they hold does not matter."""


@dataclass(frozen=True, eq=False)
class GopBlock:
    """A decoded GoP: its layout, and the block of bytes, [n] uint8."""

    layout: GopLayout
    block: npt.NDArray[np.uint8]

    def symbols(self) -> GopSymbols:
        """Its arrays; views of the block."""
        return self.layout.symbols(self.block)


def pack_gop(symbols: GopSymbols) -> bytes:
    """Code a GoP: header, lengths of the streams, streams.

    Args:
        symbols: The GoP.

    Returns:
        The payload for `StgvWriter.add_gop`; the same bytes for the same symbols.

    Raises:
        ValueError: the symbols do not fit their header or the format's limits.
    """
    symbols.validate()
    return _HEAD.join(symbols.header, encode_streams(gop_layout(symbols.header).contexts, _flat_runs(symbols)))


def _new_bytes(layout: GopLayout) -> npt.NDArray[np.uint8]:
    return np.empty(layout.n_bytes, np.uint8)


def unpack_gop(payload: bytes, *, run: Runner = in_order) -> GopSymbols:
    """Decode a GoP.

    Args:
        payload: What `pack_gop` returned.
        run: Calls its first argument with 0 to n - 1, in threads if it likes; streams are decoded in it.

    Returns:
        The symbols, exactly as they were.

    Raises:
        BitstreamError: the payload is cut short or damaged; its offset counts from the payload's start.
    """
    return unpack_block(payload, run=run).symbols()


def unpack_block(payload: bytes, *, run: Runner = in_order, allocate: Allocate = _new_bytes) -> GopBlock:
    """`unpack_gop` into a block of the caller's: symbols are decoded to where they stay.

    Args:
        payload: What `pack_gop` returned.
        run: As above.
        allocate: Called once.

    Raises:
        BitstreamError: as above.
    """
    payload = bytes(payload)
    reader = ByteReader(payload, "GoP header")
    header, lengths = _HEAD.read(reader)
    layout = gop_layout(header)
    block = allocate(layout)
    starts: dict[str, int] = {}

    def open_stream(name: str) -> StreamDecoder:
        starts[name] = reader.position
        stream = reader.slice(lengths[name], f"GoP {name}")
        return StreamDecoder(stream, layout.contexts[name], layout.places[name], block)

    decode_streams([partial(open_stream, name) for name in STREAMS], run)
    sections = layout.sections
    check_decoded_floats(sections["floats"].of(block), SIDE_INFO, header.level_counts)
    for name in ("means", "codebooks"):
        if not halves_are_finite(sections[name].of(block)):
            message = f"{name} hold NaN or Inf, so bytes are damaged"
            raise ByteReader(payload, f"GoP {name}").error(message, at=starts[name])
    return GopBlock(layout, block)


def gop_stream_bytes(payload: bytes) -> dict[str, int]:
    """What each stream of a GoP costs.

    Args:
        payload: What `pack_gop` returned.

    Returns:
        Bytes by stream name, in file order; header and lengths count as "side_info". The sum is `len(payload)`.

    Raises:
        BitstreamError: header or lengths are damaged.
    """
    return _HEAD.stream_bytes(payload)


def read_gop_header(payload: bytes) -> GopHeader:
    """The header of a GoP payload, of which only the beginning need be there.

    Raises:
        BitstreamError: it is cut short or damaged.
    """
    return _HEAD.read_header(ByteReader(bytes(payload), "GoP header"))


def _flat_runs(symbols: GopSymbols) -> dict[str, list[Symbols]]:
    """The symbols of each context, in the order of the layout's contexts."""
    return {
        "side_info": float_runs(symbols.side_info_bytes()),
        "means": [part for axis in symbols.means.T for part in split_bytes(axis)],
        "cholesky": [np.ascontiguousarray(component) for component in symbols.cholesky.T],
        "color_indices": [np.ascontiguousarray(stage) for stage in symbols.color_indices.T],
        "codebooks": codebook_runs(symbols.codebooks),
        **field_runs(symbols.header, symbols.static_table, symbols.dynamic_table, symbols.mlp),
    }
