"""Primitive types of the format: little-endian numbers, LEB128 integers, text; and a reader that knows where it is."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from stgvcodec.errors import BitstreamError

_UINT_MAX_BYTES = 10


class ByteReader:
    """Reads primitives from a byte string and turns every shortage into a `BitstreamError` with section and offset.

    Args:
        data: The bytes; not copied.
        section: Name of the bytes in error messages.
        start: Offset of the first byte to read.
        end: Offset one past the last byte that may be read; the end of `data` if None.
        base_offset: Number that error messages add to the position, e.g. the payload's offset in the file.
    """

    def __init__(
        self, data: bytes, section: str, *, start: int = 0, end: int | None = None, base_offset: int = 0
    ) -> None:
        self.data = data
        self.section = section
        self.position = start
        self.end = len(data) if end is None else end
        self.base_offset = base_offset

    @property
    def remaining(self) -> int:
        """Number of bytes left."""
        return self.end - self.position

    def error(self, message: str, *, at: int | None = None) -> BitstreamError:
        """Make the error to raise for a fault at the position `at` (the current one if None)."""
        return BitstreamError(
            message, section=self.section, offset=self.base_offset + (self.position if at is None else at)
        )

    def slice(self, n_bytes: int, section: str) -> ByteReader:
        """Take `n_bytes` as a reader of its own, named `section`."""
        start = self.position
        self.skip(n_bytes)
        return ByteReader(self.data, section, start=start, end=self.position, base_offset=self.base_offset)

    def skip(self, n_bytes: int) -> None:
        """Move on by `n_bytes`, which must be there."""
        if n_bytes > self.remaining:
            raise self.error(f"cut short: {n_bytes} bytes expected, {self.remaining} left")
        self.position += n_bytes

    def take(self, n_bytes: int) -> bytes:
        """Return the next `n_bytes` bytes, which must be there."""
        start = self.position
        self.skip(n_bytes)
        return self.data[start : self.position]

    def expect_end(self) -> None:
        """Refuse bytes that nothing has read."""
        if self.remaining:
            raise self.error(f"{self.remaining} bytes more than the fields need")

    def u8(self) -> int:
        """Read one unsigned byte."""
        if self.position >= self.end:
            raise self.error("cut short: 1 byte expected, 0 left")
        value = self.data[self.position]
        self.position += 1
        return value

    def u16(self) -> int:
        """Read an unsigned 16-bit number, little-endian."""
        return int.from_bytes(self.take(2), "little")

    def u32(self) -> int:
        """Read an unsigned 32-bit number, little-endian."""
        return int.from_bytes(self.take(4), "little")

    def f32(self) -> float:
        """Read an IEEE binary32 number, little-endian."""
        value: float = struct.unpack("<f", self.take(4))[0]
        return value

    def uint(self) -> int:
        """Read an unsigned LEB128 number below 2^64, in its shortest form."""
        start = self.position
        # Most numbers of a file's tables take one byte.
        if start < self.end and self.data[start] < 0x80:
            self.position += 1
            return self.data[start]
        value = 0
        for i in range(_UINT_MAX_BYTES):
            byte = self.u8()
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                if (byte == 0 and i > 0) or value >= 1 << 64:
                    raise self.error("integer is not in its shortest form below 2^64", at=start)
                return value
        raise self.error(f"integer is longer than {_UINT_MAX_BYTES} bytes", at=start)

    def sint(self) -> int:
        """Read a signed number, zigzag-mapped to `uint`: 0, -1, 1, -2, ... are 0, 1, 2, 3, ..."""
        value = self.uint()
        return (value >> 1) ^ -(value & 1)

    def text(self) -> str:
        """Read UTF-8 without control characters, before which its length in bytes stands as `uint`."""
        start = self.position
        raw = self.take(self.uint())
        try:
            value = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.error("text is not UTF-8", at=start) from None
        # Code points decide, not str.isprintable(), whose answer changes with the version of Unicode.
        if any(ord(character) < 0x20 or 0x7F <= ord(character) <= 0x9F for character in value):
            raise self.error("text holds control characters, which cannot be printed", at=start)
        return value


def uint_bytes(value: int) -> int:
    """Return the number of bytes of an unsigned LEB128 number in its shortest form."""
    return max(1, -(-value.bit_length() // 7))


def _pack_uint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _pack_sint(value: int) -> bytes:
    return _pack_uint(2 * value if value >= 0 else -2 * value - 1)


def _pack_text(value: str) -> bytes:
    raw = value.encode("utf-8")
    return _pack_uint(len(raw)) + raw


READERS: Mapping[str, Callable[[ByteReader], Any]] = MappingProxyType(
    {
        "u8": ByteReader.u8,
        "u16": ByteReader.u16,
        "u32": ByteReader.u32,
        "f32": ByteReader.f32,
        "uint": ByteReader.uint,
        "sint": ByteReader.sint,
        "text": ByteReader.text,
    }
)
"""Function that reads each primitive type, by name."""

PACKERS: Mapping[str, Callable[[Any], bytes]] = MappingProxyType(
    {
        "u8": struct.Struct("<B").pack,
        "u16": struct.Struct("<H").pack,
        "u32": struct.Struct("<I").pack,
        "f32": struct.Struct("<f").pack,
        "uint": _pack_uint,
        "sint": _pack_sint,
        "text": _pack_text,
    }
)
"""Function that packs each primitive type, by name. Values must have passed the limits of their syntax element."""
