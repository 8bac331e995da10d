"""A decoder of `.stgv` files written from `bitstream_spec.md` alone.

It shares no code with stgvcodec and needs nothing but numpy: `decode` takes the bytes of a file and gives its pictures
and timestamps. Plainness goes before speed, so it is for tiny files. Numbers in the docstrings are sections of the
specification.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import struct
import unicodedata
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
SymbolArray = npt.NDArray[np.int64]

MAGIC: Final = bytes.fromhex("89 53 54 47 0d 0a 1a 0a")
SYNC: Final = bytes.fromhex("f5 53 47 c1")
VERSION: Final = (1, 0)
KNOWN_PROFILES: Final = (1,)

CRITICAL: Final = 0x8000
FILE_HEADER: Final = 0x8001
GOP: Final = 0x8002
END: Final = 0x8003

FRAME_HEADER_BYTES: Final = 14
FRAMING_BYTES: Final = 18
MAX_PAYLOAD: Final = 2**28
MAX_FRAME_PIXELS: Final = 2**27
MAX_GRID_PARAMETERS: Final = 2**24
MAX_ALPHABET: Final = 256
MAX_PTS: Final = 2**62
MAX_PTS_STEP: Final = 2**40
U32_MAX: Final = 2**32 - 1

SCALE_BITS: Final = 24
"""Frequencies of every context sum to 2^24."""
HASH_PRIMES: Final = (1, 2654435761, 805459861)
LARGEST_NUMBER: Final = np.float32(2.0**40)
"""A Gaussian with a number of greater magnitude is not drawn."""
SMALLEST_DIAGONAL: Final = np.float32(2.0**-20)
"""Nor is one whose l1 or l3 is smaller than this, in pixels."""
CUTOFF: Final = np.float32(math.exp(-4.5))


class FormatError(ValueError):
    """The bytes are not a valid `.stgv` file."""


def _require(condition: bool, message: str) -> None:
    """Refuses the file, with `message`, unless `condition` holds."""
    if not condition:
        raise FormatError(message)


# --- 2. Primitive types -----------------------------------------------------------------------------------------------


class Reader:
    """Reads primitive types one behind another and never past the end."""

    def __init__(self, data: bytes, what: str) -> None:
        """Starts at the beginning of `data`; `what` names it in error messages."""
        self._data = data
        self._what = what
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._at

    def take(self, n: int) -> bytes:
        """The next `n` bytes."""
        _require(n <= self.left, f"{self._what}: {n} bytes wanted at {self._at}, {self.left} left")
        self._at += n
        return self._data[self._at - n : self._at]

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take(self.left)

    def finish(self) -> None:
        """Refuses bytes that no field claims."""
        _require(self.left == 0, f"{self._what}: {self.left} bytes behind the last field")

    def _within(self, value: int, low: int, high: int, field: str) -> int:
        _require(low <= value <= high, f"{self._what}: {field} is {value}, outside [{low}, {high}]")
        return value

    def u8(self, field: str, low: int = 0, high: int = 255) -> int:
        """A byte."""
        return self._within(self.take(1)[0], low, high, field)

    def u16(self, field: str, low: int = 0, high: int = 65535) -> int:
        """Two bytes, little-endian."""
        return self._within(int.from_bytes(self.take(2), "little"), low, high, field)

    def u32(self, field: str, low: int = 0, high: int = U32_MAX) -> int:
        """Four bytes, little-endian."""
        return self._within(int.from_bytes(self.take(4), "little"), low, high, field)

    def f32(self, field: str, low: float, high: float) -> np.float32:
        """A binary32 number, never NaN or infinite."""
        value = float(struct.unpack("<f", self.take(4))[0])
        _require(math.isfinite(value), f"{self._what}: {field} is not finite")
        _require(low <= value <= high, f"{self._what}: {field} is {value}, outside [{low}, {high}]")
        return np.float32(value)

    def f32s(self, field: str, n: int, low: float, high: float) -> FloatArray:
        """An array of `n` binary32 numbers."""
        return np.array([self.f32(field, low, high) for _ in range(n)], dtype=np.float32)

    def uint(self, field: str, low: int, high: int) -> int:
        """An unsigned LEB128 number in its shortest form."""
        value = 0
        for i in range(10):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                _require(byte != 0 or i == 0, f"{self._what}: {field} is not in its shortest form")
                _require(value < 2**64, f"{self._what}: {field} does not fit in 64 bits")
                return self._within(value, low, high, field)
        raise FormatError(f"{self._what}: {field} has more than ten bytes")

    def sint(self, field: str, low: int, high: int) -> int:
        """A zigzag number."""
        v = self.uint(field, 0, 2**64 - 1)
        return self._within(v // 2 if v % 2 == 0 else -((v + 1) // 2), low, high, field)

    def uints(self, field: str, n: int, low: int, high: int) -> tuple[int, ...]:
        """An array of `n` uints."""
        _require(n <= self.left, f"{self._what}: {field} has more items than bytes are left")
        return tuple(self.uint(field, low, high) for _ in range(n))

    def text(self, field: str, low: int, high: int) -> str:
        """UTF-8 without control characters; the limits are of bytes."""
        raw = self.take(self.uint(field, low, high))
        try:
            value = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(f"{self._what}: {field} is not UTF-8") from error
        controls = any(unicodedata.category(character) == "Cc" for character in value)
        _require(not controls, f"{self._what}: {field} has control characters")
        return value


# --- 3 and 4. Container and chunks ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A chunk with its payload, whose CRCs held."""

    type: int
    start: int
    payload: bytes

    @property
    def end(self) -> int:
        """Offset of the first byte behind the chunk."""
        return self.start + FRAMING_BYTES + len(self.payload)


