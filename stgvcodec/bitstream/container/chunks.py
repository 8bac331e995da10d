"""The frame of every chunk: sync marker, type, length, header CRC, payload, payload CRC.

bitstream_spec.md section 3.1 is the definition.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

from stgvcodec.bitstream.syntax.limits import LIMITS

MAGIC = b"\x89STG\r\n\x1a\n"
SYNC = b"\xf5SG\xc1"
CRITICAL = 0x8000
_HEADER = struct.Struct("<4sHI")
_CRC = struct.Struct("<I")
CRC_BYTES = _CRC.size
HEADER_BYTES = _HEADER.size + CRC_BYTES
FRAME_BYTES = HEADER_BYTES + CRC_BYTES
"""Bytes of a chunk besides its payload."""


class ChunkType(IntEnum):
    """Type codes of chunks; the highest bit marks chunks that a reader must understand."""

    TRACK = 0x0010
    TRACK_PACKETS = 0x0011
    METADATA = 0x0020
    FILE_HEADER = CRITICAL | 0x0001
    GOP = CRITICAL | 0x0002
    END = CRITICAL | 0x0003


class PrivateType(IntEnum):
    """Type codes of the private chunks of the part file of an encode, which readers skip.

    A record belongs to the chunk before it: a GoP in its place, or the payload of one that was finished before its
    turn, which is held.
    """

    JOB = 0x7000
    RECORD = 0x7001
    HELD = 0x7002


@dataclass(frozen=True, slots=True)
class Chunk:
    """The type and the place of a chunk.

    Attributes:
        type: Type code, known or not.
        offset: Offset of the first byte (the sync marker) in the file.
        payload_bytes: Size of the payload, bytes.
    """

    type: int
    offset: int
    payload_bytes: int

    @property
    def payload_offset(self) -> int:
        """Offset of the payload in the file."""
        return self.offset + HEADER_BYTES

    @property
    def n_bytes(self) -> int:
        """Size of the chunk with its framing, bytes."""
        return self.payload_bytes + FRAME_BYTES

    @property
    def end(self) -> int:
        """Offset one past the chunk."""
        return self.offset + self.n_bytes

    @property
    def name(self) -> str:
        """Name of the type, for messages."""
        return f"{ChunkType(self.type).name} chunk" if is_known(self.type) else f"chunk of type 0x{self.type:04x}"


def is_known(chunk_type: int) -> bool:
    """Whether this version of the format defines the type."""
    return any(chunk_type == known for known in ChunkType)


def is_critical(chunk_type: int) -> bool:
    """Whether a reader that does not know the type must refuse the file."""
    return bool(chunk_type & CRITICAL)


def frame_chunk(chunk_type: int, payload: bytes) -> bytes:
    """Put the framing of a chunk around a payload.

    Raises:
        ValueError: the payload is larger than the format allows.
    """
    if len(payload) > LIMITS["chunk_payload_bytes"]:
        raise ValueError(
            f"a chunk's payload has {len(payload)} bytes, expected {LIMITS['chunk_payload_bytes']} at most"
        )
    header = _HEADER.pack(SYNC, chunk_type, len(payload))
    return b"".join((header, _CRC.pack(zlib.crc32(header)), payload, _CRC.pack(zlib.crc32(payload))))


def parse_chunk_header(header: bytes, offset: int) -> Chunk | None:
    """The chunk whose first `HEADER_BYTES` bytes are given; None if they are no intact chunk header."""
    if len(header) < HEADER_BYTES or not header.startswith(SYNC):
        return None
    if _CRC.unpack_from(header, _HEADER.size)[0] != zlib.crc32(header[: _HEADER.size]):
        return None
    _, chunk_type, payload_bytes = _HEADER.unpack_from(header)
    return Chunk(chunk_type, offset, payload_bytes) if payload_bytes <= LIMITS["chunk_payload_bytes"] else None


def payload_crc_matches(payload: bytes, crc: bytes) -> bool:
    """Whether the four bytes behind a payload are its CRC-32."""
    return len(crc) == CRC_BYTES and _CRC.unpack(crc)[0] == zlib.crc32(payload)
