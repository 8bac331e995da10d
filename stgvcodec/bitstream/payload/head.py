"""The head of a GoP's payload: its header, and the lengths of its streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from stgvcodec.bitstream.payload.field import FieldHeader
from stgvcodec.bitstream.syntax.elements import least_bytes, read_elements, write_elements
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.bitstream.syntax.tables import GOP_HEADER, STREAM_LENGTHS, STREAMS
from stgvcodec.ops.dequantize import Modes

SHAPE_BITS = 8
"""Value of `cholesky_bits` in shape_mode 1."""
N_COLOR_COMPONENTS = 3
LEAST_HEAD_BYTES = least_bytes(GOP_HEADER) + least_bytes(STREAM_LENGTHS)
"""Size of the smallest head of a payload, bytes."""


@dataclass(frozen=True)
class _GaussianHeader:
    n_frames: int
    n_gaussians: int
    low_pass: float
    point_mode: int
    shape_mode: int
    color_mode: int
    cholesky_bits: int
    color_stages: int
    color_codebook_size: int


# A dataclass takes the attributes of its bases from the last base to the first: those of the field come last, as in the
# file.
@dataclass(frozen=True)
class GopHeader(FieldHeader, _GaussianHeader):
    """Sizes and modes of a GoP: the table GOP_HEADER of bitstream_spec.md without its counts of levels.

    Any combination of modes is valid.

    Attributes:
        n_frames: T, frames.
        n_gaussians: N, Gaussians.
        low_pass: s, added to the covariance's diagonal, square pixels; a float32 value.
        point_mode: 0 = binary16 means, 1 = grid.
        shape_mode: 0 = affine Cholesky, 1 = log scales and shear.
        color_mode: 0 = residual vector quantisation, 1 = Y, Co, Cg.
        cholesky_bits: Bits of a shape symbol; 8 in shape_mode 1.
        color_stages: M, stages of the colour quantiser; 1 in color_mode 1, which has no stages.
        color_codebook_size: K, codewords of a stage; 1 in color_mode 1.

    The sizes of the deformation field are the attributes of `FieldHeader`.
    """

    @property
    def modes(self) -> Modes:
        """The rules that turn the symbols of the Gaussians into parameters."""
        return Modes(self.point_mode, self.shape_mode, self.color_mode)

    @property
    def n_color_symbols(self) -> int:
        """Number of colour symbols of a Gaussian."""
        return N_COLOR_COMPONENTS if self.color_mode else self.color_stages

    @property
    def color_alphabet(self) -> int:
        """Number of different colour symbols, which are 0 to color_alphabet - 1."""
        return 256 if self.color_mode else self.color_codebook_size

    @property
    def codebooks_shape(self) -> tuple[int, int, int]:
        """Numbers of stages, codewords and channels; the first two are 0 in color_mode 1."""
        return (0, 0, 3) if self.color_mode else (self.color_stages, self.color_codebook_size, 3)

    @property
    def side_info_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the float32 arrays of `GopSymbols` by name, in the order of the table SIDE_INFO."""
        return {
            "point_scale": (2 * self.point_mode,),
            "point_offset": (2 * self.point_mode,),
            "shape_scale": (3,),
            "shape_offset": (3 - 3 * self.shape_mode,),
            "color_scale": (3 * self.color_mode,),
            **self.scale_shapes,
        }

    @property
    def side_info_counts(self) -> dict[str, int]:
        """Numbers that the shapes of the table SIDE_INFO refer to, by name."""
        modes = {"point_mode": self.point_mode, "shape_mode": self.shape_mode, "color_mode": self.color_mode}
        return {**modes, **self.level_counts, "shape_head": self.shape_head}

    def to_bytes(self) -> bytes:
        """Write the table GOP_HEADER.

        Raises:
            ValueError: a value is outside its limits.
        """
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        if float(np.float32(values["low_pass"])) != values["low_pass"]:
            raise ValueError(f"low_pass is {values['low_pass']!r}, expected a float32 value: round it before")
        payload = write_elements({**values, **self.level_counts}, GOP_HEADER)
        if fault := self._fault():
            raise ValueError(fault)
        return payload

    @classmethod
    def read(cls, reader: ByteReader) -> GopHeader:
        """Read the table GOP_HEADER.

        Raises:
            BitstreamError: the table is cut short or a value is outside its limits.
        """
        start = reader.position
        values = read_elements(reader, GOP_HEADER)
        header = cls(**{field.name: values[field.name] for field in fields(cls)})
        if fault := header._fault():
            raise reader.error(fault, at=start)
        return header

    def _fault(self) -> str | None:
        """Say what is wrong with values that are within their limits one by one; None if nothing is."""
        if self.shape_mode and self.cholesky_bits != SHAPE_BITS:
            return f"cholesky_bits is {self.cholesky_bits}, expected {SHAPE_BITS} in shape_mode 1"
        if self.color_mode and (self.color_stages, self.color_codebook_size) != (1, 1):
            sizes = f"{self.color_stages} and {self.color_codebook_size}"
            return f"color_stages and color_codebook_size are {sizes}, expected 1 and 1 in color_mode 1"
        return self.grid_fault()


