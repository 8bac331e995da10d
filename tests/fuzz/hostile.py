"""Hostile `.stgv` files: mutations that know the format, and mend what would stop them at the door.

Most mutations frame chunks anew, with right CRCs, and most also write the index anew, so that parsers, the entropy
decoder, the dequantiser and the renderer see what a mutation has done. Syntax elements are found through the package's
own tables: a new table, or a new chunk whose type has the name of a table, is mutated without a change here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from drawn import drawn_file
from numpy.random import Generator

from stgvcodec.bitstream.container.chunks import (
    FRAME_BYTES,
    HEADER_BYTES,
    MAGIC,
    ChunkType,
    frame_chunk,
    is_known,
    parse_chunk_header,
)
from stgvcodec.bitstream.syntax.elements import SyntaxElement, SyntaxTable, dimensions
from stgvcodec.bitstream.syntax.limits import SCALE_MAX, SCALE_MIN
from stgvcodec.bitstream.syntax.primitives import PACKERS, READERS, ByteReader
from stgvcodec.bitstream.syntax.tables import (
    GOP_CHUNK,
    GOP_HEADER,
    INDEX,
    INDEX_ENTRY,
    INDEX_GOP,
    INDEX_TAIL,
    STREAM_LENGTHS,
    STREAMS,
    TABLES,
)
from stgvcodec.errors import BitstreamError

GOLDEN = tuple(path.read_bytes() for path in sorted((Path(__file__).parents[1] / "golden").glob("*.stgv")))
"""The files of the conformance set."""

# GoPs of a file with which mutations begin. No GoP needs another, so further ones take time and teach nothing.
_MAX_GOPS = 2

# Integers wrap around in these types; LEB128 takes any number, too large ones included.
_WIDTHS = {"u8": 8, "u16": 16, "u32": 32}
_FLOATS = (0.0, -0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 1e-45, 3.4e38, SCALE_MIN, SCALE_MAX, -SCALE_MAX, 0.5)
_TEXTS = (
    b"",
    b"\0",
    b"\x1b[2J",
    b"\xff",
    b"\xed\xa0\x80",
    "\N{SNOWMAN}".encode(),
    b"x" * 65,
    b"x" * 70000,
    b"\xc2\x80",
)


class Part(NamedTuple):
    """A chunk without its framing."""

    type: int
    payload: bytes


class Item(NamedTuple):
    """A syntax element, or an item of one that is an array, in the bytes [start, end) of a payload."""

    element: SyntaxElement
    start: int
    end: int
    value: Any


def cases(seed: int, index: int) -> bytes:
    """The case of a number, which is the same on every machine."""
    rng = np.random.default_rng([seed, index])
    # A drawn file takes ten times as long as a mutated one, of which half are refused at once.
    if rng.random() < 0.125:
        return drawn_file(rng)
    return mutated(CORPUS[rng.integers(len(CORPUS))], rng)


def mutated(data: bytes, rng: Generator) -> bytes:
    """The file with one to four mutations."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        parts = parts_of(data)
        if parts and rng.random() < 0.9:
            data = _PART_MUTATIONS[rng.integers(len(_PART_MUTATIONS))](parts, rng)
        else:
            data = damaged(data, rng)
    return data


def parts_of(data: bytes) -> list[Part]:
    """The chunks of a file, the END chunk left out, as far as their headers are intact."""
    parts, position = [], len(MAGIC)
    while (chunk := parse_chunk_header(data[position : position + HEADER_BYTES], position)) and chunk.end <= len(data):
        if chunk.type != ChunkType.END:
            parts.append(Part(chunk.type, data[chunk.payload_offset : chunk.end - 4]))
        position = chunk.end
    return parts


def joined(parts: Sequence[Part], index: bytes | None = None) -> bytes:
    """A file of chunks, with right CRCs, and an index that lists them unless another one is given."""
    chunks = [frame_chunk(*part) for part in parts]
    end = frame_chunk(ChunkType.END, index_of(parts) if index is None else index)
    return b"".join([MAGIC, *chunks, end])


def index_of(parts: Sequence[Part]) -> bytes:
    """The index of chunks: that of a writer, but for what is no file at all."""
    entries = [_index_entry(part) for part in parts[1:]]
    n_frames = sum(n for _, n in entries)
    out = PACKERS["uint"](n_frames) + PACKERS["uint"](len(entries)) + b"".join(entry for entry, _ in entries)
    return out + PACKERS["u32"](len(out) + 4 + FRAME_BYTES)


@lru_cache(maxsize=512)
def _index_entry(part: Part) -> tuple[bytes, int]:
    """The entry of a chunk in the index, and the number of its frames."""
    entry = PACKERS["u16"](part.type) + PACKERS["uint"](len(part.payload))
    if part.type != ChunkType.GOP:
        return entry, 0
    found = list(items_of(part.payload, (GOP_CHUNK, GOP_HEADER[:2])))
    timing = b"".join(part.payload[i.start : i.end] for i in found if i.element in GOP_CHUNK)
    gaussians = [part.payload[i.start : i.end] for i in found if i.element.name == "n_gaussians"]
    n_frames = next((min(i.value, 2**62) for i in found if i.element.name == "n_frames"), 0)
    return b"".join([entry, *(gaussians or [b"\1"]), timing]), n_frames


