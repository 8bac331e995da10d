"""Bounds of the memory and of the work that a file may ask of a decoder, checked before it gets them.

The limits of the format are checked one by one, but a file of 250 bytes may come close to all of them at once. The
memory follows from headers, and is checked before a GoP is unpacked. The work depends on the sizes of the Gaussians
too, and is checked before a picture is rendered. Both follow from the file and the size of the picture alone, so that
all back ends and devices refuse the same files.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stgvcodec.bitstream.payload.head import GopHeader
from stgvcodec.errors import BudgetError, ConfigError

if TYPE_CHECKING:
    # `stgvcodec info` does without torch.
    from stgvcodec.decoder.pair_bound import SplatExtents
    from stgvcodec.model.gaussians import Scale

LOOK_AHEAD = 6
"""Largest number of GoPs that are kept ready ahead of the one in use."""

DEFAULT_MAX_MEMORY = 2 * 10**9
"""Memory that a file may need by default, bytes: enough for 2^20 Gaussians a GoP at 7680x4320."""

DEFAULT_MAX_WORK = 8192
"""Gaussians that may cover a pixel by default. By the same bound, files of this encoder have 50 to 1500."""

# Work below which no frame is refused, covered pixels: about a second of one core. Small pictures may have more
# Gaussians a pixel.
_FREE_PIXELS = 1 << 30
# The bound of covered pixels counts rows of 16 pixels, as the kernels on a CPU compute them.
_ROW_PX = 16
# Multiply-adds of the network that take as long as a covered pixel.
_MULTIPLY_ADDS_A_PIXEL = 16

# A pixel takes 12 bytes in a float picture and 3 in 8 bits; the picture before and the one that is written take 3 each.
_PIXEL_BYTES = 21
# While a frame is rendered, a Gaussian takes its forms in the encoded and in the output size, its bins, and 76 bytes
# that are kept for all frames of the GoP.
_RENDERED_GAUSSIAN_BYTES = 288
# An unpacked Gaussian has 8 floats and the extents from which its work follows; its symbols and what they are decoded
# from live until then.
_GAUSSIAN_BYTES, _UNPACKING_GAUSSIAN_BYTES = 40, 64
_FLOAT_BYTES = 4
# The reference evaluates a chunk of (Gaussian, tile) pairs at once.
_REFERENCE_BYTES = 48 << 20
# Threads that unpack at the same time: those of the prefetcher, and the caller's.
_MAX_UNPACKING = 5
# Frames of a batch beside the first, where more than one is rendered at once.
_BATCH_BYTES = 4 << 20


def n_unpacked(n_gops: int) -> int:
    """Return how many GoPs of a file's may be unpacked at the same time: the one in use, and those ahead."""
    return min(n_gops, 1 + LOOK_AHEAD)


def decode_memory_bytes(
    header: GopHeader, *, width: int, height: int, payload_bytes: int, n_gops: int, backend: str = "auto"
) -> int:
    """Estimate the memory of decoding frame by frame, above that of the program; more than is used.

    Args:
        header: Header of the GoP that is rendered.
        width: Width of the pictures that are rendered, pixels.
        height: Height of these pictures, pixels.
        payload_bytes: Size of the GoP's payload.
        n_gops: GoPs that are unpacked at once, those that were read ahead included. They are taken to be like this one.
        backend: Back end that renders; the reference keeps the activations of the network for all Gaussians.
    """
    n = header.n_gaussians
    n_symbols = sum(math.prod(shape) for shape in header.array_shapes.values())
    times = header.n_frames * (1 + 2 * header.n_frequencies)
    unpacked = n * _GAUSSIAN_BYTES + (n_symbols + times) * _FLOAT_BYTES
    # Twice the payload: what is read of the file, and the part of it that is the GoP.
    unpacking = n * _UNPACKING_GAUSSIAN_BYTES + 2 * n_symbols + 2 * payload_bytes
    static = len(header.static_resolutions) * header.static_features
    rendered = n * (_RENDERED_GAUSSIAN_BYTES + static * _FLOAT_BYTES)
    if backend == "reference":
        rendered += n * (16 * header.n_field_inputs + 4 * header.mlp_width + 128) * _FLOAT_BYTES + _REFERENCE_BYTES
    return (
        n_gops * unpacked
        + min(n_gops, _MAX_UNPACKING) * unpacking
        + rendered
        + width * height * _PIXEL_BYTES
        + min(_BATCH_BYTES, (header.n_frames - 1) * (width * height * _PIXEL_BYTES + rendered))
    )


