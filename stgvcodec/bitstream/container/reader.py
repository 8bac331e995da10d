"""The reader of `.stgv` files. It reads the index on opening, and each GoP when it is asked for."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import BinaryIO

from stgvcodec.bitstream.container.chunks import FRAME_BYTES, MAGIC, Chunk, ChunkType
from stgvcodec.bitstream.container.file_header import StreamHeader
from stgvcodec.bitstream.container.index import END_TAIL_BYTES, GopEntry, GopTiming, read_end_chunk
from stgvcodec.bitstream.container.recovery import missing_end_error, scan
from stgvcodec.bitstream.container.source import KEEP_GOING_ADVICE, ByteSource
from stgvcodec.bitstream.entropy.streams import Runner, in_order
from stgvcodec.bitstream.payload.head import read_header
from stgvcodec.bitstream.payload.pack import unpack_gop
from stgvcodec.bitstream.payload.symbols import GopSymbols
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.errors import BitstreamError, naming_file


class StgvReader:
    """An open `.stgv` file, which is a context manager.

    Opening reads the file header and the index, not the GoPs. With `keep_going` it reads the whole file instead, takes
    every GoP that is intact and records what is not.

    Args:
        source: A path, or a binary file that can seek.
        keep_going: Accept files that are damaged, cut short or unfinished.
        name: Name of a file object in messages.
        owned: Whether the reader closes a file object; a file that it opened from a path is always closed.

    Attributes:
        name: Path of the file; of a file object the name that was given, or None.
        header: The file header.
        gops: The GoPs, in order.
        gaps: Frames that no intact GoP has, and their timestamps, in order; empty for an intact file.
        chunks: All chunks between the file header and the end chunk, GoPs and chunks of unknown types included.
        file_bytes: Size of the file.
        damage: Descriptions of what `keep_going` passed over, with byte offsets; empty for an intact file.
        is_complete: Whether nothing will be added to the file.

    Raises:
        MissingFileError: there is no such file.
        InputVideoError: the file cannot be opened.
        BitstreamError: the file is no `.stgv` file, or is damaged or cut short; with `keep_going`, no header or no GoP
            is intact.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        keep_going: bool = False,
        name: str | None = None,
        owned: bool = False,
    ) -> None:
        self.name = os.fspath(source) if isinstance(source, str | os.PathLike) else name
        self._source = ByteSource(source, owned=owned)
        try:
            self.file_bytes = self._source.n_bytes
            self.damage: tuple[str, ...] = ()
            self.gaps: tuple[GopTiming, ...] = ()
            self.is_complete = True
            with naming_file(self.name):
                chunks, gops = self._recover() if keep_going else self._open()
            self.chunks: tuple[Chunk, ...] = tuple(chunks)
            self.gops: tuple[GopEntry, ...] = tuple(gops)
        except BaseException:
            self._source.close()
            raise

    def __enter__(self) -> StgvReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file if the reader opened or owns it."""
        self._source.close()

    @property
    def n_frames(self) -> int:
        """Number of frames that can be decoded, which are those of `gops`."""
        return sum(gop.n_frames for gop in self.gops)

    def read_gop(self, index: int) -> bytes:
        """Read the payload of a GoP, for `unpack_gop`.

        Args:
            index: Index of the GoP in `gops`.

        Raises:
            BitstreamError: the chunk is damaged, or is not what the index says.
        """
        with naming_file(self.name):
            return self._gop(index)

    def _gop(self, index: int) -> bytes:
        entry = self.gops[index]
        section = f"GoP {range(len(self.gops))[index]}"
        chunk = Chunk(ChunkType.GOP, entry.offset, entry.n_bytes - FRAME_BYTES)
        reader = ByteReader(self._payload(chunk, section), section, base_offset=chunk.payload_offset)
        timing = GopTiming.read(reader)
        payload = reader.take(reader.remaining)
        header = read_header(payload)
        if timing != entry.timing or (header.n_frames, header.n_gaussians) != (entry.n_frames, entry.n_gaussians):
            self._source.check_unchanged(is_faulty=True)
            raise reader.error("the GoP is not what the index says: frames, timestamps or Gaussians differ", at=0)
        return payload

    def read_chunk(self, index: int) -> bytes:
        """Read the payload of any chunk.

        Args:
            index: Index of the chunk in `chunks`.

        Raises:
            BitstreamError: the chunk is damaged, or is not what the index says.
        """
        chunk = self.chunks[index]
        with naming_file(self.name):
            return self._payload(chunk, chunk.name)

    def unpack(self, index: int, *, run: Runner = in_order) -> GopSymbols:
        """Read and decode the symbols of a GoP.

        Args:
            index: Index of the GoP in `gops`.
            run: Runner of the decoders of its streams.

        Raises:
            BitstreamError: the chunk or a stream is damaged; the offset is that in the file.
        """
        payload = self.read_gop(index)
        with naming_file(self.name, base_offset=self.gops[index].payload_offset):
            return unpack_gop(payload, run=run)

    def verify(self, *, run: Runner = in_order) -> None:
        """Read every chunk, also those that decoding skips, and decode every GoP to its symbols.

        `verification.verify` holds the other chunks to their tables, too.

        Args:
            run: Runner of the checks, one a chunk, which may be run in threads.

        Raises:
            BitstreamError: a part of the file is damaged; of several parts, the first one.
        """
        gops = {gop.offset: index for index, gop in enumerate(self.gops)}
        faults: dict[int, BitstreamError] = {}

        def check(index: int) -> None:
            chunk = self.chunks[index]
            try:
                if chunk.offset in gops:
                    self.unpack(gops[chunk.offset])
                else:
                    self.read_chunk(index)
            except BitstreamError as error:
                faults[index] = error

        run(check, len(self.chunks))
        if faults:
            raise faults[min(faults)]

    def _payload(self, chunk: Chunk, section: str) -> bytes:
        if self._source.chunk_at(chunk.offset) != chunk:
            self._source.check_unchanged(is_faulty=True)
            raise BitstreamError(
                f"damaged: the chunk that the index names is not here; {KEEP_GOING_ADVICE}",
                section=section,
                offset=chunk.offset,
            )
        return self._source.payload(chunk, section)

    def _recover(self) -> tuple[list[Chunk], list[GopEntry]]:
        recovered = scan(self._source)
        self.header = recovered.header
        self.gaps, self.damage = tuple(recovered.gaps), tuple(recovered.notes)
        return recovered.chunks, recovered.gops

    def _open(self) -> tuple[list[Chunk], list[GopEntry]]:
        """Read the file header; return the chunks behind it, and the GoPs among them."""
        return self._open_index(self._open_header())

    def _open_header(self) -> Chunk:
        """Read the magic and the file header; return the chunk of the file header."""
        check_magic(self._source.read_at(0, len(MAGIC)))
        chunk = self._source.chunk_at(len(MAGIC))
        if chunk is None or chunk.type != ChunkType.FILE_HEADER:
            message = "damaged or cut short, so that nothing can be decoded; fetch the file again"
            raise BitstreamError(message, section="file header", offset=len(MAGIC))
        try:
            payload = self._source.payload(chunk, "file header")
        except BitstreamError as error:
            # Without a file header --keep-going, which is advised elsewhere, has nothing to decode by.
            message = "damaged or cut short, so that nothing can be decoded; fetch the file again"
            raise BitstreamError(message, section="file header", offset=error.offset) from error
        self.header = StreamHeader.from_bytes(payload, chunk.payload_offset)
        return chunk

    def _open_index(self, header_chunk: Chunk) -> tuple[list[Chunk], list[GopEntry]]:
        tail = self._source.read_at(max(header_chunk.end, self.file_bytes - END_TAIL_BYTES), END_TAIL_BYTES)
        size = int.from_bytes(tail[:4], "little")
        end_chunk = self._source.chunk_at(self.file_bytes - size) if size <= self.file_bytes else None
        if (
            end_chunk is None
            or end_chunk.type != ChunkType.END
            or end_chunk.end != self.file_bytes
            or end_chunk.offset < header_chunk.end
        ):
            raise missing_end_error(self._source, header_chunk.end)
        payload = self._source.payload(end_chunk, "end chunk")
        return read_end_chunk(payload, end_chunk, header_chunk.end, self.header)


def check_magic(magic: bytes) -> None:
    """Refuse what is no `.stgv` file by its first bytes, as many as `MAGIC` has or all that there are.

    Raises:
        BitstreamError: they are others.

    Examples:
        >>> check_magic(MAGIC)
    """
    if magic != MAGIC:
        raise BitstreamError(_magic_fault(magic), section="file", offset=0)


def _magic_fault(magic: bytes) -> str:
    if not magic:
        return "the file is empty, expected a .stgv file; fetch it again"
    if magic != MAGIC[: len(magic)] and b"STG" in magic:
        return "line ends or characters were changed, as by a transfer in text mode: copy the file again as binary"
    if len(magic) < len(MAGIC) and MAGIC.startswith(magic):
        return f"cut short: the file has {len(magic)} bytes; fetch it again"
    got, expected = magic.hex(" "), MAGIC.hex(" ")
    if len(magic) == len(MAGIC) and sum(map(operator.ne, magic, MAGIC)) == 1:
        return f"damaged: the file begins with {got}, expected {expected}; {KEEP_GOING_ADVICE}"
    return f"not a .stgv file: it begins with {got}, expected {expected}; give a file that `stgvcodec encode` wrote"


def stream_bytes(gops: Iterable[Mapping[str, int]], file_bytes: int, carried_bytes: int = 0) -> dict[str, int]:
    """Count the bytes of each stream over a file.

    Args:
        gops: Result of `payload_stream_bytes` for each GoP of the file.
        file_bytes: Size of the file, bytes.
        carried_bytes: Bytes of sound, subtitles and metadata.

    Returns:
        Bytes by stream name, those of sound, subtitles and metadata as "carried" if there are any, and all other bytes
        of the file as "container"; the sum is `file_bytes`.
    """
    totals: dict[str, int] = {}
    for gop in gops:
        for name, n_bytes in gop.items():
            totals[name] = totals.get(name, 0) + n_bytes
    if carried_bytes:
        totals["carried"] = carried_bytes
    return {**totals, "container": file_bytes - sum(totals.values())}
