"""One decoder that threads and forked processes share: every read equals sequential reading, bit for bit."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from gops import HEADER, random_gop, write_gops

from stgvcodec import VideoDecoder
from stgvcodec.bitstream import StgvWriter, pack_gop
from stgvcodec.bitstream.container.chunks import ChunkType
from stgvcodec.bitstream.container.tracks import PacketGroup, pack_metadata, pack_track
from stgvcodec.tracks import Track, TrackPacket

SOUND = Track("audio", "opus", Fraction(1, 48_000), "matroska", b"set-up", tags={"language": "eng"})
PACKETS = [TrackPacket(960 * i, 960, True, bytes([i])) for i in range(50)]
N_GOPS, N_FRAMES = 12, 3


@pytest.fixture(scope="module")
def many_gops(tmp_path_factory) -> Path:
    """A file of twelve GoPs of three frames."""
    gops = [pack_gop(random_gop(seed, n_frames=N_FRAMES)) for seed in range(N_GOPS)]
    return write_gops(tmp_path_factory.mktemp("many") / "many.stgv", gops)


@pytest.fixture(scope="module")
def with_sound(tmp_path_factory) -> Path:
    """A file of one GoP, with a track and a title."""
    path = tmp_path_factory.mktemp("sound") / "sound.stgv"
    with path.open("wb") as file:
        writer = StgvWriter(file, HEADER)
        writer.add_chunk(ChunkType.METADATA, pack_metadata({"title": "A film"}))
        writer.add_chunk(ChunkType.TRACK, pack_track(0, SOUND))
        for first in range(0, len(PACKETS), 5):
            writer.add_chunk(ChunkType.TRACK_PACKETS, PacketGroup(0, PACKETS[first : first + 5]).to_bytes())
        writer.add_gop(pack_gop(random_gop()), range(0, 5 * 3003, 3003))
        writer.finish()
    return path


@pytest.fixture
def hasty_threads():
    """Python changes threads a hundred times as often as it does by itself; more often it does little else."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


def all_reads(decoder: VideoDecoder, start: int) -> dict[str, torch.Tensor]:
    """What every kind of read gives from frame `start` on, by name."""
    now, following = (float(decoder.pts(i) * decoder.header.time_base) for i in (start, start + 1))
    return {
        "index": decoder[start],
        "slice": decoder[start : start + 5],
        "list": decoder[[start + 4, start, start + 4]],
        "frame": decoder.get_frame_at(start).data,
        "batch": decoder.get_frames_played_at([now, following]).data,
        "iter_frames": torch.stack(list(decoder.iter_frames(range(start, start + 5)))),
        "smaller": torch.stack(list(decoder.iter_frames([start, start + 3], size=(31, 20)))),
        "render": decoder.render(now + (following - now) / 3, size=(40, 33)),
        "gaussians": torch.cat(decoder.gaussians_at(start), dim=1),
    }


def test_threads_share_a_decoder(many_gops, hasty_threads):
    """Every kind of read at the same time, from eight threads."""
    starts = range(0, N_GOPS * N_FRAMES - 5, 4)
    with VideoDecoder(many_gops, device="cpu") as alone:
        expected = {start: all_reads(alone, start) for start in starts}

    def differing(seed: int) -> list[str]:
        start = random.Random(seed).choice(starts)
        got = all_reads(shared, start)
        return [name for name, value in got.items() if not torch.equal(value, expected[start][name])]

    with VideoDecoder(many_gops, device="cpu") as shared, ThreadPoolExecutor(8) as pool:
        assert not [names for names in pool.map(differing, range(64)) if names]


def test_threads_share_tracks_and_metadata(with_sound, hasty_threads):
    """The first use of both opens them, so that threads may do so at the same time."""

    def carried(decoder: VideoDecoder) -> tuple[object, ...]:
        reader = decoder.tracks
        return reader.tags, reader.tracks, list(reader.packets(reader.tracks)), decoder.metadata

    with VideoDecoder(with_sound, device="cpu") as alone:
        expected, frame = carried(alone), alone[0]
    assert expected[:3] == ({"title": "A film"}, {0: SOUND}, [(0, packet) for packet in PACKETS])
    for _ in range(3):
        with VideoDecoder(with_sound, device="cpu") as shared, ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda i: carried(shared) if i % 2 else shared[0], range(24)))
        for i, result in enumerate(results):
            assert result == expected if i % 2 else torch.equal(result, frame)


FORKED = """
import sys, torch, stgvcodec
from test_shared_decoder import all_reads

class Reads(torch.utils.data.Dataset):
    def __init__(self, path):
        self.decoder = stgvcodec.VideoDecoder(path, device="cpu")
    def __len__(self):
        return 24
    def __getitem__(self, i):
        sys.setswitchinterval(1e-6)
        start = i * 7 % (len(self.decoder) - 5)
        return start, all_reads(self.decoder, start)

reads = Reads(sys.argv[1])
reads.decoder[0:9]  # The file is open, a GoP too, and threads have read ahead.
reference = stgvcodec.VideoDecoder(sys.argv[1], device="cpu")
loader = torch.utils.data.DataLoader(reads, batch_size=None, num_workers=2, multiprocessing_context="fork")
for start, got in loader:
    expected = all_reads(reference, start)
    print([name for name, value in got.items() if not torch.equal(value, expected[name])])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_workers_that_are_forked_share_a_decoder(many_gops):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(many_gops)], env=environment, capture_output=True, text=True, timeout=120
    )

    assert done.stdout == "[]\n" * 24, done.stderr
