"""What is installed beside this package: the packages it needs, what is optional, and what FFmpeg can do."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stgvcodec._version import __version__

_SHOWN_ENCODERS = ("h264", "hevc", "av1", "vp9", "vp8", "prores", "ffv1")


@dataclass(frozen=True)
class Component:
    """A program or a package.

    Attributes:
        name: Name by which it is installed.
        version: Version; None where it is not there.
        detail: What else there is to say, such as the libraries that it brings; may be empty.
        problem: What is wrong with it; None where nothing is.
        remedy: Command that mends it; None where nothing is wrong.
    """

    name: str
    version: str | None
    detail: str = ""
    problem: str | None = None
    remedy: str | None = None


@dataclass(frozen=True)
class Extra:
    """Packages that are needed for a part of the program.

    Attributes:
        name: Name of the extra.
        purpose: What it is for.
        missing: Packages that are not installed.
        command: Command that adds them.
    """

    name: str
    purpose: str
    missing: tuple[str, ...]
    command: str


EXTRAS: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "rd": ("figures and BD-rates of stgvcodec rd", ("matplotlib", "scipy")),
        "vmaf": ("VMAF where ffmpeg does not measure it", ("imageio-ffmpeg",)),
        "remote": ("addresses such as https:// for encode, decode and VideoDecoder", ("fsspec", "aiohttp")),
        "ray": ("encode --engine ray", ("ray",)),
        "webdataset": ("stgvcodec.integrations in webdataset", ("webdataset",)),
        "imageio": ("stgvcodec.integrations in imageio", ("imageio",)),
    }
)
"""Name of each extra -> what it is for, and the packages that it adds."""


def components() -> tuple[Component, ...]:
    """Return this package, Python and every package that is needed, as they are found."""
    package = Path(__file__).parent.parent
    python = f"{sys.executable}, {platform.system()} {platform.machine()}"
    return (
        Component("stgvcodec", __version__, str(package)),
        Component("Python", platform.python_version(), python),
        _package("torch", "torch", _torch_detail, remedy="pip install 'torch>=2.8'"),
        _package("numpy", "numpy", remedy="pip install 'numpy>=1.26,<3'"),
        _package("numba", "numba", remedy="pip install 'numba>=0.61,<1'"),
        _package("av", "av", _av_detail, remedy="pip install 'av>=16,<19'"),
        _constriction(),
        _package("pytorch-msssim", "pytorch_msssim", remedy="pip install 'pytorch-msssim>=1.0'"),
        _package("pillow", "PIL.Image", remedy="pip install 'pillow>=10.1'"),
        _triton(),
    )


def extras() -> tuple[Extra, ...]:
    """Return the optional parts, with what each lacks."""
    return tuple(
        Extra(name, purpose, tuple(p for p in packages if _version(p) is None), f"pip install 'stgvcodec[{name}]'")
        for name, (purpose, packages) in EXTRAS.items()
    )


def encoders() -> dict[str, bool]:
    """Return the codecs that `decode --codec` knows by a short name, and whether FFmpeg has an encoder of each here.

    Raises:
        ImportError: PyAV cannot be imported.
    """
    from stgvcodec.media.output_formats import CONTAINERS, encoder_names

    there = encoder_names(CONTAINERS[".mkv"])
    return {name: name in there for name in _SHOWN_ENCODERS}


def _package(
    name: str, module: str, detail: Callable[[Any], str] | None = None, *, remedy: str, is_needed: bool = True
) -> Component:
    version = _version(name)
    if version is None:
        problem = "is not installed" if is_needed else None
        return Component(name, None, "", problem, remedy if is_needed else None)
    try:
        imported = importlib.import_module(module)
        return Component(name, version, "" if detail is None else detail(imported))
    except Exception as error:  # A library that does not load can fail in any way.
        first = (str(error).strip().splitlines() or ["no reason given"])[0]
        broken = remedy.replace("pip install", "pip install --force-reinstall", 1)
        return Component(name, version, "", f"cannot be imported: {type(error).__name__}: {first}", broken)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch_detail(torch: Any) -> str:
    return f"CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"


def _av_detail(av: Any) -> str:
    versions = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    return f"FFmpeg {', '.join(f'{name} {version}' for name, version in sorted(versions.items()))}"


def _constriction() -> Component:
    found = _package("constriction", "constriction", remedy="pip install 'constriction>=0.5,<0.6'", is_needed=False)
    if found.version is None:
        return Component("constriction", None, "stgvcodec's own entropy coder takes its place")
    return found


def _triton() -> Component:
    found = _package("triton", "triton", remedy="pip install 'triton>=3.4'", is_needed=False)
    if found.version is None:
        return Component("triton", None, "comes with a torch that is built for CUDA; only GPUs need it")
    return found