@dataclasses.dataclass(frozen=True)
class FileHeader:
    """The fields of FILE_HEADER that decoding needs."""

    version_minor: int
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class GopTiming:
    """The fields of GOP_CHUNK, which INDEX_GOP repeats."""

    first_frame: int
    n_frames: int
    pts_first: int
    pts_step: int
    pts_deltas: tuple[int, ...]

    @property
    def pts(self) -> list[int]:
        """Timestamps of the GoP's frames."""
        deltas = self.pts_deltas if self.pts_step == 0 else (self.pts_step,) * (self.n_frames - 1)
        return list(itertools.accumulate(deltas, initial=self.pts_first))


@dataclasses.dataclass(frozen=True)
class IndexEntry:
    """A chunk as the index lists it; N and timing are those of GOP chunks."""

    type: int
    payload_bytes: int
    n_gaussians: int | None = None
    timing: GopTiming | None = None


@dataclasses.dataclass(frozen=True)
class Index:
    """The payload of END."""

    n_frames: int
    entries: tuple[IndexEntry, ...]


def read_chunks(data: bytes) -> list[Chunk]:
    """All chunks of a file, in order, their CRCs checked (3)."""
    _require(data[: len(MAGIC)] == MAGIC, "not a .stgv file: wrong magic")
    chunks: list[Chunk] = []
    at = len(MAGIC)
    while at < len(data):
        _require(not chunks or chunks[-1].type != END, f"bytes behind the END chunk, at {at}")
        reader = Reader(data[at:], f"chunk at {at}")
        header = reader.take(FRAME_HEADER_BYTES)
        _require(header[:4] == SYNC, f"no sync marker at {at}")
        chunk_type, length, header_crc = struct.unpack("<HII", header[4:])
        _require(zlib.crc32(header[:10]) == header_crc, f"header CRC of the chunk at {at} does not hold")
        _require(length <= MAX_PAYLOAD, f"chunk at {at} is too long")
        payload = reader.take(length)
        _require(zlib.crc32(payload) == reader.u32("payload CRC"), f"payload CRC of the chunk at {at} does not hold")
        chunks.append(Chunk(chunk_type, at, payload))
        at = chunks[-1].end
    types = [chunk.type for chunk in chunks]
    _require(types[:1] == [FILE_HEADER], "the first chunk is not FILE_HEADER")
    _require(types.count(FILE_HEADER) == 1, "more than one FILE_HEADER chunk")
    _require(types[-1] == END, "the file does not end with an END chunk")
    _require(GOP in types, "the file has no GOP chunk")
    for chunk in chunks:
        known = chunk.type in (FILE_HEADER, GOP, END)
        _require(known or not chunk.type & CRITICAL, f"unknown critical chunk 0x{chunk.type:04x} at {chunk.start}")
    return chunks


