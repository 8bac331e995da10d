"""Files are decoded while they are written: by an encode, which has a part file, or by what copies them."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from clips import files_under, read_frames
from fits import TINY
from track_clips import write_with_tracks

from stgvcodec import EncodeConfig, Selection, VideoDecoder, decode, encode
from stgvcodec.bitstream.container.chunks import CRITICAL, PrivateType, frame_chunk
from stgvcodec.encoder.presets import PRESETS
from stgvcodec.errors import BitstreamError, CancelledError, ConfigError, InputVideoError, MissingFileError

fcntl = pytest.importorskip("fcntl")


def config() -> EncodeConfig:
    return EncodeConfig(preset="tiny", n_gaussians=20, gop=2, scene_cut=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A clip of 8 frames with sound and subtitles."""
    path = tmp_path_factory.mktemp("source") / "a.mkv"
    return write_with_tracks(path, [("flac", "eng")], [("srt", "fra")], n_frames=8)


@pytest.fixture(scope="module")
def whole(source) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        encode(source, source.with_suffix(".stgv"), config=config(), device="cpu")
    return source.with_suffix(".stgv")


@contextmanager
def in_the_background(work: Callable[[], object]) -> Iterator[None]:
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        yield
        future.result(60)


def appended(path: Path, pieces: list[bytes]) -> None:
    for piece in pieces:
        with path.open("ab") as file:
            file.write(piece)
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["out.mkv", "out.y4m", "out"])
def test_an_encode_is_decoded_while_it_runs(source, tmp_path, name):
    """The decoder begins before there is any file, and ends when the complete one is in place."""
    path, out = tmp_path / "a.stgv", tmp_path / name
    progress = []
    with in_the_background(lambda: encode(source, path, config=config(), device="cpu")):
        report = decode(path, out, follow=True, device="cpu", progress=progress.append)
    decode(path, tmp_path / f"after-{name}", device="cpu")

    assert (report.n_frames, report.damage) == (8, ())
    assert [each.frames_done for each in progress] == list(range(1, 9))
    followed, after = tmp_path / name, tmp_path / f"after-{name}"
    if name == "out.mkv":
        # Clusters begin elsewhere where sound comes later; the pictures and packets are the same.
        assert packets_of(followed) == packets_of(after)
    elif name == "out.y4m":
        assert followed.read_bytes() == after.read_bytes()
    else:
        assert files_under(followed) == files_under(after)
        np.testing.assert_array_equal(read_frames(followed), read_frames(after))
    assert not list(tmp_path.glob("*.part*"))


def packets_of(path: Path) -> list[tuple[int, int, bytes]]:
    """Every packet of a file: its stream, timestamp and bytes, sorted."""
    with av.open(path) as container:
        return sorted(
            (packet.stream.index, packet.pts, bytes(packet))
            for packet in container.demux()
            if packet.pts is not None and packet.size
        )


