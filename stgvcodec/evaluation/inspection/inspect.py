"""`inspect`: makes a page that shows where the bytes of a `.stgv` file go, and what they are worth."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stgvcodec.bitstream.container.overhead import video_bytes
from stgvcodec.bitstream.payload.anatomy import payload_anatomy
from stgvcodec.bitstream.payload.pack import unpack_gop
from stgvcodec.bitstream.syntax.pieces import Piece
from stgvcodec.bitstream.syntax.sections import SECTIONS
from stgvcodec.errors import ConfigError, StgvError, naming_memory
from stgvcodec.evaluation.inspection.byte_tree import byte_tree
from stgvcodec.evaluation.inspection.choice import by_halves, chosen_frames
from stgvcodec.evaluation.inspection.gaussians import (
    bits_map,
    gaussian_bytes,
    gaussian_details,
    placed,
    placed_gaussians,
)
from stgvcodec.evaluation.inspection.models import stream_models
from stgvcodec.evaluation.inspection.opened_file import GopSlot, OpenedFile, open_file
from stgvcodec.evaluation.inspection.packing import QUALITY, is_lossless, rounded
from stgvcodec.evaluation.inspection.pictures import (
    ERROR_GAIN,
    ShownFrame,
    SourceFrames,
    decoded_frames,
    open_source_frames,
)
from stgvcodec.evaluation.inspection.worth import Worth, renderer_of
from stgvcodec.media.atomic import atomic_output, check_output_file
from stgvcodec.media.selection import Selection
from stgvcodec.metrics import mean_psnr_db, psnr_db
from stgvcodec.ops.threads import run_chunks
from stgvcodec.progress import Progress, ProgressCallback
from stgvcodec.report.inspection_page import inspection_page

N_PICTURES = 8
"""Frames that a page shows unless more or fewer are asked for."""

# What a page may take, bytes: its pictures, and its Gaussians before base64.
_PICTURE_BYTES, _GAUSSIAN_BYTES = 5_000_000, 2_400_000
# Chunks of a kind that the tree takes apart.
_MOST_CHUNKS = 100


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
        gathering = _Gathering(path, opened, sources, n_pictures)
        return gathering.run(progress)


@dataclass
class _Gathering:
    """The GoPs of a file one after the other, each of which is in memory alone."""

    path: Path
    opened: OpenedFile
    sources: SourceFrames | None
    n_pictures: int
    gops: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[dict[str, Any]] = field(default_factory=list)
    details: dict[int, dict[str, Any]] = field(default_factory=dict)
    payloads: dict[int, tuple[Piece, ...]] = field(default_factory=dict)
    frames_db: dict[int, float | None] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    worth: Worth = field(default_factory=Worth)

    def run(self, progress: ProgressCallback | None) -> dict[str, Any]:
        slots = self.opened.slots
        readable = [i for i, slot in enumerate(slots) if slot.place is not None]
        n_frames = [slot.entry.n_frames for slot in slots if slot.place is not None and slot.entry is not None]
        shown = {readable[i]: frames for i, frames in chosen_frames(n_frames, self.n_pictures).items()}
        # The GoPs whose Gaussians come first where there is no room for all.
        order = [sorted(shown)[i] for i in by_halves(len(shown))]
        for number, slot in enumerate(slots):
            try:
                self._gop(number, slot, shown.get(number, []), len(order))
            except StgvError as error:
                if slot.place is None or isinstance(error, ConfigError):
                    raise
                slot.fault = str(error)
            self.gops.append(self._timeline(slot))
            if progress is not None:
                done = slot.entry.first_frame + slot.entry.n_frames if slot.entry is not None else 0
                progress(Progress("inspecting", done, None, fraction=(number + 1) / len(slots)))
        self._drop_pictures()
        return self._data(shown)

    def _timeline(self, slot: GopSlot) -> dict[str, Any]:
        streams = slot.streams
        key = "container" if streams else "damaged"
        gop: dict[str, Any] = {"offset": slot.offset, "bytes": slot.n_bytes}
        gop["streams"] = {**streams, key: slot.n_bytes - sum(streams.values())}
        if slot.entry is not None:
            first, n = slot.entry.first_frame, slot.entry.n_frames
            gop |= {"first": first, "frames": n, "gaussians": slot.entry.n_gaussians}
            psnrs = [self.frames_db[frame] for frame in range(first, first + n) if frame in self.frames_db]
            mean = mean_psnr_db(math.inf if psnr is None else psnr for psnr in psnrs)
            gop["psnr"] = None if mean is None else rounded(mean, 3)
        if slot.fault:
            gop["fault"] = slot.fault
        return gop

    def _gop(self, number: int, slot: GopSlot, chosen: list[int], n_shown_gops: int) -> None:
        """Decode a GoP as far as the page needs it."""
        decoder, reader, entry = self.opened.decoder, self.opened.reader, slot.entry
        if slot.place is None or decoder is None or reader is None or entry is None:
            return
        frames = self._frames(slot, chosen)
        if not frames:
            return
        payload = reader.read_gop(slot.place)
        symbols = unpack_gop(payload, run=run_chunks)
        anatomy = payload_anatomy(payload, symbols, base_offset=entry.payload_offset)
        self.payloads[slot.offset] = anatomy.pieces
        width, height = decoder.header.width, decoder.header.height
        on = {"device": decoder.device, "backend": decoder.backend}
        renderer = renderer_of(symbols, width=width, height=height, **on)  # type: ignore[arg-type]
        budget = _GAUSSIAN_BYTES / n_shown_gops
        stride = math.ceil(len(symbols.points) * gaussian_bytes(anatomy, len(frames)) / budget)
        detail: dict[str, Any] = {"streams": stream_models(anatomy)}
        detail["gaussians"] = gaussian_details(anatomy, symbols, renderer, stride)
        self.details[number] = detail
        if stride > 1:
            self.left_out.append(
                f"GoP {number}: of its {len(symbols.points)} Gaussians one in {stride} can be clicked; the map of bits "
                "and all figures have all of them"
            )
        bits = np.sum(list(anatomy.gaussian_bits.values()), axis=0)
        for frame in frames:
            means, cholesky = placed(renderer, frame.k)
            self.pictures.append(
                {
                    "gop": number,
                    "frame": entry.first_frame + frame.k,
                    "k": frame.k,
                    "seconds": rounded(float(decoder.header.time_base * entry.timing.pts_of(frame.k)), 4),
                    "psnr": frame.psnr_db,
                    "map": bits_map(means, cholesky, bits, width=width, height=height),
                    "places": placed_gaussians(renderer, frame.k, stride),
                    **frame.urls(),
                }
            )
        originals = [frame.source for frame in frames if frame.source is not None]
        has_sources = len(originals) == len(frames)
        if self.sources is not None and not has_sources:
            return
        decoded = [frame.decoded for frame in frames]
        indices = [frame.k for frame in frames]
        self.worth.add(
            symbols,
            anatomy,
            indices,
            decoded,
            originals if has_sources else None,
            device=decoder.device,
            backend=decoder.backend,
        )

    def _frames(self, slot: GopSlot, chosen: list[int]) -> list[ShownFrame]:
        """Decode the frames that are shown; with a source measure all."""
        decoder, entry = self.opened.decoder, slot.entry
        assert decoder is not None
        assert entry is not None
        wanted = chosen if self.sources is None else list(range(entry.n_frames))
        shown = []
        for k, frame in zip(wanted, decoded_frames(decoder, entry, wanted), strict=True):
            number = entry.first_frame + k
            source = None if self.sources is None else self.sources.at(number)
            if source is not None:
                self.frames_db[number] = rounded(psnr_db(source, frame), 3)
            if k in chosen:
                shown.append(ShownFrame(k, frame, source))
        return shown

    def _drop_pictures(self) -> None:
        """Leave out pictures where all of them would take too much room."""
        room = _PICTURE_BYTES
        kept: list[int] = []
        for i in by_halves(len(self.pictures)):
            picture = self.pictures[i]
            room -= sum(len(picture[name]) for name in ("decoded", "source", "error") if name in picture)
            if room < 0 and kept:
                break
            kept.append(i)
        if len(kept) < len(self.pictures):
            self.left_out.append(
                f"{len(self.pictures) - len(kept)} of {len(self.pictures)} pictures, for which a page below 10 MB has "
                "no room"
            )
        self.pictures = [self.pictures[i] for i in sorted(kept)]

    def _data(self, shown: dict[int, list[int]]) -> dict[str, Any]:
        opened = self.opened
        n_readable = sum(slot.place is not None for slot in opened.slots)
        if len(shown) < n_readable:
            n_hidden = n_readable - len(shown)
            note = f"pictures, Gaussians and models of {n_hidden} of {n_readable} GoPs; --pictures shows more"
            self.left_out.insert(0, note)
        psnrs = list(self.frames_db.values())
        mean = mean_psnr_db(math.inf if psnr is None else psnr for psnr in psnrs)
        if self.sources is not None and opened.decoder is not None:
            n_missing = len(opened.decoder) - len(self.frames_db)
            if n_missing and not opened.damage:
                self.left_out.append(f"PSNR of {n_missing} frames: the source has ended before")
            elif self.sources.goes_on:
                self.left_out.append("frames of the source behind the last one of the file")
        return {
            "file": self._file(),
            "damage": opened.damage,
            "leftOut": self.left_out,
            "gops": self.gops,
            "framesDb": None
            if self.sources is None
            else [[frame, psnr] for frame, psnr in sorted(self.frames_db.items())],
            "psnr": None if mean is None else rounded(mean, 3),
            "hasSource": self.sources is not None,
            "errorGain": ERROR_GAIN,
            "pictures": self.pictures,
            "details": {str(number): detail for number, detail in self.details.items()},
            "worth": {"frames": self.worth.n_frames, "rows": self.worth.rows()},
            "tree": byte_tree(opened.chunks, self.payloads, _MOST_CHUNKS),
            "sections": dict(SECTIONS),
        }

    def _file(self) -> dict[str, Any]:
        opened = self.opened
        told: dict[str, Any] = {"name": self.path.name, "bytes": opened.file_bytes}
        decoder = opened.decoder
        if decoder is None:
            return told
        header = decoder.header
        assert opened.reader is not None
        own_bytes = video_bytes(opened.reader.chunks, opened.file_bytes)
        n_pixels = header.width * header.height * max(sum(gop.get("frames", 0) for gop in self.gops), 1)
        return told | {
            "width": header.width,
            "height": header.height,
            "frames": len(decoder),
            "rate": rounded(float(header.frame_rate), 3),
            "profile": header.profile,
            "version": ".".join(str(number) for number in header.format_version),
            "tool": header.tool,
            "carriedBytes": opened.file_bytes - own_bytes,
            "bpp": rounded(8 * own_bytes / n_pixels, 5),
            "pictures": "without loss" if is_lossless(header.width, header.height) else f"as WebP of quality {QUALITY}",
        }
