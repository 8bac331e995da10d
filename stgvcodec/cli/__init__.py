"""The command line, one file a command, parses, calls the public API and prints; no torch until a command runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from stgvcodec._version import __version__
from stgvcodec.cli.compare import compare_command
from stgvcodec.cli.completion import answered_shell, completion_command
from stgvcodec.cli.conformance import conformance_command
from stgvcodec.cli.decode import decode_command
from stgvcodec.cli.demo import demo_command
from stgvcodec.cli.doctor import doctor_command
from stgvcodec.cli.encode import encode_command
from stgvcodec.cli.exits import Interrupted, exit_code_of, leave, open_standard_streams, raised_signals
from stgvcodec.cli.info import info_command
from stgvcodec.cli.inspect import inspect_command
from stgvcodec.cli.play import play_command
from stgvcodec.cli.rd import rd_command
from stgvcodec.cli.serve import serve_command
from stgvcodec.cli.verbosity import Verbosity, logging_to_stderr
from stgvcodec.cli.verify import verify_command

__all__ = ["main"]


@click.group(
    invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="stgvcodec")
@click.pass_context
def commands(context: click.Context) -> None:
    """Neural video codec: 2D Gaussians and a deformation field per group of pictures, in one seekable file.

    INPUT and OUTPUT are video files or folders of images. decode makes a folder of PNGs where OUTPUT has no suffix.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (
    encode_command,
    decode_command,
    play_command,
    serve_command,
    info_command,
    inspect_command,
    verify_command,
    compare_command,
    rd_command,
    conformance_command,
    demo_command,
    doctor_command,
    completion_command,
):
    commands.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Arguments without the program's name; by default those of the process.

    Returns:
        The exit code: 0, that of the `StgvError`, 2 for a wrong use, 70 for a bug, 128 + signal when interrupted.
    """
    open_standard_streams()
    verbosity = Verbosity()
    if answered_shell(commands):
        return 0
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        # click's own `main` is not called: it has other ideas of how errors, signals and closed pipes end a run.
        with (
            raised_signals(),
            logging_to_stderr(),
            commands.make_context("stgvcodec", given, obj=verbosity) as context,
        ):
            commands.invoke(context)
            sys.stdout.flush()
    except click.exceptions.Exit as finished:
        return finished.exit_code
    except BaseException as error:
        exit_code = exit_code_of(error, traceback_wanted=verbosity.level > 0, arguments=given)
        return leave(exit_code) if arguments is None and isinstance(error, Interrupted) else exit_code
    return 0
