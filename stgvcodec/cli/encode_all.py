"""`stgvcodec encode INPUT... -o FOLDER`: videos to files of their names, with failures told at the end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stgvcodec.cli import output
from stgvcodec.cli.encode_texts import gop_table, line, plan_text, summary
from stgvcodec.cli.exits import error_line, exit_code_for, interruptible, print_error
from stgvcodec.cli.hints import check_paths, is_address, known_address
from stgvcodec.cli.overwriting import check_overwrite
from stgvcodec.cli.pipes import STANDARD_STREAM, is_pipe
from stgvcodec.cli.progress import shown_progress
from stgvcodec.cli.verbosity import Verbosity
from stgvcodec.errors import ConfigError, OutputError, StgvError

if TYPE_CHECKING:
    from stgvcodec.encoder.reports import EncodePlan, EncodeReport


class SomeFailedError(StgvError):
    """Some of several videos were not encoded.

    Attributes:
        exit_code: That of all failures, or 1 where they differ.
    """

    def __init__(self, message: str, exit_codes: set[int]) -> None:
        super().__init__(message)
        self.exit_code = exit_codes.pop() if len(exit_codes) == 1 else StgvError.exit_code


def encode_all(
    sources: Sequence[Path],
    folder: Path,
    verbosity: Verbosity,
    options: Mapping[str, Any],
    *,
    device: str,
    backend: str,
    jobs: int | None,
    engine: str,
    resume: bool,
    json_path: Path | None,
    yes: bool,
    no: bool,
) -> None:
    """Encode videos into a folder.

    Args:
        sources: The videos.
        folder: The folder, which is made if it is not there.
        verbosity: Level of what is said.
        options: Arguments of `encode_by` that are the same for all.
        device: As `encode` takes it.
        backend: As `encode` takes it.
        jobs: As `encode` takes it.
        engine: As `encode` takes it.
        resume: Whether part files are continued, and complete files left as they are.
        json_path: File for the reports.
        yes: Whether files that are there are overwritten.
        no: Whether they end the run.

    Raises:
        ConfigError: the names do not do.
        OutputError: the folder cannot be made, or a file is there.
        SomeFailedError: some videos were not encoded.
    """
    from stgvcodec.encoder.complete_file import check_complete
    from stgvcodec.encoder.encode_several import encode_several, outputs_in
    from stgvcodec.media.durable import part_path

    _check_names(sources, folder)
    # What is wrong with one of the names is told at the end, as all that is wrong with one video.
    wrong: dict[Path | str, Exception] = {
        source: error for source in sources if (error := _refusal(source, folder)) is not None
    }
    named = [source for source in sources if source not in wrong]
    outputs = outputs_in(folder, named)
    output.check_json_path(json_path, *sources, *outputs)
    pairs: list[tuple[Path | str, Path]] = [
        (known_address(source) or source, destination) for source, destination in zip(named, outputs, strict=True)
    ]
    if resume:
        there = [pair for pair in pairs if pair[1].is_file() and not part_path(pair[1]).exists()]
        pairs = [pair for pair in pairs if pair not in there]
        for pair in list(there):
            try:
                check_complete(pair[1], pair[0], **options)
            except StgvError as error:
                wrong[pair[0]] = error
                there.remove(pair)
        if there and verbosity.level >= 0:
            click.echo(f"{output.counted(len(there), 'file')} complete already", err=True)
    else:
        for source, destination in pairs:
            check_overwrite(Path(source), destination, yes=yes, no=no)
    check_overwrite(sources[0], json_path, yes=yes, no=no)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made a folder: {error.strerror}") from error

    def on_plan(source: Path | str, plan: EncodePlan) -> None:
        click.echo(f"{output.name(source)}\n{plan_text(plan)}", err=True)

    def on_report(report: EncodeReport) -> None:
        if verbosity.level >= 0:
            text = line(report) if verbosity.level == 0 else f"{summary(report)}\n{gop_table(report, with_costs=True)}"
            output.print_beside(text, Path(report.path), json_path)

    with shown_progress("encoding", verbosity) as progress, interruptible() as cancel:
        report = encode_several(
            pairs,
            options={**options, "resume": True if resume else False if yes else None},
            device=device,
            backend=backend,
            jobs=jobs,
            engine=engine,
            progress=progress,
            on_plan=None if verbosity.level < 0 else on_plan,
            on_report=on_report,
            cancel=cancel,
        )
    failed: dict[Path | str, Exception] = {**wrong, **{each.source: each.error for each in report.failed}}
    messages = {source: error_line(error, str(source)) for source, error in failed.items()}
    output.write_json(
        json_path,
        {"encoded": report.encoded, "failed": [{"path": path, "error": text} for path, text in messages.items()]},
    )
    if failed:
        for text in messages.values():
            print_error(text)
        codes = {exit_code_for(error) for error in failed.values()}
        were = "was" if len(failed) == 1 else "were"
        raise SomeFailedError(f"{len(failed)} of {output.counted(len(sources), 'video')} {were} not encoded", codes)


def _check_names(sources: Sequence[Path], folder: Path) -> None:
    """Refuse what has no name of its own, and a folder that looks like a file."""
    from stgvcodec.media.numbered import NumberedName, globbed

    if folder.suffix.lower() == ".stgv" and not folder.is_dir():
        raise ConfigError(f"-o {folder}: is to be a folder; for one file leave -o out: stgvcodec encode INPUT {folder}")
    if is_address(folder):
        raise ConfigError(f"-o {folder}: is an address, expected a folder of this machine; give one address as OUTPUT")
    for source in sources:
        if os.fspath(source) == STANDARD_STREAM or is_pipe(source):
            raise ConfigError(f"{source}: a pipe has no name for a file in {folder}; encode it to OUTPUT, without -o")
        if not source.exists() and (NumberedName.parse(source) is not None or globbed(source) is not None):
            raise ConfigError(f"{source}: stands for several images; encode them to OUTPUT, without -o")


def _refusal(source: Path, folder: Path) -> ConfigError | None:
    """Return what is wrong with the name of a video, if anything is."""
    try:
        check_paths("encode", source, folder / f"{source.stem}.stgv")
    except ConfigError as error:
        return error
    return None
