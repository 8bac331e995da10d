"""A GoP's symbols to the bytes of its payload and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import numpy.typing as npt

from stgvcodec.bitstream.entropy import Runner, StreamDecoder, decode_streams, encode_stream
from stgvcodec.bitstream.gop_layout import GopLayout, gop_layout
from stgvcodec.bitstream.layout import SIDE_INFO, STREAM_LENGTHS, STREAMS, read_fields, write_fields
from stgvcodec.bitstream.models import Symbols
from stgvcodec.bitstream.primitives import ByteReader
from stgvcodec.bitstream.symbols import GopHeader, GopSymbols, halves_are_finite

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
    header = symbols.header
    runs = _flat_runs(symbols)
    coded = {
        name: encode_stream(list(zip(contexts, runs[name], strict=True)))
        for name, contexts in gop_layout(header).contexts.items()
    }
    lengths = write_fields({f"{name}_bytes": len(coded[name]) for name in STREAMS}, STREAM_LENGTHS)
    return header.to_bytes() + lengths + b"".join(coded[name] for name in STREAMS)


def _in_order(work: Callable[[int], None], n: int) -> None:
    for i in range(n):
        work(i)


def _new_bytes(layout: GopLayout) -> npt.NDArray[np.uint8]:
    return np.empty(layout.n_bytes, np.uint8)


def unpack_gop(payload: bytes, *, run: Runner = _in_order) -> GopSymbols:
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


def unpack_block(payload: bytes, *, run: Runner = _in_order, allocate: Allocate = _new_bytes) -> GopBlock:
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
    header, lengths = _read_head(reader)
    layout = gop_layout(header)
    block = allocate(layout)
    starts: dict[str, int] = {}

    def open_stream(name: str) -> StreamDecoder:
        starts[name] = reader.position
        stream = reader.slice(lengths[name], f"GoP {name}")
        return StreamDecoder(stream, layout.contexts[name], layout.places[name], block)

    decode_streams([partial(open_stream, name) for name in STREAMS], run)
    sections = layout.sections
    _check_side_info(header, sections["floats"].of(block))
    for name in ("means", "codebooks"):
        if not halves_are_finite(sections[name].of(block)):
            message = f"{name} hold NaN or Inf, so bytes are damaged"
            raise ByteReader(payload, f"GoP {name}").error(message, at=starts[name])
    return GopBlock(layout, block)


def _check_side_info(header: GopHeader, floats: npt.NDArray[np.float32]) -> None:
    low, high = _side_limits(len(floats))
    if bool(((low <= floats) & (floats <= high)).all()):
        return
    counts = {
        "n_static_levels": len(header.static_resolutions),
        "n_dynamic_levels": len(header.dynamic_resolutions),
    }
    read_fields(ByteReader(floats.astype("<f4").tobytes(), "GoP side_info, decoded"), SIDE_INFO, counts)


@cache
def _side_limits(n_floats: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Smallest and largest value of each float of the side information, exact in float32. [n_floats] each."""
    cholesky = [field for field in SIDE_INFO if field.shape == (3,) for _ in range(3)]
    scale = SIDE_INFO[-1]
    limits = [*cholesky, *[scale] * (n_floats - len(cholesky))]
    low, high = ([getattr(field, name) for field in limits] for name in ("minimum", "maximum"))
    return np.array(low, np.float32), np.array(high, np.float32)


def gop_stream_bytes(payload: bytes) -> dict[str, int]:
    """What each stream of a GoP costs.

    Args:
        payload: What `pack_gop` returned.

    Returns:
        Bytes by stream name, in file order; header and lengths count as "side_info". The sum is `len(payload)`.

    Raises:
        BitstreamError: header or lengths are damaged.
    """
    reader = ByteReader(bytes(payload), "GoP header")
    _, lengths = _read_head(reader)
    lengths["side_info"] += reader.position
    return lengths


def read_gop_header(payload: bytes) -> GopHeader:
    """The header of a GoP payload, of which only the beginning need be there.

    Raises:
        BitstreamError: it is cut short or damaged.
    """
    return _read_header(ByteReader(bytes(payload), "GoP header"))


# Of the last header that was read: what follows does not change what its bytes mean, and a file's GoPs mostly share it.
_last_header: tuple[bytes, GopHeader] | None = None


def _read_header(reader: ByteReader) -> GopHeader:
    global _last_header
    start = reader.position
    known = _last_header
    if known is not None and reader.data.startswith(known[0], start, reader.end):
        reader.skip(len(known[0]))
        return known[1]
    header = GopHeader.read(reader)
    _last_header = reader.data[start : reader.position], header
    return header


def _read_head(reader: ByteReader) -> tuple[GopHeader, dict[str, int]]:
    header = _read_header(reader)
    start = reader.position
    values = read_fields(reader, STREAM_LENGTHS)
    lengths = {name: int(values[f"{name}_bytes"]) for name in STREAMS}
    if sum(lengths.values()) != reader.remaining:
        message = f"the streams take {sum(lengths.values())} bytes by their lengths, {reader.remaining} are there"
        raise reader.error(message, at=start)
    return header, lengths


def _flat_runs(symbols: GopSymbols) -> dict[str, list[Symbols]]:
    """The symbols of each context, in the order of the layout's contexts."""
    header = symbols.header
    half = 1 << (header.weight_bits - 1)

    def unsigned(array: npt.NDArray[np.int8]) -> Symbols:
        return array.reshape(-1).view(np.uint8) + np.uint8(half)  # wraps where q < 0, as intended

    def levels(table: npt.NDArray[np.int8], entries: Sequence[int]) -> list[Symbols]:
        ends = np.cumsum(entries)[:-1]
        return [unsigned(np.ascontiguousarray(part)) for part in np.split(table, ends)]

    side = np.frombuffer(symbols.side_info_bytes(), np.uint8).reshape(-1, 4)
    return {
        "side_info": [np.ascontiguousarray(plane) for plane in side.T],
        "means": [part for axis in symbols.means.T for part in _split_bytes(axis)],
        "cholesky": [np.ascontiguousarray(component) for component in symbols.cholesky.T],
        "color_indices": [np.ascontiguousarray(stage) for stage in symbols.color_indices.T],
        "codebooks": [part for stage in symbols.codebooks for part in _split_bytes(stage.reshape(-1))],
        "hash_static": levels(symbols.static_table, header.static_entries),
        "hash_dynamic": levels(symbols.dynamic_table, header.dynamic_entries),
        "mlp": [unsigned(np.ascontiguousarray(tensor)) for tensor in symbols.mlp],
    }


def _split_bytes(halves: npt.NDArray[np.uint16]) -> tuple[Symbols, Symbols]:
    return (halves >> 8).astype(np.uint8), (halves & 0xFF).astype(np.uint8)