def join_head(header: GopHeader, coded: Mapping[str, bytes]) -> bytes:
    """Join a header and its streams to a payload.

    Args:
        header: Header of the GoP.
        coded: Bytes of each stream, by name.
    """
    lengths = write_elements({f"{name}_bytes": len(coded[name]) for name in STREAMS}, STREAM_LENGTHS)
    return header.to_bytes() + lengths + b"".join(coded[name] for name in STREAMS)


class _LastHeader:
    """The header that was read last. It is kept because the GoPs of a file mostly share it."""

    def __init__(self) -> None:
        self._known: tuple[bytes, GopHeader] | None = None

    def read(self, reader: ByteReader) -> GopHeader:
        start, known = reader.position, self._known
        if known is not None and reader.data.startswith(known[0], start, reader.end):
            reader.skip(len(known[0]))
            return known[1]
        header = GopHeader.read(reader)
        self._known = reader.data[start : reader.position], header
        return header


_last_header = _LastHeader()


def read_header(payload: bytes) -> GopHeader:
    """The header of a payload, of which only the beginning need be there.

    Raises:
        BitstreamError: the header is cut short or damaged.
    """
    return _last_header.read(ByteReader(bytes(payload), "GoP header"))


def read_head(reader: ByteReader) -> tuple[GopHeader, dict[str, int]]:
    """Read the header, and the length of each stream by name.

    Raises:
        BitstreamError: the header or a length is damaged, or the lengths do not add up to what is left.
    """
    header = _last_header.read(reader)
    start = reader.position
    lengths = _read_lengths(reader)
    if sum(lengths.values()) != reader.remaining:
        message = f"the streams take {sum(lengths.values())} bytes by their lengths, {reader.remaining} are there"
        raise reader.error(message, at=start)
    return header, lengths


def _read_lengths(reader: ByteReader) -> dict[str, int]:
    values = read_elements(reader, STREAM_LENGTHS)
    return {name: int(values[f"{name}_bytes"]) for name in STREAMS}


def payload_stream_bytes(payload: bytes) -> dict[str, int]:
    """Count the bytes of each stream of a GoP.

    Args:
        payload: Payload that `pack_gop` returned.

    Returns:
        Bytes by stream name, in file order; header and lengths count as "side_info". The sum is `len(payload)`.

    Raises:
        BitstreamError: the header or a length is damaged.
    """
    return head_stream_bytes(head_of(payload))


def head_of(payload: bytes) -> bytes:
    """Return the head of a payload: its header, and the lengths of its streams.

    Raises:
        BitstreamError: the header or a length is damaged.
    """
    reader = ByteReader(bytes(payload), "GoP header")
    read_head(reader)
    return reader.data[: reader.position]


def head_stream_bytes(head: bytes) -> dict[str, int]:
    """Count the bytes of each stream of a GoP, given what `head_of` returned; see `payload_stream_bytes`."""
    reader = ByteReader(head, "GoP header")
    _last_header.read(reader)
    lengths = _read_lengths(reader)
    lengths[STREAMS[0]] += len(head)
    return lengths