def parse_file_header(payload: bytes) -> FileHeader:
    """Table FILE_HEADER (4.1), and the rules of versions (13)."""
    reader = Reader(payload, "FILE_HEADER")
    major, minor = reader.u8("version_major"), reader.u8("version_minor")
    _require(major == VERSION[0], f"the file needs version {major}.{minor} of the format, this is {VERSION[0]}")
    profile = reader.u8("profile", low=1)
    _require(profile in KNOWN_PROFILES, f"unknown profile {profile}")
    width, height = reader.uint("width", 1, 16384), reader.uint("height", 1, 16384)
    _require(width * height <= MAX_FRAME_PIXELS, f"{width} x {height} pixels are too many")
    for fraction in ("frame_rate", "time_base"):
        numerator = reader.uint(f"{fraction}_num", 1, U32_MAX)
        denominator = reader.uint(f"{fraction}_den", 1, U32_MAX)
        _require(math.gcd(numerator, denominator) == 1, f"{fraction} is not in lowest terms")
    for field in ("color_primaries", "color_transfer", "color_matrix"):
        reader.u8(field)
    reader.u8("color_full_range", high=1)
    reader.text("tool", 0, 64)
    if minor <= VERSION[1]:
        reader.finish()
    return FileHeader(minor, width, height)


def read_timing(reader: Reader) -> GopTiming:
    """Table GOP_CHUNK (4.2), also the last five fields of INDEX_GOP."""
    first_frame = reader.uint("first_frame", 0, 2**40)
    n_frames = reader.uint("n_frames", 1, 1024)
    pts_first = reader.sint("pts_first", -MAX_PTS, MAX_PTS)
    pts_step = reader.uint("pts_step", 0, MAX_PTS_STEP)
    n_deltas = 0 if pts_step > 0 else n_frames - 1
    return GopTiming(first_frame, n_frames, pts_first, pts_step, reader.uints("pts_deltas", n_deltas, 1, MAX_PTS_STEP))


def parse_end(chunk: Chunk, version_minor: int) -> Index:
    """The index (4.3)."""
    reader = Reader(chunk.payload, "END")
    n_frames = reader.uint("n_frames", 1, 2**40)
    entries = []
    for _ in range(reader.uint("n_chunks", 1, 2**24)):
        chunk_type = reader.u16("chunk_type")
        payload_bytes = reader.uint("payload_bytes", 0, MAX_PAYLOAD)
        if chunk_type == GOP:
            n_gaussians = reader.uint("n_gaussians", 1, 2**22)
            entries.append(IndexEntry(chunk_type, payload_bytes, n_gaussians, read_timing(reader)))
        else:
            entries.append(IndexEntry(chunk_type, payload_bytes))
    if version_minor > VERSION[1]:
        reader.take(max(reader.left - 4, 0))
    size = reader.u32("end_chunk_bytes")
    reader.finish()
    _require(size == chunk.end - chunk.start, f"END chunk says it has {size} bytes, has {chunk.end - chunk.start}")
    return Index(n_frames, tuple(entries))


# --- 5. GoP payload ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Grid:
    """A hash encoding: cells along each axis of each level, features of an entry, log2 of the largest table."""

    resolutions: tuple[tuple[int, ...], ...]
    features: int
    log2_size: int

    def is_dense(self, level: int) -> bool:
        """Whether every vertex of the level has an entry of its own (8)."""
        return self._vertices(level) <= 1 << self.log2_size

    def entries(self, level: int) -> int:
        """Entries of the level's table."""
        return min(self._vertices(level), 1 << self.log2_size)

    def _vertices(self, level: int) -> int:
        return math.prod(resolution + 1 for resolution in self.resolutions[level])

    @property
    def levels(self) -> range:
        """Numbers of the levels."""
        return range(len(self.resolutions))


