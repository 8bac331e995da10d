"""Pieces of a file: ranges of bytes with a name, a meaning and the section of the specification that defines them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stgvcodec.bitstream.syntax.elements import SyntaxTable, read_elements
from stgvcodec.bitstream.syntax.primitives import ByteReader


@dataclass(frozen=True)
class Piece:
    """A range of bytes.

    Attributes:
        name: What the bytes are, such as "FILE_HEADER" or "width".
        first: Offset of the first byte.
        n_bytes: Number of bytes.
        section: Number of the section of bitstream_spec.md that defines them; empty where none does.
        value: What the bytes say, for a syntax element.
        crc: Whether the CRC-32 of the bytes holds; None where the bytes have none of their own.
        note: What is wrong with the bytes, or else worth saying; mostly empty.
        children: Pieces of these bytes, in order and without gaps; none where they are not taken apart.
    """

    name: str
    first: int
    n_bytes: int
    section: str = ""
    value: Any = None
    crc: bool | None = None
    note: str = ""
    children: tuple[Piece, ...] = ()

    @property
    def end(self) -> int:
        """Offset one past the last byte."""
        return self.first + self.n_bytes

    def walk(self) -> Iterator[Piece]:
        """Yield the piece and all pieces in it, front to back."""
        yield self
        for child in self.children:
            yield from child.walk()


def read_pieces(
    reader: ByteReader, table: SyntaxTable, section: str, known: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], tuple[Piece, ...]]:
    """Read the elements of a table as `read_elements` does, and note the place of each.

    Args:
        reader: A reader at the first element; it is left just behind the last one.
        table: The elements, in order.
        section: Section of the specification that has the table.
        known: Values of earlier tables that shapes may refer to.

    Returns:
        Values by name, and a piece for each element that takes bytes.

    Raises:
        BitstreamError: the bytes end early, or a value is outside its limits.
    """
    values: dict[str, Any] = {}
    pieces: list[Piece] = []
    for element in table:
        start = reader.position
        values |= read_elements(reader, (element,), {**(known or {}), **values})
        n_bytes = reader.position - start
        if n_bytes:
            pieces.append(Piece(element.name, reader.base_offset + start, n_bytes, section, values[element.name]))
    return values, tuple(pieces)
