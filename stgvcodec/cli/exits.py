"""How a run ends: errors as one line and an exit code, signals as exceptions, which let outputs be closed."""

from __future__ import annotations

import _thread
import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType

import click

from stgvcodec.cli.hints import usage_hint
from stgvcodec.errors import CancelledError, OutputError, StgvError

EXIT_USAGE = 2
EXIT_UNEXPECTED = 70
EXIT_BROKEN_PIPE = 128 + 13
# Work has so long to end by a flag before it is interrupted.
_GRACE_SECONDS = 3.0
_DESTINATION_ERRORS = (errno.ENOSPC, errno.EROFS, errno.EFBIG)

_SIGNALS = {
    name: getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
}  # SIGHUP does not exist on Windows.


class Interrupted(BaseException):
    """A signal asked the run to end. It is no Exception, so that nothing on the way takes it for a failure.

    Attributes:
        exit_code: 128 + the number of the signal, as a shell reports it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum


def open_standard_streams() -> None:
    """Open the standard streams that the process was started without, as services are, to nowhere.

    Otherwise the first files that are opened would take their numbers, and messages would go into them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is taken.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115


class _Asked:
    """What signals have asked of this process so far.

    Work that reads a flag is told by the flag at first, and ends where it can; an exception comes if it does not end
    soon, or with a second signal. Other work gets the exception at once. While outputs are closed behind an exception,
    one more signal changes nothing, and the next one ends the process.
    """

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.flag: threading.Event | None = None
        self.reminder: threading.Timer | None = None
        self._is_raised = False
        self._n_ignored = 0

    def take(self, signum: int, _: FrameType | None) -> None:
        """Handle a signal."""
        self.numbers.append(signum)
        if self.flag is not None and not self.flag.is_set():
            self.flag.set()
            self.reminder = threading.Timer(_GRACE_SECONDS, _ask_again, (signum,))
            self.reminder.daemon = True
            self.reminder.start()
            return
        if not self._is_raised:
            self._is_raised = True
            raise Interrupted(self.numbers[0])
        self._n_ignored += 1
        if self._n_ignored > 1:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)


_asked = _Asked()


@contextlib.contextmanager
def raised_signals() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into `Interrupted` inside the block, or set the flag of `interruptible` first.

    A signal that the parent process chose to ignore (nohup) stays ignored. Outside the main thread nothing changes,
    since Python allows handlers only there.
    """
    global _asked
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    before = {number: signal.getsignal(number) for number in _SIGNALS.values()}
    caught = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    _asked = _Asked()
    for number in caught:
        signal.signal(number, _asked.take)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, before[number])


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Give work that looks at a flag again and again the time to end by it when a signal comes.

    Yields:
        The flag, to be handed on as `cancel`. The `CancelledError` that comes of it leaves as `Interrupted`.
    """
    asked, flag = _asked, threading.Event()
    asked.flag = flag
    try:
        yield flag
    except CancelledError as error:
        if not asked.numbers:
            raise
        interrupted = Interrupted(asked.numbers[0])
        for note in getattr(error, "__notes__", []):
            interrupted.add_note(note)
        raise interrupted from error
    finally:
        asked.flag = None
        if asked.reminder is not None:
            asked.reminder.cancel()


def _ask_again(signum: int) -> None:
    """Repeat a signal whose flag was not looked at for a while, as in reading from a pipe that nobody writes to."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signum)
    else:
        _thread.interrupt_main(signal.Signals(signum))


def leave(exit_code: int) -> int:
    """Return the exit code, or end the process with it where threads would hold it up, as compilers do for seconds."""
    others = (thread for thread in threading.enumerate() if thread is not threading.current_thread())
    if any(not thread.daemon for thread in others):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(exit_code)
    return exit_code


def exit_code_of(error: BaseException, *, traceback_wanted: bool, arguments: Sequence[str] = ()) -> int:
    """Print the one line that an error deserves on stderr, and return its exit code.

    Args:
        error: The exception that ended the run.
        arguments: Arguments of the process, by which a wrong use is explained.
        traceback_wanted: Whether an unexpected error is shown in full.

    Returns:
        The process's exit code.
    """
    if _is_broken_pipe(error):
        _silence_standard_streams()
        return EXIT_BROKEN_PIPE
    try:
        return _report(error, traceback_wanted=traceback_wanted, arguments=arguments)
    except BrokenPipeError:
        _silence_standard_streams()
        return EXIT_BROKEN_PIPE


def error_line(error: Exception, name: str) -> str:
    """Return what went wrong with one of several files in one line that begins with its name."""
    is_known = isinstance(error, StgvError)
    what = str(error) if is_known else f"unexpected {type(error).__name__}: {error}"
    text = " ".join("; ".join((what, *getattr(error, "__notes__", []))).split())
    return text if text.startswith(name) else f"{name}: {text}"


def exit_code_for(error: Exception) -> int:
    """Return the exit code of an error that ends a run."""
    return error.exit_code if isinstance(error, StgvError) else EXIT_UNEXPECTED


def _report(error: BaseException, *, traceback_wanted: bool, arguments: Sequence[str]) -> int:
    # Notes say what an encode has left.
    notes: list[str] = getattr(error, "__notes__", [])
    if isinstance(error, KeyboardInterrupt):
        error = Interrupted(signal.SIGINT)
    if isinstance(error, Interrupted):
        print_error("; ".join((str(error), *(notes or ["unfinished output was removed"]))))
        return error.exit_code
    if isinstance(error, StgvError):
        print_error("; ".join((str(error), *notes)))
        return error.exit_code
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "stgvcodec"
        hint = usage_hint(error, arguments) if isinstance(error, click.UsageError) else None
        print_error(f"{hint or error.format_message().rstrip('.')}; see '{path} --help'")
        return EXIT_USAGE
    if isinstance(error, OSError) and error.errno in _DESTINATION_ERRORS and not traceback_wanted:
        advice = "free some space or choose another destination"
        print_error("; ".join((f"output cannot be written: {error.strerror}", advice, *notes)))
        return OutputError.exit_code
    if traceback_wanted:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    else:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        print_error("; ".join((f"unexpected {what}", *notes, "run the same command with -v for the traceback")))
    return EXIT_UNEXPECTED


def print_error(message: str) -> None:
    """Print an error on stderr, in one line."""
    click.echo(f"stgvcodec: error: {' '.join(message.split())}", err=True)


def _is_broken_pipe(error: BaseException) -> bool:
    # An output error may be a broken pipe too: the reader of stderr went away while a file was being written.
    return isinstance(error.__cause__ if isinstance(error, StgvError) else error, BrokenPipeError)


def _silence_standard_streams() -> None:
    """Point stdout and stderr where their last buffered bytes can go, so that the interpreter's exit stays quiet."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
            continue
        with contextlib.suppress(OSError, ValueError):
            os.dup2(null, stream.fileno())
    os.close(null)
