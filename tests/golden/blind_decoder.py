"""A decoder of `.stgv` files, format version 2.0, written from bitstream_spec.md alone.

Whoever wrote it had not read the package, and it imports nothing of it. It is plain before it is fast: it loops over
symbols and over Gaussians, and is meant for tiny files. Section numbers are those of the specification.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NoReturn

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

VERSION_MAJOR = 2
VERSION_MINOR = 0
PROFILES = (1, 2)
MAGIC = bytes.fromhex("89 53 54 47 0d 0a 1a 0a")
SYNC = bytes.fromhex("f5 53 47 c1")
FILE_HEADER = 0x8001
GOP = 0x8002
END = 0x8003
CRITICAL = 0x8000
CHUNK_HEADER_BYTES = 14
CHUNK_FRAMING_BYTES = 18
MAX_CHUNK_PAYLOAD = 2**28
MAX_FRAME_PIXELS = 2**27
MAX_GRID_PARAMETERS = 2**24
ANS_BITS = 24
POINT_ALPHABET = 132
MLP_TENSORS = ("w1", "b1", "w2", "b2", "w_means", "b_means", "w_colors", "b_colors", "w_shapes", "b_shapes")
STREAMS = ("side_info", "points", "point_bits", "shapes", "colors", "field")
SCALE = (2.0**-96, 2.0**96)
OFFSET = (-(2.0**96), 2.0**96)
HASH_PRIMES = (1, 2654435761, 805459861)


class FormatError(ValueError):
    """A file that the specification tells a reader to refuse."""


# ---------------------------------------------------------------------------------------------------------------------
# Section 2: primitive types


class Reader:
    """Reads the primitive types of section 2 from a range of bytes; knows where it is in the file."""

    def __init__(self, data: bytes, start: int, end: int, where: str) -> None:
        self.data = data
        self.position = start
        self.end = end
        self.where = where

    @property
    def left(self) -> int:
        """Bytes that are left."""
        return self.end - self.position

    def fail(self, why: str) -> NoReturn:
        """Refuse, saying where and why."""
        raise FormatError(f"{self.where}, at byte {self.position}: {why}")

    def take(self, count: int, name: str) -> bytes:
        """The next `count` bytes."""
        if count > self.left:
            self.fail(f"{name} needs {count} bytes, but only {self.left} are left")
        taken = self.data[self.position : self.position + count]
        self.position += count
        return taken

    def part(self, count: int, where: str) -> Reader:
        """A reader of the next `count` bytes, which this reader passes over."""
        if count > self.left:
            self.fail(f"{where} needs {count} bytes, but only {self.left} are left")
        self.position += count
        return Reader(self.data, self.position - count, self.position, where)

    def finish(self) -> None:
        """Refuse bytes that no syntax element claims."""
        if self.left:
            self.fail(f"{self.left} bytes that no syntax element claims")

    def items(self, count: int, name: str) -> range:
        """The indices of an array, refused at once where it has more items than bytes are left."""
        if count > self.left:
            self.fail(f"{name} has {count} items, but only {self.left} bytes are left")
        return range(count)

    def limited(self, value: int, name: str, low: int, high: int) -> int:
        """An integer within its limits."""
        if not low <= value <= high:
            self.fail(f"{name} is {value}, outside [{low}, {high}]")
        return value

    def u8(self, name: str, low: int = 0, high: int = 255) -> int:
        """An unsigned byte."""
        return self.limited(self.take(1, name)[0], name, low, high)

    def u16(self, name: str) -> int:
        """An unsigned integer of two bytes."""
        return int.from_bytes(self.take(2, name), "little")

    def u32(self, name: str) -> int:
        """An unsigned integer of four bytes."""
        return int.from_bytes(self.take(4, name), "little")

    def f32(self, name: str, low: float, high: float) -> float:
        """A finite binary32 within its limits."""
        value: float = struct.unpack("<f", self.take(4, name))[0]
        if not low <= value <= high:
            self.fail(f"{name} is {value}, outside [{low}, {high}]")
        return value

    def _leb128(self, name: str) -> int:
        """A uint before its limits are checked."""
        value = 0
        for i in range(10):
            byte = self.u8(name)
            value |= (byte & 127) << (7 * i)
            if byte < 128:
                if value >= 2**64 or (byte == 0 and i > 0):
                    self.fail(f"{name} is not a uint below 2^64 in its shortest form")
                return value
        raise FormatError(f"{self.where}, at byte {self.position}: {name} is a uint of more than 10 bytes")

    def uint(self, name: str, low: int, high: int) -> int:
        """An unsigned LEB128 within its limits."""
        return self.limited(self._leb128(name), name, low, high)

    def sint(self, name: str, low: int, high: int) -> int:
        """A zigzag integer within its limits."""
        v = self._leb128(name)
        return self.limited(-((v + 1) // 2) if v % 2 else v // 2, name, low, high)

    def text(self, name: str, low: int, high: int) -> str:
        """UTF-8 without control characters, of `low` to `high` bytes."""
        raw = self.take(self.uint(f"length of {name}", low, high), name)
        try:
            value = raw.decode("utf-8")
        except UnicodeDecodeError:
            self.fail(f"{name} is not UTF-8")
        if any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F for c in value):
            self.fail(f"{name} has control characters")
        return value


class BitReader:
    """Bits of bytes, from bit 7 down (sections 4.4, 5.2 and 5.3)."""

    def __init__(self, reader: Reader, name: str) -> None:
        self.reader = reader
        self.name = name
        self.byte = 0
        self.unread = 0

    def bits(self, count: int) -> int:
        """The next `count` bits as a number, most significant bit first."""
        value = 0
        for _ in range(count):
            if self.unread == 0:
                self.byte = self.reader.u8(self.name)
                self.unread = 8
            self.unread -= 1
            value = value * 2 + ((self.byte >> self.unread) & 1)
        return value

    def finish(self) -> None:
        """Refuse padding bits that are not 0."""
        if self.bits(self.unread):
            self.reader.fail(f"{self.name} has padding bits that are not 0")


# ---------------------------------------------------------------------------------------------------------------------
# Section 3: container


@dataclass(frozen=True)
class FileHeader:
    """FILE_HEADER (section 3.2), the fractions put together."""

    version_major: int
    version_minor: int
    profile: int
    width: int
    height: int
    frame_rate: Fraction
    time_base: Fraction
    sample_aspect: Fraction
    last_frame_duration: int
    color_primaries: int
    color_transfer: int
    color_matrix: int
    color_full_range: int
    tool: str


@dataclass(frozen=True)
class Timing:
    """GOP_CHUNK (section 3.3)."""

    first_frame: int
    n_frames: int
    pts_first: int
    pts_step: int
    pts_deltas: tuple[int, ...]

    @property
    def pts(self) -> list[int]:
        """The timestamp of each frame."""
        deltas = [self.pts_step] * (self.n_frames - 1) if self.pts_step else self.pts_deltas
        return list(itertools.accumulate(deltas, initial=self.pts_first))


@dataclass(frozen=True)
class Chunk:
    """An intact chunk (section 3.1): its type code and where its payload lies."""

    type: int
    start: int
    end: int


@dataclass(frozen=True)
class IndexEntry:
    """INDEX_ENTRY and, for a GOP chunk, INDEX_GOP (section 3.4)."""

    chunk_type: int
    payload_bytes: int
    n_gaussians: int
    timing: Timing | None


def read_chunk_header(data: bytes, at: int) -> tuple[int, int]:
    """Type and payload length of the chunk at `at` (section 3.1)."""
    reader = Reader(data, at, len(data), "chunk header")
    if reader.take(4, "sync") != SYNC:
        reader.fail("no sync marker")
    chunk_type = reader.u16("type")
    length = reader.u32("length")
    if reader.u32("header CRC") != zlib.crc32(data[at : at + CHUNK_HEADER_BYTES - 4]):
        reader.fail("the header CRC does not hold")
    return chunk_type, reader.limited(length, "length", 0, MAX_CHUNK_PAYLOAD)


def read_chunk(data: bytes, at: int) -> Chunk:
    """The chunk at `at`, with both of its CRCs checked (section 3.1)."""
    chunk_type, length = read_chunk_header(data, at)
    start = at + CHUNK_HEADER_BYTES
    reader = Reader(data, start, len(data), f"chunk 0x{chunk_type:04x}")
    payload = reader.take(length, "payload")
    if reader.u32("payload CRC") != zlib.crc32(payload):
        reader.fail("the payload CRC does not hold")
    return Chunk(chunk_type, start, start + length)


def read_fraction(reader: Reader, name: str) -> Fraction:
    """Two uints in lowest terms (section 3.2)."""
    numerator = reader.uint(f"{name}_num", 1, 2**32 - 1)
    denominator = reader.uint(f"{name}_den", 1, 2**32 - 1)
    if math.gcd(numerator, denominator) != 1:
        reader.fail(f"{name} is not in lowest terms: {numerator}/{denominator}")
    return Fraction(numerator, denominator)


def read_file_header(data: bytes, chunk: Chunk) -> FileHeader:
    """The payload of the FILE_HEADER chunk (section 3.2; section 10 for higher versions)."""
    reader = Reader(data, chunk.start, chunk.end, "FILE_HEADER")
    major = reader.u8("version_major")
    minor = reader.u8("version_minor")
    if major != VERSION_MAJOR:
        reader.fail(f"the file has version {major}.{minor}, this reader needs {VERSION_MAJOR}.x")
    profile = reader.u8("profile", 1)
    if profile not in PROFILES:
        reader.fail(f"profile {profile} is not known")
    width = reader.uint("width", 1, 16384)
    height = reader.uint("height", 1, 16384)
    reader.limited(width * height, "width x height", 1, MAX_FRAME_PIXELS)
    header = FileHeader(
        version_major=major,
        version_minor=minor,
        profile=profile,
        width=width,
        height=height,
        frame_rate=read_fraction(reader, "frame_rate"),
        time_base=read_fraction(reader, "time_base"),
        sample_aspect=read_fraction(reader, "sample_aspect"),
        last_frame_duration=reader.uint("last_frame_duration", 0, 2**40),
        color_primaries=reader.u8("color_primaries"),
        color_transfer=reader.u8("color_transfer"),
        color_matrix=reader.u8("color_matrix"),
        color_full_range=reader.u8("color_full_range", 0, 1),
        tool=reader.text("tool", 0, 64),
    )
    if minor <= VERSION_MINOR:
        reader.finish()
    return header


def read_timing(reader: Reader) -> Timing:
    """GOP_CHUNK, or the same elements in INDEX_GOP (sections 3.3 and 3.4)."""
    first_frame = reader.uint("first_frame", 0, 2**40)
    n_frames = reader.uint("n_frames", 1, 1024)
    pts_first = reader.sint("pts_first", -(2**62), 2**62)
    pts_step = reader.uint("pts_step", 0, 2**40)
    n_deltas = 0 if pts_step else n_frames - 1
    deltas = tuple(reader.uint("pts_deltas", 1, 2**40) for _ in reader.items(n_deltas, "pts_deltas"))
    return Timing(first_frame, n_frames, pts_first, pts_step, deltas)


def check_known(chunk_type: int, where: str) -> None:
    """Refuse a critical chunk that is not known, and a second FILE_HEADER or END (sections 3.1 and 3.4)."""
    if chunk_type in (FILE_HEADER, END):
        raise FormatError(f"{where}: a second FILE_HEADER or END chunk")
    if chunk_type & CRITICAL and chunk_type != GOP:
        raise FormatError(f"{where}: the critical chunk 0x{chunk_type:04x} is not known")


def read_index(data: bytes, first: int, version_minor: int) -> list[IndexEntry]:
    """Find and check the END chunk and its index, whose first chunk begins at byte `first` (section 3.4)."""
    if len(data) < first + CHUNK_FRAMING_BYTES:
        raise FormatError(f"END, at byte {first}: the file ends before an END chunk")
    end_chunk_bytes = int.from_bytes(data[-8:-4], "little")
    at = len(data) - end_chunk_bytes
    if at < first:
        raise FormatError(f"END, at byte {len(data) - 8}: end_chunk_bytes is {end_chunk_bytes}, more than there are")
    chunk = read_chunk(data, at)
    if chunk.type != END or chunk.end + 4 != len(data):
        raise FormatError(f"END, at byte {at}: the file does not end with an END chunk")
    reader = Reader(data, chunk.start, chunk.end, "index")
    n_frames = reader.uint("INDEX.n_frames", 1, 2**40)
    n_chunks = reader.uint("n_chunks", 1, 2**24)
    entries: list[IndexEntry] = []
    frames, position, last_pts = 0, first, -(2**63)
    for _ in reader.items(n_chunks, "the index"):
        chunk_type = reader.u16("chunk_type")
        payload_bytes = reader.uint("payload_bytes", 0, MAX_CHUNK_PAYLOAD)
        check_known(chunk_type, f"index, at byte {reader.position}")
        n_gaussians, timing = 0, None
        if chunk_type == GOP:
            n_gaussians = reader.uint("n_gaussians", 1, 2**22)
            timing = read_timing(reader)
            if timing.first_frame != frames:
                reader.fail(f"first_frame is {timing.first_frame}, not {frames}")
            if timing.pts_first <= last_pts:
                reader.fail(f"the timestamp {timing.pts_first} does not come after {last_pts}")
            frames += timing.n_frames
            last_pts = timing.pts[-1]
        entries.append(IndexEntry(chunk_type, payload_bytes, n_gaussians, timing))
        position += CHUNK_FRAMING_BYTES + payload_bytes
    if version_minor > VERSION_MINOR and reader.left > 4:
        reader.take(reader.left - 4, "unknown elements")
    reader.limited(reader.u32("end_chunk_bytes"), "end_chunk_bytes", end_chunk_bytes, end_chunk_bytes)
    reader.finish()
    if frames != n_frames:
        reader.fail(f"INDEX.n_frames is {n_frames}, but the GoPs have {frames} frames")
    if position != at:
        reader.fail(f"the listed chunks end at byte {position}, the END chunk begins at byte {at}")
    return entries


# ---------------------------------------------------------------------------------------------------------------------
# Section 4.1: GOP_HEADER


@dataclass(frozen=True)
class GopHeader:
    """GOP_HEADER (section 4.1)."""

    n_frames: int
    n_gaussians: int
    low_pass: float
    point_mode: int
    shape_mode: int
    color_mode: int
    cholesky_bits: int
    color_stages: int
    color_codebook_size: int
    static_resolutions: tuple[tuple[int, ...], ...]
    static_features: int
    static_log2_size: int
    dynamic_resolutions: tuple[tuple[int, ...], ...]
    dynamic_features: int
    dynamic_log2_size: int
    mlp_width: int
    n_frequencies: int
    shape_head: int
    weight_bits: int

    @property
    def n_static_levels(self) -> int:
        """Levels of the 2D hash encoding."""
        return len(self.static_resolutions)

    @property
    def n_dynamic_levels(self) -> int:
        """Levels of the 3D hash encoding."""
        return len(self.dynamic_resolutions)

    @property
    def mlp_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the tensors of the MLP (section 4.6)."""
        features = self.n_static_levels * self.static_features + self.n_dynamic_levels * self.dynamic_features
        inputs, width = features + 2 * self.n_frequencies, self.mlp_width
        shapes = ((width, inputs), (width,), (width, width), (width,), (2, width), (2,), (3, width), (3,))
        return (*shapes, (3, width), (3,)) if self.shape_head == 1 else shapes

    @property
    def mlp_tensors(self) -> tuple[str, ...]:
        """The names of the tensors of the MLP (section 4.6)."""
        return MLP_TENSORS[: len(self.mlp_shapes)]


