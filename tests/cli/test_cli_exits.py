from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import stgvcodec.cli.exits as exits
from stgvcodec.errors import (
    BackendUnavailableError,
    BitstreamError,
    CancelledError,
    ConfigError,
    InputVideoError,
    OutputError,
    StgvError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StgvError("what, got, expected"), 1),
        (ConfigError("what, got, expected"), 2),
        (InputVideoError("what, got, expected"), 3),
        (BitstreamError("what, got, expected", section="header"), 4),
        (OutputError("what, got, expected"), 5),
        (BackendUnavailableError("what, got, expected"), 6),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
@pytest.mark.parametrize("traceback_wanted", [False, True], ids=["plain", "-v"])
def test_a_users_error_is_one_line_and_its_code(capsys, error: StgvError, code: int, traceback_wanted: bool) -> None:
    assert exits.exit_code_of(error, traceback_wanted=traceback_wanted) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"stgvcodec: error: {error}\n"


def test_a_message_of_several_lines_is_put_on_one(capsys) -> None:
    exits.exit_code_of(InputVideoError("first\nsecond\r\nthird"), traceback_wanted=False)
    assert capsys.readouterr().err == "stgvcodec: error: first second third\n"


def test_a_bug_is_one_line_that_asks_for_v(capsys) -> None:
    assert exits.exit_code_of(KeyError("x"), traceback_wanted=False) == 70
    assert capsys.readouterr().err == (
        "stgvcodec: error: unexpected KeyError: 'x'; run the same command with -v for the traceback\n"
    )


def test_a_bug_has_a_traceback_with_v(capsys) -> None:
    with pytest.raises(KeyError) as caught:
        {}["x"]
    assert exits.exit_code_of(caught.value, traceback_wanted=True) == 70
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):")
    assert err.endswith("KeyError: 'x'\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_becomes_an_exception_and_a_line(capsys, name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with pytest.raises(exits.Interrupted) as caught, exits.raised_signals():
        signal.raise_signal(number)
    assert signal.getsignal(number) == before
    assert exits.exit_code_of(caught.value, traceback_wanted=True) == 128 + number
    assert capsys.readouterr().err == f"stgvcodec: error: interrupted by {name}; unfinished output was removed\n"


def run(work: Callable[[threading.Event], None], *, reads_flag: bool) -> None:
    """Run a piece of work as a command does; without a flag of its own it gets one that nobody sets."""
    flagged = exits.interruptible() if reads_flag else contextlib.nullcontext(threading.Event())
    with exits.raised_signals(), flagged as flag:
        work(flag)


def test_work_that_reads_a_flag_ends_by_it(capsys) -> None:
    def work(flag: threading.Event) -> None:
        signal.raise_signal(signal.SIGTERM)
        assert flag.is_set()
        error = CancelledError("cancelled by the caller")
        error.add_note("2 finished GoPs are kept")
        raise error

    with pytest.raises(exits.Interrupted) as caught:
        run(work, reads_flag=True)
    assert exits.exit_code_of(caught.value, traceback_wanted=False) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "stgvcodec: error: interrupted by SIGTERM; 2 finished GoPs are kept\n"


def test_what_its_caller_cancelled_stays_cancelled() -> None:
    def work(_: threading.Event) -> None:
        raise CancelledError("enough")

    with pytest.raises(CancelledError):
        run(work, reads_flag=True)


def test_work_that_does_not_look_at_its_flag_is_interrupted(monkeypatch) -> None:
    def work(_: threading.Event) -> None:
        signal.raise_signal(signal.SIGINT)
        time.sleep(600)

    monkeypatch.setattr(exits, "_GRACE_SECONDS", 0.05)
    with pytest.raises(exits.Interrupted):
        run(work, reads_flag=True)


def test_a_second_signal_does_not_wait_for_the_flag() -> None:
    def work(_: threading.Event) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(exits.Interrupted) as caught:
        run(work, reads_flag=True)
    assert caught.value.exit_code == 128 + signal.SIGINT


@pytest.mark.parametrize("reads_flag", [True, False])
def test_outputs_are_closed_whatever_comes_meanwhile(*, reads_flag: bool) -> None:
    closed = []

    def work(_: threading.Event) -> None:
        try:
            for _ in range(2 if reads_flag else 1):
                signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            closed.append("output")

    with pytest.raises(exits.Interrupted):
        run(work, reads_flag=reads_flag)
    assert closed == ["output"]


def test_what_will_not_be_closed_is_ended_by_one_more() -> None:
    script = (
        "import signal\n"
        "from stgvcodec.cli import exits\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with exits.raised_signals():\n"
        "    try:\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "    finally:\n"
        "        while True:\n"
        "            signal.raise_signal(signal.SIGINT)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGINT


@pytest.mark.parametrize("is_daemon", [True, False], ids=["none", "a compiler"])
def test_a_thread_does_not_hold_up_an_interrupted_process(is_daemon: bool) -> None:
    script = (
        "import sys, threading, time\n"
        "from stgvcodec.cli.exits import leave\n"
        f"threading.Thread(target=time.sleep, args=(3600,), daemon={is_daemon}).start()\n"
        "print('said')\n"
        "sys.exit(leave(130))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "said\n")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyboardInterrupt(), "interrupted by SIGINT; 2 are kept"),
        (exits.Interrupted(signal.SIGTERM), "interrupted by SIGTERM; 2 are kept"),
        (OutputError("the disk is full"), "the disk is full; 2 are kept"),
        (
            OSError(errno.ENOSPC, "full"),
            "output cannot be written: full; free some space or choose another destination",
        ),
        (KeyError("x"), "unexpected KeyError: 'x'; 2 are kept; run the same command with -v for the traceback"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_notes_say_what_an_encode_has_left(capsys, error: BaseException, line: str) -> None:
    error.add_note("2 are kept")
    exits.exit_code_of(error, traceback_wanted=False)
    assert capsys.readouterr().err.startswith(f"stgvcodec: error: {line}")


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with exits.raised_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_leave_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with exits.raised_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_is_gone_is_no_error(tmp_path: Path, stream: str) -> None:
    arguments = ["--help"] if stream == "stdout" else ["info", str(tmp_path / "missing")]
    # The reader goes before there is anything to read: else a process on a busy machine could be done first.
    reader, writer = os.pipe()
    os.close(reader)
    other = "stderr" if stream == "stdout" else "stdout"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "stgvcodec", *arguments], **{stream: writer, other: subprocess.PIPE}
        )
    finally:
        os.close(writer)
    assert getattr(done, other) == b""
    assert done.returncode == 141


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&- 2>&-", "2>&-", ">&-"], ids=["all", "both", "errors", "output"])
def test_without_standard_streams_nothing_goes_into_the_output(encoded, tmp_path, closed):
    """The first file that is opened would take the number of a stream that is closed."""
    expected, output = tmp_path / "expected.y4m", tmp_path / "out.y4m"
    decode = f"{sys.executable} -m stgvcodec decode {encoded} --frames 0:2 --device cpu"

    subprocess.run(["sh", "-c", f"{decode} {expected}"], check=True, capture_output=True)
    done = subprocess.run(["sh", "-c", f"{decode} {output} {closed}"], check=False)

    assert done.returncode == 0
    assert output.read_bytes() == expected.read_bytes()