@dataclasses.dataclass(frozen=True)
class GopHeader:
    """Table GOP_HEADER (5)."""

    n_frames: int
    n_gaussians: int
    low_pass: np.float32
    cholesky_bits: int
    color_stages: int
    color_codebook_size: int
    static_grid: Grid
    dynamic_grid: Grid
    mlp_width: int
    n_frequencies: int
    weight_bits: int

    @property
    def tensor_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of w1, b1, w2, b2, w_means, b_means, w_colors, b_colors (8)."""
        width = self.mlp_width
        n_inputs = (
            len(self.static_grid.levels) * self.static_grid.features
            + len(self.dynamic_grid.levels) * self.dynamic_grid.features
            + 2 * self.n_frequencies
        )
        return (width, n_inputs), (width,), (width, width), (width,), (2, width), (2,), (3, width), (3,)


STREAMS: Final = (
    "side_info",
    "means",
    "cholesky",
    "color_indices",
    "codebooks",
    "hash_static",
    "hash_dynamic",
    "mlp",
)


def _read_grid(reader: Reader, name: str, n_axes: int) -> Grid:
    """The four fields of a hash encoding in GOP_HEADER."""
    n_levels = reader.uint(f"n_{name}_levels", 1, 16)
    flat = reader.uints(f"{name}_resolutions", n_levels * n_axes, 1, 65535)
    features = reader.uint(f"{name}_features", 1, 8)
    log2_size = reader.uint(f"{name}_log2_size", 1, 19)
    resolutions = tuple(flat[i : i + n_axes] for i in range(0, len(flat), n_axes))
    grid = Grid(resolutions, features, log2_size)
    n_parameters = features * sum(grid.entries(level) for level in grid.levels)
    _require(n_parameters <= MAX_GRID_PARAMETERS, f"the {name} encoding has {n_parameters} parameters")
    return grid


def read_gop_header(reader: Reader) -> GopHeader:
    """Table GOP_HEADER (5)."""
    return GopHeader(
        n_frames=reader.uint("n_frames", 1, 1024),
        n_gaussians=reader.uint("n_gaussians", 1, 2**22),
        low_pass=reader.f32("low_pass", 0.0, 65536.0),
        cholesky_bits=reader.u8("cholesky_bits", 1, 8),
        color_stages=reader.uint("color_stages", 1, 8),
        color_codebook_size=reader.uint("color_codebook_size", 1, 256),
        static_grid=_read_grid(reader, "static", 2),
        dynamic_grid=_read_grid(reader, "dynamic", 3),
        mlp_width=reader.uint("mlp_width", 1, 512),
        n_frequencies=reader.uint("n_frequencies", 1, 16),
        weight_bits=reader.u8("weight_bits", 1, 8),
    )


def read_streams(reader: Reader) -> dict[str, bytes]:
    """STREAM_LENGTHS and the eight streams behind it, to the end of the payload (5)."""
    lengths = {name: reader.uint(f"{name}_bytes", 0, MAX_PAYLOAD) for name in STREAMS}
    _require(sum(lengths.values()) == reader.left, "the streams' lengths do not add up to the payload's")
    return {name: reader.take(length) for name, length in lengths.items()}


# --- 6 and 7. Entropy coder and frequency tables ----------------------------------------------------------------------


class BitReader:
    """Reads bits from a `Reader`, most significant first, taking bytes as it needs them."""

    def __init__(self, reader: Reader) -> None:
        """Starts at the reader's next byte."""
        self._reader = reader
        self._byte = 0
        self._left = 0

    def bits(self, n: int) -> int:
        """A number of `n` bits."""
        value = 0
        for _ in range(n):
            if self._left == 0:
                self._byte, self._left = self._reader.u8("bits"), 8
            self._left -= 1
            value = 2 * value + (self._byte >> self._left & 1)
        return value

    def exp_golomb(self, k: int) -> int:
        """A number in the Exp-Golomb code of order k (7.1)."""
        zeros = 0
        while self.bits(1) == 0:
            zeros += 1
            _require(zeros <= 16, "Exp-Golomb code with more than 16 zeros")
        n = zeros + k
        return (1 << n) + self.bits(n) - (1 << k)

    def finish(self) -> None:
        """Passes over the padding in the last byte; it must be 0 bits."""
        _require(self.bits(self._left) == 0, "padding bits are not 0")


def transmitted_table(reader: Reader, p: int, alphabet: int) -> list[int]:
    """Frequencies of a transmitted table, before scaling (7.1)."""
    bits = BitReader(reader)
    frequencies = [0] * alphabet
    k = symbol = 0
    remaining = 1 << p
    while remaining > 0:
        _require(symbol < alphabet, "frequency table leaves the alphabet")
        f = bits.exp_golomb(k)
        _require(f <= remaining, "frequencies sum to too much")
        frequencies[symbol] = f
        symbol += 1
        remaining -= f
        k = f.bit_length()
        if f == 0:
            symbol += bits.exp_golomb(0)
    bits.finish()
    _require(sum(f > 0 for f in frequencies) >= 2, "frequency table with a single symbol")
    return frequencies