def items_of(payload: bytes, tables: Sequence[SyntaxTable]) -> Iterator[Item]:
    """The items of tables at the beginning of a payload, as far as they can be read; limits are not checked."""
    reader, values = ByteReader(payload, "fuzz"), {}
    try:
        for element in (element for table in tables for element in table):
            if not reader.remaining:
                return
            for _ in range(min(math.prod(dimensions(element, values)), reader.remaining)):
                start = reader.position
                values[element.name] = READERS[element.type](reader)
                yield Item(element, start, reader.position, values[element.name])
    except BitstreamError:
        return


def short_files(data: bytes) -> Iterator[bytes]:
    """A file cut into files of few GoPs each, whose frames are counted anew; the other chunks stay in all of them."""
    parts = parts_of(data)
    gops = [part for part in parts if part.type == ChunkType.GOP]
    others = [part for part in parts if part.type != ChunkType.GOP]
    for i in range(0, len(gops), _MAX_GOPS):
        kept, n_frames = [], 0
        for kind, payload in gops[i : i + _MAX_GOPS]:
            first, n = list(items_of(payload, (GOP_CHUNK[:2],)))
            kept.append(Part(kind, PACKERS["uint"](n_frames) + payload[first.end :]))
            n_frames += n.value
        yield joined([*others, *kept])


def tables_of(part: Part) -> tuple[SyntaxTable, ...]:
    """The tables at the beginning of a chunk's payload."""
    if part.type == ChunkType.GOP:
        return GOP_CHUNK, GOP_HEADER, STREAM_LENGTHS
    return (TABLES[ChunkType(part.type).name],) if is_known(part.type) else ()


def damaged(data: bytes, rng: Generator, reach: int | None = None) -> bytes:
    """Bytes with one to four of them changed, inserted, removed, or cut off, within the first `reach` if given."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(min(len(out), reach or len(out)) + 1))
        kind = rng.integers(6)
        if kind <= 2 and at < len(out):
            out[at] = rng.choice([out[at] ^ 1 << rng.integers(8), rng.integers(256), 0, 1, 0x7F, 0x80, 0xFF])
        elif kind == 3:
            out[at:at] = rng.bytes(rng.integers(1, 9))
        elif kind == 4:
            del out[at : at + rng.integers(1, 9)]
        elif kind == 5 and rng.random() < 0.2:
            del out[at:]
    return bytes(out)


def hostile_bytes(element: SyntaxElement, value: Any, rng: Generator) -> bytes:
    """Bytes in place of a syntax element: values at its limits and beyond, and some that are no value of its type."""
    if rng.random() < 0.05:
        return bytes(rng.choice([b"", b"\x80", b"\x80\0", b"\xff" * 10, b"\xff" * 9 + b"\1"]))
    if element.type == "text":
        text = _TEXTS[rng.integers(len(_TEXTS))]
        return PACKERS["uint"](len(text) if rng.random() < 0.9 else int(rng.integers(2**63))) + text
    if element.type == "f32":
        near = (element.minimum, element.maximum, float(value) * 2.0 ** int(rng.integers(-99, 99)), rng.normal())
        with np.errstate(over="ignore"):
            return np.float32([*_FLOATS, *near][rng.integers(len(_FLOATS) + 4)]).tobytes()
    low, high = int(element.minimum), int(element.maximum)
    near = [low, high, low - 1, high + 1, value - 1, value + 1, 2 * value, 0, 1, 1 << int(rng.integers(64)), 2**64 - 1]
    near += [int(rng.integers(low, min(high, 2**62) + 1)), int(rng.integers(9))]
    number = near[rng.integers(len(near))]
    if element.type in _WIDTHS:
        number %= 1 << _WIDTHS[element.type]
    return PACKERS[element.type](max(number, 0) if element.type == "uint" else number)


def _with_part(parts: Sequence[Part], index: int, payload: bytes) -> list[Part]:
    return [*parts[:index], Part(parts[index].type, payload), *parts[index + 1 :]]


def _pick(parts: Sequence[Part], rng: Generator, kind: int | None = None) -> int:
    chosen = [i for i, part in enumerate(parts) if kind is None or part.type == kind] or range(len(parts))
    return int(chosen[rng.integers(len(chosen))])


def _damage(parts: list[Part], rng: Generator) -> bytes:
    i = _pick(parts, rng)
    return joined(_with_part(parts, i, damaged(parts[i].payload, rng, (None, 64, 100)[rng.integers(3)])))


def _element(parts: list[Part], rng: Generator) -> bytes:
    """Items of a chunk's tables get hostile values; where array sizes change, the rest is read as something else."""
    i = _pick(parts, rng, (None, ChunkType.GOP, ChunkType.FILE_HEADER)[rng.integers(3)])
    payload = parts[i].payload
    items = list(items_of(payload, tables_of(parts[i])))
    for _ in range(rng.integers(1, 3)):
        if items:
            element, start, end, value = items.pop(rng.integers(len(items)))
            payload = payload[:start] + hostile_bytes(element, value, rng) + payload[end:]
            items = [item for item in items if item.end <= start]
    return joined(_with_part(parts, i, payload))


