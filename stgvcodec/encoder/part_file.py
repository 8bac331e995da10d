"""The part file of an encode: every finished GoP, flushed to the disk, until the file is complete.

It is a `.stgv` file without an end chunk, which `decode --keep-going` plays. Private chunks between those that the
complete file will have say which job it belongs to, and what rate control has to know of each GoP.
docs/decisions/0022-resume.md says why.
"""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from stgvcodec.bitstream.container.chunks import MAGIC, Chunk, ChunkType, PrivateType, frame_chunk
from stgvcodec.bitstream.container.index import GopTiming
from stgvcodec.bitstream.container.source import ByteSource
from stgvcodec.bitstream.syntax.primitives import ByteReader
from stgvcodec.encoder.fitted_gop import FittedGop
from stgvcodec.errors import BitstreamError, ConfigError, OutputError, StgvError
from stgvcodec.media.atomic import check_output_file, os_errors, sync_folder
from stgvcodec.media.durable import DurableFile, part_path, path_with_ending

Job = Mapping[str, Any]
"""What an encode depends on, by name."""


@dataclass
class _Finished:
    """What a part file holds.

    Attributes:
        n_bytes: Size of what is intact.
        job: What it was begun with, as JSON gave it.
        pieces: Half-open ranges that the complete file begins with: its opening, then one for each GoP with what comes
            before it.
        gops: Index -> chunks of the payload and of the record of each finished GoP.
        seconds: Time that the encode had taken by then.
    """

    n_bytes: int = 0
    job: dict[str, Any] = field(default_factory=dict)
    pieces: list[tuple[int, int]] = field(default_factory=list)
    gops: dict[int, tuple[Chunk, Chunk]] = field(default_factory=dict)
    seconds: float = 0.0