def level_entries(resolutions: Sequence[int], log2_size: int) -> int:
    """Entries of a level: one for each vertex where it is dense, else 2^log2_size (section 4.6)."""
    vertices: int = math.prod(r + 1 for r in resolutions)
    return min(vertices, 1 << log2_size)


def read_encoding(reader: Reader, name: str, dimensions: int) -> tuple[tuple[tuple[int, ...], ...], int, int]:
    """Resolutions, features and log2_size of one of the hash encodings (section 4.1)."""
    n_levels = reader.uint(f"n_{name}_levels", 1, 16)
    reader.items(n_levels * dimensions, f"{name}_resolutions")
    resolutions = tuple(
        tuple(reader.uint(f"{name}_resolutions", 1, 65535) for _ in range(dimensions)) for _ in range(n_levels)
    )
    features = reader.uint(f"{name}_features", 1, 8)
    log2_size = reader.uint(f"{name}_log2_size", 1, 19)
    parameters = sum(level_entries(r, log2_size) for r in resolutions) * features
    reader.limited(parameters, f"number of parameters of the {name} encoding", 1, MAX_GRID_PARAMETERS)
    return resolutions, features, log2_size


def read_gop_header(reader: Reader) -> GopHeader:
    """GOP_HEADER (section 4.1)."""
    n_frames = reader.uint("n_frames", 1, 1024)
    n_gaussians = reader.uint("n_gaussians", 1, 2**22)
    low_pass = reader.f32("low_pass", 0, 65536)
    point_mode = reader.u8("point_mode", 0, 1)
    shape_mode = reader.u8("shape_mode", 0, 1)
    color_mode = reader.u8("color_mode", 0, 1)
    cholesky_bits = reader.u8("cholesky_bits", 8 if shape_mode else 1, 8)
    color_stages = reader.uint("color_stages", 1, 1 if color_mode else 8)
    color_codebook_size = reader.uint("color_codebook_size", 1, 1 if color_mode else 256)
    static_resolutions, static_features, static_log2_size = read_encoding(reader, "static", 2)
    dynamic_resolutions, dynamic_features, dynamic_log2_size = read_encoding(reader, "dynamic", 3)
    return GopHeader(
        n_frames=n_frames,
        n_gaussians=n_gaussians,
        low_pass=low_pass,
        point_mode=point_mode,
        shape_mode=shape_mode,
        color_mode=color_mode,
        cholesky_bits=cholesky_bits,
        color_stages=color_stages,
        color_codebook_size=color_codebook_size,
        static_resolutions=static_resolutions,
        static_features=static_features,
        static_log2_size=static_log2_size,
        dynamic_resolutions=dynamic_resolutions,
        dynamic_features=dynamic_features,
        dynamic_log2_size=dynamic_log2_size,
        mlp_width=reader.uint("mlp_width", 1, 512),
        n_frequencies=reader.uint("n_frequencies", 1, 16),
        shape_head=reader.u8("shape_head", 0, 1),
        weight_bits=reader.u8("weight_bits", 1, 8),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Section 5: entropy coder


def exp_golomb(bits: BitReader, k: int) -> int:
    """EG(k) (section 5.3)."""
    zeros = 0
    while bits.bits(1) == 0:
        zeros += 1
        if zeros > 16:
            bits.reader.fail(f"{bits.name} has an Exp-Golomb code of more than 16 zero bits")
    return (1 << (zeros + k)) + bits.bits(zeros + k) - (1 << k)


def read_frequencies(reader: Reader, p: int, alphabet: int) -> list[int]:
    """A transmitted frequency table, before scaling (section 5.3)."""
    bits = BitReader(reader, "frequency table")
    frequencies = [0] * alphabet
    k, s, remaining = 0, 0, 1 << p
    while remaining > 0:
        if s >= alphabet:
            reader.fail("a frequency table has more symbols than its alphabet")
        f = exp_golomb(bits, k)
        if f > remaining:
            reader.fail("the frequencies of a table sum to more than 2^p")
        frequencies[s] = f
        s += 1
        remaining -= f
        k = f.bit_length()
        if f == 0:
            s += exp_golomb(bits, 0)
    bits.finish()
    if sum(f > 0 for f in frequencies) < 2:
        reader.fail("a frequency table has fewer than two symbols")
    return frequencies


def family_frequencies(family: str, p: int, centre: int, alphabet: int) -> list[int]:
    """The frequencies of the geometric, normal or narrow family of width p (section 5.4)."""
    q = 63 * 2**24
    for _ in range(p):
        q = (q * 55) >> 6 if family == "normal" else (q * 29) >> 5
    r = (2**30) >> (7 + p) if family == "narrow" else 2**30 - q
    m = (r * r) >> 30 if family == "normal" else 2**30
    w = [2**30]
    for d in range(alphabet - 1):
        w.append((w[d] * r) >> 30)
        r = (r * m) >> 30
    weights = [w[abs(s - centre)] for s in range(alphabet)]
    total = sum(weights)
    f = [1 + (weight * (2**ANS_BITS - alphabet)) // total for weight in weights]
    f[centre] += 2**ANS_BITS - sum(f)
    return f


class AnsDecoder:
    """The coder of section 5.5; it takes all bytes that its reader has left."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        coded = reader.take(reader.left, "ANS bytes")
        if coded.endswith(b"\0"):
            reader.fail("the last ANS byte is 0")
        coded += bytes(-len(coded) % 4)
        self.words = [int.from_bytes(coded[i : i + 4], "little") for i in range(0, len(coded), 4)]
        self.state = 0
        self.crc = 0
        for _ in range(2):
            self._refill()

    def _refill(self) -> None:
        """Move a word to the state if words are left."""
        if self.words:
            self.state = (self.state << 32) + self.words.pop()

    def decode(self, n: int, cumulative: Sequence[int]) -> IntArray:
        """The next n symbols, of a model with c[0], ..., c[A] = `cumulative`."""
        symbols = bytearray()
        for _ in range(n):
            slot = self.state % 2**ANS_BITS
            symbol = bisect_right(cumulative, slot) - 1
            frequency = cumulative[symbol + 1] - cumulative[symbol]
            self.state = (self.state >> ANS_BITS) * frequency + slot - cumulative[symbol]
            if self.state < 2**32:
                self._refill()
            symbols.append(symbol)
        self.crc = zlib.crc32(symbols, self.crc)
        return np.frombuffer(bytes(symbols), np.uint8).astype(np.int64)

    def finish(self) -> None:
        """Refuse a coder that does not end with its check."""
        if self.words or self.state != self.crc % 2**16 + 1:
            self.reader.fail("the ANS coder does not end with its check")


@dataclass(frozen=True)
class Constant:
    """A model of mode 0 with p = 0 (section 5.2)."""

    symbol: int


@dataclass(frozen=True)
class Raw:
    """A model of mode 0 with p = 1 (section 5.2)."""

    symbols: IntArray


@dataclass(frozen=True)
class Coded:
    """A model whose symbols are ANS-coded, with c[0], ..., c[A] (sections 5.2 and 5.5)."""

    cumulative: list[int]


Model = Constant | Raw | Coded


def read_raw(reader: Reader, alphabet: int, n: int) -> Raw:
    """n raw symbols (section 5.2)."""
    n_bits = (alphabet - 1).bit_length()
    part = reader.part((n * n_bits + 7) // 8, f"{reader.where}, raw symbols")
    bits = BitReader(part, "raw symbols")
    symbols = np.array([bits.bits(n_bits) for _ in range(n)], np.int64)
    bits.finish()
    if symbols.max() >= alphabet:
        reader.fail("a raw symbol is not in its alphabet")
    return Raw(symbols)


def read_model(reader: Reader, alphabet: int, raw_symbols: int | None) -> Model:
    """A model (section 5.2). `raw_symbols` is n, or None in a conditional stream, where raw is refused."""
    first = reader.u8("model")
    mode, p = first % 4, first >> 2
    if mode == 0:
        if p == 0:
            return Constant(reader.u8("constant symbol", 0, alphabet - 1))
        if p == 1 and raw_symbols is not None:
            return read_raw(reader, alphabet, raw_symbols)
        reader.fail(f"a model of mode 0 with p = {p}")
    if mode == 1 and 1 <= p <= 14:
        frequencies = [f << (ANS_BITS - p) for f in read_frequencies(reader, p, alphabet)]
    elif mode == 1 and not 16 <= p <= 31:
        reader.fail(f"a model of mode 1 with p = {p}")
    else:
        centre = reader.u8("centre", 0, alphabet - 1)
        family, width = (("narrow", p - 16), ("geometric", p), ("normal", p))[mode - 1]
        frequencies = family_frequencies(family, width, centre, alphabet)
    return Coded(list(itertools.accumulate(frequencies, initial=0)))


def start_coder(reader: Reader, models: Sequence[Model]) -> AnsDecoder | None:
    """The coder of a stream, if one of its models is ANS-coded; else no bytes may remain (sections 5.1 and 5.6)."""
    if any(isinstance(model, Coded) for model in models):
        return AnsDecoder(reader)
    reader.finish()
    return None


def model_symbols(model: Model, n: int, coder: AnsDecoder | None) -> IntArray:
    """n symbols of a model."""
    if isinstance(model, Raw):
        return model.symbols
    if isinstance(model, Constant):
        return np.full(n, model.symbol, np.int64)
    assert coder is not None
    return coder.decode(n, model.cumulative)


def read_plain(reader: Reader, arrays: Sequence[tuple[int, int]]) -> list[IntArray]:
    """A plain stream of symbol arrays (n, A) (section 5.1); every plain array of the format has A > 1."""
    models = [read_model(reader, alphabet, n) for n, alphabet in arrays]
    coder = start_coder(reader, models)
    symbols = [model_symbols(model, n, coder) for model, (n, _) in zip(models, arrays, strict=True)]
    if coder is not None:
        coder.finish()
    return symbols


@dataclass(frozen=True)
class Attribute:
    """An attribute of a conditional stream: its alphabet and the names of its context symbols (section 4.5)."""

    name: str
    alphabet: int
    context: tuple[str, ...]


def read_thresholds(reader: Reader) -> list[int]:
    """The thresholds of an attribute that has context symbols (section 5.6)."""
    thresholds: list[int] = []
    for _ in reader.items(reader.u8("number of thresholds", 0, 15), "thresholds"):
        thresholds.append(reader.u8("threshold", thresholds[-1] + 1 if thresholds else 1))
    return thresholds


def read_conditional(
    reader: Reader, n: int, attributes: Sequence[Attribute], known: dict[str, IntArray]
) -> dict[str, IntArray]:
    """A conditional stream (section 5.6). Returns `known` and the attributes, by name."""
    thresholds: dict[str, list[int]] = {}
    models: dict[str, list[Model]] = {}
    for a in attributes:
        if a.alphabet > 1:
            thresholds[a.name] = read_thresholds(reader) if a.context else []
            models[a.name] = [read_model(reader, a.alphabet, None) for _ in range(len(thresholds[a.name]) + 1)]
    coder = start_coder(reader, [model for classes in models.values() for model in classes])
    symbols = dict(known)
    for a in attributes:
        decoded = np.zeros(n, np.int64)
        if a.alphabet > 1:
            context = np.zeros(n, np.int64)
            for name in a.context:
                context += symbols[name]
            classes = np.searchsorted(thresholds[a.name], np.minimum(context, 255), side="right")
            for i, model in enumerate(models[a.name]):
                members = np.flatnonzero(classes == i)
                decoded[members] = model_symbols(model, len(members), coder)
        symbols[a.name] = decoded
    if coder is not None:
        coder.finish()
    return symbols


# ---------------------------------------------------------------------------------------------------------------------
# Sections 4.2 to 4.6: the streams


@dataclass(frozen=True)
class SideInfo:
    """SIDE_INFO (section 4.3): binary32 arrays."""

    point_scale: FloatArray
    point_offset: FloatArray
    shape_scale: FloatArray
    shape_offset: FloatArray
    color_scale: FloatArray
    static_scales: FloatArray
    dynamic_scales: FloatArray
    mlp_scales: FloatArray


@dataclass(frozen=True)
class Symbols:
    """The symbols of a GoP (section 4).

    points [N, 2] are x, y. shapes [N, 3] are l1, l2, l3 in shape_mode 0, and a, b, s in shape_mode 1. colors are the
    codewords of the stages [N, M] in color_mode 0, and Y, Co, Cg [N, 3] in color_mode 1. codebooks [M, K, 3] are
    binary16 patterns (no stages in color_mode 1). The tables, a list of levels [entries, features], and the tensors
    of the MLP hold the integers q.
    """

    side_info: SideInfo
    codebooks: IntArray
    points: IntArray
    shapes: IntArray
    colors: IntArray
    static_table: list[IntArray]
    dynamic_table: list[IntArray]
    mlp: dict[str, IntArray]


def read_side_info(reader: Reader, header: GopHeader) -> tuple[SideInfo, IntArray]:
    """The stream side_info (section 4.3): SIDE_INFO and the codebooks."""
    n_grid_axes = 2 if header.point_mode == 1 else 0
    shape_scale_limits = [(2.0**-10, 0.5)] * 2 + [SCALE] if header.shape_mode == 1 else [SCALE] * 3
    elements: list[tuple[str, list[tuple[float, float]]]] = [
        ("point_scale", [SCALE] * n_grid_axes),
        ("point_offset", [OFFSET] * n_grid_axes),
        ("shape_scale", shape_scale_limits),
        ("shape_offset", [OFFSET] * (3 if header.shape_mode == 0 else 0)),
        ("color_scale", [SCALE] * (3 if header.color_mode == 1 else 0)),
        ("static_scales", [SCALE] * header.n_static_levels),
        ("dynamic_scales", [SCALE] * header.n_dynamic_levels),
        ("mlp_scales", [SCALE] * len(header.mlp_tensors)),
    ]
    n_floats = sum(len(limits) for _, limits in elements)
    stages, words = header.color_stages if header.color_mode == 0 else 0, header.color_codebook_size
    arrays = read_plain(reader, [(n_floats, 256)] * 4 + [(3 * words, 256)] * (2 * stages))
    table = np.stack(arrays[:4], axis=1).astype(np.uint8).tobytes()
    floats = Reader(table, 0, len(table), f"{reader.where}, SIDE_INFO")
    side_info = SideInfo(
        **{name: np.array([floats.f32(name, *limit) for limit in limits], np.float32) for name, limits in elements}
    )
    codebooks = np.zeros((stages, words, 3), np.int64)
    for m in range(stages):
        codebooks[m] = (arrays[4 + 2 * m] * 256 + arrays[5 + 2 * m]).reshape(words, 3)
    if ((codebooks & 0x7C00) == 0x7C00).any():
        reader.fail("a codeword is not finite")
    return side_info, codebooks


def points_from_gaps(buckets: Sequence[int], point_bits: Reader) -> IntArray:
    """The points that the buckets and the low bits of the gaps stand for (section 4.4)."""
    bits = BitReader(point_bits, "point_bits")
    points = np.zeros((len(buckets), 2), np.int64)
    z = 0
    for i, bucket in enumerate(buckets):
        if bucket in (1, 2, 3, 5, 7):
            point_bits.fail(f"bucket {bucket} of Gaussian {i} is not valid")
        e = bucket // 4
        v = (((4 + bucket % 4) << e) >> 2) + bits.bits(max(e - 2, 0))
        z += v - 1
        if z >= 2**32:
            point_bits.fail(f"the Morton code of Gaussian {i} is 2^32 or more")
        for axis in range(2):
            points[i, axis] = sum(((z >> (2 * bit + axis)) & 1) << bit for bit in range(16))
    bits.finish()
    point_bits.finish()
    return points


def read_shapes(reader: Reader, header: GopHeader) -> dict[str, IntArray]:
    """The stream shapes (section 4.5): the symbols by name."""
    size = 2**header.cholesky_bits
    attributes = (
        [Attribute("a", 256, ()), Attribute("b", 256, ("a",)), Attribute("s", 256, ("b",))]
        if header.shape_mode == 1
        else [Attribute("l1", size, ()), Attribute("l3", size, ("l1",)), Attribute("l2", size, ("l1", "l3"))]
    )
    return read_conditional(reader, header.n_gaussians, attributes, {})


def read_colors(reader: Reader, header: GopHeader, shapes: dict[str, IntArray]) -> IntArray:
    """The stream colors (section 4.5)."""
    extent = ("a", "b") if header.shape_mode == 1 else ("l1", "l3")
    if header.color_mode == 1:
        attributes = [Attribute("Y", 256, extent), Attribute("Co", 256, extent), Attribute("Cg", 256, ("Co",))]
    else:
        attributes = [
            Attribute(f"stage {m}", header.color_codebook_size, (f"stage {m - 1}",) if m else extent)
            for m in range(header.color_stages)
        ]
    symbols = read_conditional(reader, header.n_gaussians, attributes, shapes)
    return np.stack([symbols[a.name] for a in attributes], axis=1)


def read_field(reader: Reader, header: GopHeader) -> tuple[list[IntArray], list[IntArray], dict[str, IntArray]]:
    """The stream field (section 4.6): the integers q of the 2D tables, the 3D tables and the MLP."""
    static_shapes = [
        (level_entries(r, header.static_log2_size), header.static_features) for r in header.static_resolutions
    ]
    dynamic_shapes = [
        (level_entries(r, header.dynamic_log2_size), header.dynamic_features) for r in header.dynamic_resolutions
    ]
    shapes: list[tuple[int, ...]] = [*static_shapes, *dynamic_shapes, *header.mlp_shapes]
    arrays = read_plain(reader, [(math.prod(shape), 2**header.weight_bits) for shape in shapes])
    half = 2 ** (header.weight_bits - 1)
    q = [(array - half).reshape(shape) for array, shape in zip(arrays, shapes, strict=True)]
    levels_2d, levels = header.n_static_levels, header.n_static_levels + header.n_dynamic_levels
    return q[:levels_2d], q[levels_2d:levels], dict(zip(header.mlp_tensors, q[levels:], strict=True))


def read_symbols(reader: Reader, header: GopHeader) -> Symbols:
    """STREAM_LENGTHS and the six streams (section 4.2)."""
    lengths = {name: reader.uint(f"{name}_bytes", 0, 2**28) for name in STREAMS}
    if sum(lengths.values()) != reader.left:
        reader.fail(f"the streams have {sum(lengths.values())} bytes, but {reader.left} remain")
    streams = {name: reader.part(length, f"{reader.where}, stream {name}") for name, length in lengths.items()}
    side_info, codebooks = read_side_info(streams["side_info"], header)
    (buckets,) = read_plain(streams["points"], [(header.n_gaussians, POINT_ALPHABET)])
    points = points_from_gaps(buckets.tolist(), streams["point_bits"])
    if header.point_mode == 0 and (points.min() < 0x0400 or points.max() > 0xFBFF):
        streams["points"].fail("a point is not finite")
    shapes = read_shapes(streams["shapes"], header)
    static_table, dynamic_table, mlp = read_field(streams["field"], header)
    return Symbols(
        side_info=side_info,
        codebooks=codebooks,
        points=points,
        shapes=np.stack([shapes[name] for name in (("a", "b", "s") if header.shape_mode else ("l1", "l2", "l3"))], 1),
        colors=read_colors(streams["colors"], header, shapes),
        static_table=static_table,
        dynamic_table=dynamic_table,
        mlp=mlp,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Section 6: from symbols to parameters


@dataclass(frozen=True)
class Parameters:
    """The parameters of a GoP in binary32 (section 6); cholesky [N, 3] is l1, l2, l3 in pixels."""

    means: FloatArray
    cholesky: FloatArray
    colors: FloatArray
    static_table: list[FloatArray]
    dynamic_table: list[FloatArray]
    mlp: dict[str, FloatArray]


def scale_table(shape_scale: np.float32) -> FloatArray:
    """The table T_i of a shape scale (section 6.2), computed in binary64."""
    g = 1.0 + float(shape_scale)
    p = 0.5
    table = []
    for _ in range(256):
        table.append(p - 0.5)
        p = min(p * g, 2.0**20)
    return np.array(table, np.float64).astype(np.float32)


def binary16_values(patterns: IntArray) -> FloatArray:
    """The values of binary16 patterns."""
    return patterns.astype(np.uint16).view(np.float16).astype(np.float32)


def dequantise_means(symbols: Symbols, header: GopHeader) -> FloatArray:
    """Means (section 6.1)."""
    u = symbols.points
    if header.point_mode == 0:
        return binary16_values(np.where(u >= 0x8000, u - 0x8000, 0xFFFF - u))
    return u.astype(np.float32) * symbols.side_info.point_scale + symbols.side_info.point_offset


def dequantise_shapes(symbols: Symbols, header: GopHeader) -> FloatArray:
    """Cholesky factors (section 6.2)."""
    q, scale, half = symbols.shapes, symbols.side_info.shape_scale, np.float32(0.5)
    if header.shape_mode == 0:
        raw = q.astype(np.float32) * scale + symbols.side_info.shape_offset
    else:
        raw_1 = scale_table(scale[0])[q[:, 0]]
        raw_3 = scale_table(scale[1])[q[:, 1]]
        raw_2 = ((q[:, 2] - 128).astype(np.float32) * scale[2]) * (half + raw_3)
        raw = np.stack([raw_1, raw_2, raw_3], axis=1)
    zero = np.float32(0)
    return np.stack([half + np.maximum(raw[:, 0], zero), raw[:, 1], half + np.maximum(raw[:, 2], zero)], axis=1)


def dequantise_colors(symbols: Symbols, header: GopHeader) -> FloatArray:
    """Colours (section 6.3)."""
    if header.color_mode == 0:
        c = np.zeros((header.n_gaussians, 3), np.float32)
        for m in range(header.color_stages):
            c = c + binary16_values(symbols.codebooks[m])[symbols.colors[:, m]]
        return c
    y, co, cg = ((symbols.colors - 128).astype(np.float32) * symbols.side_info.color_scale).T
    h = y - cg
    return np.stack([h + co, y + cg, h - co], axis=1)


def dequantise(symbols: Symbols, header: GopHeader) -> Parameters:
    """All parameters of a GoP (section 6)."""
    side = symbols.side_info
    return Parameters(
        means=dequantise_means(symbols, header),
        cholesky=dequantise_shapes(symbols, header),
        colors=dequantise_colors(symbols, header),
        static_table=[
            q.astype(np.float32) * scale for q, scale in zip(symbols.static_table, side.static_scales, strict=True)
        ],
        dynamic_table=[
            q.astype(np.float32) * scale for q, scale in zip(symbols.dynamic_table, side.dynamic_scales, strict=True)
        ],
        mlp={
            name: symbols.mlp[name].astype(np.float32) * scale
            for name, scale in zip(header.mlp_tensors, side.mlp_scales, strict=True)
        },
    )


# ---------------------------------------------------------------------------------------------------------------------
# Parsing a file


@dataclass(frozen=True)
class Gop:
    """A group of pictures: its timing, its header, its symbols and its parameters."""

    timing: Timing
    header: GopHeader
    symbols: Symbols
    parameters: Parameters

    @property
    def first_frame(self) -> int:
        """Number of the first frame in the file."""
        return self.timing.first_frame

    @property
    def pts(self) -> list[int]:
        """The timestamp of each frame."""
        return self.timing.pts


@dataclass(frozen=True)
class ParsedFile:
    """A file: its header and its GoPs."""

    header: FileHeader
    gops: list[Gop]


def read_gop_start(data: bytes, chunk: Chunk) -> tuple[Reader, Timing, GopHeader]:
    """GOP_CHUNK and GOP_HEADER, and a reader of what follows (sections 3.3 and 4.1)."""
    reader = Reader(data, chunk.start, chunk.end, f"GOP chunk at byte {chunk.start - CHUNK_HEADER_BYTES}")
    timing = read_timing(reader)
    header = read_gop_header(reader)
    if header.n_frames != timing.n_frames:
        reader.fail(f"GOP_HEADER has {header.n_frames} frames, GOP_CHUNK {timing.n_frames}")
    return reader, timing, header


def read_gop(reader: Reader, timing: Timing, header: GopHeader) -> Gop:
    """The streams of a GoP, and its parameters (sections 4.2 and 6)."""
    symbols = read_symbols(reader, header)
    return Gop(timing, header, symbols, dequantise(symbols, header))


def parse(data: bytes) -> ParsedFile:
    """Parse a whole file and hold all of it to the specification (sections 2 to 6 and 9)."""
    if data[: len(MAGIC)] != MAGIC:
        raise FormatError("at byte 0: the magic is wrong")
    first = read_chunk(data, len(MAGIC))
    if first.type != FILE_HEADER:
        raise FormatError(f"at byte {len(MAGIC)}: the first chunk is not FILE_HEADER")
    header = read_file_header(data, first)
    gops: list[Gop] = []
    at = first.end + 4
    for entry in read_index(data, at, header.version_minor):
        chunk = read_chunk(data, at)
        if (chunk.type, chunk.end - chunk.start) != (entry.chunk_type, entry.payload_bytes):
            raise FormatError(f"at byte {at}: the chunk differs from its entry in the index")
        if entry.timing is not None:
            reader, timing, gop_header = read_gop_start(data, chunk)
            if (timing, gop_header.n_gaussians) != (entry.timing, entry.n_gaussians):
                reader.fail("the GOP chunk differs from its entry in the index")
            gops.append(read_gop(reader, timing, gop_header))
        at = chunk.end + 4
    return ParsedFile(header, gops)


@dataclass(frozen=True)
class Recovered:
    """What recovery kept of a file, and a report of what it passed over (section 9)."""

    file: ParsedFile
    report: list[str]


def intact_chunks(data: bytes, report: list[str]) -> list[Chunk]:
    """The intact chunks of a damaged file, found by their sync markers (section 9, step 1)."""
    chunks: list[Chunk] = []
    position, checked = 0, 0
    while (at := data.find(SYNC, position)) >= 0:
        position = at + len(SYNC)
        try:
            _, length = read_chunk_header(data, at)
            position = at + CHUNK_HEADER_BYTES
            n_bytes = CHUNK_FRAMING_BYTES + length
            checked += n_bytes if at + n_bytes <= len(data) else 0
            if checked > 8 * len(data):
                report.append(f"at byte {at}: the search has checked too many bytes and stops")
                break
            chunk = read_chunk(data, at)
        except FormatError as error:
            report.append(f"passed over the chunk at byte {at}: {error}")
            continue
        chunks.append(chunk)
        position = chunk.end + 4
    return chunks


def recover(data: bytes) -> Recovered:
    """Decode what is intact of a damaged file; needs neither the magic nor the END chunk (section 9)."""
    report: list[str] = []
    header: FileHeader | None = None
    gops: list[Gop] = []
    for chunk in intact_chunks(data, report):
        where = f"the chunk 0x{chunk.type:04x} at byte {chunk.start - CHUNK_HEADER_BYTES}"
        if chunk.type not in (FILE_HEADER, END):
            check_known(chunk.type, where)
        if header is None and chunk.type == FILE_HEADER:
            header = read_file_header(data, chunk)
        elif header is None or chunk.type == FILE_HEADER:
            report.append(f"passed over {where}")
        elif chunk.type == GOP:
            try:
                reader, timing, gop_header = read_gop_start(data, chunk)
                last = gops[-1].timing if gops else None
                if last and (timing.first_frame < last.first_frame + last.n_frames or timing.pts_first <= last.pts[-1]):
                    reader.fail("the GoP does not come after the one before")
            except FormatError as error:
                report.append(f"passed over {where}: {error}")
                continue
            gops.append(read_gop(reader, timing, gop_header))
    if header is None:
        raise FormatError("no FILE_HEADER chunk is intact")
    if not gops:
        raise FormatError("no GoP is intact")
    return Recovered(ParsedFile(header, gops), report)


# ---------------------------------------------------------------------------------------------------------------------
# Section 7: from parameters to pictures


@dataclass(frozen=True)
class FrameGaussians:
    """The Gaussians of one frame (section 7): features, centres m in pixels, l1 l2 l3 after section 7.4, colours."""

    f_s: FloatArray
    f_d: FloatArray
    m: FloatArray
    cholesky: FloatArray
    color: FloatArray
    drawn: npt.NDArray[np.bool_]


def level_features(u: FloatArray, resolutions: Sequence[int], log2_size: int, table: FloatArray) -> FloatArray:
    """The features of one level of a hash encoding at the points u [N, d] (section 7.2)."""
    r = np.array(resolutions, np.int64)
    pos = u * r.astype(np.float32)
    cell = np.minimum(np.floor(pos).astype(np.int64), r - 1)
    frac = pos - cell.astype(np.float32)
    dense = math.prod(n + 1 for n in resolutions) <= 2**log2_size
    features = np.zeros((len(u), table.shape[1]), np.float32)
    for corner in itertools.product((0, 1), repeat=len(resolutions)):
        weight = np.ones(len(u), np.float32)
        index = np.zeros(len(u), np.int64)
        stride = 1
        for i, upper in enumerate(corner):
            weight = weight * (frac[:, i] if upper else np.float32(1) - frac[:, i])
            vertex = cell[:, i] + upper
            if dense:
                index += vertex * stride
                stride *= resolutions[i] + 1
            else:
                index ^= (vertex * HASH_PRIMES[i]) % 2**32
        features += weight[:, None] * table[index % 2**log2_size]
    return features


def encode(
    u: FloatArray, resolutions: Sequence[Sequence[int]], log2_size: int, tables: Sequence[FloatArray]
) -> FloatArray:
    """A hash encoding, level after level (section 7.2)."""
    levels = [level_features(u, r, log2_size, table) for r, table in zip(resolutions, tables, strict=True)]
    return np.concatenate(levels, axis=1)


def time_encoding(t: float, n_frequencies: int) -> FloatArray:
    """gamma(t) (section 7.1)."""
    angles = [2.0**j * math.pi * t for j in range(n_frequencies)]
    return np.array([f(angle) for angle in angles for f in (math.sin, math.cos)], np.float64).astype(np.float32)


def low_pass(cholesky: FloatArray, s: np.float32) -> FloatArray:
    """The Cholesky factors of the covariances plus s I (section 7.4)."""
    l1, l2, l3 = cholesky.T
    new_l1 = np.sqrt(l1 * l1 + s)
    r = l2 / new_l1
    return np.stack([new_l1, l1 * r, np.sqrt(l3 * l3 + s + s * (r * r))], axis=1)


def changed_shapes(cholesky: FloatArray, delta: FloatArray) -> FloatArray:
    """The Cholesky factors of a frame, changed by delta_l [N, 3] (section 7.4)."""
    half, one = np.float32(0.5), np.float32(1)
    l1, l2, l3 = cholesky.T
    d1, ds, d3 = np.clip(delta, -one, one).T
    new_l3 = np.maximum(l3 * np.exp(d3), half)
    return np.stack([np.maximum(l1 * np.exp(d1), half), (l2 / l3 + ds) * new_l3, new_l3], axis=1)


def frame_gaussians(file_header: FileHeader, gop: Gop, k: int) -> FrameGaussians:
    """The deformed Gaussians of frame k of a GoP (sections 7.1 to 7.5)."""
    header, parameters, mlp = gop.header, gop.parameters, gop.parameters.mlp
    t = k / (header.n_frames - 1) if header.n_frames > 1 else 0.0
    one, two, zero = np.float32(1), np.float32(2), np.float32(0)
    with np.errstate(all="ignore"):
        xy = np.clip((parameters.means + one) / two, zero, one)
        xyt = np.concatenate([xy, np.full((len(xy), 1), t, np.float32)], axis=1)
        f_s = encode(xy, header.static_resolutions, header.static_log2_size, parameters.static_table)
        f_d = encode(xyt, header.dynamic_resolutions, header.dynamic_log2_size, parameters.dynamic_table)
        gamma = np.tile(time_encoding(t, header.n_frequencies), (len(xy), 1))
        x = np.concatenate([f_s, f_d, gamma], axis=1)
        h1 = np.maximum(x @ mlp["w1"].T + mlp["b1"], zero)
        h2 = np.maximum(h1 @ mlp["w2"].T + mlp["b2"], zero)
        means = parameters.means + (h2 @ mlp["w_means"].T + mlp["b_means"])
        color = parameters.colors + (h2 @ mlp["w_colors"].T + mlp["b_colors"])
        cholesky = parameters.cholesky
        if header.low_pass > 0:
            cholesky = low_pass(cholesky, np.float32(header.low_pass))
        if header.shape_head == 1:
            cholesky = changed_shapes(cholesky, h2 @ mlp["w_shapes"].T + mlp["b_shapes"])
        m = (means + one) / two * np.array([file_header.width, file_header.height], np.float32)
        numbers = np.concatenate([m, cholesky, color], axis=1)
        drawn = (np.abs(numbers) <= np.float32(2**40)).all(axis=1)
        drawn &= (cholesky[:, [0, 2]] >= np.float32(2**-20)).all(axis=1)
    return FrameGaussians(f_s, f_d, m, cholesky, color, drawn)


def render(file_header: FileHeader, gaussians: FrameGaussians) -> npt.NDArray[np.uint8]:
    """A picture [H, W, 3] (sections 7.5 and 7.6)."""
    width, height = file_header.width, file_header.height
    columns = np.arange(width, dtype=np.float32) + np.float32(0.5)
    rows = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)
    edge = np.exp(np.float32(-4.5))
    picture = np.zeros((height, width, 3), np.float32)
    with np.errstate(all="ignore"):
        for i in np.flatnonzero(gaussians.drawn):
            l1, l2, l3 = gaussians.cholesky[i]
            u = (columns - gaussians.m[i, 0]) / l1
            v = ((rows - gaussians.m[i, 1]) - l2 * u) / l3
            w = np.maximum(np.float32(0), np.exp((u * u + v * v) * np.float32(-0.5)) - edge)
            picture += w[:, :, None] * gaussians.color[i]
    samples: npt.NDArray[np.uint8] = np.floor(np.float32(255) * np.clip(picture, 0, 1) + np.float32(0.5)).astype(
        np.uint8
    )
    return samples


@dataclass(frozen=True)
class Decoded:
    """A decoded file: its header, the timestamps and the frames [n, H, W, 3]."""

    header: FileHeader
    pts: list[int]
    frames: npt.NDArray[np.uint8]


def decode(data: bytes) -> Decoded:
    """Decode a whole file."""
    file = parse(data)
    pts = [timestamp for gop in file.gops for timestamp in gop.pts]
    frames = [
        render(file.header, frame_gaussians(file.header, gop, k))
        for gop in file.gops
        for k in range(gop.header.n_frames)
    ]
    return Decoded(file.header, pts, np.stack(frames))