def _index(parts: list[Part], rng: Generator) -> bytes:
    """An index that lies about the chunks, its tail mended."""
    index = index_of(parts)
    tables = [INDEX]
    for kind, _ in parts[1:]:
        tables += [INDEX_ENTRY, INDEX_GOP] if kind == ChunkType.GOP else [INDEX_ENTRY]
    items = list(items_of(index[:-4], tables))
    if not items or rng.random() < 0.2:
        index = damaged(index, rng)
    else:
        element, start, end, value = items[rng.integers(len(items))]
        index = index[:start] + hostile_bytes(element, value, rng) + index[end:]
    if rng.random() < 0.9:
        index = index[:-4] + PACKERS[INDEX_TAIL[0].type](len(index) + FRAME_BYTES)
    return joined(parts, index)


def _chunks(parts: list[Part], rng: Generator) -> bytes:
    """Chunks in another order, twice, missing, of another type, new."""
    parts, kind = list(parts), rng.integers(5)
    first = int(rng.random() < 0.9)  # The file header mostly stays where it is.
    i = int(rng.integers(min(first, len(parts) - 1), len(parts)))
    if kind == 0:
        parts[first:] = [parts[first:][j] for j in rng.permutation(len(parts) - first)]
    elif kind == 1:
        parts[i:i] = [parts[i]] * int(rng.choice([1, 2, 300]))
    elif kind == 2 and len(parts) > 1:
        del parts[i]
    elif kind == 3:
        parts[i] = Part(int(rng.choice([*ChunkType, 0x7ABC, 0x8009, 0, 0xFFFF])), parts[i].payload)
    else:
        parts.insert(i + 1, Part(int(rng.choice([*ChunkType, 0x7ABC, 0x8009])), rng.bytes(rng.integers(40))))
    if rng.random() < 0.2:
        return joined(parts, index_of(parts_of(CORPUS[rng.integers(len(CORPUS))])))
    return joined(parts)


def split_gop(payload: bytes) -> tuple[bytes, dict[str, bytes]]:
    """What stands before the lengths of a GOP chunk's streams, and the streams as far as the lengths are right."""
    items = list(items_of(payload, (GOP_CHUNK, GOP_HEADER, STREAM_LENGTHS)))
    lengths = [item for item in items if item.element in STREAM_LENGTHS]
    if len(lengths) < len(STREAMS):
        return payload, {}
    position, streams = lengths[-1].end, {}
    for name, length in zip(STREAMS, lengths, strict=True):
        streams[name] = payload[position : position + length.value]
        position += length.value
    return payload[: lengths[0].start], streams


def _streams(parts: list[Part], rng: Generator) -> bytes:
    """Streams of a GoP damaged, cut, moved, or taken from another GoP, with lengths that fit."""
    i = _pick(parts, rng, ChunkType.GOP)
    head, streams = split_gop(parts[i].payload)
    if not streams:
        return _damage(parts, rng)
    name, kind = STREAMS[rng.integers(len(STREAMS))], rng.integers(7)
    stream = streams[name]
    if kind <= 2:
        # Models of the symbol arrays stand at the beginning.
        streams[name] = damaged(stream, rng, (8, 24, None)[kind])
    elif kind == 3:
        streams[name] = stream[: rng.integers(len(stream) + 1)] + (rng.bytes(9) if rng.random() < 0.3 else b"")
    elif kind == 4:
        streams[name] = streams[STREAMS[rng.integers(len(STREAMS))]]
    elif kind == 5:
        others = [part for part in parts_of(CORPUS[rng.integers(len(CORPUS))]) if part.type == ChunkType.GOP]
        streams[name] = split_gop(others[rng.integers(len(others))].payload)[1][name]
    else:
        streams[name] = rng.bytes(rng.integers(60))
    lengths = b"".join(PACKERS["uint"](len(part)) for part in streams.values())
    if rng.random() < 0.1:
        lengths = damaged(lengths, rng)
    return joined(_with_part(parts, i, head + lengths + b"".join(streams.values())))


def _unmended(parts: list[Part], rng: Generator) -> bytes:
    """The file with damage, cut, joined with another one, or with bytes behind it."""
    data, other, kind = joined(parts), CORPUS[rng.integers(len(CORPUS))], rng.integers(4)
    at = int(rng.integers(len(data) + 1))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + other[rng.integers(len(other)) :]
    if kind == 2:
        return data + other[: rng.integers(len(other))]
    return damaged(data, rng)


_PART_MUTATIONS: tuple[Callable[[list[Part], Generator], bytes], ...] = (
    _damage,
    _element,
    _element,
    _element,
    _index,
    _chunks,
    _streams,
    _streams,
    _streams,
    _unmended,
)


CORPUS = tuple(short for data in GOLDEN for short in short_files(data))
"""The files with which mutations begin."""
