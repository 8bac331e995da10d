"""`inspect`: makes a page that shows where the bytes of a `.stgv` file go, and what they are worth."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stgvcodec.errors import ConfigError, naming_memory
from stgvcodec.evaluation.inspection.gathering import Gathering
from stgvcodec.evaluation.inspection.opened_file import open_file
from stgvcodec.evaluation.inspection.pictures import open_source_frames
from stgvcodec.media.atomic import atomic_output, check_output_file
from stgvcodec.media.selection import Selection
from stgvcodec.progress import ProgressCallback
from stgvcodec.report.inspection_page import inspection_page

N_PICTURES = 8
"""Frames that a page shows unless more or fewer are asked for."""


@dataclass(frozen=True)
class InspectionReport:
    """Result of `inspect`.

    Attributes:
        page: The page that was written.
        page_bytes: Its size, bytes.
        n_pictures: Frames that it shows.
        n_gops: GoPs of the file.
        left_out: What the page does not show, a sentence each.
        damage: What is wrong with the file, a sentence each; empty for an intact file.
    """

    page: Path
    page_bytes: int
    n_pictures: int
    n_gops: int
    left_out: tuple[str, ...]
    damage: tuple[str, ...]


def inspect(
    file: str | Path,
    page: str | Path,
    *,
    source: str | Path | None = None,
    selection: Selection | None = None,
    matrix: str | None = None,
    n_pictures: int = N_PICTURES,
    max_memory: int | None = None,
    max_work: float | None = None,
    device: str = "auto",
    backend: str = "auto",
    progress: ProgressCallback | None = None,
) -> InspectionReport:
    """Write a self-contained page about a `.stgv` file: one HTML file that needs no network.

    A damaged file is shown as far as it goes: what is damaged is said, what is intact is decoded.

    Args:
        file: The `.stgv` file.
        page: The page to write.
        source: The video that was encoded, with which the page has errors and PSNR: a video file, a folder of images or
            a `.stgv` file.
        selection: Frames, crop and resize of the source with which it was encoded.
        matrix: Colour matrix in place of the one that the source is tagged with.
        n_pictures: Most frames to show, at least 1; they are spread over the GoPs.
        max_memory: Most memory that decoding may need, bytes, and
        max_work: most Gaussians that may cover a pixel; see `VideoDecoder`.
        device: "auto", "cpu" or "cuda".
        backend: "auto", "reference", "numba" or "triton".
        progress: Called after each GoP.

    Raises:
        ConfigError: n_pictures is below 1, or the source has another size.
        BitstreamError: the file is not a `.stgv` file.
        MissingFileError, InputVideoError: the file or the source cannot be read.
        OutputError: the page cannot be written.
        BackendUnavailableError: device or back end is not to be had here.

    Examples:
        >>> from stgvcodec.evaluation.inspection.inspect import inspect
        >>> report = inspect("clip.stgv", "page.html", n_pictures=2, device="cpu")
        >>> report.n_pictures, report.damage
        (2, ())
    """
    check_output_file(page)
    data = inspection(
        file,
        source=source,
        selection=selection,
        matrix=matrix,
        n_pictures=n_pictures,
        max_memory=max_memory,
        max_work=max_work,
        device=device,
        backend=backend,
        progress=progress,
    )
    text = inspection_page(data).encode("utf-8")
    with atomic_output(page) as part:
        part.write_bytes(text)
    return InspectionReport(
        page=Path(page),
        page_bytes=len(text),
        n_pictures=len(data["pictures"]),
        n_gops=len(data["gops"]),
        left_out=tuple(data["leftOut"]),
        damage=tuple(data["damage"]),
    )


@naming_memory("a file is inspected", "show fewer frames (--pictures)")
def inspection(
    file: str | Path,
    *,
    source: str | Path | None = None,
    selection: Selection | None = None,
    matrix: str | None = None,
    n_pictures: int = N_PICTURES,
    max_memory: int | None = None,
    max_work: float | None = None,
    device: str = "auto",
    backend: str = "auto",
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Gather what a page shows, as a value of JSON; see `inspect` for arguments and errors.

    Examples:
        >>> from stgvcodec.evaluation.inspection.inspect import inspection
        >>> data = inspection("clip.stgv", n_pictures=1, device="cpu")
        >>> sum(node["bytes"] for node in data["tree"]) == data["file"]["bytes"]
        True
    """
    if n_pictures < 1:
        raise ConfigError(f"the number of pictures is {n_pictures}, expected 1 at least")
    selection = selection or Selection()
    selection.refuse_time("inspect")
    path = Path(file)
    with ExitStack() as stack:
        opened = open_file(path, stack, device=device, backend=backend, max_memory=max_memory, max_work=max_work)
        sources = None
        if source is not None and opened.decoder is not None:
            sources = open_source_frames(
                Path(source),
                stack,
                opened.decoder,
                file=path,
                selection=selection,
                matrix=matrix,
                device=device,
                backend=backend,
            )
        return Gathering(path, opened, sources, n_pictures).run(progress)