class PartFile:
    """Writes the file of an encode GoP by GoP, and continues one that was interrupted. It is a context manager.

    It takes what `StgvWriter` writes, and flushes it to the disk with each `add`. The first finished GoP makes the part
    file, whose name is that of the destination and ".part". `finish` moves the complete file into place. If the block
    ends before that, the part file stays, and the exception gets a note that says so; without a GoP nothing stays.

    Args:
        destination: Name of the file to write.
        job: What the encode depends on. It must be the same for a part file to be continued.
        resume: True continues a part file if there is one, False replaces it, and None refuses it.

    Raises:
        ConfigError: the part file belongs to another job.
        OutputError: the file system refuses, or there is a part file that another process writes or nobody spoke of.

    Attributes:
        seconds_before: Time that the encode took until it was interrupted.
    """

    def __init__(self, destination: str | Path, job: Job, resume: bool | None) -> None:
        self._destination, self._job, self._resume = destination, _as_read(job), resume
        self._path = check_output_file(destination)
        self._file = DurableFile(part_path(destination), destination)
        self._new = path_with_ending(self._path, ".part-end")
        self._lock = threading.Lock()
        self._finished = _Finished()
        self._source: ByteSource | None = None
        # Chunks of the GoPs that were finished before, by index.
        self._found: dict[int, tuple[Chunk, Chunk]] = {}
        self._collected = io.BytesIO()
        self._opening = b""
        self._n_added = 0
        self._started, self.seconds_before = time.perf_counter(), 0.0
        self._is_open = self._has_written = self._is_complete = False

    def __enter__(self) -> PartFile:
        if self._file.open():
            try:
                self._look_at_what_is_there()
            except BaseException:
                self._close()
                raise
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_open = False
            if self._is_complete:
                self._file.remove()
            elif self._has_written:
                # The exception may have come when a GoP was written and not yet counted.
                self._finished = _Finished()
                with suppress(StgvError), closing(ByteSource(self._file.path)) as source:
                    self._finished = _read(source)
                if not self._finished.gops:
                    self._file.remove()
            self._close()
            n_kept = len(self._finished.gops)
        if error is not None and n_kept and not self._is_complete:
            gops = "1 finished GoP is" if n_kept == 1 else f"{n_kept} finished GoPs are"
            error.add_note(f"{gops} kept in {self._file.path}: continue with --resume")

    def write(self, data: memoryview, /) -> int:
        """Collect what the writer of the file writes."""
        return self._collected.write(data)

    def identify(self, source: Job) -> None:
        """Add what is known of the source to the job, before `begin`.

        Raises:
            ConfigError: the part file was begun from another source.
        """
        source = _as_read(source)
        self._check_job(source)
        self._job = {**self._job, **source}

    def begin(self) -> None:
        """Take what was written so far as the opening of the file, which comes before the first GoP.

        Raises:
            ConfigError: the part file has another opening.
        """
        self._opening = self._taken()
        if self._finished.pieces:
            self._compare(0, self._opening, "its size, times, sound or metadata")

    def finished(self, index: int) -> FittedGop | None:
        """Return a GoP that an interrupted encode has finished; None if it has not. Any thread may ask."""
        chunks = self._found.get(index)
        if chunks is None or self._source is None:
            return None
        payload, record = (self._source.payload(chunk, "part file") for chunk in chunks)
        if chunks[0].type == ChunkType.GOP:
            reader = ByteReader(payload, "GoP")
            GopTiming.read(reader)
            payload = payload[reader.position :]
        return FittedGop.from_record(json.loads(record), payload)

    def add(self, gop: FittedGop) -> None:
        """Flush the next GoP with all that was written since the one before; what is there already is compared.

        Raises:
            ConfigError: the part file has something else there.
            OutputError: the file system refuses.
        """
        piece = self._taken()
        with self._lock:
            self._n_added += 1
            if self._n_added < len(self._finished.pieces):
                self._compare(self._n_added, piece, f"the times or the sound of GoP {gop.index}")
            else:
                start = self._append(piece, gop)
                self._finished.pieces.append((start, start + len(piece)))

    def hold(self, gop: FittedGop) -> None:
        """Flush a GoP that is finished before its turn, from any thread.

        Raises:
            OutputError: the file system refuses.
        """
        with self._lock:
            # A GoP that is finished while the encode ends comes too late.
            if self._is_open:
                self._append(frame_chunk(PrivateType.HELD, gop.payload.bytes), gop)

    def finish(self) -> int:
        """Move the complete file into place.

        Returns:
            The size of the file, bytes.

        Raises:
            OutputError: the file system refuses.
        """
        tail = self._taken()
        with self._lock, os_errors(self._destination):
            self._file.make_sure_it_is_there()
            try:
                with self._new.open("wb") as file:
                    for start, stop in self._finished.pieces:
                        file.writelines(self._file.blocks(start, stop))
                    file.write(tail)
                    n_bytes = file.tell()
                    file.flush()
                    os.fsync(file.fileno())
                self._new.replace(self._path)
            except BaseException:
                self._new.unlink(missing_ok=True)
                raise
            self._is_complete = True
            sync_folder(self._path.parent)
        return n_bytes

    def _look_at_what_is_there(self) -> None:
        source = self._source = ByteSource(self._file.path)
        start = source.read_at(0, len(MAGIC))
        if start != MAGIC[: len(start)]:
            raise OutputError(f"{self._file.path}: is in the way, and no encode has written it; move it")
        try:
            found = _read(source)
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f"{self._file.path}: was written by another version of stgvcodec; continue it with that one, or move it"
            ) from error
        if not found.gops:
            # An encode was killed when it had begun to write its first GoP.
            self._file.remove()
        elif self._resume is None:
            n = len(found.gops)
            raise OutputError(
                f"{self._file.path}: is there from an encode that was interrupted, with {n} finished "
                f"GoP{'s' if n > 1 else ''}; continue it with --resume, or start anew with -y"
            )
        elif self._resume:
            self._finished, self._found, self.seconds_before = found, dict(found.gops), found.seconds
            self._check_job(self._job)
            self._file.n_bytes = found.n_bytes
            # A file that was to become the complete one when the encode was killed.
            self._new.unlink(missing_ok=True)
        else:
            # What is there stays until the first GoP is finished.
            self._file.n_bytes = 0
            self._new.unlink(missing_ok=True)

    def _check_job(self, job: Job) -> None:
        """Compare what was asked for with what the part file was begun with."""
        if not self._found:
            return
        before = self._finished.job
        others = [name for name in job if before.get(name) != job[name]]
        if others:
            raise ConfigError(
                f"{self._file.path}: was begun with {_listed(before, others)}, got {_listed(job, others)}; continue it "
                "with the same, or start anew with -y"
            )

    def _compare(self, number: int, piece: bytes, what: str) -> None:
        start, stop = self._finished.pieces[number]
        if stop - start != len(piece) or b"".join(self._file.blocks(start, stop)) != piece:
            raise ConfigError(
                f"{self._file.path}: was begun from another source, {what} differ; give the same one, or start anew "
                "with -y"
            )

    def _append(self, piece: bytes, gop: FittedGop) -> int:
        """Write a piece that ends with the chunk of a GoP, and its record; return the offset of the piece."""
        opening = b""
        if self._file.n_bytes == 0:
            opening = self._opening + frame_chunk(PrivateType.JOB, json.dumps(self._job).encode())
            self._finished.pieces = [(0, len(self._opening))]
        seconds = self.seconds_before + time.perf_counter() - self._started
        record = json.dumps({**gop.record(), "encode_seconds": seconds}).encode()
        self._has_written = True
        return self._file.append(opening + piece + frame_chunk(PrivateType.RECORD, record)) + len(opening)

    def _taken(self) -> bytes:
        """Return what was collected, and collect anew."""
        data, self._collected = self._collected.getvalue(), io.BytesIO()
        return data

    def _close(self) -> None:
        if self._source is not None:
            self._source.close()
        self._file.close()


def _read(source: ByteSource) -> _Finished:
    """Find what is finished; what lies behind the last intact record was being written."""
    found = _Finished()
    start = 0
    before: Chunk | None = None
    for chunk in _intact_chunks(source):
        if chunk.type == PrivateType.JOB:
            found.job = json.loads(source.payload(chunk, "job"))
            found.pieces.append((0, chunk.offset))
            start = chunk.end
        elif chunk.type == PrivateType.RECORD and before is not None and found.pieces:
            record = json.loads(source.payload(chunk, "record"))
            found.seconds = record["encode_seconds"]
            if before.type == ChunkType.GOP:
                found.pieces.append((start, before.end))
            found.gops[record["index"]] = (before, chunk)
            start = found.n_bytes = chunk.end
        before = chunk
    return found


def _intact_chunks(source: ByteSource) -> Iterator[Chunk]:
    """Yield chunks from the first as long as their checksums hold."""
    offset = len(MAGIC)
    while (chunk := source.chunk_at(offset)) is not None:
        try:
            source.payload(chunk, "part file")
        except BitstreamError:
            return
        yield chunk
        offset = chunk.end


def _as_read(job: Job) -> dict[str, Any]:
    """Return a job as it comes back from JSON."""
    read: dict[str, Any] = json.loads(json.dumps(dict(job), default=str))
    return read


def _listed(job: Job, names: list[str]) -> str:
    return ", ".join(f"{name} {job.get(name)}" for name in names)