def family_table(geometric: bool, p: int, centre: int, alphabet: int) -> list[int]:
    """Frequencies of the geometric or the normal family, which sum to 2^24 (7.2)."""
    q = 63 << 24
    for _ in range(p):
        q = (q * 29) >> 5 if geometric else (q * 55) >> 6
    r = (1 << 30) - q
    m = 1 << 30 if geometric else (r * r) >> 30
    w = [1 << 30]
    while len(w) < alphabet:
        w.append((w[-1] * r) >> 30)
        r = (r * m) >> 30
    weights = [w[abs(symbol - centre)] for symbol in range(alphabet)]
    total = sum(weights)
    frequencies = [1 + weight * ((1 << SCALE_BITS) - alphabet) // total for weight in weights]
    frequencies[centre] += (1 << SCALE_BITS) - sum(frequencies)
    return frequencies


class AnsDecoder:
    """The stack coder with a state of 64 bits (6.2)."""

    def __init__(self, data: bytes) -> None:
        """Starts on `data`, all ANS bytes of a stream."""
        _require(not data or data[-1] != 0, "the ANS bytes end with 0")
        padded = data + bytes(-len(data) % 4)
        self._words = [word for (word,) in struct.iter_unpack("<I", padded)]
        self._state = 0
        self._crc = 0
        for _ in range(2):
            self._refill()

    def _refill(self) -> None:
        if self._words:
            self._state = (self._state << 32) + self._words.pop()

    def decode(self, frequencies: Sequence[int], n: int) -> SymbolArray:
        """The next `n` symbols of a context."""
        starts = list(itertools.accumulate(frequencies[:-1], initial=0))
        symbols = bytearray()
        for _ in range(n):
            slot = self._state % (1 << SCALE_BITS)
            symbol = bisect_right(starts, slot) - 1
            self._state = (self._state >> SCALE_BITS) * frequencies[symbol] + slot - starts[symbol]
            if self._state < 1 << 32:
                self._refill()
            symbols.append(symbol)
        self._crc = zlib.crc32(symbols, self._crc)
        return np.frombuffer(bytes(symbols), dtype=np.uint8).astype(np.int64)

    def finish(self) -> None:
        """Refuses a coder that does not end with the check alone."""
        _require(not self._words and self._state == self._crc % (1 << 16) + 1, "the coder does not end with its check")


@dataclasses.dataclass(frozen=True)
class Context:
    """`n` symbols of the alphabet 0 .. `alphabet` - 1."""

    n: int
    alphabet: int


def _read_model(reader: Reader, context: Context) -> SymbolArray | list[int]:
    """A model: the symbols themselves (an array) where they are not coded, else their frequencies (a list) (6.1)."""
    n, alphabet = context.n, context.alphabet
    if alphabet == 1:
        return np.zeros(n, dtype=np.int64)
    head = reader.u8("model")
    mode, p = head & 3, head >> 2
    if mode == 0 and p == 0:
        return np.full(n, reader.u8("symbol", high=alphabet - 1), dtype=np.int64)
    if mode == 0 and p == 1:
        width = (alphabet - 1).bit_length()
        size = (n * width + 7) // 8
        bits = np.unpackbits(np.frombuffer(reader.take(size), dtype=np.uint8))
        _require(not bits[n * width :].any(), "padding bits are not 0")
        symbols: SymbolArray = bits[: n * width].reshape(n, width).astype(np.int64) @ (1 << np.arange(width)[::-1])
        _require(int(symbols.max()) < alphabet, "symbol outside the alphabet")
        return symbols
    if mode == 1 and 1 <= p <= 14:
        return [f << (SCALE_BITS - p) for f in transmitted_table(reader, p, alphabet)]
    if mode in (2, 3):
        return family_table(mode == 2, p, reader.u8("centre", high=alphabet - 1), alphabet)
    raise FormatError(f"unknown model: mode {mode}, p {p}")


def decode_stream(name: str, data: bytes, contexts: Sequence[Context]) -> list[SymbolArray]:
    """The symbols of every context of a stream (6)."""
    reader = Reader(data, f"stream {name}")
    models = [_read_model(reader, context) for context in contexts]
    if not any(isinstance(model, list) for model in models):
        reader.finish()
        return [model for model in models if not isinstance(model, list)]
    ans = AnsDecoder(reader.rest())
    symbols = [
        ans.decode(model, context.n) if isinstance(model, list) else model
        for model, context in zip(models, contexts, strict=True)
    ]
    ans.finish()
    return symbols


# --- 8 and 9. Streams, and from symbols to numbers --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class GopModel:
    """A GoP as numbers, all binary32."""

    header: GopHeader
    means: FloatArray
    """[N, 2]."""
    cholesky: FloatArray
    """[N, 3]: l1, l2, l3, pixels."""
    colors: FloatArray
    """[N, 3]."""
    static_tables: list[FloatArray]
    """[entries, features] a level."""
    dynamic_tables: list[FloatArray]
    """[entries, features] a level."""
    mlp: list[FloatArray]
    """w1, b1, w2, b2, w_means, b_means, w_colors, b_colors."""


def _from_halves(high: SymbolArray, low: SymbolArray) -> FloatArray:
    """Binary16 numbers, exactly, from the bytes of their patterns."""
    halves = (256 * high + low).astype(np.uint16).view(np.float16)
    _require(bool(np.isfinite(halves).all()), "binary16 pattern of an infinity or NaN")
    return halves.astype(np.float32)


def _low_pass(cholesky: FloatArray, s: np.float32) -> FloatArray:
    """The Cholesky factor of L L^T + s I (9)."""
    l1, l2, l3 = cholesky.T
    new_l1 = np.sqrt(l1 * l1 + s)
    ratio = l2 / new_l1
    return np.stack([new_l1, l1 * ratio, np.sqrt(l3 * l3 + s + s * ratio * ratio)], axis=1)


def _dequantise_grid(grid: Grid, symbols: Sequence[SymbolArray], bits: int, scales: FloatArray) -> list[FloatArray]:
    """The tables of a hash encoding."""
    offset = 1 << (bits - 1)
    return [
        ((level_symbols - offset).astype(np.float32) * scale).reshape(-1, grid.features)
        for level_symbols, scale in zip(symbols, scales, strict=True)
    ]


def decode_gop(header: GopHeader, streams: dict[str, bytes]) -> GopModel:
    """All numbers of a GoP (8 and 9)."""
    n, bits = header.n_gaussians, header.weight_bits
    static, dynamic = header.static_grid, header.dynamic_grid

    n_floats = 6 + len(static.levels) + len(dynamic.levels) + len(header.tensor_shapes)
    side_bytes = decode_stream("side_info", streams["side_info"], [Context(n_floats, 256)] * 4)
    side_info = Reader(np.stack(side_bytes, axis=1).astype(np.uint8).tobytes(), "SIDE_INFO")
    cholesky_scale = side_info.f32s("cholesky_scale", 3, 2.0**-96, 2.0**96)
    cholesky_offset = side_info.f32s("cholesky_offset", 3, -(2.0**96), 2.0**96)
    static_scales = side_info.f32s("static_scales", len(static.levels), 2.0**-96, 2.0**96)
    dynamic_scales = side_info.f32s("dynamic_scales", len(dynamic.levels), 2.0**-96, 2.0**96)
    mlp_scales = side_info.f32s("mlp_scales", len(header.tensor_shapes), 2.0**-96, 2.0**96)
    side_info.finish()

    x_high, x_low, y_high, y_low = decode_stream("means", streams["means"], [Context(n, 256)] * 4)
    means = np.stack([_from_halves(x_high, x_low), _from_halves(y_high, y_low)], axis=1)

    q = decode_stream("cholesky", streams["cholesky"], [Context(n, 1 << header.cholesky_bits)] * 3)
    cholesky = np.stack(q, axis=1).astype(np.float32) * cholesky_scale + cholesky_offset
    cholesky[:, ::2] = np.float32(0.5) + np.maximum(cholesky[:, ::2], np.float32(0))
    if header.low_pass > 0:
        cholesky = _low_pass(cholesky, header.low_pass)

    size, stages = header.color_codebook_size, header.color_stages
    indices = decode_stream("color_indices", streams["color_indices"], [Context(n, size)] * stages)
    halves = decode_stream("codebooks", streams["codebooks"], [Context(3 * size, MAX_ALPHABET)] * (2 * stages))
    colors = np.zeros((n, 3), dtype=np.float32)
    for stage_indices, high, low in zip(indices, halves[::2], halves[1::2], strict=True):
        colors += _from_halves(high, low).reshape(size, 3)[stage_indices]

    tables = []
    for name, grid, scales in (
        ("hash_static", static, static_scales),
        ("hash_dynamic", dynamic, dynamic_scales),
    ):
        contexts = [Context(grid.entries(level) * grid.features, 1 << bits) for level in grid.levels]
        tables.append(_dequantise_grid(grid, decode_stream(name, streams[name], contexts), bits, scales))

    shapes = header.tensor_shapes
    weights = decode_stream("mlp", streams["mlp"], [Context(math.prod(shape), 1 << bits) for shape in shapes])
    mlp = [
        (w - (1 << (bits - 1))).astype(np.float32).reshape(shape) * scale
        for w, shape, scale in zip(weights, shapes, mlp_scales, strict=True)
    ]
    return GopModel(header, means, cholesky, colors, tables[0], tables[1], mlp)


# --- 10. From numbers to pictures -------------------------------------------------------------------------------------


def time_encoding(t: float, n_frequencies: int) -> FloatArray:
    """gamma(t) (10.1)."""
    angles = [2.0**j * math.pi * t for j in range(n_frequencies)]
    return np.array([f(angle) for angle in angles for f in (math.sin, math.cos)], dtype=np.float32)


def encode_positions(grid: Grid, tables: Sequence[FloatArray], positions: FloatArray) -> FloatArray:
    """Features of a hash encoding at `positions` [N, axes], each in [0, 1] (10.2)."""
    return np.concatenate([_encode_level(grid, level, table, positions) for level, table in enumerate(tables)], axis=1)


def _encode_level(grid: Grid, level: int, table: FloatArray, positions: FloatArray) -> FloatArray:
    """Multilinear interpolation between the entries of a cell's vertices."""
    resolutions = np.array(grid.resolutions[level])
    scaled = positions * resolutions.astype(np.float32)
    cells = np.minimum(np.floor(scaled).astype(np.int64), resolutions - 1)
    fractions = scaled - cells.astype(np.float32)
    features = np.zeros((len(positions), grid.features), dtype=np.float32)
    for corner in itertools.product((0, 1), repeat=len(resolutions)):
        vertices = cells + np.array(corner)
        weights = np.where(np.array(corner) == 1, fractions, np.float32(1) - fractions)
        if grid.is_dense(level):
            strides = np.concatenate([[1], np.cumprod(resolutions[:-1] + 1)])
            entries = (vertices * strides).sum(axis=1)
        else:
            products = vertices * np.array(HASH_PRIMES[: len(resolutions)]) & U32_MAX
            entries = np.bitwise_xor.reduce(products, axis=1) % (1 << grid.log2_size)
        features += weights.prod(axis=1, keepdims=True) * table[entries]
    return features


class Gaussians(NamedTuple):
    """The Gaussians of one frame."""

    centres: FloatArray
    """[N, 2]: m, pixels."""
    cholesky: FloatArray
    """[N, 3]: l1, l2, l3, pixels."""
    colors: FloatArray
    """[N, 3]: c'."""


def frame_gaussians(model: GopModel, width: int, height: int) -> Iterator[Gaussians]:
    """The Gaussians of every frame of a GoP, in order (10.1 to 10.4)."""
    header = model.header
    positions = np.clip((model.means + np.float32(1)) / np.float32(2), np.float32(0), np.float32(1))
    static_features = encode_positions(header.static_grid, model.static_tables, positions)
    w1, b1, w2, b2, w_means, b_means, w_colors, b_colors = model.mlp
    for k in range(header.n_frames):
        t = k / (header.n_frames - 1) if header.n_frames > 1 else 0.0
        times = np.full((header.n_gaussians, 1), t, dtype=np.float32)
        moments = np.concatenate([positions, times], axis=1)
        dynamic_features = encode_positions(header.dynamic_grid, model.dynamic_tables, moments)
        gamma = np.tile(time_encoding(t, header.n_frequencies), (header.n_gaussians, 1))
        x = np.concatenate([static_features, dynamic_features, gamma], axis=1)
        h1 = np.maximum(x @ w1.T + b1, np.float32(0))
        h2 = np.maximum(h1 @ w2.T + b2, np.float32(0))
        means = model.means + (h2 @ w_means.T + b_means)
        colors = model.colors + (h2 @ w_colors.T + b_colors)
        centres = (means + np.float32(1)) / np.float32(2) * np.array([width, height], dtype=np.float32)
        yield Gaussians(centres, model.cholesky, colors)


def splat(gaussians: Gaussians, width: int, height: int) -> npt.NDArray[np.uint8]:
    """A picture [H, W, 3] (10.4 and 10.5)."""
    centres, cholesky, colors = gaussians
    # A NaN fails every comparison.
    drawn = (np.abs(np.concatenate(gaussians, axis=1)) <= LARGEST_NUMBER).all(axis=1)
    drawn &= (cholesky[:, ::2] >= SMALLEST_DIAGONAL).all(axis=1)
    columns = np.arange(width, dtype=np.float32) + np.float32(0.5)
    rows = (np.arange(height, dtype=np.float32) + np.float32(0.5))[:, None]
    picture = np.zeros((height, width, 3), dtype=np.float32)
    for (m_x, m_y), (l1, l2, l3), color in zip(centres[drawn], cholesky[drawn], colors[drawn], strict=True):
        u = (columns - m_x) / l1
        v = (rows - m_y - l2 * u) / l3
        sigma = (u * u + v * v) / np.float32(2)
        weight = np.maximum(np.exp(-sigma) - CUTOFF, np.float32(0))
        picture += weight[:, :, None] * color
    samples = np.clip(picture, np.float32(0), np.float32(1)) * np.float32(255) + np.float32(0.5)
    rounded: npt.NDArray[np.uint8] = np.floor(samples).astype(np.uint8)
    return rounded


# --- The whole file ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A decoded file."""

    width: int
    height: int
    pts: list[int]
    """Timestamps of the frames, in units of the file's time base."""
    frames: npt.NDArray[np.uint8]
    """[n, H, W, 3], R'G'B'."""


def parse(data: bytes) -> tuple[FileHeader, list[tuple[GopTiming, GopModel]]]:
    """Everything in a file, checked against its index, up to the numbers of section 9."""
    chunks = read_chunks(data)
    header = parse_file_header(chunks[0].payload)
    listed, index = chunks[1:-1], parse_end(chunks[-1], header.version_minor)
    found = [(chunk.type, len(chunk.payload)) for chunk in listed]
    _require(found == [(e.type, e.payload_bytes) for e in index.entries], "the index does not list the file's chunks")

    gops: list[tuple[GopTiming, GopModel]] = []
    n_frames, last_pts = 0, None
    for chunk, entry in zip(listed, index.entries, strict=True):
        if chunk.type != GOP:
            continue
        reader = Reader(chunk.payload, f"GOP chunk at {chunk.start}")
        timing = read_timing(reader)
        gop_header = read_gop_header(reader)
        _require(timing == entry.timing, f"GOP chunk at {chunk.start} differs from its index entry")
        _require(gop_header.n_gaussians == entry.n_gaussians, f"GOP chunk at {chunk.start}: N is not the index's")
        _require(gop_header.n_frames == timing.n_frames, f"GOP chunk at {chunk.start}: T is not the chunk's n_frames")
        _require(timing.first_frame == n_frames, f"GOP chunk at {chunk.start} begins with the wrong frame")
        _require(last_pts is None or timing.pts_first > last_pts, f"GOP chunk at {chunk.start}: timestamps go back")
        gops.append((timing, decode_gop(gop_header, read_streams(reader))))
        n_frames += timing.n_frames
        last_pts = timing.pts[-1]
    _require(n_frames == index.n_frames, "the index counts other frames than the GoPs have")
    return header, gops


def decode(data: bytes) -> Decoded:
    """Decodes a whole `.stgv` file.

    Args:
        data: The file's bytes.

    Returns:
        Its pictures and timestamps.

    Raises:
        FormatError: The bytes are not a valid file of version 1.0.
    """
    header, gops = parse(data)
    size = header.width, header.height
    # Wild numbers may overflow; what comes of them is not drawn.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        pictures = [splat(gaussians, *size) for _, model in gops for gaussians in frame_gaussians(model, *size)]
    pts = [pts for timing, _ in gops for pts in timing.pts]
    return Decoded(header.width, header.height, pts, np.stack(pictures))