def frame_work_px(header: GopHeader, extents: SplatExtents, scale: Scale, *, width: int, height: int) -> int:
    """Bound the pixels that the Gaussians of a frame cover, with the work of the network counted as pixels.

    Args:
        header: Header of the GoP.
        extents: Extents of its Gaussians.
        scale: Output size over encoded size, or that along x and along y.
        width: Output width, pixels.
        height: Output height, pixels.
    """
    covered = _ROW_PX * extents.most_pairs(scale, width=width, height=height, tile_width=_ROW_PX, tile_height=1)
    multiply_adds = sum(math.prod(shape) for shape in header.mlp_shapes) + 8 * header.n_field_inputs
    return covered + header.n_gaussians * multiply_adds // _MULTIPLY_ADDS_A_PIXEL


@dataclass(frozen=True)
class DecodeBudget:
    """How much a file may ask for.

    Attributes:
        max_memory: Memory, bytes.
        max_work: Gaussians that cover a pixel, in the mean over the picture.
        name: The file, for messages; None where it has no name.
    """

    max_memory: int = DEFAULT_MAX_MEMORY
    max_work: float = DEFAULT_MAX_WORK
    name: str | None = None

    @classmethod
    def of(cls, max_memory: int | None, max_work: float | None) -> DecodeBudget:
        """Return the budget that a user chose; None is the default.

        Raises:
            ConfigError: a bound is not above 0.
        """
        for name, value in (("max_memory", max_memory), ("max_work", max_work)):
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}, expected more than 0")
        return cls(
            DEFAULT_MAX_MEMORY if max_memory is None else max_memory,
            DEFAULT_MAX_WORK if max_work is None else max_work,
        )

    def check_picture(self, width: int, height: int, n_gaussians: int) -> None:
        """Refuse what cannot be decoded within the memory by the file header and the index alone.

        Raises:
            BudgetError: it needs more.
        """
        self._check_memory(
            width * height * _PIXEL_BYTES + n_gaussians * (_GAUSSIAN_BYTES + _RENDERED_GAUSSIAN_BYTES),
            f"a picture of {width}x{height} from {n_gaussians} Gaussians",
        )

    def check_gop(
        self, header: GopHeader, *, width: int, height: int, payload_bytes: int, n_gops: int, backend: str
    ) -> None:
        """Refuse a GoP that cannot be decoded within the memory; the arguments are those of `decode_memory_bytes`.

        Raises:
            BudgetError: it needs more.
        """
        n_bytes = decode_memory_bytes(
            header, width=width, height=height, payload_bytes=payload_bytes, n_gops=n_gops, backend=backend
        )
        picture = f" and a picture of {width}x{height}" if width else ""
        self._check_memory(n_bytes, f"a GoP of {header.n_gaussians} Gaussians{picture}")

    def check_work(self, header: GopHeader, extents: SplatExtents, scale: Scale, *, width: int, height: int) -> None:
        """Refuse a GoP whose frames take more work; the arguments are those of `frame_work_px`.

        Raises:
            BudgetError: they take more.
        """
        work = frame_work_px(header, extents, scale, width=width, height=height)
        n_pixels = width * height
        if work > max(_FREE_PIXELS, self.max_work * n_pixels):
            raise BudgetError(
                f"{self._prefix}a frame of {width}x{height} may take the work of {math.ceil(work / n_pixels)} "
                f"Gaussians a pixel, expected {self.max_work:g} at most; allow more by --max-work if you trust the file"
            )

    @property
    def _prefix(self) -> str:
        return "" if self.name is None else f"{self.name}: "

    def _check_memory(self, n_bytes: int, what: str) -> None:
        if n_bytes > self.max_memory:
            raise BudgetError(
                f"{self._prefix}{what} may need {_megabytes(n_bytes, math.ceil)} of memory to decode, expected "
                f"{_megabytes(self.max_memory, math.floor)} at most; allow more by --max-memory if you trust the file, "
                "or render at a smaller --scale"
            )


def _megabytes(n_bytes: int, rounded: Callable[[float], int]) -> str:
    """Return a size with three digits that count, so that a need and a bound that are close differ."""
    unit = 10 ** max(0, len(str(int(n_bytes))) - 3)
    return f"{rounded(n_bytes / unit) * unit / 1e6:.15g} MB"
