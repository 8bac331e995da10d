"""Renders the frames of one GoP from its bytes, for every decoder and for every figure that the encoder reports."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from stgvcodec.bitstream.entropy.streams import Runner
from stgvcodec.bitstream.payload.head import GopHeader
from stgvcodec.bitstream.payload.pack import unpack_gop
from stgvcodec.decoder.pair_bound import SplatExtents
from stgvcodec.decoder.staging import StagedGop, spec_of, stage
from stgvcodec.device import on_device
from stgvcodec.errors import StgvError, is_out_of_memory
from stgvcodec.model.deformation import Moments, deform
from stgvcodec.model.gaussians import Scale, axis_scales, bounded_cholesky, scale_splats
from stgvcodec.model.gop_model import GopSpec, between, gop_static_features, output_size
from stgvcodec.ops.rasterize import PairBudget, rasterize_uint8
from stgvcodec.ops.threads import one_torch_thread, run_chunks

logger = logging.getLogger(__name__)

# Bytes of frames that are rendered at once: few on a CPU, to stay in its caches; many on a GPU, to keep it busy.
_BATCH_BYTES = {"cpu": 4 << 20, "cuda": 1 << 30}
# A Gaussian is deformed and binned for each frame of a batch: a small picture may have very many.
_GAUSSIAN_BYTES = 200
# A pixel takes 12 bytes in a float picture and 3 in the 8-bit one, which is counted on a GPU, where it matters. The
# triton back end makes no float picture, but keeps each Gaussian's features, its deformed forms and each pair twice.
_PIXEL_BYTES = {"cpu": 12, "cuda": 15}
_TRITON_PIXEL_BYTES, _TRITON_GAUSSIAN_BYTES, _TRITON_PAIR_BYTES = 3, 352, 8
# Number of pairs that a call of the rasteriser can list for certain. Where a frame may have more, because its Gaussians
# are as large as the picture, its pairs are counted first.
_MAX_PAIRS = 1 << 29


@dataclass
class RenderBudget:
    """How much is rendered at once. It shrinks when memory runs out, and the GoPs of a decoder share one.

    Attributes:
        n_bytes: Memory that the frames of a batch may take while they are rendered, bytes.
    """

    n_bytes: int

    @classmethod
    def of(cls, device: torch.device) -> RenderBudget:
        """Return the budget with which rendering on a device begins."""
        return cls(_BATCH_BYTES[device.type])


@dataclass(frozen=True)
class UnpackedGop:
    """A GoP that is dequantised but not yet on the device. `unpack` makes it, in any thread.

    Attributes:
        header: Header of the GoP's payload.
        spec: Dimensions of the model.
        staged: Parameters in host memory, which is pinned if they go to a GPU.
        extents: Extents of the Gaussians, from which the triton back end bounds its pairs; None for other back ends.
    """

    header: GopHeader
    spec: GopSpec
    staged: StagedGop
    extents: SplatExtents | None = None

    def measured(self) -> SplatExtents:
        """Return the extents of the Gaussians; they are computed where the back end has no use for them."""
        return self.extents or _extents(self.spec, self.staged)


def unpack(
    payload: bytes, *, width: int, height: int, device: torch.device, backend: str, run: Runner = run_chunks
) -> UnpackedGop:
    """Decode and dequantise a GoP's symbols: all that the host has to do, and nothing that touches the GPU's queue.

    Args:
        payload: A payload that `pack_gop` wrote.
        width: Picture width, pixels.
        height: Picture height, pixels.
        device: Device on which the GoP will be rendered.
        backend: Back end that will render the GoP.
        run: Function that runs the entropy decoder's jobs, in threads or one after the other.

    Raises:
        BitstreamError: the payload is damaged.
    """
    symbols = unpack_gop(payload, run=run)
    spec = spec_of(symbols.header, width, height)
    staged = stage(symbols, pinned=device.type != "cpu")
    if backend != "triton":
        return UnpackedGop(symbols.header, spec, staged)
    extents = _extents(spec, staged)
    _most_pairs(extents, spec, 1.0)  # `extents` remembers the result, so that the renderer need not compute it.
    return UnpackedGop(symbols.header, spec, staged, extents)


def _extents(spec: GopSpec, staged: StagedGop) -> SplatExtents:
    return SplatExtents.of(staged.cholesky, spec.low_pass, change_shapes=spec.field.has_shape_head)


def _most_pairs(extents: SplatExtents, spec: GopSpec, scale: Scale) -> int:
    from stgvcodec.ops.rasterize.triton_bins import TILE_HEIGHT, TILE_WIDTH

    width, height = output_size(spec, scale)
    return extents.most_pairs(scale, width=width, height=height, tile_width=TILE_WIDTH, tile_height=TILE_HEIGHT)


class GopRenderer:
    """A decoded GoP that renders any of its frames, at any scale.

    Attributes:
        spec: Dimensions of the model.
        parameters: Parameters of the GoP, on the device.
    """

    def __init__(
        self,
        gop: bytes | UnpackedGop,
        *,
        width: int,
        height: int,
        device: torch.device,
        backend: str,
        budget: RenderBudget | None = None,
    ) -> None:
        """Put a GoP on the device.

        Args:
            gop: The GoP's payload, or what `unpack` made of it for the same size and device.
            width: Picture width, pixels.
            height: Picture height, pixels.
            device: Device on which to render.
            backend: Back end of the operators.
            budget: Budget that is shared with other GoPs; by default the GoP gets its own.

        Raises:
            BitstreamError: the payload is damaged.
        """
        if isinstance(gop, bytes):
            gop = unpack(gop, width=width, height=height, device=device, backend=backend)
        self.spec = gop.spec
        self._backend = backend
        self._budget = budget or RenderBudget.of(device)
        self._extents = gop.extents
        self._device = device
        with torch.no_grad(), on_device(device):
            self.parameters, self._times = gop.staged.to(device)
            self._cholesky = bounded_cholesky(self.parameters.cholesky, self.spec.low_pass)
            # The triton kernel computes the static features anew for each frame, which is cheaper than reading them.
            self._static = (
                None if backend == "triton" else gop_static_features(self.parameters, self.spec, backend=backend)
            )

    def frames(self, indices: Sequence[int], *, scale: Scale = 1.0) -> Iterator[Tensor]:
        """Render frames in the order given.

        Args:
            indices: Frames of this GoP, 0 to T - 1.
            scale: Output size over encoded size, or that along x and along y.

        Yields:
            One frame at a time. [H, W, 3] uint8, on the device.
        """
        for pictures in self.batches(indices, scale=scale):
            yield from pictures

    def frames_tensor(self, indices: Sequence[int], *, scale: Scale = 1.0) -> Tensor:
        """Render frames into one tensor, without waiting for a GPU.

        Args:
            indices: Frames of this GoP, 0 to T - 1.
            scale: Output size over encoded size, or that along x and along y.

        Returns:
            [n, H, W, 3] uint8, contiguous, on the device.
        """
        n_done, frames = 0, None
        for pictures in self.batches(indices, scale=scale):
            if len(pictures) == len(indices):
                return pictures
            if frames is None:
                frames = pictures.new_empty(len(indices), *pictures.shape[1:])
            frames[n_done : n_done + len(pictures)] = pictures
            n_done += len(pictures)
        if frames is None:
            width, height = output_size(self.spec, scale)
            return torch.empty((0, height, width, 3), dtype=torch.uint8, device=self.parameters.means.device)
        return frames

    def batches(self, indices: Sequence[int], *, scale: Scale = 1.0) -> Iterator[Tensor]:
        """Render frames in the order given, as many at a time as memory allows.

        Args:
            indices: Frames of this GoP, 0 to T - 1.
            scale: Output size over encoded size, or that along x and along y.

        Yields:
            [b, H, W, 3] uint8, on the device.

        Raises:
            StgvError: there is no memory even for a single frame.
        """
        width, height = output_size(self.spec, scale)
        frame_bytes = self._frame_bytes(scale)
        first = 0
        while first < len(indices):
            part = indices[first : first + max(1, self._budget.n_bytes // frame_bytes)]
            # The block that switches gradients off is in another function: a generator that pauses inside such a block
            # would switch them off for its caller too.
            pictures = self._render_if_it_fits(part, scale)
            if pictures is None:
                self._budget.n_bytes = frame_bytes * (len(part) // 2)
                logger.warning(
                    "out of memory on %s with %d frames of %dx%d at once; going on with %d",
                    self.parameters.means.device,
                    len(part),
                    width,
                    height,
                    len(part) // 2,
                )
                continue
            yield pictures
            first += len(part)

    def picture_between(self, index: int, share: float, *, scale: Scale = 1.0) -> Tensor:
        """Render a picture between two frames, in which each Gaussian is on the straight line between its two places.

        Colours and Cholesky factors are interpolated too. The field itself is fitted at frames alone and swings in
        between: on a pan of 3 pixels a frame, its own pictures half-way were 20 dB worse than these.

        Args:
            index: Frame before, 0 to T - 2.
            share: Share of the way to the next frame, in (0, 1).
            scale: Output size over encoded size.

        Returns:
            [H, W, 3] uint8, on the device.

        Raises:
            StgvError: there is no memory for it.
        """
        pictures = self._render_if_it_fits([index, index + 1], scale, share=share)
        assert pictures is not None
        return pictures[0]

    def gaussians(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the deformed Gaussians of frame `index`.

        Returns:
            Centres [N, 2] and Cholesky factors [N, 3] in pixels, weighted colours [N, 3].
        """
        with torch.no_grad(), on_device(self._device):
            means_px, cholesky, colors = self._deformed([index], scale=1.0)
        return means_px[0], cholesky.reshape(-1, 3), colors[0]

    def _render_if_it_fits(self, indices: Sequence[int], scale: Scale, share: float | None = None) -> Tensor | None:
        """Render frames, or one picture between two; None if memory runs out and fewer at once may do.

        Returns:
            [b, H, W, 3] uint8.
        """
        n, (width, height) = len(indices) if share is None else 1, output_size(self.spec, scale)
        try:
            with torch.no_grad(), on_device(self._device), self._own_threads():
                splats = self._deformed(indices, scale)
                return rasterize_uint8(
                    *(splats if share is None else between(*splats, share)),
                    height=height,
                    width=width,
                    backend=self._backend,
                    budget=self._pair_budget(n, scale),
                )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if n == 1:
                device = self.parameters.means.device
                other = "" if device.type == "cpu" else ", or use --device cpu"
                raise StgvError(
                    f"a single frame of {width}x{height} with {self.spec.n_gaussians} Gaussians does not fit in the "
                    f"memory of {device} that is free: free some, render at a smaller --scale{other}"
                ) from error
        return None

    def _own_threads(self) -> AbstractContextManager[None]:
        # The numba kernels bring their own threads; the reference runs in torch's and wants all of them.
        return one_torch_thread() if self._backend == "numba" else nullcontext()

    def _frame_bytes(self, scale: Scale) -> int:
        """Memory that each frame of a batch takes while it is rendered, bytes."""
        width, height = output_size(self.spec, scale)
        if self._backend != "triton":
            pixels = width * height * _PIXEL_BYTES[self.parameters.means.device.type]
            return pixels + self.spec.n_gaussians * _GAUSSIAN_BYTES
        gaussians = self.spec.n_gaussians * _TRITON_GAUSSIAN_BYTES
        return width * height * _TRITON_PIXEL_BYTES + gaussians + self._pairs_of_a_frame(scale) * _TRITON_PAIR_BYTES

    def _pairs_of_a_frame(self, scale: Scale) -> int:
        """Upper bound of the rasteriser's pairs in a frame; 0 if it is not known."""
        return 0 if self._extents is None else _most_pairs(self._extents, self.spec, scale)

    def _pair_budget(self, n_frames: int, scale: Scale) -> PairBudget | None:
        """Room for all pairs of these frames; None if it is not known or may exceed what a call can list."""
        n_pairs = n_frames * self._pairs_of_a_frame(scale)
        if not 0 < n_pairs <= _MAX_PAIRS:
            return None
        return PairBudget.of(n_pairs, self.parameters.means.device)

    def _deformed(self, indices: Sequence[int], scale: Scale) -> tuple[Tensor, Tensor, Tensor]:
        """Deform the Gaussians for B frames.

        Returns:
            Means [B, N, 2] and factors in pixels of the output, the factors [N, 3] or, if the field has a head for
            shapes, [B, N, 3]; colours [B, N, 3].
        """
        parameters, field, spec = self.parameters, self.parameters.field, self.spec
        scale_x, scale_y = axis_scales(scale)
        means_px, cholesky, colors = deform(
            parameters.means,
            self._cholesky,
            parameters.colors,
            field.static_table,
            field.dynamic_table,
            field.weights,
            spec.field,
            at=self._picked(indices),
            size_px=(spec.width * scale_x, spec.height * scale_y),
            static=self._static,
            backend=self._backend,
        )
        return means_px, *scale_splats(cholesky, colors, scale)

    def _picked(self, indices: Sequence[int]) -> Moments:
        first, n = indices[0], len(indices)
        if all(indices[i] == first + i for i in range(n)):
            return Moments(*(tensor[first : first + n] for tensor in self._times))
        device = self.parameters.means.device
        picked = torch.tensor(indices, pin_memory=device.type == "cuda").to(device, non_blocking=True)
        return Moments(*(tensor.index_select(0, picked) for tensor in self._times))
