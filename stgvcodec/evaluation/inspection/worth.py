"""What each stream is worth: the decibels that a picture loses where something neutral takes its place.

Nothing is fitted anew without the stream, so that a figure says how much of the picture hangs on it, and not what an
encoder that had to do without would reach.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from stgvcodec.bitstream.payload.anatomy import PayloadAnatomy
from stgvcodec.bitstream.payload.head import GopHeader
from stgvcodec.bitstream.payload.morton_order import join_codes, morton_codes
from stgvcodec.bitstream.payload.symbols import ORDERED_HALF_MAX, ORDERED_HALF_MIN, GopSymbols
from stgvcodec.bitstream.syntax.tables import MLP_TENSORS
from stgvcodec.decoder.gop_renderer import GopRenderer, UnpackedGop
from stgvcodec.decoder.staging import spec_of, stage
from stgvcodec.evaluation.inspection.packing import rounded
from stgvcodec.metrics import psnr_db

_Frame = npt.NDArray[np.uint8]
_TOP_CODE = 2**32 - 1
_NEUTRAL_CHROMA = 128


class Variant(NamedTuple):
    """A GoP without a stream, or without a part of one.

    Attributes:
        stream: Name of the stream; "points" has its low bits with it.
        part: Name of the part; empty for the whole stream.
        instead: What takes its place, in words.
        bits: Bits of what is left out.
        symbols: Symbols of the GoP without it.
    """

    stream: str
    part: str
    instead: str
    bits: float
    symbols: GopSymbols


def variants(symbols: GopSymbols, anatomy: PayloadAnatomy) -> list[Variant]:
    """Leave out each stream of a GoP, and each part of one whose place something neutral can take.

    The stream side_info has none: nothing is decoded without its scales.

    Args:
        symbols: Symbols of the GoP, in stored order.
        anatomy: Its payload.
    """
    return [*_without_points(symbols, anatomy), *_without_shapes_or_colors(symbols, anatomy), *_field(symbols, anatomy)]


def _without_points(symbols: GopSymbols, anatomy: PayloadAnatomy) -> list[Variant]:
    header = symbols.header
    n = header.n_gaussians
    streams = anatomy.streams
    codes = morton_codes(symbols.points)
    evenly = np.linspace(int(codes[0]), int(codes[-1]), n).astype(np.int64)
    n_low = anatomy.gaussian_symbols["low bits"]
    gaps = np.diff(codes, prepend=0)
    # v = gap + 1 has n_low free bits, of which the middle of the bucket has the highest alone.
    coarse = ((gaps + 1) >> n_low << n_low) + np.where(n_low > 0, 1 << np.maximum(n_low - 1, 0), 0) - 1
    drifted = np.minimum(np.cumsum(coarse), _TOP_CODE)
    low_bits = 8.0 * streams["point_bits"].n_bytes
    return [
        Variant(
            "points",
            "",
            "Gaussians spread evenly along the Morton curve",
            8.0 * streams["points"].n_bytes + low_bits,
            replace(symbols, points=_allowed(join_codes(evenly), header)),
        ),
        Variant(
            "point_bits",
            "",
            "every gap in the middle of its bucket",
            low_bits,
            replace(symbols, points=_allowed(join_codes(drifted), header)),
        ),
    ]


def _allowed(points: npt.NDArray[np.uint16], header: GopHeader) -> npt.NDArray[np.uint16]:
    """Keep points that are binary16 patterns finite."""
    return points if header.point_mode else np.clip(points, ORDERED_HALF_MIN, ORDERED_HALF_MAX)


def _without_shapes_or_colors(symbols: GopSymbols, anatomy: PayloadAnatomy) -> list[Variant]:
    n = len(symbols.points)
    header = symbols.header

    def same_for_all(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return np.repeat(np.median(array, axis=0).astype(np.uint8)[None], n, axis=0)

    def bits(*names: str) -> float:
        return sum(float(anatomy.gaussian_bits[name].sum()) for name in names)

    shape_bits = 8.0 * anatomy.streams["shapes"].n_bytes
    color_bits = 8.0 * anatomy.streams["colors"].n_bytes
    median_shapes = same_for_all(symbols.shapes)
    found = [Variant("shapes", "", "the median shape for all", shape_bits, replace(symbols, shapes=median_shapes))]
    if header.color_mode:
        gray = symbols.colors.copy()
        gray[:, 1:] = _NEUTRAL_CHROMA
        median_colors = same_for_all(symbols.colors)
        return [
            *found,
            Variant("colors", "", "the median colour for all", color_bits, replace(symbols, colors=median_colors)),
            Variant("colors", "Co and Cg", "no chroma", bits("Co", "Cg"), replace(symbols, colors=gray)),
        ]
    books = symbols.codebooks.view(np.float16).astype(np.float64)  # [M, K, 3]
    means = np.stack([book[chosen].mean(axis=0) for book, chosen in zip(books, symbols.colors.T, strict=True)])
    same = np.repeat(means[:, None], books.shape[1], axis=1).astype(np.float16).view(np.uint16)
    found.append(Variant("colors", "", "the mean colour for all", color_bits, replace(symbols, codebooks=same)))
    if header.color_stages > 1:
        first = symbols.codebooks.copy()
        first[1:] = 0
        later = bits(*(f"stage {stage}" for stage in range(1, header.color_stages)))
        found.append(Variant("colors", "stages behind the first", "nothing", later, replace(symbols, codebooks=first)))
    return found


def _field(symbols: GopSymbols, anatomy: PayloadAnatomy) -> list[Variant]:
    costs: dict[str, float] = {}
    for array in anatomy.streams["field"].arrays:
        # "2D level 0" belongs to the 2D table.
        name = array.name.split(" level")[0]
        costs[name] = costs.get(name, 0.0) + float(array.bits.sum()) + array.description_bits

    def without(*tensors: str) -> tuple[npt.NDArray[np.int8], ...]:
        named = zip(MLP_TENSORS, symbols.mlp, strict=True)
        return tuple(np.zeros_like(tensor) if name in tensors else tensor for name, tensor in named)

    still = replace(
        symbols,
        static_table=np.zeros_like(symbols.static_table),
        dynamic_table=np.zeros_like(symbols.dynamic_table),
        mlp=without(*MLP_TENSORS),
    )
    found = [
        Variant("field", "", "no field: Gaussians stay as they are", 8.0 * anatomy.streams["field"].n_bytes, still)
    ]
    heads = [("motion", "means", "Gaussians stay in place"), ("recolouring", "colors", "colours stay")]
    if symbols.header.shape_head:
        heads.append(("reshaping", "shapes", "shapes stay"))
    for part, head, instead in heads:
        tensors = (f"w_{head}", f"b_{head}")
        bits = sum(costs.get(name, 0.0) for name in tensors)
        found.append(Variant("field", part, instead, bits, replace(symbols, mlp=without(*tensors))))
    flat, deep = np.zeros_like(symbols.static_table), np.zeros_like(symbols.dynamic_table)
    tables = {"2D": replace(symbols, static_table=flat), "3D": replace(symbols, dynamic_table=deep)}
    found += [Variant("field", f"{name} table", "features of 0", costs[name], left) for name, left in tables.items()]
    return found


def renderer_of(symbols: GopSymbols, *, width: int, height: int, device: torch.device, backend: str) -> GopRenderer:
    """Return a renderer of symbols that need not have been packed.

    Args:
        symbols: Symbols of a GoP.
        width: Picture width, pixels.
        height: Picture height, pixels.
        device: Device on which to render.
        backend: Back end of the operators.
    """
    unpacked = UnpackedGop(
        symbols.header, spec_of(symbols.header, width, height), stage(symbols, pinned=device.type != "cpu")
    )
    return GopRenderer(unpacked, width=width, height=height, device=device, backend=backend)


@dataclass
class Worth:
    """Gathers what the streams are worth over some frames of some GoPs.

    Attributes:
        n_frames: Frames that were measured.
    """

    n_frames: int = 0
    _rows: dict[tuple[str, str], _Row] = field(default_factory=dict)

    def add(
        self,
        symbols: GopSymbols,
        anatomy: PayloadAnatomy,
        frames: Sequence[int],
        decoded: Sequence[_Frame],
        sources: Sequence[_Frame] | None,
        *,
        device: torch.device,
        backend: str,
    ) -> None:
        """Measure some frames of a GoP.

        Args:
            symbols: Symbols of the GoP, in stored order.
            anatomy: Its payload.
            frames: Frames, counted within the GoP.
            decoded: The decoded frames, as many. [H, W, 3] uint8 each.
            sources: The frames of the source; None where there is none.
            device: Device on which to render.
            backend: Back end of the operators.
        """
        height, width = decoded[0].shape[:2]
        self.n_frames += len(frames)
        for variant in variants(symbols, anatomy):
            row = self._rows.setdefault((variant.stream, variant.part), _Row(variant.instead))
            row.bits += variant.bits
            renderer = renderer_of(variant.symbols, width=width, height=height, device=device, backend=backend)
            for i, rendered in enumerate(renderer.frames(frames)):
                picture = rendered.cpu().numpy()
                row.against_decoded.append(psnr_db(decoded[i], picture))
                if sources is not None:
                    row.losses.append(_difference(psnr_db(sources[i], decoded[i]), psnr_db(sources[i], picture)))

    def rows(self) -> list[dict[str, object]]:
        """Return a row for each stream and part: its bytes, and the means over the frames of what was measured."""
        return [
            {
                "stream": stream,
                "part": part,
                "instead": row.instead,
                "bytes": rounded(row.bits / 8, 1),
                "lossDb": rounded(float(np.mean(row.losses)), 3) if row.losses else None,
                "againstDecodedDb": _finite_mean(row.against_decoded),
            }
            for (stream, part), row in self._rows.items()
        ]


@dataclass
class _Row:
    instead: str
    bits: float = 0.0
    losses: list[float] = field(default_factory=list)
    against_decoded: list[float] = field(default_factory=list)


def _difference(full: float, without: float) -> float:
    """Return the decibels lost; 0 where both pictures are exact."""
    return 0.0 if full == without else full - without


def _finite_mean(numbers: Sequence[float]) -> float | None:
    finite = [number for number in numbers if math.isfinite(number)]
    return rounded(sum(finite) / len(finite), 3) if finite else None
