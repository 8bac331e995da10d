"""The frame of a GoP's payload: its header, the lengths of its streams, the streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from stgvcodec.bitstream.payload.field import FieldSizes
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.bitstream.syntax.tables import Table, read_fields, write_fields

HeaderT = TypeVar("HeaderT", bound=FieldSizes)


class PayloadHead(Generic[HeaderT]):
    """Writes and reads the heads of one payload syntax.

    Args:
        header: The class of its headers.
        lengths: Field table of the lengths, `<stream>_bytes` each.
        streams: Names of the streams, in order.
    """

    def __init__(self, header: type[HeaderT], lengths: Table, streams: Sequence[str]) -> None:
        self._header = header
        self._lengths = lengths
        self._streams = streams
        # Of the last header that was read: what follows does not change what its bytes mean, and a file's GoPs mostly
        # share it.
        self._last: tuple[bytes, HeaderT] | None = None

    def join(self, header: HeaderT, coded: Mapping[str, bytes]) -> bytes:
        """The payload of a header and its streams.

        Args:
            header: The header.
            coded: Each stream by name.
        """
        lengths = write_fields({f"{name}_bytes": len(coded[name]) for name in self._streams}, self._lengths)
        return header.to_bytes() + lengths + b"".join(coded[name] for name in self._streams)

    def read_header(self, reader: ByteReader) -> HeaderT:
        """The header.

        Raises:
            BitstreamError: it is cut short or damaged.
        """
        start = reader.position
        known = self._last
        if known is not None and reader.data.startswith(known[0], start, reader.end):
            reader.skip(len(known[0]))
            return known[1]
        header = self._header.read(reader)
        self._last = reader.data[start : reader.position], header
        return header

    def read(self, reader: ByteReader) -> tuple[HeaderT, dict[str, int]]:
        """The header, and the length of each stream by name.

        Raises:
            BitstreamError: they are damaged, or the lengths do not add up to what is left.
        """
        header = self.read_header(reader)
        start = reader.position
        values = read_fields(reader, self._lengths)
        lengths = {name: int(values[f"{name}_bytes"]) for name in self._streams}
        if sum(lengths.values()) != reader.remaining:
            message = f"the streams take {sum(lengths.values())} bytes by their lengths, {reader.remaining} are there"
            raise reader.error(message, at=start)
        return header, lengths

    def stream_bytes(self, payload: bytes) -> dict[str, int]:
        """Bytes by stream name; the first stream's count the head too.

        Raises:
            BitstreamError: the head is damaged.
        """
        reader = ByteReader(bytes(payload), "GoP header")
        _, lengths = self.read(reader)
        lengths[self._streams[0]] += reader.position
        return lengths
