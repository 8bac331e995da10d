"""A file that is cut, written over or replaced while a decoder has it open."""

from __future__ import annotations

import errno
import os
import pickle

import pytest
import torch
from gops import random_gop, write_gops

from stgvcodec import VideoDecoder
from stgvcodec.bitstream import StgvReader, pack_gop
from stgvcodec.bitstream.container import source
from stgvcodec.errors import BitstreamError, InputVideoError

PAYLOADS = [pack_gop(random_gop(seed)) for seed in range(3)]
OTHERS = [pack_gop(random_gop(seed, n_gaussians=40)) for seed in range(3, 6)]
CHANGED = r"a.stgv: was changed since it was opened, from \d+ bytes to \d+ .* open it anew"


@pytest.fixture
def path(tmp_path):
    return write_gops(tmp_path / "a.stgv", PAYLOADS)


def make_newer(path):
    """Give a file a time of change that differs, however coarse the clock of the file system is."""
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def write_over(path):
    write_gops(path, OTHERS)
    make_newer(path)


def write_over_with_as_many_bytes(path):
    """As by an encode of the same size: of what a decoder holds in memory, only the time of change tells."""
    path.write_bytes(path.read_bytes())
    make_newer(path)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("change", [cut, write_over, write_over_with_as_many_bytes, empty])
@pytest.mark.parametrize("keep_going", [False, True])
def test_what_is_read_after_a_change_is_refused(path, change, keep_going):
    with VideoDecoder(path, device="cpu", keep_going=keep_going) as decoder:
        decoder[0]
        change(path)
        with pytest.raises(InputVideoError, match=CHANGED):
            decoder[-1]
        with pytest.raises(InputVideoError, match=CHANGED):
            _ = decoder.metadata


def test_a_file_that_is_moved_into_its_place_changes_nothing(path, tmp_path):
    """The decoder keeps the file that it opened; a copy of the decoder opens the new one."""
    with VideoDecoder(path, device="cpu") as decoder:
        expected = decoder[:]
        write_gops(tmp_path / "new.stgv", OTHERS[:1]).replace(path)
        assert torch.equal(decoder[5:], expected[5:])
        with pickle.loads(pickle.dumps(decoder)) as copy:
            assert len(copy) == 5


def test_a_file_that_is_removed_can_still_be_read(path):
    with VideoDecoder(path, device="cpu") as decoder:
        first = decoder[0]
        path.unlink()
        decoder[-1]
        assert torch.equal(decoder[0], first)


def test_a_file_that_grows_is_read_as_far_as_it_was(path):
    """As one that is still being written."""
    with VideoDecoder(path, device="cpu", keep_going=True) as decoder:
        expected = decoder[0]
        with path.open("ab") as file:
            file.write(b"more")
        make_newer(path)
        decoder[-1]
        assert torch.equal(decoder[0], expected)


def test_damage_that_was_there_from_the_beginning_is_called_that(path):
    data = bytearray(path.read_bytes())
    with StgvReader(path) as reader:
        data[reader.gops[2].offset + 40] ^= 1
    path.write_bytes(data)
    with VideoDecoder(path, device="cpu") as decoder, pytest.raises(BitstreamError, match="CRC-32 is wrong"):
        decoder[-1]


def test_a_file_that_cannot_be_read_any_more(path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ESTALE, "Stale file handle")

    with VideoDecoder(path, device="cpu") as decoder:
        monkeypatch.setattr(source.os, "pread", fail)
        with pytest.raises(InputVideoError, match=r"a.stgv: cannot be read at byte \d+: Stale file handle"):
            decoder[0]
