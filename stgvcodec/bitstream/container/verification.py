"""The check of a whole file without rendering, of which `stgvcodec verify` is the command."""

from __future__ import annotations

from stgvcodec.bitstream.container.reader import StgvReader
from stgvcodec.bitstream.container.tracks import TrackReader
from stgvcodec.bitstream.entropy.streams import Runner, in_order


def verify(reader: StgvReader, *, run: Runner = in_order) -> None:
    """Check every byte of an open file: checksums and index, all symbols, tracks with their packets, and metadata.

    Args:
        reader: The file.
        run: Runner of the checks of chunks, in threads if it likes.

    Raises:
        BitstreamError: a part of the file is damaged, with its place in the file.
    """
    reader.verify(run=run)
    for _ in TrackReader(reader).packets(()):
        pass
