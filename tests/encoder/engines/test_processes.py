"""Processes for several devices: here they are all on the CPU, and `own_environment` is what makes one for a GPU."""

from __future__ import annotations

import dataclasses
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from clips import files_under, moving_clip
from fits import CPU, TINY, gop_config

from stgvcodec import EncodeConfig, StgvError, encode
from stgvcodec.encoder.encode_gop import encode_gop
from stgvcodec.encoder.engines import processes, worker
from stgvcodec.encoder.engines.gop_job import FitProgress, GopJob
from stgvcodec.encoder.engines.processes import Processes
from stgvcodec.encoder.step_costs import StepCosts
from stgvcodec.errors import CancelledError
from stgvcodec.fit.phases import Phase

FIXED = {"preset": "tiny", "n_gaussians": 30, "scene_cut": False}


@pytest.fixture
def started(monkeypatch) -> list[subprocess.Popen]:
    """The processes in the order in which they were started."""
    seen: list[subprocess.Popen] = []
    popen = subprocess.Popen

    def watched(*arguments, **options) -> subprocess.Popen:
        seen.append(popen(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(processes.subprocess, "Popen", watched)
    yield seen
    assert all(process.poll() is not None for process in seen)


def make_job(index: int = 0, **values: object) -> GopJob:
    return GopJob(index, moving_clip(2), None, gop_config("compact", **values), 5, StepCosts())


def make_long_job(index: int = 0) -> GopJob:
    """A fit that still goes on when what it told first has ended its process, on a busy machine too."""
    return make_job(index, preset=dataclasses.replace(TINY, phases=(Phase("joint", frames="all", n_steps=3000),)))


def no_check() -> None:
    return


def killer(started: list[subprocess.Popen], n_kills: int) -> Callable[[FitProgress], None]:
    """What is told of a fit kills the process that was started last, so many times."""
    killed: set[int] = set()

    def tell(_: FitProgress) -> None:
        if len(killed) < n_kills and started[-1].pid not in killed:
            killed.add(started[-1].pid)
            started[-1].kill()

    return tell


@pytest.mark.parametrize(
    "options", [{"n_gaussians": 30}, pytest.param({"bpp_target": 6.0}, marks=pytest.mark.slow)], ids=str
)
def test_a_file_is_the_same_as_by_threads(tmp_path, started, options):
    """With a target plans depend on how many GoPs are planned ahead: twice as many as there are processes."""
    config = EncodeConfig(preset="tiny", gop=2, **options)
    plans, frames = [], moving_clip(9)
    for name, device, jobs in (("threads", "cpu", 4), ("processes", "cpu,cpu", 1)):
        path = tmp_path / f"{name}.stgv"
        report = encode(frames, path, config=config, fps=25, device=device, jobs=jobs, plan=plans.append)

    assert (tmp_path / "threads.stgv").read_bytes() == (tmp_path / "processes.stgv").read_bytes()
    assert len(started) == 2
    assert (report.device, report.backend) == ("cpu,cpu", "numba")
    assert (plans[0].devices, plans[0].gops_at_once) == (("cpu",), 4)
    assert (plans[1].devices, plans[1].gops_at_once) == (("cpu", "cpu"), 2)


def test_no_more_processes_are_started_than_there_are_gops(tmp_path, started):
    encode(moving_clip(4), tmp_path / "a.stgv", config=EncodeConfig(gop=2, **FIXED), fps=25, device="cpu,cpu,cpu")
    assert len(started) == 2


def test_a_process_that_dies_costs_its_gop_s_time_and_nothing_else(started, caplog):
    job = make_long_job(4)
    with Processes([CPU], "numba", 1) as engine:
        engine.start(None)
        payload = engine.fit(job, killer(started, 1), no_check)

    assert payload.bytes == encode_gop(job.frames, job.config, job.seed).bytes
    assert len(started) == 2
    (record,) = caplog.records
    assert record.getMessage() == ("the process that fitted GoP 4 on cpu ended (signal SIGKILL); it is fitted anew")


def test_a_device_on_which_every_process_dies_is_left_to_the_others(started, caplog):
    """The first device has the first process, and the third in its place."""

    def tell(_: FitProgress) -> None:
        for process in started[0:3:2]:
            process.kill()

    with Processes([CPU, CPU], "numba", 1) as engine:
        engine.start(None)
        payload = engine.fit(make_long_job(), tell, no_check)
        again = engine.fit(make_long_job(), None, no_check)

    assert payload.bytes == again.bytes
    assert len(started) == 3
    assert "cpu is not used any more: one process after the other ended on it" in caplog.text


def test_a_process_that_died_while_it_had_nothing_to_do_costs_no_gop(started, caplog):
    with Processes([CPU], "numba", 1) as engine:
        engine.start(None)
        started[0].kill()
        started[0].wait()
        while not engine._seats[0].process.is_lost:
            time.sleep(0.001)
        assert engine.fit(make_job(), None, no_check).stats.n_gaussians == 60
    assert len(started) == 2
    assert not caplog.records


@pytest.mark.slow
def test_a_gop_that_no_process_survives_is_named(started):
    with Processes([CPU, CPU], "numba", 1) as engine:
        engine.start(None)

        def tell(_: FitProgress) -> None:
            next(seat for seat in engine._seats if seat.n_busy).process._process.kill()

        with pytest.raises(StgvError, match=r"^GoP 0: 3 processes that fitted it ended, the last by signal SIGKILL"):
            engine.fit(make_long_job(), tell, no_check)
        with pytest.raises(StgvError, match="the processes that fit GoPs end on every device"):
            engine.fit(make_long_job(), tell, no_check)


def test_what_a_fit_raises_is_raised_here_with_its_place(started):
    with Processes([CPU], "numba", 1) as engine:
        engine.start(None)
        with pytest.raises(StgvError, match="a field of encoding 'static' cannot be") as refused:
            engine.fit(make_job(encoding="static"), None, no_check)
        assert "in fit_gop" in str(refused.value.__cause__)
        # The process is as good as before.
        assert engine.fit(make_job(), None, no_check).stats.n_gaussians == 60
    assert len(started) == 1


def test_a_fit_that_nobody_wants_any_more_ends_and_leaves_the_process_free(started):
    phases = tuple(dataclasses.replace(phase, n_steps=10**6) for phase in TINY.phases)
    lasting = make_job(preset=dataclasses.replace(TINY, phases=phases))
    with Processes([CPU], "numba", 1) as engine:
        engine.start(None)
        told = []

        def check() -> None:
            if told:
                raise CancelledError("enough")

        with pytest.raises(CancelledError, match="enough"):
            engine.fit(lasting, told.append, check)
        assert engine.fit(make_job(), None, no_check).stats.n_gaussians == 60
    assert len(started) == 1


def test_the_lowest_gop_that_waits_is_begun_first(started):
    """One process, and four GoPs that come while it is busy."""
    done: list[int] = []
    with Processes([CPU], "numba", 1) as engine:
        engine.start(None)

        def fit(index: int) -> None:
            engine.fit(make_job(index), None, no_check)
            done.append(index)

        threads = [threading.Thread(target=fit, args=(index,)) for index in (9, 7, 3, 8, 5)]
        threads[0].start()
        while not engine._seats[0].n_busy:
            time.sleep(0.001)
        for thread in threads[1:]:
            thread.start()
        for thread in threads:
            thread.join()
    assert done == [9, 3, 5, 7, 8]


@pytest.mark.slow
def test_an_encode_that_is_cancelled_leaves_no_process_and_keeps_what_was_finished(tmp_path, started):
    cancel = threading.Event()
    config = EncodeConfig(gop=2, **FIXED)

    def watch(progress) -> None:
        if progress.phase == "gop 1: finished":
            cancel.set()

    with pytest.raises(CancelledError):
        encode(
            moving_clip(12), tmp_path / "a.stgv", config=config, fps=25, device="cpu,cpu", progress=watch, cancel=cancel
        )

    assert files_under(tmp_path) == ["a.stgv.part"]
    report = encode(moving_clip(12), tmp_path / "a.stgv", config=config, fps=25, device="cpu", resume=True)
    assert report.n_gops_from_before >= 2


def test_lines_of_the_log_come_here(caplog):
    """The handler of a process sends what this one then logs by the same name."""
    sent = []

    class Told:
        def answer(self, kind, number, value) -> None:
            sent.append(pickle.loads(pickle.dumps((kind, value))))

    record = logging.LogRecord("stgvcodec.fit.trainer", logging.WARNING, "", 0, "%d steps", (7,), None)
    worker._Sender(Told()).handle(record)
    ((kind, line),) = sent
    assert kind == "log"

    processes._log(line)
    assert caplog.record_tuples == [("stgvcodec.fit.trainer", logging.WARNING, "7 steps")]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=str)
def test_processes_end_with_the_command_that_started_them(tmp_path, signum):
    """Ctrl-C on a terminal goes to all processes of its group; those that fit are in none of them."""
    frames = tmp_path / "in.y4m"
    with frames.open("wb") as file:
        file.write(b"YUV4MPEG2 W32 H32 F25:1 C444\n")
        for frame in moving_clip(12, 32, 32):
            file.write(b"FRAME\n" + frame.transpose(2, 0, 1).tobytes())
    command = [sys.executable, "-m", "stgvcodec", "encode", str(frames), str(tmp_path / "a.stgv"), "--device=cpu,cpu"]
    options = ["--gaussians=30", "--gop=2", "--preset=veryslow"]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        for line in process.stderr:
            if "gop 0: " in line:
                break
        workers = [pid for pid in children(process.pid) if "worker.main" in Path(f"/proc/{pid}/cmdline").read_text()]
        os.killpg(process.pid, signum)
        process.wait(60)
    assert process.returncode == (-signum if signum == signal.SIGKILL else 128 + signum)
    assert len(workers) == 2
    deadline = time.monotonic() + 60
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, workers))
