"""Reading ahead: what is read when, by whom, and what becomes of errors and threads."""

from __future__ import annotations

import gc
import multiprocessing
import threading
import time
from pathlib import Path

import pytest
import torch
from gops import with_damaged_gop, write_gops

from stgvcodec import VideoDecoder
from stgvcodec.bitstream import StgvReader
from stgvcodec.decoder import prefetch
from stgvcodec.decoder.decode_budget import LOOK_AHEAD, DecodeBudget
from stgvcodec.errors import BitstreamError

N_GOPS, N_FRAMES = 8, 4


@pytest.fixture(autouse=True)
def _threads(monkeypatch):
    monkeypatch.setenv("STGV_THREADS", "2")


@pytest.fixture(scope="module")
def long_file(encoded, tmp_path_factory) -> Path:
    """The first GoP eight times."""
    with StgvReader(encoded.path) as reader:
        payloads = [reader.read_gop(0)] * N_GOPS
        return write_gops(tmp_path_factory.mktemp("long") / "long.stgv", payloads, header=reader.header)


@pytest.fixture
def loads(monkeypatch) -> list[tuple[int, bool]]:
    """Which GoPs were loaded, and whether ahead of time."""
    seen: list[tuple[int, bool]] = []
    load = prefetch.GopPrefetcher._load

    def recording(self, index, *options):
        seen.append((index, threading.current_thread() is not threading.main_thread()))
        return load(self, index, *options)

    monkeypatch.setattr(prefetch.GopPrefetcher, "_load", recording)
    return seen


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("stgv-gops")]


def settle(decoder: VideoDecoder) -> None:
    """Waits until every GoP that was asked for ahead is there."""
    for future in list(decoder._prefetcher._pending.values()):
        future.exception()


def test_a_slice_reads_ahead_and_every_gop_once(long_file, loads):
    with VideoDecoder(long_file, device="cpu") as decoder:
        frames = decoder[:]
    assert sorted(index for index, _ in loads) == list(range(N_GOPS))
    assert (0, False) in loads
    # The caller may overtake the thread, but not always.
    assert any(ahead for _, ahead in loads)
    assert torch.equal(frames[:N_FRAMES], frames[-N_FRAMES:])


@pytest.mark.parametrize("n_threads", ["2", "16"])
def test_many_threads_give_gops_in_order_and_errors_at_their_gop(damaged, n_threads, monkeypatch):
    """Later GoPs may be ready first; the damaged one is met after those before it, and those behind it are there."""
    monkeypatch.setenv("STGV_THREADS", n_threads)
    load = prefetch.GopPrefetcher._load
    monkeypatch.setattr(
        prefetch.GopPrefetcher,
        "_load",
        lambda self, i, *run: (time.sleep(0.02 * (i % 2)), (i, load(self, i, *run)))[1],
    )
    with StgvReader(damaged) as reader:
        prefetcher = prefetch.GopPrefetcher(reader, torch.device("cpu"), "numba", DecodeBudget())
        for index in range(N_GOPS):
            upcoming = range(index + 1, N_GOPS)
            if index == 3:
                with pytest.raises(BitstreamError, match="GoP 3"):
                    prefetcher.get(index, upcoming)
            else:
                assert prefetcher.get(index, upcoming)[0] == index
        prefetcher.close()
    assert own_threads() == []


def test_no_more_than_a_few_gops_are_kept(long_file, loads):
    with VideoDecoder(long_file, device="cpu") as decoder:
        frames = decoder.iter_frames()
        next(frames)
        settle(decoder)
        assert {index for index, _ in loads} <= set(range(1 + LOOK_AHEAD))
        assert len(decoder._prefetcher._pending) == LOOK_AHEAD
        for _ in range(N_FRAMES):
            next(frames)
        settle(decoder)
        assert len(decoder._prefetcher._pending) == LOOK_AHEAD


def test_only_what_the_call_needs_is_read(long_file, loads):
    with VideoDecoder(long_file, device="cpu") as decoder:
        decoder.get_frames_at([20, 21, 4, 5])
    assert sorted(index for index, _ in loads) == [1, 5]


