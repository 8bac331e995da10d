from __future__ import annotations

import gzip
import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stgvcodec.bitstream.container.source import ByteSource
from stgvcodec.errors import ClosedDecoderError, InputVideoError

DATA = np.random.default_rng(0).bytes(200_000)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


def sources(path):
    yield ByteSource(path)
    yield ByteSource(path.open("rb"))
    yield ByteSource(path.open("rb", buffering=0))
    yield ByteSource(io.BytesIO(DATA))


@pytest.mark.parametrize("kind", range(4), ids=["path", "buffered", "raw", "memory"])
def test_threads_read_at_the_same_time(path, kind):
    source = list(sources(path))[kind]
    offsets = np.random.default_rng(1).integers(0, len(DATA) - 500, 2000).tolist()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            read = list(pool.map(lambda offset: source.read_at(offset, 500), offsets))
    finally:
        sys.setswitchinterval(before)

    assert read == [DATA[offset : offset + 500] for offset in offsets]
    assert source.read_at(len(DATA) - 3, 10) == DATA[-3:]
    source.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_does_not_move_what_its_parent_reads(path):
    source = ByteSource(path)
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            good = all(source.read_at(offset, 100) == DATA[offset : offset + 100] for offset in range(0, 100_000, 50))
            os._exit(0 if good else 1)
        children.append(pid)

    assert all(source.read_at(offset, 100) == DATA[offset : offset + 100] for offset in range(100_000, 0, -50))
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]


def test_what_is_layered_over_a_file_is_read_through_its_layers(tmp_path):
    with gzip.open(tmp_path / "data.gz", "wb") as file:
        file.write(DATA)

    with gzip.open(tmp_path / "data.gz", "rb") as file:
        assert ByteSource(file).read_at(150_000, 1000) == DATA[150_000:151_000]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", range(4), ids=["path", "buffered", "raw", "memory"])
def test_a_file_that_is_closed_is_said_to_be(path, kind):
    source = list(sources(path))[kind]
    source.close()
    source._file.close()
    with pytest.raises(ClosedDecoderError, match="is closed, as after the decoder's `with` block: open it anew"):
        source.read_at(0, 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_in_a_line(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    try:
        with pytest.raises(InputVideoError, match="pipe: is not a file that can seek, such as a pipe: write it to"):
            ByteSource(tmp_path / "pipe")
    finally:
        os.close(writer)
