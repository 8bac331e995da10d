"""What opening a file costs, however many chunks and frames a small one names."""

from __future__ import annotations

import dataclasses
import io
import random
import tracemalloc
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from gops import HEADER, SMALLEST_FIELD, gop_header, random_gop

from stgvcodec import StgvError, VideoDecoder, decode, read_info
from stgvcodec.bitstream import StgvReader, StgvWriter, pack_gop
from stgvcodec.bitstream.container.chunks import MAGIC, Chunk, ChunkType, frame_chunk
from stgvcodec.bitstream.container.index import GopEntry, GopTiming, pack_end_chunk
from stgvcodec.bitstream.payload.head import LEAST_HEAD_BYTES, join_head
from stgvcodec.bitstream.syntax.tables import STREAMS
from stgvcodec.errors import BitstreamError
from stgvcodec.media.selection import Selection

N_BYTES = 100_000
N_FRAMES = 1024


def least_payload(**changes):
    """The smallest payload that has an intact head. Its streams are empty, so that it cannot be decoded."""
    header = gop_header(**{**SMALLEST_FIELD, "n_gaussians": 1, "n_frames": N_FRAMES, **changes})
    return join_head(header, dict.fromkeys(STREAMS, b""))


def gops_of(step):
    """A file of GoPs of 1024 frames each; `step` gives the time between two frames, ticks."""
    file, rng = io.BytesIO(), random.Random(1)
    writer = StgvWriter(file, HEADER)
    start = 0
    while writer.n_bytes < N_BYTES:
        pts = [start]
        while len(pts) < N_FRAMES:
            pts.append(pts[-1] + step(rng))
        # No two heads are equal, so that none can be kept for another GoP.
        writer.add_gop(least_payload(low_pass=float(np.float32(rng.random()))), pts)
        start = pts[-1] + 1
    writer.finish()
    return file.getvalue()


def empty_chunks():
    """A file of one GoP and of chunks that hold nothing."""
    file = io.BytesIO()
    writer = StgvWriter(file, HEADER)
    writer.add_gop(least_payload(), range(N_FRAMES))
    while writer.n_bytes < N_BYTES:
        writer.add_chunk(0x7000, b"")
    writer.finish()
    return file.getvalue()


def empty_gops():
    """A file of GoP chunks that hold nothing, which its index says to be of 1024 frames each."""
    body, chunks, gops = bytearray(MAGIC + frame_chunk(ChunkType.FILE_HEADER, HEADER.to_bytes())), [], []
    while len(body) < N_BYTES:
        chunks.append(Chunk(ChunkType.GOP, len(body), 0))
        timing = GopTiming(N_FRAMES * len(gops), N_FRAMES, N_FRAMES * len(gops), 1, ())
        gops.append(GopEntry(timing, 1, len(body), chunks[-1].n_bytes))
        body += frame_chunk(ChunkType.GOP, b"")
    return bytes(body) + frame_chunk(ChunkType.END, pack_end_chunk(chunks, gops))


FILES = {
    "steady times": lambda: gops_of(lambda _: 1),
    "uneven times": lambda: gops_of(lambda rng: rng.randrange(257, 16384)),
    "empty chunks": empty_chunks,
    "empty GoPs": empty_gops,
}


@cache
def data_of(name):
    return FILES[name]()


WAYS = {
    "reader": StgvReader,
    "reader that keeps going": lambda file: StgvReader(file, keep_going=True),
    "decoder": lambda file: VideoDecoder(file, device="cpu"),
    "info": read_info,
}


@pytest.mark.parametrize("open_it", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", FILES)
def test_opening_takes_less_than_ten_times_the_file(tmp_path, name, open_it):
    path = tmp_path / "a.stgv"
    path.write_bytes(data_of(name))

    def opened():
        try:
            return open_it(path)
        except BitstreamError:
            return None

    opened()  # What is imported and compiled is not the file's.
    peaks = []
    for _ in range(3):  # Other threads of the process, which allocate as they please, are counted too: the least tells.
        tracemalloc.start()
        try:
            kept = opened()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()

    assert (kept is None) == (name == "empty GoPs")
    assert min(peaks) < 10 * path.stat().st_size
    if isinstance(kept, VideoDecoder):
        with kept:
            assert len(kept) % N_FRAMES == 0
            assert kept.pts(-1) > kept.pts(0)


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("pts", [range(5), [0, 300, 301, 302, 400]], ids=["steady", "uneven"])
def test_a_gop_that_is_too_short_for_its_head_is_refused_at_opening(pts, missing):
    start = MAGIC + frame_chunk(ChunkType.FILE_HEADER, HEADER.to_bytes())
    timing = GopTiming.from_pts(0, pts)
    payload = (timing.to_bytes() + bytes(LEAST_HEAD_BYTES))[missing:]
    chunk = Chunk(ChunkType.GOP, len(start), len(payload))
    # 300 Gaussians: their number takes two bytes in the index and none before the head.
    entry = GopEntry(timing, 300, chunk.offset, chunk.n_bytes)
    end = frame_chunk(ChunkType.END, pack_end_chunk([chunk], [entry]))
    file = io.BytesIO(start + frame_chunk(ChunkType.GOP, payload) + end)

    if missing:
        with pytest.raises(BitstreamError, match=r"index, at byte \d+: GoP 0 has a payload of .* too short for its h"):
            StgvReader(file)
    else:
        assert StgvReader(file).n_frames == 5


def test_the_least_head_is_one_that_a_reader_accepts():
    assert len(least_payload(n_frames=5)) == LEAST_HEAD_BYTES == 33  # As bitstream_spec.md says.


def test_a_part_of_a_long_file_is_found_without_all_times(tmp_path):
    data = data_of("steady times")
    n_frames = read_info(data).n_frames
    tracemalloc.start()
    try:
        with VideoDecoder(data, device="cpu") as decoder:
            unit = decoder.header.time_base
            taken = Selection(time=(1, 2)).indices(decoder.timestamps, unit)
            frame = decoder.timestamps.index(decoder.pts(5000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert n_frames > 1_000_000
    assert (taken, frame) == (range(int(1 / unit), int(2 / unit)), 5000)
    assert peak < 10 * len(data)


def test_pictures_without_end_are_written_one_by_one(tmp_path):
    """At 30 frames a second a frame that lasts 2^40 seconds is as many pictures."""
    path = tmp_path / "a.stgv"
    with path.open("wb") as file:
        writer = StgvWriter(file, dataclasses.replace(HEADER, time_base=Fraction(1)))
        writer.add_gop(pack_gop(random_gop(n_frames=2)), [0, 2**40])
        writer.finish()
    written = []

    def stop(progress):
        written.append(progress.n_frames)
        if len(written) == 3:
            raise StgvError("enough")

    with pytest.raises(StgvError, match="enough"):
        decode(path, tmp_path / "a.y4m", fps=30, device="cpu", progress=stop)
    assert written[0] > 30 * 2**40
