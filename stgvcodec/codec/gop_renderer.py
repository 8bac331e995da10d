"""From the bytes of one GoP to its frames: the path of every decoder, and of every figure the encoder reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from stgvcodec.bitstream.gop_payload import unpack_gop
from stgvcodec.bitstream.symbols import GopSymbols
from stgvcodec.codec.gop_header import spec_of
from stgvcodec.model.gaussians import bounded_cholesky
from stgvcodec.model.gop_model import (
    FieldValues,
    GopSpec,
    GopValues,
    deformed,
    frame_time,
    gop_static_features,
    output_size,
    render,
    to_uint8,
)
from stgvcodec.ops.field_mlp import FieldWeights
from stgvcodec.ops.threads import one_torch_thread
from stgvcodec.quant import affine, half_float, residual_vq, symmetric

# Bytes of float frames that are rendered at once: few, to stay in a CPU's caches; many, to keep a GPU busy.
_BATCH_BYTES = {"cpu": 4 << 20, "cuda": 256 << 20}


class GopRenderer:
    """A decoded GoP that renders any of its frames, at any scale.

    Attributes:
        spec: Dimensions.
        values: Dequantised numbers.
    """

    def __init__(self, payload: bytes, *, width: int, height: int, device: torch.device, backend: str) -> None:
        """Decode a GoP's payload.

        Args:
            payload: As written by `pack_gop`.
            width: Picture width, pixels.
            height: Picture height, pixels.
            device: Where to render.
            backend: Of the operators.

        Raises:
            BitstreamError: the payload is damaged.
        """
        symbols = unpack_gop(payload)
        self.spec = spec_of(symbols.header, width, height)
        self.values = values_of(symbols, self.spec, device)
        self._backend = backend
        with torch.no_grad():
            self._static = gop_static_features(self.values, self.spec, backend=backend)

    def frames(self, indices: Sequence[int], *, scale: float = 1.0) -> Iterator[Tensor]:
        """Render frames in the order given.

        Args:
            indices: Frames of this GoP, 0 to T - 1.
            scale: Output size over encoded size.

        Yields:
            One frame at a time. [H, W, 3] uint8, on the device.
        """
        times = [frame_time(k, self.spec.n_frames) for k in indices]
        width, height = output_size(self.spec, scale)
        batch = max(1, _BATCH_BYTES[self.values.means.device.type] // (width * height * 12))
        for first in range(0, len(times), batch):
            # The numba kernels bring their own threads; the reference is torch's and wants all of them.
            with torch.no_grad(), one_torch_thread() if self._backend == "numba" else nullcontext():
                images = render(
                    self.values,
                    self.spec,
                    times[first : first + batch],
                    backend=self._backend,
                    scale=scale,
                    static=self._static,
                )
                pictures = to_uint8(images)
            # Outside the block: a generator that waits in it would switch gradients off for its caller.
            yield from pictures

    def gaussians(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Deformed Gaussians of frame `index`.

        Returns:
            Centres [N, 2] and Cholesky factors [N, 3] in pixels, weighted colours [N, 3].
        """
        values, spec = self.values, self.spec
        time = frame_time(index, spec.n_frames)
        with torch.no_grad():
            means, colors = deformed(values, spec, [time], backend=self._backend, static=self._static)
        size_px = torch.tensor([spec.width, spec.height], dtype=means.dtype, device=means.device)
        return (means[0] + 1.0) * (0.5 * size_px), bounded_cholesky(values.cholesky, spec.low_pass), colors[0]


def values_of(symbols: GopSymbols, spec: GopSpec, device: torch.device) -> GopValues:
    """Dequantise a GoP's symbols; the same arithmetic as the quantisers' forward passes."""
    static, dynamic = spec.field.static_grid, spec.field.dynamic_grid
    weights = (
        symmetric.dequantize(tensor, symbols.mlp_scales[i : i + 1], device=device)
        for i, tensor in enumerate(symbols.mlp)
    )
    field = FieldValues(
        static_table=symmetric.dequantize(
            symbols.static_table, symbols.static_scales, group_sizes=static.level_entries, device=device
        ),
        dynamic_table=symmetric.dequantize(
            symbols.dynamic_table, symbols.dynamic_scales, group_sizes=dynamic.level_entries, device=device
        ),
        weights=FieldWeights(*weights),
    )
    return GopValues(
        means=half_float.dequantize(symbols.means, device=device),
        cholesky=affine.dequantize(symbols.cholesky, symbols.cholesky_scale, symbols.cholesky_offset, device=device),
        colors=residual_vq.dequantize(symbols.color_indices, symbols.codebooks, device=device),
        field=field,
    )