def test_random_access_reads_nothing_ahead(long_file, loads):
    with VideoDecoder(long_file, device="cpu") as decoder:
        for gop in (5, 2, 7, 0, 4):
            decoder[gop * N_FRAMES + 1]
        assert [index for index, _ in loads] == [5, 2, 7, 0, 4]
        assert own_threads() == []


@pytest.mark.parametrize("length", [1, N_FRAMES])
def test_going_on_reads_one_gop_ahead(long_file, loads, length):
    with VideoDecoder(long_file, device="cpu") as decoder:
        for start in range(0, 3 * N_FRAMES, length):
            decoder[start : start + length]
        settle(decoder)
    assert {index for index, _ in loads} == {0, 1, 2, 3}


def test_one_thread_means_one(long_file, loads, monkeypatch):
    monkeypatch.setenv("STGV_THREADS", "1")
    with VideoDecoder(long_file, device="cpu") as decoder:
        decoder[:]
        assert own_threads() == []
    assert loads == [(index, False) for index in range(N_GOPS)]


@pytest.mark.parametrize(("n_threads", "n_workers"), [("2", 2), ("16", 4)])
def test_close_ends_the_threads(long_file, n_threads, n_workers, monkeypatch):
    monkeypatch.setenv("STGV_THREADS", n_threads)
    with VideoDecoder(long_file, device="cpu") as decoder:
        decoder[:]
        assert 1 <= len(own_threads()) <= n_workers
    assert own_threads() == []
    with pytest.raises(ValueError, match="closed"):
        decoder[0]
    decoder.close()


def test_an_exception_of_the_caller_ends_the_threads(long_file):
    with pytest.raises(KeyboardInterrupt), VideoDecoder(long_file, device="cpu") as decoder:  # noqa: PT012
        next(decoder.iter_frames())
        raise KeyboardInterrupt
    assert own_threads() == []


def test_a_decoder_that_is_dropped_leaves_no_thread(long_file):
    decoder = VideoDecoder(long_file, device="cpu")
    decoder[:]
    del decoder
    gc.collect()
    deadline = time.monotonic() + 5
    while own_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert own_threads() == []


def test_metadata_while_the_thread_reads(long_file):
    with VideoDecoder(long_file, device="cpu") as decoder:
        frames = decoder.iter_frames()
        next(frames)
        assert decoder.metadata.n_frames == N_GOPS * N_FRAMES
        assert len(list(frames)) == N_GOPS * N_FRAMES - 1


@pytest.fixture
def damaged(long_file, tmp_path) -> Path:
    """The fourth GoP has a wrong byte."""
    path = tmp_path / "damaged.stgv"
    path.write_bytes(with_damaged_gop(long_file, 3))
    return path


def test_damage_is_met_where_it_is(damaged):
    with VideoDecoder(damaged, device="cpu") as decoder:
        frames = decoder.iter_frames()
        for _ in range(3 * N_FRAMES):
            next(frames)
        with pytest.raises(BitstreamError, match=r"damaged\.stgv: GoP 3"):
            next(frames)
        for index in (12, 15):  # and each time anew
            with pytest.raises(BitstreamError, match="GoP 3"):
                decoder[index]
        assert decoder[16].shape == (3, 32, 48)
        with pytest.raises(BitstreamError, match="GoP 3"):
            decoder[:]
    assert own_threads() == []


def test_damage_ahead_of_what_is_asked_for_is_nobodys_business(damaged):
    with VideoDecoder(damaged, device="cpu") as decoder:
        for start in (0, 4, 8):
            decoder[start : start + N_FRAMES]
        settle(decoder)


def read_in_child(decoder: VideoDecoder, answers) -> None:
    answers.put(decoder[:].float().mean().item())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_a_thread_of_its_own(long_file):
    """A data loader forks its workers so; they have neither the parent's thread nor what it held."""
    context = multiprocessing.get_context("fork")
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with VideoDecoder(long_file, device="cpu") as decoder:
            expected = decoder[:].float().mean().item()
            answers = context.Queue()
            child = context.Process(target=read_in_child, args=(decoder, answers))
            child.start()
            assert answers.get(timeout=60) == expected
            child.join(timeout=60)
            assert child.exitcode == 0
    finally:
        torch.set_num_threads(torch_threads)
