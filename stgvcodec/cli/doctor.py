"""The command `stgvcodec doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stgvcodec.cli import options, output
from stgvcodec.cli.sections import SectionedCommand
from stgvcodec.cli.verbosity import Verbosity, verbosity_options

if TYPE_CHECKING:
    from stgvcodec.evaluation.backend_trials import Trial
    from stgvcodec.evaluation.diagnosis import Diagnosis
    from stgvcodec.ops.kernel_cache import KernelCache

_CHOSEN_BY = {"package": "the package's own folder", "user": "the user's cache folder"}


@click.command("doctor", cls=SectionedCommand, short_help="Say what works on this machine, and what mends the rest.")
@click.option(
    "--quick",
    is_flag=True,
    help="Run no back end. That takes seconds, or minutes where kernels are compiled first.",
)
@options.json_flag
@verbosity_options
def doctor_command(verbosity: Verbosity, *, quick: bool, as_json: bool) -> None:
    """Say which versions are here, which GPUs, and where compiled kernels are kept, and try every back end.

    A tiny clip is encoded by the back end that --device auto takes, and decoded by every one. What is missing comes
    with the command that adds it. The exit code is 0 where encode and decode work, else 1.
    """
    from stgvcodec.evaluation.diagnosis import diagnose

    def note(text: str) -> None:
        if verbosity.level >= 0:
            click.echo(f"doctor: {text}", err=True)

    found = diagnose(with_trials=not quick, note=note)
    output.print_result(output.json_text(found) if as_json else "\n\n".join(sections(found)))
    if not found.works:
        raise click.exceptions.Exit(1)


def sections(found: Diagnosis) -> list[str]:
    """Return what was found, a section each: versions, GPUs, back ends, folders, what FFmpeg and players do, extras."""
    parts = [_titled("installed", _components(found)), _titled("GPUs", _gpus(found))]
    if found.trials is not None:
        parts.append(_titled("back ends", [_trial(trial) for trial in found.trials] or [("none", "could be tried")]))
    parts += [
        _titled("folders", _folders(found)),
        _titled("around it", _surroundings(found)),
        _titled("optional", _extras(found)),
    ]
    if found.remedies:
        parts.append("to mend\n" + "\n".join(f"  {what}:\n    {command}" for what, command in found.remedies))
    return [*parts, _verdict(found)]


def _titled(title: str, pairs: list[tuple[str, str]]) -> str:
    return f"{title}\n{output.facts(pairs)}"


def _components(found: Diagnosis) -> list[tuple[str, str]]:
    pairs = []
    for component in found.components:
        said = [component.version or "not installed", component.detail, component.problem or ""]
        pairs.append((component.name, ", ".join(filter(None, said))))
    return pairs


def _gpus(found: Diagnosis) -> list[tuple[str, str]]:
    pairs = [("none", found.gpu_obstacle or "")] if not found.gpus else []
    for number, gpu in enumerate(found.gpus):
        capability = ".".join(map(str, gpu.capability))
        runs = gpu.triton_obstacle or "runs the kernels of triton"
        text = f"{gpu.name}, {output.size(gpu.memory_bytes)}, compute capability {capability}; {runs}"
        pairs.append((f"cuda:{number}", text))
    if found.gpus and found.gpu_obstacle:
        pairs.append(("not used", found.gpu_obstacle))
    if found.driver:
        pairs.append(("driver", found.driver))
    return pairs


def _trial(trial: Trial) -> tuple[str, str]:
    name = f"{trial.backend} on {trial.device}"
    if trial.reason is not None:
        return name, f"does not run: {trial.reason}"
    what = "encodes and decodes" if trial.encodes else "decodes"
    return name, f"{what}, {output.duration(trial.seconds)}"


def _folders(found: Diagnosis) -> list[tuple[str, str]]:
    temporary = found.temporary_folder
    return [
        *((f"kernels of {cache.compiler}", _folder(cache)) for cache in found.caches),
        ("temporary files", "none can be written" if temporary is None else output.name(temporary)),
    ]


def _folder(cache: KernelCache) -> str:
    why = _CHOSEN_BY.get(cache.chosen_by, cache.chosen_by)
    if cache.is_writable and cache.path is not None:
        return f"{output.name(cache.path)} ({why})"
    tried = "" if cache.path is None else f" {output.name(cache.path)} ({why})"
    instead = "they are compiled in every run" if cache.compiler == "numba" else "they cannot be compiled"
    return f"cannot write{tried or ' any folder'}: {instead}"


def _surroundings(found: Diagnosis) -> list[tuple[str, str]]:
    missing = [name for name, is_there in found.encoders.items() if not is_there]
    there = ", ".join(name for name, is_there in found.encoders.items() if is_there) or "none"
    players = ", ".join(f"{name} ({output.name(Path(path))})" for name, path in found.players.items())
    return [
        ("encoders", f"{there}; not there: {', '.join(missing)}" if missing else there),
        ("players", players or "neither mpv nor ffplay is on the PATH"),
    ]


def _extras(found: Diagnosis) -> list[tuple[str, str]]:
    return [
        (
            extra.name,
            f"{extra.purpose}: lacks {', '.join(extra.missing)}; {extra.command}"
            if extra.missing
            else f"{extra.purpose}: there",
        )
        for extra in found.extras
    ]


def _verdict(found: Diagnosis) -> str:
    if found.trials is None:
        return "nothing is known to be in the way" if found.works else "encode and decode do not work here"
    best = next((trial for trial in found.trials if trial.encodes and trial.decodes), None)
    if best is None:
        return "encode and decode do not work here"
    return f"encode and decode work here, on {best.device} with {best.backend}"
