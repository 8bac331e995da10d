"""`diagnose`: whether encode and decode work on this machine, with what, and what mends it where they do not."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stgvcodec.evaluation.backend_trials import Trial, try_backends
from stgvcodec.evaluation.installed import Component, Extra, components, encoders, extras
from stgvcodec.media.players import installed_players
from stgvcodec.ops.kernel_cache import NUMBA_VARIABLE, TRITON_VARIABLE, KernelCache, numba_cache, triton_cache

if TYPE_CHECKING:
    from stgvcodec.device import Gpu

_TORCH_WITH_CUDA = "pip install --force-reinstall torch"


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    Attributes:
        works: Whether encode and decode work here. Without trials it is whether nothing is known to be in their way.
        components: This package, Python and the packages that it needs.
        gpus: GPUs that torch sees.
        gpu_obstacle: Why no GPU can be used; None where one can.
        driver: Version of the NVIDIA driver; None where there is none.
        trials: What came of each back end; None where they were not run.
        caches: Where numba and Triton keep compiled kernels.
        temporary_folder: Folder for temporary files; None where none can be written.
        encoders: Name of each codec -> whether FFmpeg has an encoder of it.
        players: Name of each player that is installed -> its path.
        extras: Optional parts.
        remedies: Pairs of what is wrong, and the command that mends it.
    """

    works: bool
    components: tuple[Component, ...]
    gpus: tuple[Gpu, ...]
    gpu_obstacle: str | None
    driver: str | None
    trials: tuple[Trial, ...] | None
    caches: tuple[KernelCache, ...]
    temporary_folder: Path | None
    encoders: dict[str, bool]
    players: dict[str, str]
    extras: tuple[Extra, ...]
    remedies: tuple[tuple[str, str], ...]


def diagnose(*, with_trials: bool = True, note: Callable[[str], None] | None = None) -> Diagnosis:
    """Look at this machine, and encode and decode a tiny clip on it.

    Nothing is raised for what is missing or broken: it is part of the result.

    Args:
        with_trials: Whether to run every back end, each in a new process. Where kernels have to be compiled first, that
            takes minutes.
        note: Told in a line what is about to be done, where that takes long.

    Returns:
        What was found.
    """
    found = components()
    is_broken = any(component.problem for component in found)
    gpus, obstacle, driver = _gpus()
    caches = _caches()
    temporary = _temporary_folder()
    trials: tuple[Trial, ...] | None = None
    works = not is_broken and temporary is not None
    if with_trials and not works:
        trials = ()
    elif with_trials:
        if note is not None:
            note("a tiny clip is encoded and decoded on every back end: some seconds, or minutes where it is compiled")
        trials = _trials(caches)
        works = any(trial.encodes and trial.decodes for trial in trials)
    return Diagnosis(
        works=works,
        components=found,
        gpus=gpus,
        gpu_obstacle=obstacle,
        driver=driver,
        trials=trials,
        caches=caches,
        temporary_folder=temporary,
        encoders=_encoders(),
        players=installed_players(),
        extras=extras(),
        remedies=tuple(_remedies(found, caches, temporary, driver, has_gpu=bool(gpus))),
    )


def _gpus() -> tuple[tuple[Gpu, ...], str | None, str | None]:
    """Return the GPUs, what keeps them from being used, and the driver."""
    try:
        from stgvcodec.device import gpu_obstacle, nvidia_driver, visible_gpus

        return visible_gpus(), gpu_obstacle(), nvidia_driver()
    except Exception as error:  # torch or a driver that is broken fails in any way.
        return (), f"torch cannot say: {error}", None


def _caches() -> tuple[KernelCache, ...]:
    caches = [triton_cache()]
    # What is wrong with numba is said of the component.
    with contextlib.suppress(Exception):
        caches.insert(0, numba_cache())
    return tuple(caches)


def _temporary_folder() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return None


def _encoders() -> dict[str, bool]:
    try:
        return encoders()
    except Exception:  # What is wrong with PyAV is said of the component.
        return {}


def _trials(caches: tuple[KernelCache, ...]) -> tuple[Trial, ...]:
    with tempfile.TemporaryDirectory(prefix="stgvcodec-doctor-") as scratch:
        # Where nothing is kept, every process would compile the same kernels.
        unwritable = {cache.compiler for cache in caches if not cache.is_writable}
        environment = {NUMBA_VARIABLE: f"{scratch}/numba"} if "numba" in unwritable else {}
        return tuple(try_backends(Path(scratch), environment))


def _remedies(
    found: tuple[Component, ...],
    caches: tuple[KernelCache, ...],
    temporary: Path | None,
    driver: str | None,
    *,
    has_gpu: bool,
) -> list[tuple[str, str]]:
    remedies = [(f"{each.name} {each.problem}", each.remedy) for each in found if each.problem and each.remedy]
    torch = next(each for each in found if each.name == "torch")
    if driver is not None and torch.detail == "built without CUDA":
        remedies.append(("an NVIDIA driver is there, but torch is built without CUDA", _TORCH_WITH_CUDA))
    variables = {"numba": NUMBA_VARIABLE, "triton": TRITON_VARIABLE}
    for cache in caches:
        if not cache.is_writable and (cache.compiler == "numba" or has_gpu):
            what = "every run compiles its kernels" if cache.compiler == "numba" else "Triton's kernels cannot run"
            command = f'mkdir -m 700 -p FOLDER && export {variables[cache.compiler]}="FOLDER"'
            remedies.append((f"no folder can be written to keep {cache.compiler}'s kernels in: {what}", command))
    if temporary is None:
        remedies.append(("no folder can be written for temporary files", 'export TMPDIR="FOLDER"'))
    return remedies
