"""Reading of a file while it is written: the part file of an encode, or any file to which bytes are appended."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from stgvcodec.bitstream.container.chunks import HEADER_BYTES, MAGIC, Chunk, ChunkType, PrivateType
from stgvcodec.bitstream.container.index import GopEntry, GopTiming, chunk_fault
from stgvcodec.bitstream.container.reader import StgvReader
from stgvcodec.bitstream.payload.head import read_header
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.errors import BitstreamError, InputVideoError, MissingFileError, naming_file
from stgvcodec.media.durable import is_written, part_path

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2
"""How often a file is looked at for what was added."""

_PART = ".part"


class GrowingReader(StgvReader):
    """A file that is being written. It has the GoPs that are there, and `grow` takes those that were added.

    The file is complete when its end chunk is there. The part file of an encode never gets one: it is complete when the
    encode moves the finished file into place, which is read on from then. Private chunks, which only part files have,
    are left out.

    Args:
        path: The file, or the destination of an encode that has not finished. The constructor waits for it to be begun.

    Raises:
        MissingFileError: not even the folder is there.
        InputVideoError: the file cannot be opened, or it was removed.
        BitstreamError: the file is no `.stgv` file, or is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._asked_for = Path(path)
        self._is_part = False
        # Offset of what was not read yet.
        self._next = 0
        super().__init__(_wait_for(self._asked_for))

    def _open(self) -> tuple[list[Chunk], list[GopEntry]]:
        """Wait for the file header; GoPs are taken by `grow`."""
        self.is_complete = False
        self._source.is_growing = True
        # The file that was followed, once the complete one has taken its place.
        self._replaced: StgvReader | None = None
        while True:
            begun = self._source.chunk_at(len(MAGIC))
            is_cut = begun is None and self._source.n_bytes < len(MAGIC) + HEADER_BYTES
            starts_well = MAGIC.startswith(self._source.read_at(0, len(MAGIC)))
            if starts_well and (is_cut or (begun is not None and begun.end > self._source.n_bytes)):
                if not self._is_there():
                    raise InputVideoError(f"{self.name}: was removed before it held anything; try again")
                time.sleep(POLL_SECONDS)
                self._source.remeasure()
                continue
            self._next = self._open_header().end
            return [], []

    def close(self) -> None:
        """Close the file."""
        super().close()
        if self._replaced is not None:
            self._replaced.close()

    def grow(self) -> bool:
        """Take the GoPs that were added, with the chunks before them; return whether there are any.

        Raises:
            BitstreamError: what was added is damaged.
            InputVideoError: the file was cut, or was replaced by another one.
        """
        if self.is_complete:
            return False
        n_gops = len(self.gops)
        with naming_file(self.name):
            has_ended = self._has_ended()
            self._source.remeasure()
            self.file_bytes = self._source.n_bytes
            if self.file_bytes < self._next:
                raise InputVideoError(
                    f"{self.name}: was cut to {self.file_bytes} bytes while it was followed, of which {self._next} "
                    "were read: decode it anew"
                )
            self._take()
            if has_ended and not self.is_complete:
                self._end()
        return len(self.gops) > n_gops

    def _take(self) -> None:
        chunks: list[Chunk] = []
        for chunk in self._added():
            if chunk.type == ChunkType.END:
                self._go_on_in(StgvReader(str(self.name)))
                return
            if chunk.type in tuple(PrivateType):
                self._is_part |= chunk.type == PrivateType.JOB
                continue
            chunks.append(chunk)
            if chunk.type == ChunkType.GOP:
                entry = self._read_gop(chunk, self.gops[-1].timing if self.gops else None)
                # What comes before the next GoP waits for it.
                self.chunks, self.gops = (*self.chunks, *chunks), (*self.gops, entry)
                chunks, self._next = [], chunk.end

    def _added(self) -> Iterator[Chunk]:
        offset = self._next
        while True:
            chunk = self._source.chunk_at(offset)
            if chunk is None:
                if self._source.n_bytes - offset >= HEADER_BYTES:
                    raise BitstreamError("damaged: no chunk begins here", section="file", offset=offset)
                return
            if chunk.end > self._source.n_bytes:
                return
            if chunk.type != ChunkType.END and (fault := chunk_fault(chunk)):
                raise BitstreamError(fault, section="file", offset=offset)
            yield chunk
            offset = chunk.end

    def _read_gop(self, chunk: Chunk, before: GopTiming | None) -> GopEntry:
        section = f"GoP {len(self.gops)}"
        reader = ByteReader(self._source.payload(chunk, section), section, base_offset=chunk.payload_offset)
        timing = GopTiming.read(reader)
        header = read_header(reader.data[reader.position :])
        if header.n_frames != timing.n_frames or not timing.follows(before):
            raise reader.error(f"the GoP is out of order: {timing}", at=0)
        return GopEntry(timing, header.n_gaussians, chunk.offset, chunk.n_bytes)

    def _is_there(self) -> bool:
        """Whether the file that is open still has its name."""
        try:
            return self._source.descriptor is None or os.path.samestat(
                Path(str(self.name)).stat(), os.fstat(self._source.descriptor)
            )
        except FileNotFoundError:
            return False

    def _has_ended(self) -> bool:
        """Whether nothing will be added: the file lost its name, or the encode that wrote it is no longer there."""
        if not self._is_there():
            return True
        return self._is_part and self._source.descriptor is not None and not is_written(self._source.descriptor)

    def _end(self) -> None:
        name = str(self.name)
        if self._is_there():
            self._stop("the encode was interrupted; what it had finished ends here")
            return
        complete = str(self._asked_for) if str(self._asked_for) != name else name.removesuffix(_PART)
        try:
            self._go_on_in(StgvReader(complete))
        except MissingFileError:
            self._stop("the file was removed before it was complete; what it held ends here")

    def _stop(self, why: str) -> None:
        self.damage = (*self.damage, f"byte {self._next}: {why}")
        self.is_complete = True

    def _go_on_in(self, complete: StgvReader) -> None:
        """Read on in the complete file, which begins with what was read.

        Raises:
            InputVideoError: it begins with something else.
        """
        n_chunks, n_gops = len(self.chunks), len(self.gops)
        if (
            complete.header != self.header
            or [(chunk.type, chunk.payload_bytes) for chunk in complete.chunks[:n_chunks]]
            != [(chunk.type, chunk.payload_bytes) for chunk in self.chunks]
            or [gop.timing for gop in complete.gops[:n_gops]] != [gop.timing for gop in self.gops]
        ):
            complete.close()
            raise InputVideoError(f"{complete.name}: is another file than the one that was followed; decode it anew")
        # The file that was followed is closed with this reader.
        self._source, complete._source = complete._source, self._source
        self._replaced = complete
        self.chunks, self.gops, self.file_bytes = complete.chunks, complete.gops, complete.file_bytes
        self.is_complete = True


def _wait_for(path: Path) -> Path:
    """Wait until a file is there, or the part file of an encode that will become it; return which.

    Raises:
        MissingFileError: the folder is not there.
    """
    part = part_path(path)
    if path.suffix == _PART and not path.exists():
        # The encode may have finished, or will begin.
        part, path = path, path.with_suffix("")
    has_said = False
    while True:
        if part.exists() and (not path.exists() or _is_open_part(part)):
            return part
        if path.exists():
            return path
        if not part.parent.is_dir():
            raise MissingFileError(f"{path}: does not exist, nor does its folder; check the path")
        if not has_said:
            logger.warning("%s: is not there yet; waiting for it, or for %s", path, part.name)
            has_said = True
        time.sleep(POLL_SECONDS)


def _is_open_part(part: Path) -> bool:
    with part.open("rb") as file:
        return is_written(file.fileno())
