"""The command `stgvcodec verify`."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from stgvcodec.cli import options, output, paths
from stgvcodec.cli.pipes import spooled
from stgvcodec.cli.sections import SectionedCommand
from stgvcodec.cli.verbosity import Verbosity, verbosity_options
from stgvcodec.errors import BitstreamError, InputVideoError


@dataclass
class Verdict:
    """What `verify` says of a file.

    Attributes:
        path: The file, as it was named.
        ok: Whether the file is in order.
        error: What is wrong, with the name of the file and the place; None where nothing is.
        section: Part of the file that is wrong; None where nothing is, or where the file cannot be opened.
        offset: Byte offset in the file of what is wrong; None likewise.
        file_bytes: Size of the file, bytes; None where it cannot be opened, or is damaged so that its index is lost.
        n_chunks: Number of chunks between file header and index; None likewise.
        n_gops: Number of GoPs; None likewise.
        n_frames: Number of frames; None likewise.
    """

    path: str
    ok: bool = True
    error: str | None = None
    section: str | None = None
    offset: int | None = None
    file_bytes: int | None = None
    n_chunks: int | None = None
    n_gops: int | None = None
    n_frames: int | None = None


@click.command("verify", cls=SectionedCommand, short_help="Check .stgv files without rendering them.")
@click.argument("files", metavar="FILE...", type=paths.ENCODED_PATH, nargs=-1, required=True)
@options.json_flag
@verbosity_options
def verify_command(verbosity: Verbosity, files: tuple[Path, ...], *, as_json: bool) -> None:
    """Check every byte of each .stgv FILE: structure, checksums and all symbols. Nothing is rendered.

    A line a file says "ok", or what is wrong first, with its byte offset. The exit code is 0 where all files are in
    order, 4 where one is damaged, else 3 where one cannot be read. One FILE may be - or a named pipe.
    """
    exit_code = 0
    verdicts: list[Verdict] = []
    for file in files:
        verdict, code = checked(file)
        exit_code = max(exit_code, code)
        verdicts.append(verdict)
        if not as_json:
            output.print_result(verdict.error or f"{output.name(file)}: ok")
    if as_json:
        output.print_result(output.json_text([asdict(verdict) for verdict in verdicts]))
    if exit_code:
        raise click.exceptions.Exit(exit_code)


def checked(file: Path) -> tuple[Verdict, int]:
    """Check a file; return what to say of it, and the exit code that it asks for."""
    from stgvcodec.bitstream.container.reader import StgvReader
    from stgvcodec.bitstream.container.verification import verify
    from stgvcodec.ops.threads import run_chunks

    verdict = Verdict(output.name(file))
    try:
        with spooled(file) as readable, StgvReader(readable) as reader:
            verdict.file_bytes, verdict.n_frames = reader.file_bytes, reader.n_frames
            verdict.n_chunks, verdict.n_gops = len(reader.chunks), len(reader.gops)
            verify(reader, run=run_chunks)
    except BitstreamError as error:
        # What came through a pipe was read from a copy, whose name says nothing.
        error = error.in_file(os.fspath(file))
        verdict.ok, verdict.error, verdict.section, verdict.offset = False, str(error), error.section, error.offset
        return verdict, error.exit_code
    except InputVideoError as error:
        verdict.ok, verdict.error = False, str(error)
        return verdict, error.exit_code
    return verdict, 0
