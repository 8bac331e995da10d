"""Files for the tests of this folder."""

from __future__ import annotations

import io

from gops import HEADER, PAPER, random_gop

from stgvcodec.bitstream import StgvWriter, pack_gop
from stgvcodec.bitstream.container.chunks import MAGIC, frame_chunk

CONSTANT_PTS = [range(0, 5 * 3003, 3003), range(5 * 3003, 10 * 3003, 3003), range(10 * 3003, 13 * 3003, 3003)]
VARIABLE_PTS = [[-700, -5, 0, 1, 4096], [4100, 5000, 5001, 90000, 90001], [2**40, 2**40 + 1, 2**41]]
GOPS = [random_gop(0), random_gop(1, n_gaussians=40), random_gop(2, n_frames=3, **PAPER)]
PAYLOADS = [pack_gop(gop) for gop in GOPS]


def make_file(pts=CONSTANT_PTS, chunks=(), finish=True, header=HEADER):
    """Three GoPs of 5, 5 and 3 frames; `chunks` are (type, payload) put behind the first GoP."""
    file = io.BytesIO()
    writer = StgvWriter(file, header)
    for index, payload in enumerate(PAYLOADS):
        writer.add_gop(payload, pts[index])
        if index == 0:
            for chunk_type, data in chunks:
                writer.add_chunk(chunk_type, data)
    if finish:
        writer.finish()
    return file.getvalue()


def raw_file(*chunks):
    """A file from (type, payload), end chunk included if wanted."""
    return MAGIC + b"".join(frame_chunk(kind, payload) for kind, payload in chunks)


class CountingFile(io.BytesIO):
    """Counts the bytes that are read of it."""

    n_read = 0

    def read(self, size=-1):
        data = super().read(size)
        self.n_read += len(data)
        return data
