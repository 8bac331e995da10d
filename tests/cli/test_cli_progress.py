from __future__ import annotations

import io
import itertools
import sys

import pytest

from stgvcodec.cli.progress import LiveProgress, PlainProgress, TimeLeft, shown_progress
from stgvcodec.cli.verbosity import Verbosity
from stgvcodec.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_plain_line_says_phase_step_quality_share_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = PlainProgress("encoding", clock=clock)
    progress(Progress("gop 0: joint", frames_done=0, n_frames=40, fraction=0.01))
    capsys.readouterr()
    clock.now += 32
    progress(Progress("gop 1: joint", frames_done=10, n_frames=40, step=20, n_steps=50, psnr_db=27.123, fraction=0.25))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "encoding: gop 1: joint, step 20/50, 10 of 40 frames done, 27.12 dB, 25 %, 1 min 40 s left\n"
    )


def test_what_is_unknown_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    PlainProgress("decoding")(Progress("rendering", frames_done=3, n_frames=None))
    PlainProgress("comparing")(Progress("comparing", frames_done=3, n_frames=None))
    assert capsys.readouterr().err == "decoding: rendering, 3 frames done\ncomparing: 3 frames done\n"


def test_plain_lines_come_at_growing_intervals_up_to_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = PlainProgress("encoding", clock=clock)
    times = []
    for second in range(1200):
        clock.now = 100.0 + second
        progress(Progress("joint", frames_done=0, n_frames=1))
        if capsys.readouterr().err:
            times.append(second)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert times[0] == 0
    assert gaps[0] == 5
    assert gaps == sorted(gaps)
    assert gaps[-1] == 60


def test_what_comes_before_the_work_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = PlainProgress("encoding", clock=clock)
    for phase, fraction in (
        ("looking ahead: frame 1", 0.0),
        ("looking ahead: frame 2", 0.0),
        ("compiling kernels, once on this machine: 0 of 4 parts done", 0.0),
        ("compiling kernels, once on this machine: 1 of 4 parts done", 0.0),
        ("gop 0: joint", 0.1),
        ("gop 1: joint", 0.2),
    ):
        clock.now += 0.1
        progress(Progress(phase, frames_done=0, n_frames=1, fraction=fraction))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1].split(",")[0] for line in lines] == ["looking ahead", "compiling kernels", "gop 0"]


@pytest.mark.parametrize(
    ("elapsed", "fraction", "left"),
    [(30.0, 0.3, 105.0), (30.0, 1.0, 0.0), (30.0, None, None), (30.0, 0.0, None), (1.0, 0.5, None)],
    ids=["a part done", "all done", "unknown", "nothing done", "too early"],
)
def test_time_left(elapsed: float, fraction: float | None, left: float | None) -> None:
    """What comes before the first share of the work, here an hour, has no part in it."""
    time_left = TimeLeft()
    assert time_left.after(0.0, 0.0) is None
    assert time_left.after(0.1, 3600.0) is None
    found = time_left.after(fraction, 3600.0 + elapsed)
    assert found == (None if left is None else pytest.approx(left))


def test_the_time_left_begins_with_what_was_expected_and_forgets_it() -> None:
    time_left = TimeLeft()
    assert time_left.after(0.01, 0.0, 100.0) == pytest.approx(99.0)
    # The work takes twice as long as was expected.
    errors = [
        time_left.after(share, 200.0 * (share - 0.01), 100.0) / (200.0 * (1 - share)) for share in (0.1, 0.5, 0.9)
    ]
    assert 0.6 < errors[0] < errors[1] < errors[2] < 1.0
    assert errors[2] > 0.9


def test_quiet_shows_nothing() -> None:
    verbosity = Verbosity()
    verbosity.level = -1
    with shown_progress("encoding", verbosity) as progress:
        assert progress is None


def test_a_pipe_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with shown_progress("encoding", Verbosity()) as progress:
        assert isinstance(progress, PlainProgress)


@pytest.mark.parametrize("fraction", [0.5, None], ids=["share known", "share unknown"])
def test_a_terminal_gets_a_live_display(monkeypatch: pytest.MonkeyPatch, fraction: float | None) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    with shown_progress("encoding", Verbosity()) as progress:
        assert isinstance(progress, LiveProgress)
        progress(Progress("gop 0: [joint]", 3, 6, step=20, n_steps=50, psnr_db=27.123, fraction=fraction))
    shown = terminal.getvalue()
    for part in ("gop 0: [joint]", "step 20/50", "27.12 dB"):
        assert part in shown
    assert ("50%" in shown) == (fraction is not None)
