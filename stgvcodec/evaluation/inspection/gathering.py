"""Gathers, GoP by GoP, what the page about a file shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stgvcodec.bitstream.container.index import GopEntry
from stgvcodec.bitstream.container.overhead import video_bytes
from stgvcodec.bitstream.payload.anatomy import payload_anatomy
from stgvcodec.bitstream.payload.pack import unpack_gop
from stgvcodec.bitstream.syntax.pieces import Piece
from stgvcodec.bitstream.syntax.sections import SECTIONS
from stgvcodec.decoder.video_decoder import VideoDecoder
from stgvcodec.errors import BitstreamError, BudgetError
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
from stgvcodec.evaluation.inspection.opened_file import GopSlot, OpenedFile
from stgvcodec.evaluation.inspection.packing import QUALITY, is_lossless, rounded
from stgvcodec.evaluation.inspection.pictures import ERROR_GAIN, ShownFrame, SourceFrames, decoded_frames
from stgvcodec.evaluation.inspection.worth import Worth, renderer_of
from stgvcodec.metrics import mean_psnr_db, psnr_db
from stgvcodec.ops.threads import run_chunks
from stgvcodec.progress import Progress, ProgressCallback

# What a page may take, bytes: its pictures, and its Gaussians before base64.
_PICTURE_BYTES, _GAUSSIAN_BYTES = 5_000_000, 3_000_000
# Chunks of a kind that the tree takes apart.
_MOST_CHUNKS = 100


@dataclass
class Gathering:
    """Gathers what a page shows from the GoPs of a file, one after the other, so that one is in memory at a time.

    Attributes:
        path: The file, for its name.
        opened: The file.
        sources: Frames of the source; None without one.
        n_pictures: Most frames to show.
        gops: What the timeline has of each GoP.
        pictures: The frames to show.
        details: Models and Gaussians of the GoPs that have pictures, by number.
        payloads: Pieces of these GoPs' payloads, by the offset of the chunk.
        frames_db: PSNR of each frame by its number in the file, dB; None where it is identical to its source.
        left_out: What the page does not show, a sentence each.
        worth: What the streams are worth.
    """

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
        """Look at all GoPs; return the value of JSON that the page holds.

        Args:
            progress: Called after each GoP.

        Raises:
            InputVideoError: the source cannot be read.
            StgvError: a frame does not fit into memory.
        """
        slots = self.opened.slots
        readable = [i for i, slot in enumerate(slots) if slot.place is not None]
        n_frames = [slot.entry.n_frames for slot in slots if slot.place is not None and slot.entry is not None]
        shown = {readable[i]: frames for i, frames in chosen_frames(n_frames, self.n_pictures).items()}
        for number, slot in enumerate(slots):
            try:
                self._gop(number, slot, shown.get(number, []), _room(number, list(shown)))
            except (BitstreamError, BudgetError) as error:
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

    def _gop(self, number: int, slot: GopSlot, chosen: list[int], room: int) -> None:
        """Decode a GoP as far as the page needs it; `room` is what its Gaussians may take, bytes."""
        decoder, reader, entry = self.opened.decoder, self.opened.reader, slot.entry
        if slot.place is None or decoder is None or reader is None or entry is None:
            return
        frames = self._frames(decoder, entry, chosen)
        if not frames:
            return
        payload = reader.read_gop(slot.place)
        symbols = unpack_gop(payload, run=run_chunks)
        anatomy = payload_anatomy(payload, symbols, base_offset=entry.payload_offset)
        self.payloads[slot.offset] = anatomy.pieces
        width, height = decoder.header.width, decoder.header.height
        device, backend = decoder.device, decoder.backend
        renderer = renderer_of(symbols, width=width, height=height, device=device, backend=backend)
        stride = math.ceil(len(symbols.points) * gaussian_bytes(anatomy, len(frames)) / room)
        self.details[number] = {
            "streams": stream_models(anatomy),
            "gaussians": gaussian_details(anatomy, symbols, renderer, stride),
        }
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
        sources = [frame.source for frame in frames if frame.source is not None]
        if self.sources is not None and len(sources) < len(frames):
            return
        self.worth.add(
            symbols,
            anatomy,
            [frame.k for frame in frames],
            [frame.decoded for frame in frames],
            sources or None,
            device=device,
            backend=backend,
        )

    def _frames(self, decoder: VideoDecoder, entry: GopEntry, chosen: list[int]) -> list[ShownFrame]:
        """Decode the frames that are shown; with a source measure all."""
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


def _room(number: int, shown: list[int]) -> int:
    """Return what the Gaussians of a GoP may take, bytes: half goes to the GoP that is shown first."""
    if len(shown) == 1:
        return _GAUSSIAN_BYTES
    return _GAUSSIAN_BYTES // 2 if number == min(shown, default=0) else _GAUSSIAN_BYTES // 2 // max(len(shown) - 1, 1)