@pytest.mark.parametrize("n_pieces", [2, 23])
def test_a_file_that_is_copied_is_decoded_as_it_grows(whole, tmp_path, n_pieces):
    data, path = whole.read_bytes(), tmp_path / "copy.stgv"
    cuts = [len(data) * i // n_pieces for i in range(n_pieces + 1)]
    pieces = [data[start:stop] for start, stop in pairwise(cuts)]
    with in_the_background(lambda: appended(path, pieces)):
        report = decode(path, tmp_path / "out", follow=True, device="cpu")
    decode(whole, tmp_path / "expected", device="cpu")
    assert report.n_frames == 8
    for image in (tmp_path / "expected").iterdir():
        assert image.read_bytes() == (tmp_path / "out" / image.name).read_bytes()


def test_a_file_that_is_complete_is_decoded_and_said_to_be(whole, tmp_path, caplog):
    assert decode(whole, tmp_path / "out", follow=True, device="cpu").n_frames == 8
    assert "is complete already" in caplog.text


def part_of(whole: Path, n_gops: int) -> bytes:
    """The bytes of a part file with some GoPs, as an encode leaves them."""
    with VideoDecoder(whole, device="cpu") as decoder:
        gops = decoder._reader.gops
        start = decoder._reader.chunks[0].offset
    data = whole.read_bytes()
    job, record = frame_chunk(PrivateType.JOB, b"{}"), frame_chunk(PrivateType.RECORD, b"{}")
    ends = [start, *(gop.offset + gop.n_bytes for gop in gops)]
    return data[:start] + job + b"".join(data[ends[i] : ends[i + 1]] + record for i in range(n_gops))


def test_a_decoder_takes_frames_as_they_come(whole, tmp_path):
    path = tmp_path / "a.stgv"
    part = tmp_path / "a.stgv.part"
    expected = VideoDecoder(whole, device="cpu")
    part.write_bytes(part_of(whole, 1))
    with part.open("rb") as writer, VideoDecoder(path, follow=True, device="cpu") as decoder:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert (len(decoder), decoder.is_complete) == (2, False)
        assert not decoder.wait_for_frames(timeout=0)
        more = part_of(whole, 3)
        # A chunk that is there in part is not there.
        part.write_bytes(more[:-60])
        assert decoder.wait_for_frames()
        n_frames = len(decoder)
        assert 2 < n_frames < 6 or n_frames == 6
        np.testing.assert_array_equal(decoder[:], expected[:n_frames])
        part.write_bytes(more)
        decoder.wait_for_frames(timeout=0)
        assert list(decoder.timestamps) == list(expected.timestamps)[:6]
        assert not decoder.is_complete

        path.write_bytes(whole.read_bytes())
        part.unlink()
        assert decoder.wait_for_frames()
        assert (len(decoder), decoder.is_complete, decoder.damage) == (8, True, ())
        np.testing.assert_array_equal(decoder[:], expected[:])
        assert decoder.metadata.num_frames == 8
        assert not decoder.wait_for_frames()
        with pickle.loads(pickle.dumps(decoder)) as again:
            assert len(again) == 8


def test_a_selection_ends_it_before_the_file_is_complete(tmp_path):
    """All sound of the selected frames is there: it comes behind the GoPs with which it is played."""
    source = tmp_path / "source.mkv"
    write_with_tracks(source, [("flac", "eng")], [("srt", "fra")], n_frames=40)
    whole = tmp_path / "whole.stgv"
    encode(source, whole, config=dataclasses.replace(config(), gop=10), device="cpu")
    (tmp_path / "a.stgv.part").write_bytes(part_of(whole, 3))
    with (tmp_path / "a.stgv.part").open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        for selection in (Selection(frames=(1, 4)), Selection(frames=(3, 8)), Selection(time=(None, Fraction(1, 10)))):
            out = tmp_path / "out.mkv"
            report = decode(tmp_path / "a.stgv", out, follow=True, device="cpu", selection=selection)
            expected = decode(whole, tmp_path / "expected.mkv", device="cpu", selection=selection)
            assert report.n_frames == expected.n_frames
            assert [track.n_packets for track in report.tracks] == [track.n_packets for track in expected.tracks]


ENDINGS = {
    "interrupted": (lambda part: None, "the encode was interrupted"),
    "removed": (lambda part: part.unlink(), "removed before it was complete"),
}


@pytest.mark.parametrize(("end", "said"), ENDINGS.values(), ids=ENDINGS)
def test_what_an_encode_leaves_that_ends_early_is_decoded_and_said(whole, tmp_path, end, said):
    part = tmp_path / "a.stgv.part"
    part.write_bytes(part_of(whole, 2))
    writer = part.open("rb")
    fcntl.flock(writer, fcntl.LOCK_EX)

    def end_soon() -> None:
        time.sleep(0.3)
        end(part)
        writer.close()

    with in_the_background(end_soon):
        report = decode(part, tmp_path / "out", follow=True, device="cpu")
    assert report.n_frames == 4
    assert len(report.damage) == 1
    assert said in report.damage[0]


def test_a_file_whose_time_changes_before_its_size_is_the_same(whole, tmp_path):
    """As it does for a moment while bytes are appended."""
    part = tmp_path / "a.stgv.part"
    part.write_bytes(part_of(whole, 2))
    with part.open("rb") as writer, VideoDecoder(part, follow=True, device="cpu") as decoder:
        fcntl.flock(writer, fcntl.LOCK_EX)
        os.utime(part, ns=(1, 1))
        assert decoder[0:4].shape[0] == 4


def test_another_file_in_its_place_is_refused(whole, encoded, tmp_path):
    part = tmp_path / "a.stgv.part"
    part.write_bytes(part_of(whole, 2))
    with VideoDecoder(part, follow=True, device="cpu") as decoder:
        part.unlink()
        (tmp_path / "a.stgv").write_bytes(encoded.path.read_bytes())
        with pytest.raises(InputVideoError, match="another file than the one that was followed"):
            decoder.wait_for_frames()


DAMAGED = {
    "no chunk": (lambda data: data + bytes(14), "no chunk begins here"),
    "payload": (lambda data: data[:-40] + bytes([data[-40] ^ 1]) + data[-39:], "CRC-32 is wrong"),
    "critical": (lambda data: data + frame_chunk(CRITICAL | 99, b""), "use a newer stgvcodec"),
    "twice": (lambda data: data + data[data.rindex(b"\xf5SG\xc1") :], "out of order"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGED.values(), ids=DAMAGED)
def test_damage_in_a_file_that_grows_is_refused(whole, tmp_path, damage, said):
    with VideoDecoder(whole, device="cpu") as decoder:
        gop = decoder._reader.gops[1]
    path = tmp_path / "a.stgv"
    path.write_bytes(damage(whole.read_bytes()[: gop.offset + gop.n_bytes]))
    with pytest.raises(BitstreamError, match=said):  # noqa: PT012
        with VideoDecoder(path, follow=True, device="cpu") as decoder:
            decoder.wait_for_frames(timeout=0)
        raise AssertionError(decoder)


def test_a_part_file_may_be_named_before_and_after_it_is_there(whole, tmp_path, caplog):
    path = tmp_path / "a.stgv"
    begun = threading.Timer(0.5, lambda: shutil.copy(whole, path))
    begun.start()
    for _ in range(2):
        with VideoDecoder(tmp_path / "a.stgv.part", follow=True, device="cpu") as decoder:
            decoder.wait_for_frames()
            assert (len(decoder), decoder.is_complete) == (8, True)
    begun.join()
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: is not there yet; waiting for it, or for a.stgv.part"
    ]


def test_the_description_is_that_of_the_frames_that_are_there(whole, tmp_path):
    path, data = tmp_path / "a.stgv", whole.read_bytes()
    with VideoDecoder(whole, device="cpu") as decoder:
        ends = [gop.offset + gop.n_bytes for gop in decoder._gops]
    path.write_bytes(data[: ends[0]])
    with VideoDecoder(path, follow=True, device="cpu") as decoder:
        assert decoder.metadata.num_frames == len(decoder) == 2
        path.write_bytes(data)
        decoder.wait_for_frames()
        assert decoder.metadata.num_frames == len(decoder) == 8


def test_a_file_that_is_cut_while_it_is_followed_is_refused(whole, tmp_path):
    path, data = tmp_path / "a.stgv", whole.read_bytes()
    path.write_bytes(data[:-100])
    with VideoDecoder(path, follow=True, device="cpu") as decoder:
        os.truncate(path, 300)
        with pytest.raises(InputVideoError, match=r"a\.stgv: was cut to 300 bytes while it was followed, of which \d+"):
            decoder.wait_for_frames()


def test_what_cannot_be_followed_is_refused(whole, tmp_path):
    for source in (whole.read_bytes(), "https://example.com/a.stgv"):
        with pytest.raises(ConfigError, match="to follow a file that is being written takes its path alone"):
            VideoDecoder(source, follow=True, device="cpu")
    with pytest.raises(ConfigError, match="and --keep-going what is left of one; leave out one of them"):
        VideoDecoder(whole, follow=True, keep_going=True, device="cpu")
    with pytest.raises(ConfigError, match="--fps needs the length"):
        decode(whole, tmp_path / "out.mp4", follow=True, fps=3, device="cpu")
    with pytest.raises(MissingFileError, match="nor does its folder"):
        decode(tmp_path / "missing" / "a.stgv", tmp_path / "out.mp4", follow=True, device="cpu")
    (tmp_path / "text.stgv").write_bytes(b"something else")
    with pytest.raises(BitstreamError, match=r"not a \.stgv file"):
        decode(tmp_path / "text.stgv", tmp_path / "out.mp4", follow=True, device="cpu")


def test_waiting_can_be_cancelled(whole, tmp_path):
    path = tmp_path / "a.stgv"
    path.write_bytes(whole.read_bytes()[:-50])
    cancel = threading.Event()
    with in_the_background(lambda: (time.sleep(0.5), cancel.set())), pytest.raises(CancelledError):
        decode(path, tmp_path / "out.mkv", follow=True, device="cpu", cancel=cancel)
    assert not (tmp_path / "out.mkv").exists()


def test_an_empty_file_is_waited_for_until_it_is_removed(tmp_path):
    path = tmp_path / "a.stgv"
    path.touch()

    def remove() -> None:
        time.sleep(0.3)
        os.unlink(path)  # noqa: PTH108

    with in_the_background(remove), pytest.raises(InputVideoError, match="was removed before it held anything"):
        VideoDecoder(path, follow=True, device="cpu")
